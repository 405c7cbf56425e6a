"""Stores behind a URL: any server of the Redis protocol.

A connection belongs to the process that made it: make stores and writers after a fork.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from cloudburst.errors import KVSUnavailable
from cloudburst.kvs.base import Operation, Place
from cloudburst.kvs.channel import Channel, Lost, PolledChannel, Refused, ReplyError
from cloudburst.kvs.commands import LOAD_SCRIPTS, Command, answers, encode, is_repeatable
from cloudburst.kvs.connection import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    TRANSIENT,
    Patience,
    Unreachable,
    code_of,
    doubt,
    open_channel,
    open_polled_channel,
    outage,
    parse_url,
    refusal,
)

_FAILED = (Unreachable, Refused, Lost)
_MISSING: Final = object()
_FULL_PAUSE: Final = 0.005  # until a full socket is tried again, if the caller does not poll it


class RedisStore:
    """A `KeyValueStore` in a server, over one connection made when it is first needed.

    Threads may share it; they take turns. While there is no connection, or the server asks for
    patience, commands are tried again with growing pauses until ``timeout``. A connection lost
    half-way is made again too, but only for operations that may be carried out twice
    (`commands.is_repeatable`): for others that would be a guess, and they fail.

    Operations whose scripts the server has forgotten (SCRIPT FLUSH) come after all others.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, as redis-py reads them.
        timeout: seconds to wait for a connection, and for any progress on it.

    Raises:
        UsageError: the URL cannot be read.
    """

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        parse_url(url)
        self._url = url
        self._timeout = timeout
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._place: Place | None = None

    def execute(self, operations: Sequence[Operation], place: Place | None = None) -> list[Any]:
        """See `KeyValueStore.execute`, and with a place `LoadingStore.load`."""
        if not operations:
            return []
        commands = encode(operations)
        with self._lock:
            self._place = place
            replies = self._carry_out(commands, is_repeatable(operations))
        return answers(commands, replies)

    load = execute

    def eviction_policy(self) -> str:
        """What the server deletes when memory is short: ``"noeviction"`` means nothing.

        Raises:
            KVSUnavailable: it did not answer, or refused.
        """
        with self._lock:
            (reply,) = self._carry_out([Command(("INFO", "memory"), None)], repeatable=True)
        lines = (line.partition(":") for line in reply.decode().splitlines())
        facts: dict[str, str] = {name: value for name, _, value in lines}
        may_delete = facts.get("maxmemory", "0") != "0"
        return facts.get("maxmemory_policy", "noeviction") if may_delete else "noeviction"

    def close(self) -> None:
        """Give back the connection; it is made again if the store is used again."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _carry_out(self, commands: Sequence[Command], repeatable: bool) -> list[Any]:
        began = time.monotonic()
        try:
            replies = self._attempt(commands, repeatable, self._timeout)
        except _FAILED as error:
            patience = Patience(self._url, self._timeout, began)
            self._bear(error, repeatable, patience)
            replies = [_MISSING] * len(commands)
        else:
            if ReplyError not in map(type, replies):
                return replies
            patience = Patience(self._url, self._timeout, began)
        return self._persist(commands, repeatable, replies, patience)

    def _persist(
        self,
        commands: Sequence[Command],
        repeatable: bool,
        replies: list[Any],
        patience: Patience,
    ) -> list[Any]:
        """Send again what has no good reply, until all have one or patience is at its end."""
        while missing := self._missing(replies, patience):
            try:
                new = self._attempt([commands[i] for i in missing], repeatable, patience.left())
            except _FAILED as error:
                self._bear(error, repeatable, patience)
                continue
            for index, reply in zip(missing, new, strict=True):
                replies[index] = reply
        return replies

    def _missing(self, replies: Sequence[Any], patience: Patience) -> list[int]:
        """Which commands to send again; after a pause, if the server asks for one."""
        errors = {code_of(reply): reply for reply in replies if isinstance(reply, ReplyError)}
        for code in errors.keys() - TRANSIENT - {"NOSCRIPT"}:
            raise refusal(self._url, errors[code])
        if transient := errors.keys() & TRANSIENT:
            patience.wait(errors[min(transient)])
        elif errors:
            patience.try_again(errors["NOSCRIPT"])
            self._drop()  # a new connection begins with the scripts
        return [
            index
            for index, reply in enumerate(replies)
            if reply is _MISSING or isinstance(reply, ReplyError)
        ]

    def _bear(self, error: Exception, repeatable: bool, patience: Patience) -> None:
        """Wait after a failed attempt, or raise if another would not be right."""
        match error:
            case Refused():
                raise refusal(self._url, error) from error
            case _ if repeatable or isinstance(error, Unreachable):
                patience.wait(error)
            case _:
                raise doubt(self._url, error) from error

    def _attempt(self, commands: Sequence[Command], repeatable: bool, left: float) -> list[Any]:
        channel = self._channel
        # A connection that ended since it was last used is best noticed before anything is sent.
        if channel is None or not (repeatable or channel.is_quiet()):
            channel = self._connect(left)
        channel.set_timeout(left)
        try:
            return channel.exchange(commands, self._place)
        except BaseException:
            # Also when the caller is interrupted: a reply that comes later must never be read
            # as the answer to a later command.
            self._drop()
            raise

    def _connect(self, left: float) -> Channel:
        self._drop()
        channel = open_channel(self._url, left)
        try:
            channel.exchange(LOAD_SCRIPTS)
        except BaseException as error:
            channel.close()
            if isinstance(error, Lost | Refused):  # with too many clients, it lets us in first
                raise Unreachable(str(error)) from error
            raise
        self._channel = channel
        return channel


