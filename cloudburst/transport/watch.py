"""The files a poller waits for, and whose they are."""

from __future__ import annotations

import math
import select
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, Protocol

LONGEST = 2**31 - 1
"""Milliseconds that the kernel can be asked to wait."""


class _Poll(Protocol):
    """What `select.poll` and ``zmq.Poller`` have in common."""

    def register(self, thing: Any, events: int, /) -> None: ...
    def unregister(self, thing: Any, /) -> None: ...
    def poll(self, timeout: int | None, /) -> list[tuple[Any, int]]: ...


class Watch:
    """What one poller waits for: files by descriptor, and whatever else its poll object knows.

    Attributes:
        restless: sources that want `Source.retry` to be called.
    """

    def __init__(self) -> None:
        self.restless: set[Source] = set()
        self._owners: dict[Any, Source | None] = {}
        self._poll: _Poll = select.poll()

    def poll_with(self, poll: _Poll) -> None:
        """From now on ask this object, which knows more than files."""
        for thing in self._owners:
            poll.register(thing, select.POLLIN)
        self._poll = poll

    def add(self, thing: Any, owner: Source | None) -> None:
        """Wait for this on behalf of ``owner`` (None: of whoever called `Poller.add`)."""
        self._owners[thing] = owner
        self._poll.register(thing, select.POLLIN)

    def discard(self, thing: Any, owner: Source | None) -> None:
        """Wait for it no longer, unless it is somebody else's by now: numbers are used again."""
        if self._owners.get(thing, self) is owner:
            del self._owners[thing]
            self._poll.unregister(thing)

    def discard_all(self, owner: Source) -> None:
        """Wait for nothing of this source any more."""
        for thing in [thing for thing, its in self._owners.items() if its is owner]:
            self.discard(thing, owner)
        self.restless.discard(owner)

    def look(self, seconds: float | None) -> list[int]:
        """Wait; tell the sources what is readable of them, and return the files that are."""
        # Rounded up: a wait that ends just before its deadline would spin until it.
        limit = None if seconds is None else math.ceil(min(max(0.0, seconds * 1000), LONGEST))
        files = []
        for thing, _ in self._poll.poll(limit):
            owner = self._owners.get(thing)
            if owner is None:
                files.append(thing)
            else:
                owner.ready.add(thing)
        return files


class Source(ABC):
    """An inbox or outlet, as a `Poller` sees it.

    Attributes:
        ready: what was found readable of it, and was not read since.
        received: messages that were read, and not given out yet.
        closed: whether it is of no use any more.
    """

    ready: set[Any]
    received: Collection[object] = ()
    watch: Watch | None = None
    closed: bool = False

    @abstractmethod
    def attach(self, watch: Watch) -> None:
        """Have this poller, and no other, wait for the source."""

    def detach(self) -> None:
        """Have no poller wait for it any more."""
        watch, self.watch = self.watch, None
        self.ready.clear()
        if watch is not None:
            watch.discard_all(self)

    def retry(self) -> bool:
        """Try what could not be done before. Returns False if it should be tried again soon."""
        return True
