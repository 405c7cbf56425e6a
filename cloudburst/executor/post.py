"""Messages between running steps: straight from executor to executor, or through the KVS."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cloudburst.core.messages import Frames, Mail, Mails
from cloudburst.core.wire import encode
from cloudburst.errors import CloudburstError, UsageError
from cloudburst.executor.doorbell import Doorbell
from cloudburst.executor.library import UserLibrary
from cloudburst.executor.outgoing import LARGE, Outgoing
from cloudburst.executor.waiting import Waiting
from cloudburst.kvs import keys
from cloudburst.kvs.base import Append, KeyValueStore, TakeAll
from cloudburst.serialization import join, pack, pack_scalar, split, unpack
from cloudburst.transport import Peers

INBOX_TTL = 600.0
"""Seconds that a message for a step which does not run waits in the KVS."""

INBOX_EVERY = 0.05
"""Seconds between two looks of a receiving step into its inbox in the KVS."""

FIRST_PAUSE = 0.001
"""Seconds after which a waiting step looks for the first time again for what is to come."""

_log = logging.getLogger(__name__)


class PostOffice:
    """Carries the messages of the step that runs on this executor.

    Args:
        address: this executor's own.
        peers: the way to other executors.
        store: holds the inboxes of steps that cannot be reached directly.
        waiting: how a step waits for messages.
        doorbell: kept shut while the sockets are used.

    Attributes:
        has_talked: whether messages were sent, or waited for, since this was last set.
    """

    def __init__(
        self,
        address: str,
        peers: Peers,
        store: KeyValueStore,
        waiting: Waiting,
        doorbell: Doorbell,
    ) -> None:
        self._doorbell = doorbell
        self._address = address
        self._peers = peers
        self._store = store
        self._waiting = waiting
        self._running: UserLibrary | None = None
        self._mailbox: deque[tuple[str, Frames]] = deque()
        self._outgoing = Outgoing(self._carry_values, doorbell)
        self._look_at = 0.0
        self.has_talked = False

    def open(self, library: UserLibrary) -> None:
        """This step runs now: its mail is kept."""
        self._running = library
        # An interruption may have come between a step and its `close`.
        self._mailbox.clear()
        self._outgoing.clear()
        self._look_at = 0.0

    def close(self) -> None:
        """The step ended: mail that it did not receive is dropped, and nobody else gets it."""
        self.flush_by_the_way()  # it may have raised right after a burst
        self._running = None
        if self._mailbox:
            self._mailbox.clear()

    def send(self, recipient: str, sender: str, value: Any) -> None:
        """Send a value to a step.

        Raises:
            UsageError: the recipient is not an id of a step.
            SerializationError: the value cannot be pickled.
        """
        self.has_talked = True
        scalar = pack_scalar(value)
        frames = [scalar] if scalar is not None else pack(value, "the message").frames
        if len(frames) == 1 and len(frames[0]) < LARGE and self._doorbell.is_ours:
            self._outgoing.add(recipient, sender, scalar or bytes(frames[0]))
            return
        self._outgoing.flush()
        self._carry(Mail(recipient, sender, frames))

    def flush(self) -> None:
        """Send what waits for more; before the running step does what others may notice.

        Raises:
            KVSUnavailable: it could not be sent.
        """
        if self._doorbell.is_ours:
            self._outgoing.flush()

    def flush_by_the_way(self) -> None:
        """As `flush`, where nobody could be told of an error; what cannot be sent waits on."""
        with suppress(CloudburstError):
            self._outgoing.flush()

    def deliver(self, mail: Mail | Mails) -> None:
        """Take in mail for a step of this executor; what does not run has an inbox in the KVS."""
        if self.is_for_running(mail.recipient):
            self._mailbox.extend([(mail.sender, frames) for frames in _values_in(mail)])
        else:
            try:
                self._leave(mail)
            except CloudburstError as error:
                _log.warning("mail for %s is lost: %s", mail.recipient, error)

    def is_for_running(self, recipient: str) -> bool:
        """Whether that is the step that runs now."""
        running = self._running
        return running is not None and running.get_id() == recipient

    def receive(self, recipient: str, timeout: float) -> list[tuple[str, Any]]:
        """The running step's messages, waiting up to ``timeout`` seconds for the first.

        What was left in the inbox is older than what came directly, and goes first.

        Raises:
            SerializationError: the next message cannot be unpacked here; it is dropped.
        """
        deadline = time.monotonic() + timeout
        self.has_talked = True
        self.flush()
        if self._mailbox or not timeout:
            self._waiting.look()  # or it is to wait anyway
        with self._waiting.until_done():
            return self._received(recipient, deadline)

    def wait_for(self, ready: Callable[[], bool], timeout: float) -> None:
        """Wait until it is ``ready()``, up to ``timeout`` seconds; it is asked now and then.

        Raises:
            InvocationCancelledError, InvocationTimedOutError: the code is to end.
        """
        deadline, pause = time.monotonic() + timeout, FIRST_PAUSE
        self.has_talked = True
        with self._waiting.until_done():
            while not ready() and (left := deadline - time.monotonic()) > 0:
                self._waiting.wait(min(left, pause))
                pause = min(2 * pause, INBOX_EVERY)

    def _received(self, recipient: str, deadline: float) -> list[tuple[str, Any]]:
        while self.is_for_running(recipient):  # a thread of a step may outlive it
            now = time.monotonic()
            if now >= self._look_at:
                self._look_at = now + INBOX_EVERY
                self._mailbox.extendleft(reversed(self._from_inbox(recipient)))
            messages = self._opened()
            if messages or now >= deadline:
                return messages
            self._waiting.wait(min(deadline, self._look_at) - now)
        return []

    def _opened(self) -> list[tuple[str, Any]]:
        """Take the mail out, up to a message that cannot be unpacked; that is the next one."""
        messages: list[tuple[str, Any]] = []
        mailbox = self._mailbox
        while mailbox:
            sender, frames = mailbox.popleft()
            try:
                messages.append((sender, unpack(frames)))
            except CloudburstError:
                if not messages:
                    raise
                mailbox.appendleft((sender, frames))
                break
        return messages

    def _carry_values(self, recipient: str, sender: str, values: list[bytes]) -> None:
        if len(values) == 1:
            self._carry(Mail(recipient, sender, values))
        else:
            self._carry(Mails(recipient, sender, tuple(values)))

    def _carry(self, mail: Mail | Mails) -> None:
        _, found, address = mail.recipient.rpartition("@")
        if not found:
            raise _not_an_id(mail.recipient)
        if address == self._address:
            self.deliver(_copied(mail))
        elif not (address and self._sent(address, mail)):
            self._leave(mail)

    def _sent(self, address: str, mail: Mail | Mails) -> bool:
        if not self._doorbell.is_ours:
            return False
        try:
            with self._doorbell.shut_meanwhile():
                return self._peers.send(address, encode(mail))
        except OSError:
            raise _not_an_id(mail.recipient) from None

    def _leave(self, mail: Mail | Mails) -> None:
        inbox = _inbox_of(mail.recipient)
        items = [
            join(pack((mail.sender, [bytes(frame) for frame in frames])).frames)
            for frames in _values_in(mail)
        ]
        self._store.execute([Append(inbox, item, INBOX_TTL) for item in items])

    def _from_inbox(self, recipient: str) -> list[tuple[str, Frames]]:
        (items,) = self._store.execute([TakeAll(_inbox_of(recipient))])
        return [unpack(split(item)) for item in items]


def _inbox_of(recipient: str) -> str:
    # Without its address, which whoever writes may not know.
    return keys.inbox_key(recipient.partition("@")[0])


def _values_in(mail: Mail | Mails) -> list[Frames]:
    return [mail.frames] if isinstance(mail, Mail) else [(value,) for value in mail.values]


def _copied(mail: Mail | Mails) -> Mail | Mails:
    """As it is now: the sender may change its value afterwards."""
    if isinstance(mail, Mails):
        return mail
    return mail._replace(frames=[bytes(frame) for frame in mail.frames])


def _not_an_id(recipient: str) -> UsageError:
    return UsageError(f"{recipient!r} is not what get_id() returns in a running function")
