"""What is cached on a machine, as others are told of it: change by change, in numbered parts.

Whoever misses a part finds a number missing, and asks for all of it again. No I/O.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from cloudburst.core.hosts import CacheChanges

LEAST = 64 * 1024
"""Bytes of an object below which it makes no difference where it is."""

MOST = 10_000
"""Objects that others are told of: the first ones, if there are more."""

AT_ONCE = 500
"""Changes that are told at a time."""

LETTERS = 32 * 1024
"""Characters of keys after which no further change is told at that time."""


class Inventory:
    """The objects of a cache. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._here: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._news: dict[str, None] = {}
        self._number = 0
        self._whole = False
        self._whole_at = 0

    def __contains__(self, key: str) -> bool:
        return key in self._here

    @property
    def told(self) -> dict[str, int]:
        """What others know if they have heard all: of each object its bytes."""
        with self._lock:
            return dict(self._told)

    def add(self, key: str, size: int) -> None:
        """An object of so many bytes is cached, in place of an older one."""
        with self._lock:
            if size >= LEAST and _is_text(key):
                self._here[key] = size
            else:
                self._here.pop(key, None)
            self._news[key] = None

    def drop(self, keys: Iterable[str]) -> None:
        """Objects are not cached any more."""
        with self._lock:
            for key in keys:
                if self._here.pop(key, None) is not None:
                    self._news[key] = None

    def clear(self) -> None:
        """Nothing is cached any more."""
        with self._lock:
            self._here.clear()
            self._begin_anew()

    def recount(self, number: int) -> None:
        """Somebody has missed what came before the changes of that number."""
        with self._lock:
            if number >= self._whole_at and not self._whole:
                self._begin_anew()

    def changes(self) -> CacheChanges:
        """What there is to be told now; the rest comes the next time."""
        with self._lock:
            added: list[tuple[str, int]] = []
            dropped: list[str] = []
            letters = 0
            while self._news and len(added) + len(dropped) < AT_ONCE and letters < LETTERS:
                key = next(iter(self._news))
                del self._news[key]
                size, before = self._here.get(key), self._told.get(key)
                if size == before or (before is None and len(self._told) >= MOST):
                    continue
                letters += len(key)
                if size is None:
                    del self._told[key]
                    dropped.append(key)
                else:
                    self._told[key] = size
                    added.append((key, size))
            whole, self._whole = self._whole, False
            if whole or added or dropped:
                self._number += 1
            if whole:
                self._whole_at = self._number
            return CacheChanges(self._number, tuple(added), tuple(dropped), whole)

    def _begin_anew(self) -> None:
        self._told.clear()
        self._news = dict.fromkeys(self._here)
        self._whole = True


def _is_text(key: str) -> bool:
    """Whether it can be sent."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