@dataclass(slots=True)
class _Submission:
    """Operations on their way; ``waiting`` counts the replies that are `_MISSING`."""

    token: object
    commands: list[Command]
    replies: list[Any]
    waiting: int
    since: float

    def unanswered(self) -> Iterator[tuple[_Submission, int]]:
        return ((self, index) for index, reply in enumerate(self.replies) if reply is _MISSING)


_Entry: TypeAlias = tuple[_Submission | None, int]
"""A command: its submission (None: of `LOAD_SCRIPTS`) and its index there."""

_LOADS: Final[list[_Entry]] = [(None, index) for index in range(len(LOAD_SCRIPTS))]


class RedisWriter:
    """Carries out operations behind the caller's back, without ever waiting for the server.

    Made for a poll loop: `submit` and `flush` in each turn, wait for `fileno` to be readable (or
    writable, if `wants_write`) or for `next_deadline`, then `collect`. The descriptor changes
    with every connection, and is -1 without one. Only making a connection takes time: at most a
    second or so, while a server is silent; for the embedded one, none.

    After a lost connection everything unanswered is sent again, so a submission must be
    idempotent in its effect. (The answer of a repeated `CommitRun` may then be False although
    this writer's was the first.)

    Args:
        url: as for `RedisStore`.
        timeout: seconds after which an unanswered submission is given up. A connection that
            is silent for half of it is made again.
        clock: monotonic seconds.

    Raises:
        UsageError: the URL cannot be read.
    """

    def __init__(
        self, url: str, *, timeout: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        parse_url(url)
        self._url = url
        self._timeout = timeout
        self._clock = clock
        self._channel: PolledChannel | None = None
        self._trouble: object = "no connection was made yet"
        self._pause = FIRST_PAUSE
        self._not_before = clock()
        self._heard = 0.0
        self._submissions: deque[_Submission] = deque()
        self._unsent: list[_Entry] = []
        self._expected: deque[_Entry] = deque()
        self._loading = 0

    @property
    def pending(self) -> int:
        """How many submissions have not been collected."""
        return len(self._submissions)

    @property
    def wants_write(self) -> bool:
        """Whether something waits for the socket to become writable."""
        return self._channel is not None and self._channel.is_full

    def fileno(self) -> int:
        """The descriptor to poll, or -1 while there is no connection."""
        return -1 if self._channel is None else self._channel.fileno()

    def submit(self, operations: Sequence[Operation], token: object) -> None:
        """Take operations over; ``token`` comes back from `collect` with their results."""
        commands = encode(operations)
        submission = _Submission(
            token, commands, [_MISSING] * len(commands), len(commands), self._clock()
        )
        self._submissions.append(submission)
        self._unsent.extend(submission.unanswered())

    def flush(self) -> None:
        """Send as much of what was submitted as the socket takes, connecting if need be."""
        now = self._clock()
        if now < self._not_before or not self._submissions:
            return
        channel = self._channel or self._connect(now)
        if channel is None:
            return
        unsent = self._sendable()
        self._unsent = [entry for entry in self._unsent if entry[0]] if self._loading else []
        was_idle, was_full = not self._expected, channel.is_full
        self._expected.extend(unsent)
        try:
            progress = channel.send([_command_of(*entry) for entry in unsent])
            # What the kernel buffers for a dead server is no sign of life; what it takes after
            # it was full is.
            if was_idle or (was_full and progress):
                self._heard = now
        except Lost as error:
            self._lose(error)

    def collect(self) -> list[tuple[Any, list[Any] | KVSUnavailable]]:
        """The submissions that are finished, in the order in which they were submitted.

        Each comes with what its operations returned, or with the reason why there is no answer:
        one was refused, or the server did not answer in time (whether an operation was carried
        out is then not known).
        """
        self._read()
        now = self._clock()
        if self._expected and now - self._heard > self._timeout / 2:
            self._lose(f"it was silent for {now - self._heard:.1f} s")
        finished = []
        while self._submissions:
            outcome = self._outcome(self._submissions[0], now)
            if outcome is None:
                break
            finished.append((self._submissions.popleft().token, outcome))
        self.flush()
        return finished

    def next_deadline(self) -> float | None:
        """When to call `collect` at the latest, on the clock given; None if nothing is pending."""
        if not self._submissions:
            return None
        expiry = self._submissions[0].since + self._timeout
        if self._channel is None or self._sendable():
            return min(expiry, self._not_before)
        if self._channel.is_full:
            return min(expiry, self._clock() + _FULL_PAUSE)
        return min(expiry, self._heard + self._timeout / 2) if self._expected else expiry

    def close(self) -> None:
        """Give back the connection; what was not collected is forgotten."""
        self._drop()
        self._submissions.clear()
        self._unsent.clear()
        self._expected.clear()

    def _drop(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _read(self) -> None:
        if self._channel is None:
            return
        try:
            for reply in self._channel.replies():
                self._heard = self._clock()
                self._take(reply)
        except Lost as error:
            self._lose(error)

    def _take(self, reply: Any) -> None:
        submission, index = self._expected.popleft()
        code = code_of(reply) if isinstance(reply, ReplyError) else ""
        if code == "NOSCRIPT":
            self._unsent += [*_LOADS, (submission, index)]
            self._loading += len(_LOADS)
        elif code in TRANSIENT:
            # Sent alone once more, it would come after what was carried out meanwhile.
            raise Lost(str(reply))
        elif submission is None:
            self._loading -= 1
        else:
            self._pause = FIRST_PAUSE
            submission.replies[index] = reply
            submission.waiting -= 1

    def _outcome(self, submission: _Submission, now: float) -> list[Any] | KVSUnavailable | None:
        if submission.waiting:
            waited = now - submission.since
            if waited < self._timeout:
                return None
            self._unsent = [entry for entry in self._unsent if entry[0] is not submission]
            return outage(self._url, self._trouble, 1, waited)
        for reply in submission.replies:
            if isinstance(reply, ReplyError):
                return refusal(self._url, reply)
        return answers(submission.commands, submission.replies)

    def _connect(self, now: float) -> PolledChannel | None:
        try:
            self._channel = open_polled_channel(self._url, min(1.0, self._timeout))
        except (Unreachable, Refused) as error:
            self._trouble = error
            self._not_before = now + self._next_pause()
            return None
        self._unsent, self._loading = [*_LOADS], len(_LOADS)
        for submission in self._submissions:
            self._unsent.extend(submission.unanswered())
        return self._channel

    def _sendable(self) -> list[_Entry]:
        """What may be sent: scripts first, or else what needs none would overtake what does."""
        return [entry for entry in self._unsent if not entry[0]] if self._loading else self._unsent

    def _lose(self, cause: object) -> None:
        """Drop the connection; the next one begins with everything that is unanswered."""
        self._drop()
        self._trouble = cause
        self._not_before = self._clock() + self._next_pause()
        self._expected.clear()

    def _next_pause(self) -> float:
        pause = self._pause
        self._pause = min(2 * pause, LONGEST_PAUSE)
        return pause


def _command_of(submission: _Submission | None, index: int) -> Command:
    return LOAD_SCRIPTS[index] if submission is None else submission.commands[index]
