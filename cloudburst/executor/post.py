"""Messages between running steps: straight from executor to executor, or through the KVS."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any

from cloudburst.core.messages import Frames, Mail
from cloudburst.core.wire import encode
from cloudburst.errors import CloudburstError, UsageError
from cloudburst.executor.doorbell import Doorbell
from cloudburst.executor.library import UserLibrary
from cloudburst.executor.waiting import Waiting
from cloudburst.kvs import keys
from cloudburst.kvs.base import Append, KeyValueStore, TakeAll
from cloudburst.serialization import join, pack, split, unpack
from cloudburst.transport import Peers

INBOX_TTL = 600.0
"""Seconds that a message for a step which does not run waits in the KVS."""

INBOX_EVERY = 0.05
"""Seconds between two looks of a receiving step into its inbox in the KVS."""

_log = logging.getLogger(__name__)


class PostOffice:
    """Carries the messages of the step that runs on this executor.

    Args:
        address: this executor's own.
        peers: the way to other executors.
        store: holds the inboxes of steps that cannot be reached directly.
        waiting: how a step waits for messages.
        doorbell: kept shut while the sockets are used.
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
        self._look_at = 0.0

    def open(self, library: UserLibrary) -> None:
        """This step runs now: its mail is kept."""
        self._running = library
        self._mailbox.clear()  # an interruption may have come between a step and its `close`
        self._look_at = 0.0

    def close(self) -> None:
        """The step ended: mail that it did not receive is dropped, and nobody else gets it."""
        self._running = None
        if self._mailbox:
            self._mailbox.clear()

    def send(self, recipient: str, sender: str, value: Any) -> None:
        """Send a value to a step.

        Raises:
            UsageError: the recipient is not an id of a step.
            SerializationError: the value cannot be pickled.
        """
        _, found, address = str(recipient).rpartition("@")
        if not found:
            raise _not_an_id(recipient)
        mail = Mail(recipient, sender, pack(value, "the message").frames)
        if address == self._address:
            # A copy of its own: the sender may change its value afterwards.
            self.deliver(mail._replace(frames=[bytes(frame) for frame in mail.frames]))
        elif not self._sent(address, mail):
            self._leave(mail)

    def deliver(self, mail: Mail) -> None:
        """Take in mail for a step of this executor; what does not run has an inbox in the KVS."""
        if self.is_for_running(mail.recipient):
            self._mailbox.append((mail.sender, mail.frames))
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
        self._waiting.look()
        with self._waiting.until_done():
            return self._received(recipient, deadline)

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
        while self._mailbox:
            sender, frames = self._mailbox[0]
            try:
                messages.append((sender, unpack(frames)))
            except CloudburstError:
                if messages:
                    return messages
                self._mailbox.popleft()
                raise
            self._mailbox.popleft()
        return messages

    def _sent(self, address: str, mail: Mail) -> bool:
        if not self._doorbell.is_ours:
            return False
        try:
            with self._doorbell.shut_meanwhile():
                return self._peers.send(address, encode(mail))
        except OSError:
            raise _not_an_id(mail.recipient) from None

    def _leave(self, mail: Mail) -> None:
        item = join(pack((mail.sender, [bytes(frame) for frame in mail.frames])).frames)
        self._store.execute([Append(keys.inbox_key(mail.recipient), item, INBOX_TTL)])

    def _from_inbox(self, recipient: str) -> list[tuple[str, Frames]]:
        (items,) = self._store.execute([TakeAll(keys.inbox_key(recipient))])
        return [unpack(split(item)) for item in items]


def _not_an_id(recipient: str) -> UsageError:
    return UsageError(f"{recipient!r} is not what get_id() returns in a running function")
