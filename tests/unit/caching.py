"""A cache without its processes: a folder, a keeper whose news are scripted, and readers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from cloudburst.cache.board import clock
from cloudburst.cache.folder import CacheFolder, OwnFolder
from cloudburst.cache.keeper import CacheKeeper
from cloudburst.cache.reader import CacheReader
from cloudburst.kvs.base import Get, Operation, Peek, Place
from cloudburst.kvs.commands import LARGE
from cloudburst.kvs.keys import object_key
from cloudburst.kvs.memory import MemoryStore
from cloudburst.kvs.objects import write_objects
from cloudburst.kvs.tracking import HEAD, Blind, Changed, Complete, Looked, News

SIZE = 100_000


def zeros() -> Any:
    """A large array."""
    return np.zeros(SIZE, np.uint8)


class Loading(MemoryStore):
    """A store in memory that reads large values to where the caller wants them.

    Attributes:
        carried_out: all operations so far.
        attempts: places asked for in vain before the one that is used.
    """

    def __init__(self) -> None:
        super().__init__()
        self.carried_out: list[Operation] = []
        self.attempts = 0

    def execute(self, operations: Sequence[Operation]) -> list[Any]:
        self.carried_out.extend(operations)
        return super().execute(operations)

    def load(self, operations: Sequence[Operation], place: Place) -> list[Any]:
        return [self._placed(blob, place) for blob in self.execute(operations)]

    def _placed(self, blob: bytes | None, place: Place) -> Any:
        if blob is None or len(blob) < LARGE:
            return blob
        for _ in range(self.attempts):
            place(len(blob))
        memory = place(len(blob))
        if memory is None:
            return blob
        memory[:] = blob
        return memory

    def count(self, kind: type) -> int:
        """How many operations of that kind were carried out since this was last asked."""
        number = sum(isinstance(operation, kind) for operation in self.carried_out)
        self.carried_out.clear()
        return number


class Told:
    """What a `Tracking` tells, if the test wants it to be told."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.waiting: deque[News] = deque()
        self.seen: set[str] = set()
        self.is_open = True
        self.wants_write = False
        self.left = float("inf")

    def fileno(self) -> int:
        return -1

    def look(self, key: str, token: object) -> bool:
        if self.is_open:
            (head,) = self.store.execute([Peek(key, HEAD)])
            self.seen.add(key)
            self.waiting.append(Looked(token, head, self.left))
        return self.is_open

    def next_deadline(self) -> float:
        return clock() + 1.0

    def news(self) -> Iterator[News]:
        while self.waiting:
            yield self.waiting.popleft()

    def changed(self, *names: str) -> None:
        self.waiting.append(Changed(tuple(object_key(name) for name in names)))

    def complete(self) -> None:
        self.waiting.append(Complete(clock()))

    def blind(self) -> None:
        self.waiting.append(Blind())

    def close(self) -> None:
        self.is_open = False


class World:
    """One machine's cache.

    Args:
        root: where its folder is.
        budget: bytes.
        tracked: whether the store can tell of changes.
    """

    def __init__(self, root: Path, budget: int = 1 << 26, *, tracked: bool = True) -> None:
        self.store = Loading()
        self.told = Told(self.store)
        self.folder = OwnFolder("h", root)
        tracking: Any = self.told if tracked else None
        self.keeper = CacheKeeper(self.folder, tracking, budget)
        self.readers: list[CacheReader] = []
        self.settle()

    def reader(
        self, undisturbed: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> CacheReader:
        """Another executor's."""
        name = f"e{len(self.readers)}"
        reader = CacheReader(self.store, CacheFolder(self.folder.path), name, undisturbed)
        self.readers.append(reader)
        return reader

    def settle(self) -> None:
        """All that was offered is looked at, and all changes are told."""
        self.keeper.turn()
        self.told.complete()
        self.keeper.turn()
        self.keeper.shelf.validate()

    def put(self, **values: Any) -> None:
        """Written by another machine."""
        write_objects(self.store, values)
        self.told.changed(*values)
        self.store.carried_out.clear()

    def cached(self) -> int:
        return len(list(self.folder.objects.iterdir()))

    def offered(self) -> int:
        return len(list(self.folder.new.iterdir()))

    def close(self) -> None:
        for reader in self.readers:
            reader.close()
        self.keeper.close()


def value_of(reader: CacheReader, name: str, *, fresh: bool = False) -> Any:
    """What is read; None if it is missing."""
    (stored,) = reader.read([name], fresh=fresh)
    return None if stored is None else stored.load()


def gets(store: Loading) -> int:
    """How many objects were fetched since this was last asked."""
    return store.count(Get)


def warmed(world: World, name: str, value: Any) -> CacheReader:
    """A reader of a key whose value is cached."""
    world.put(**{name: value})
    reader = world.reader()
    value_of(reader, name)
    world.settle()
    assert world.cached() == 1
    world.store.carried_out.clear()
    return reader
