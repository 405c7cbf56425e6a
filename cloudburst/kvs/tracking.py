"""A connection on which the store says which keys have changed, of those that were looked at.

The means is what Redis calls client-side caching: ``CLIENT TRACKING`` over RESP3. What changes
after a look is told on the same connection, in the order of events, so a look and what was told
before its answer say together how things stood at one moment.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from hiredis import PushNotification

from cloudburst.kvs.channel import Lost, PolledChannel, Refused, ReplyError, Unreachable
from cloudburst.kvs.commands import Command
from cloudburst.kvs.connection import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    open_polled_channel,
    parse_url,
)

HEAD = 4096
"""Bytes of a value that are looked at: they tell it from every other of the same key."""

ASK_EVERY = 0.25
"""Seconds between two questions whether all changes have been told."""

SILENCE = 1.0
"""Seconds without an answer after which the connection is given up."""


class Looked(NamedTuple):
    """The answer to a `Tracking.look`.

    Attributes:
        token: as given.
        head: the first bytes of the value, b"" if there is none.
        left: seconds, from the look, until it expires.
    """

    token: object
    head: bytes
    left: float


class Changed(NamedTuple):
    """These keys have changed since they were looked at."""

    keys: tuple[str, ...]


class Complete(NamedTuple):
    """All changes up to that moment, in monotonic seconds, have been told."""

    until: float


class Blind(NamedTuple):
    """What was looked at may have changed: the connection was lost, or everything deleted."""


News: TypeAlias = Looked | Changed | Complete | Blind

_START = (Command(("HELLO", "3"), None), Command(("CLIENT", "TRACKING", "ON"), None))
_GREETING = "greeting"
_LEFT = "left"


class Tracking:
    """Looks at keys, and hears of their changes, without ever waiting.

    Args:
        url: of a single server, as for `RedisStore`.
        clock: monotonic seconds.

    Raises:
        UsageError: the URL cannot be read.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        parse_url(url)
        self._url = url
        self._clock = clock
        self._channel: PolledChannel | None = None
        self._expected: deque[object] = deque()
        self._asked = self._heard = 0.0
        self._left = math.inf
        self._pause = FIRST_PAUSE
        self._not_before = clock()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._channel is not None

    @property
    def wants_write(self) -> bool:
        """Whether something waits for the socket to become writable."""
        return self._channel is not None and self._channel.is_full

    def fileno(self) -> int:
        """The descriptor to poll, or -1 while there is no connection."""
        return -1 if self._channel is None else self._channel.fileno()

    def look(self, key: str, token: object) -> bool:
        """Look at a key, whose changes are told from now on; the answer comes with the token.

        Returns:
            Whether there is a connection; nothing comes if there is none.
        """
        if self._channel is None:
            return False
        self._expected.extend([_LEFT, token])
        # The value at last: changes after it was read are told after it.
        head = ("GETRANGE", key, "0", str(HEAD - 1))
        self._send([Command(("PTTL", key), None), Command(head, None)])
        return True

    def next_deadline(self) -> float:
        """When to call `news` at the latest."""
        if self._channel is None:
            return self._not_before
        return min(self._asked + ASK_EVERY, self._heard + SILENCE)

    def news(self) -> Iterator[News]:
        """What has come; connects, and asks whether all has, when it is time to."""
        now = self._clock()
        if self._channel is None and now >= self._not_before:
            self._connect()
            now = self._clock()
        channel = self._channel
        if channel is None:
            return
        try:
            if channel.is_full:
                channel.send([])
            for reply in channel.replies():
                self._heard = now
                yield from self._understood(reply)
            if now - self._heard > SILENCE:
                raise Lost(f"it was silent for {SILENCE:g} s")
        except Lost:
            self.close()
            yield Blind()
            return
        if now >= self._asked + ASK_EVERY:
            self._asked = now
            self._expected.append(Complete(now))
            self._send([Command(("PING",), None)])

    def close(self) -> None:
        """Give back the connection; it is made again by `news`."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        self._expected.clear()
        self._not_before = self._clock() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _connect(self) -> None:
        try:
            self._channel = open_polled_channel(self._url, SILENCE)
        except (Unreachable, Refused):
            self.close()
            return
        self._heard, self._asked = self._clock(), 0.0
        self._expected.extend([_GREETING, _GREETING])
        self._send(_START)

    def _send(self, commands: Sequence[Command]) -> None:
        try:
            if self._channel is not None:
                self._channel.send(commands)
        except Lost:
            self._heard = 0.0  # which `news` will find, and say

    def _understood(self, reply: Any) -> Iterator[News]:
        if isinstance(reply, PushNotification):
            if reply and reply[0] == b"invalidate":
                keys = reply[1]
                named = [key.decode("utf-8", "surrogatepass") for key in keys or ()]
                yield Blind() if keys is None else Changed(tuple(named))
            return
        token = self._expected.popleft()
        refused = isinstance(reply, ReplyError)
        if refused and (isinstance(token, Complete) or token in (_GREETING, _LEFT)):
            raise Lost(str(reply))
        if isinstance(token, Complete):
            self._pause = FIRST_PAUSE
            yield token
        elif token is _LEFT:
            self._left = reply / 1000 if reply >= 0 else math.inf
        elif token is not _GREETING:
            yield Looked(token, b"" if refused else reply, self._left)
