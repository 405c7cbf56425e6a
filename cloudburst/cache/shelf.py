"""Which objects are cached, within a number of bytes. No I/O, no clock."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

_SLACK = 64
"""Entries of a heap that may be outdated before it is made anew, besides as many as are not."""


@dataclass(slots=True)
class _Item:
    size: int
    used: float
    until: float


class Shelf:
    """The cached objects.

    Args:
        budget: bytes that they may have together.

    Attributes:
        budget: as given; may be changed, which counts from the next `add` on.
        size: bytes that they have.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.size = 0
        self._items: dict[str, _Item] = {}
        # Both may name what is gone, and moments that have changed.
        self._uses: list[tuple[float, str]] = []
        self._ends: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def takes(self, size: int) -> bool:
        """Whether an object of that size is worth the others that would have to go for it."""
        return 0 < size <= self.budget // 2

    def add(
        self,
        key: str,
        size: int,
        now: float,
        used: Callable[[str], float],
        until: float = math.inf,
    ) -> list[str]:
        """An object is cached from now on, in place of an older one of that key.

        Args:
            key: its key.
            size: its bytes, at most half of the budget.
            now: when.
            used: when a cached object was used last, as far as is known; asked only if some have
                to go.
            until: when it expires, on another clock.

        Returns:
            The keys of those that have to go: least recently used ones.
        """
        self.drop(key)
        self._items[key] = _Item(size, now, until)
        self.size += size
        self._uses = self._pushed(self._uses, now, key)
        if until < math.inf:
            self._ends = self._pushed(self._ends, until, key)
        return self._surplus(key, used)

    def drop(self, key: str) -> bool:
        """An object is cached no more. Returns whether it was."""
        item = self._items.pop(key, None)
        if item is None:
            return False
        self.size -= item.size
        return True

    def clear(self) -> None:
        """Nothing is cached any more."""
        self._items.clear()
        self._uses.clear()
        self._ends.clear()
        self.size = 0

    def next_expiry(self) -> float:
        """When to call `expire`."""
        return self._ends[0][0] if self._ends else math.inf

    def expire(self, now: float) -> list[str]:
        """Drop those that have expired, and return their keys."""
        gone = []
        while self._ends and self._ends[0][0] <= now:
            until, key = heapq.heappop(self._ends)
            item = self._items.get(key)
            if item is not None and item.until == until:
                self.drop(key)
                gone.append(key)
        return gone

    def _surplus(self, newest: str, used: Callable[[str], float]) -> list[str]:
        gone: list[str] = []
        kept: list[tuple[float, str]] = []
        while self.size > self.budget and self._uses:
            entry = heapq.heappop(self._uses)
            known, key = entry
            item = self._items.get(key)
            if item is None or item.used != known:
                continue
            if key == newest:
                kept.append(entry)
            elif (last := used(key)) > known:  # it comes before no other that was used earlier
                item.used = last
                heapq.heappush(self._uses, (last, key))
            else:
                self.drop(key)
                gone.append(key)
        for entry in kept:
            heapq.heappush(self._uses, entry)
        return gone

    def _pushed(
        self, heap: list[tuple[float, str]], moment: float, key: str
    ) -> list[tuple[float, str]]:
        heapq.heappush(heap, (moment, key))
        if len(heap) <= 2 * len(self._items) + _SLACK:
            return heap
        rest = {entry for entry in heap if self._is_current(*entry)}
        return sorted(rest)

    def _is_current(self, moment: float, key: str) -> bool:
        item = self._items.get(key)
        return item is not None and moment in (item.used, item.until)

    def validate(self) -> None:
        """Check the invariants; raises AssertionError if one does not hold."""
        assert self.size == sum(item.size for item in self._items.values())
        assert self.size <= self.budget
        for key, item in self._items.items():
            assert (item.used, key) in self._uses
            assert item.until == math.inf or (item.until, key) in self._ends
