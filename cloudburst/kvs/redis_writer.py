"""Writing behind the caller's back, to one server or to the primary that sentinels name."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from cloudburst.errors import KVSUnavailable
from cloudburst.kvs.base import Operation
from cloudburst.kvs.channel import Lost, PolledChannel, Refused, ReplyError, Unreachable
from cloudburst.kvs.commands import LOAD_SCRIPTS, MISSING, Command, answers, encode
from cloudburst.kvs.connection import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    TRANSIENT,
    check_url,
    code_of,
    open_polled_channel,
    outage,
    refusal,
)

_FULL_PAUSE: Final = 0.005  # until a full socket is tried again, if the caller does not poll it


@dataclass(slots=True)
class Submission:
    """Commands on their way; ``waiting`` counts the replies that are `MISSING`."""

    token: object
    commands: list[Command]
    replies: list[Any]
    waiting: int
    since: float

    def unanswered(self) -> Iterator[tuple[Submission, int]]:
        """What is still to be answered."""
        return ((self, index) for index, reply in enumerate(self.replies) if reply is MISSING)


_Entry: TypeAlias = tuple[Submission | None, int]
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
        check_url(url)
        self._url = url
        self._timeout = timeout
        self._clock = clock
        self._channel: PolledChannel | None = None
        self._trouble: object = "no connection was made yet"
        self._pause = FIRST_PAUSE
        self._not_before = clock()
        self._heard = 0.0
        self._submissions: deque[Submission] = deque()
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
        self.submit_commands(encode(operations), token, self._clock())

    def submit_commands(self, commands: list[Command], token: object, since: float) -> None:
        """Take commands over that were submitted elsewhere, at ``since`` on the clock given."""
        size = len(commands)
        submission = Submission(token, commands, [MISSING] * size, size, since)
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

    def _outcome(self, submission: Submission, now: float) -> list[Any] | KVSUnavailable | None:
        if submission.waiting:
            waited = now - submission.since
            if waited < self._timeout:
                return None
            self._unsent = [entry for entry in self._unsent if entry[0] is not submission]
            return outage(self._url, self._trouble, 1, waited)
        return self._result(submission)

    def _result(self, submission: Submission) -> list[Any] | KVSUnavailable:
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


def _command_of(submission: Submission | None, index: int) -> Command:
    return LOAD_SCRIPTS[index] if submission is None else submission.commands[index]
