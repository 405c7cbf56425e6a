"""How an executor reads objects: from its machine's cache where it can, or else from the store.

What is cached is believed while the keeper hears of all changes. Otherwise, and where the newest
is asked for, the beginning of the value is read from the store and compared: it tells a value
from every other of its key. Either way the bytes stay where they are.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

from cloudburst.cache.board import CacheBoard
from cloudburst.cache.changes import drop_written
from cloudburst.cache.folder import CacheFolder, file_name
from cloudburst.cache.loading import Loader
from cloudburst.core.messages import Buffer
from cloudburst.kvs.base import Get, KeyValueStore, LoadingStore, Look
from cloudburst.kvs.keys import object_key
from cloudburst.kvs.tracking import HEAD
from cloudburst.serialization import split, unpack

MAPPED = 1000
"""Objects that stay mapped."""

SEEN = 1000
"""Small objects remembered, to see which of them are read again unchanged."""

TOUCH_EVERY = 1.0
"""Seconds after which the use of a cached object is noted again."""

PRUNE_EVERY = 0.2
"""Seconds between two looks for what is mapped and not cached any more."""

_MISSING = object()
_IMMUTABLE = (str, bytes, int, float, complex, bool, type(None))


class Stored:
    """An object as it is in the store, or was a moment ago.

    Attributes:
        blob: its bytes, which never change.
        path: its file in the cache; "" if it is none of these.
        inode: what tells that file from others of that path.
        generation: the board's when it was last seen to be cached.
        touch_at: when to note again that it is used.
    """

    __slots__ = ("_value", "blob", "generation", "inode", "path", "touch_at")

    def __init__(self, blob: Buffer, path: str = "", inode: int = 0, generation: int = -1) -> None:
        self.blob = blob
        self.path = path
        self.inode = inode
        self.generation = generation
        self.touch_at = 0.0
        self._value: Any = _MISSING

    def load(self) -> Any:
        """Its value. Large arrays are read-only views; all else is the caller's own."""
        if self._value is not _MISSING:
            return self._value
        value = unpack(split(self.blob), shared=True)
        if type(value) in _IMMUTABLE:
            self._value = value
        return value


class ObjectReader:
    """Reads objects from the store; what is done where there is no cache.

    Args:
        store: where they are.

    Attributes:
        store: as given.
    """

    def __init__(self, store: KeyValueStore) -> None:
        self.store = store

    def read(
        self,
        names: Sequence[str],
        *,
        fresh: bool = False,  # noqa: ARG002  they always are
    ) -> list[Stored | None]:
        """Read objects in one round trip; None for each that is missing.

        Args:
            names: of the objects.
            fresh: whether none may be older than this call.

        Raises:
            KVSUnavailable: the store does not answer.
        """
        blobs = self.store.execute([Get(object_key(name)) for name in names])
        return [None if blob is None else Stored(blob) for blob in blobs]

    def changed(self, names: Iterable[str]) -> None:
        """This process has written these objects: no reader on this machine gets an older one.

        To be called when the store has carried it out, before anybody is told.
        """

    def close(self) -> None:
        """Give back what it has. Values that were read stay good."""


def reader_of(
    store: LoadingStore,
    cache: str,
    name: str,
    undisturbed: Callable[[], AbstractContextManager[None]],
) -> ObjectReader:
    """A reader with that cache, or without one if its folder is ""; see `CacheReader`."""
    if not cache:
        return ObjectReader(store)
    return CacheReader(store, CacheFolder(Path(cache)), name, undisturbed)


