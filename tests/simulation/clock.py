"""Virtual time, and what happens in it."""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

Action: TypeAlias = Callable[[], None]


TICK = 1e-9
"""Seconds that pass at least: waiting for less than a float can tell would never end."""


class Clock:
    """Carries out actions at their time, those of one time in the order in which they were set.

    Attributes:
        now: seconds since the beginning.
        events: how many actions there have been.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        self._order = itertools.count()
        self._heap: list[tuple[float, int, Action]] = []

    def after(self, seconds: float, action: Action) -> None:
        """Carry out an action so many seconds from now."""
        when = self.now + max(TICK, seconds)
        heapq.heappush(self._heap, (when, next(self._order), action))

    def step(self) -> None:
        """Move on to the next action, and carry it out."""
        self.now, _, action = heapq.heappop(self._heap)
        self.events += 1
        action()


class Trace:
    """What happened, for whoever has to understand a failure.

    Args:
        clock: the time of an entry.
        keep: how many of the last entries are kept.
        digested: whether all entries go into `digest`, which takes time.
    """

    def __init__(self, clock: Clock, keep: int = 60, *, digested: bool = False) -> None:
        self._clock = clock
        self._kept: deque[tuple[float, str, object]] = deque(maxlen=keep)
        self._hash = hashlib.blake2b(digest_size=16) if digested else None

    def note(self, who: str, what: object) -> None:
        """Add an entry; ``what`` is written out only if somebody wants to read it."""
        self._kept.append((self._clock.now, who, what))
        if self._hash is not None:
            self._hash.update(self._written(self._kept[-1]).encode())

    def lines(self) -> list[str]:
        """The last entries, written out."""
        return [self._written(entry) for entry in self._kept]

    def digest(self) -> str:
        """The same for the same entries, and for no others."""
        return self._hash.hexdigest() if self._hash else ""

    @staticmethod
    def _written(entry: tuple[float, str, object]) -> str:
        when, who, what = entry
        text = what if isinstance(what, str) else repr(what)
        return f"{when:12.6f} {who:24} {text:.400}"
