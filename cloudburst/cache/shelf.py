"""Which objects are cached, within a number of bytes. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Item:
    size: int
    used: float


class Shelf:
    """The cached objects.

    Args:
        budget: bytes that they may have together.

    Attributes:
        size: bytes that they have.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.size = 0
        self._items: dict[str, _Item] = {}

    def __len__(self) -> int:
        return len(self._items)

    def takes(self, size: int) -> bool:
        """Whether an object of that size is worth the others that would have to go for it."""
        return 0 < size <= self.budget // 2

    def add(self, key: str, size: int, now: float, used: Callable[[str], float]) -> list[str]:
        """An object is cached from now on, in place of an older one of that key.

        Args:
            key: its key.
            size: its bytes.
            now: when.
            used: when a cached object was used last, as far as is known; asked only if some have
                to go.

        Returns:
            The keys of those that have to go: least recently used ones.
        """
        self.drop(key)
        self._items[key] = _Item(size, now)
        self.size += size
        return self._surplus(key, used) if self.size > self.budget else []

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
        self.size = 0

    def _surplus(self, newest: str, used: Callable[[str], float]) -> list[str]:
        for key, item in self._items.items():
            item.used = max(item.used, used(key))
        gone = []
        for key in sorted(self._items, key=lambda key: self._items[key].used):
            if self.size <= self.budget:
                break
            if key != newest:
                self.drop(key)
                gone.append(key)
        return gone

    def validate(self) -> None:
        """Check the invariants; raises AssertionError if one does not hold."""
        assert self.size == sum(item.size for item in self._items.values())
        assert self.size <= self.budget