class CacheReader(ObjectReader):
    """Reads objects from a machine's cache, and from the store.

    Args:
        store: where they are.
        folder: the cache.
        name: of the executor.
        undisturbed: what must not be interrupted half-way is done within such a context.
    """

    def __init__(
        self,
        store: LoadingStore,
        folder: CacheFolder,
        name: str,
        undisturbed: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        super().__init__(store)
        self._undisturbed = undisturbed
        self._folder = folder
        self._board = CacheBoard(folder.board)
        self._loader = Loader(store, folder, name)
        self._mapped: dict[str, Stored] = {}
        self._seen: dict[str, int] = {}
        self._pruned = (self._board.generation, 0.0)

    def read(self, names: Sequence[str], *, fresh: bool = False) -> list[Stored | None]:
        """See `ObjectReader.read`."""
        self._prune()
        cached = {name: stored for name in names if (stored := self._cached(name)) is not None}
        found: dict[str, Stored | None] = {}
        if cached and (fresh or not self._board.is_trusted):
            found.update(self._unchanged(cached))
        else:
            found.update(cached)
        rest = [name for name in dict.fromkeys(names) if name not in found]
        if rest:
            found.update(self._loaded(rest))
        return [found[name] for name in names]

    def changed(self, names: Iterable[str]) -> None:
        """See `ObjectReader.changed`."""
        with self._undisturbed():
            drop_written(self._folder, self._board, names)

    def close(self) -> None:
        """See `ObjectReader.close`."""
        self._mapped.clear()
        self._loader.close()
        self._board.close()
        self._folder.close()

    def _cached(self, name: str) -> Stored | None:
        generation = self._board.generation  # before the file is looked for
        stored = self._mapped.get(name)
        if stored is not None and stored.generation != generation:
            stored = self._still_there(stored, generation)
        if stored is None:
            stored = self._map(name, generation)
        if stored is not None and (now := time.monotonic()) >= stored.touch_at:
            stored.touch_at = now + TOUCH_EVERY
            with suppress(FileNotFoundError):
                os.utime(stored.path)
        return stored

    def _still_there(self, stored: Stored, generation: int) -> Stored | None:
        try:
            if os.stat(stored.path).st_ino == stored.inode:
                stored.generation = generation
                return stored
        except FileNotFoundError:
            pass
        return None

    def _map(self, name: str, generation: int) -> Stored | None:
        self._mapped.pop(name, None)
        path = self._path(name)
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            about = os.fstat(fd)
            memory = mmap.mmap(fd, about.st_size, access=mmap.ACCESS_READ)
        finally:
            os.close(fd)
        stored = Stored(memoryview(memory), path, about.st_ino, generation)
        self._mapped[name] = stored
        if len(self._mapped) > MAPPED:
            del self._mapped[next(iter(self._mapped))]
        return stored

    def _unchanged(self, cached: Mapping[str, Stored]) -> dict[str, Stored]:
        """Those of these that are just so in the store."""
        looks = [Look(object_key(name), HEAD) for name in cached]
        heads = self.store.execute(looks)
        return {
            name: stored
            for (name, stored), head in zip(cached.items(), heads, strict=True)
            if stored.blob[:HEAD] == head
        }

    def _loaded(self, names: Sequence[str]) -> dict[str, Stored | None]:
        found: dict[str, Stored | None] = {}
        for name, blob in self._loader.load(names).items():
            found[name] = None if blob is None else Stored(blob)
            if isinstance(blob, bytes) and self._is_read_again(name, blob):
                self._loader.offer(name, blob)
        return found

    def _is_read_again(self, name: str, blob: bytes) -> bool:
        """Whether it was read before, and has not changed. What changes often is not cached."""
        seen, self._seen[name] = self._seen.pop(name, None), hash(blob)
        if len(self._seen) > SEEN:
            del self._seen[next(iter(self._seen))]
        return seen == self._seen[name]

    def _prune(self) -> None:
        """Let go of the memory of what is not cached any more."""
        generation, now = self._board.generation, time.monotonic()
        before, at = self._pruned
        if generation == before or now < at + PRUNE_EVERY:
            return
        self._pruned = (generation, now)
        self._mapped = {
            name: stored
            for name, stored in self._mapped.items()
            if stored.generation == generation or self._still_there(stored, generation)
        }

    def _path(self, name: str) -> str:
        return f"{self._folder.objects}/{file_name(name)}"
