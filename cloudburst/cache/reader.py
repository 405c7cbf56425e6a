"""How an executor reads objects: from its machine's cache where it can, or else from the store.

What is cached is believed while the keeper hears of all changes. Otherwise, and where the newest
is asked for, the beginning of the value is read from the store and compared: it tells a value
from every other of its key. Either way the bytes stay where they are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from cloudburst.cache.board import CacheBoard, clock
from cloudburst.cache.changes import LocalCaches, drop_written
from cloudburst.cache.folder import CacheFolder, file_name
from cloudburst.cache.leaving import take
from cloudburst.cache.loading import Loader, Undisturbed
from cloudburst.kvs.base import KeyValueStore, LoadingStore, Peek, Unfit
from cloudburst.kvs.keys import object_key
from cloudburst.kvs.objects import Blob, find_objects, is_number, value_of
from cloudburst.kvs.tracking import HEAD
from cloudburst.mapping import map_file
from cloudburst.serialization import unpacker

MAPPED = 1000
"""Objects that stay mapped."""

SEEN = 1000
"""Small objects remembered, to see which of them are read again unchanged."""

TOUCH_EVERY = 1.0
"""Seconds after which the use of a cached object is noted again."""

PRUNE_EVERY = 0.2
"""Seconds between two looks, while there is work, for what is mapped and not cached any more."""

IDLE_LOOK = 2.0
"""The same for an executor that has nothing to do."""

_MISSING = object()
_IMMUTABLE = (str, bytes, int, float, complex, bool, type(None))


class Stored:
    """An object as it is in the store, or was a moment ago.

    Attributes:
        blob: its bytes, which never change; or the members of a set.
        path: its file in the cache; "" if it is none of these.
        inode: what tells that file from others of that path.
        generation: the board's when it was last seen to be cached.
        touch_at: when to note again that it is used.
    """

    __slots__ = ("_unpack", "_value", "blob", "generation", "inode", "path", "touch_at")

    def __init__(self, blob: Blob, path: str = "", inode: int = 0, generation: int = -1) -> None:
        self.blob = blob
        self.path = path
        self.inode = inode
        self.generation = generation
        self.touch_at = 0.0
        self._value: Any = _MISSING
        self._unpack: Callable[[], Any] | None = None

    def load(self) -> Any:
        """Its value. Large arrays are read-only views; all else is the caller's own."""
        value = self._value
        if value is _MISSING:
            if self._unpack is None:
                self._unpack = _unpacker(self.blob)
            value = self._unpack()
            if type(value) in _IMMUTABLE or _is_view(value):
                self._value = value
        # Shape and data type belong to the caller.
        return value.view() if _is_view(value) else value


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
        blobs = find_objects(self.store, names)
        return [None if blob is None else Stored(blob) for blob in blobs]

    def take(self, name: str) -> Blob | None:
        """An argument that is in the store, written once, as memory of its own; None if missing.

        Raises:
            KVSUnavailable: the store does not answer.
        """
        (blob,) = find_objects(self.store, [name])
        return blob

    def changed(self, names: Iterable[str]) -> None:
        """This process has written these objects: no reader on this machine gets an older one.

        To be called when the store has carried it out, before anybody is told.
        """

    def look(self) -> float | None:
        """Let go of what is not needed any more; to be called now and then.

        Returns:
            Seconds until the next time; None if there is nothing to let go.
        """
        return None

    def close(self) -> None:
        """Give back what it has. Values that were read stay good."""


def reader_of(
    store: LoadingStore,
    cache: str,
    name: str,
    undisturbed: Undisturbed,
) -> ObjectReader:
    """A reader with that cache, or without one if its folder is "" or gone; see `CacheReader`."""
    if cache:
        with suppress(FileNotFoundError):
            return CacheReader(store, CacheFolder(Path(cache)), name, undisturbed)
    return ObjectReader(store)


def _unpacker(blob: Blob) -> Callable[[], Any]:
    if isinstance(blob, frozenset) or is_number(blob):
        return partial(value_of, blob)
    return unpacker(blob)


def _is_view(value: Any) -> bool:
    """Whether it is a plain array that nobody can write to."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray and not value.flags.writeable


class CacheReader(ObjectReader):
    """Reads objects from a machine's cache, and from the store. Threads may share it.

    Args:
        store: where they are.
        folder: the cache.
        name: of the executor.
        undisturbed: see there.
    """

    def __init__(
        self,
        store: LoadingStore,
        folder: CacheFolder,
        name: str,
        undisturbed: Undisturbed = nullcontext,
    ) -> None:
        super().__init__(store)
        self._undisturbed = undisturbed
        self._folder = folder
        self._board = CacheBoard(folder.board)
        self._others = LocalCaches(folder.path.parent, but=folder.path)
        self._loader = Loader(store, folder, name, undisturbed)
        self._objects = f"{folder.objects}/"
        self._mapped: dict[str, Stored] = {}
        self._seen: dict[str, int] = {}
        self._pruned = self._board.generation
        self._prune_at = 0.0

    def read(self, names: Sequence[str], *, fresh: bool = False) -> list[Stored | None]:
        """See `ObjectReader.read`."""
        # Both before anything is looked for: what is found then was good at this moment.
        believed = not fresh and self._board.is_trusted
        generation, now = self._board.generation, clock()
        if generation != self._pruned and now >= self._prune_at:
            self._prune(generation, now)
        found: dict[str, Stored | None] = {}
        cached: dict[str, Stored] = {}
        for name in names:
            stored = self._cached(name, generation, now)
            if stored is not None:
                cached[name] = stored
        found.update(cached if believed or not cached else self._unchanged(cached))
        if len(found) < len(names):
            rest = [name for name in dict.fromkeys(names) if name not in found]
            found.update(self._loaded(rest, fresh=fresh))
        return [found[name] for name in names]

    def take(self, name: str) -> Blob | None:
        """See `ObjectReader.take`."""
        with self._undisturbed(), suppress(OSError):
            left = take(self._folder, name)
            if left is not None:
                return left
        return super().take(name)

    def changed(self, names: Iterable[str]) -> None:
        """See `ObjectReader.changed`."""
        names = tuple(names)
        with self._undisturbed():
            drop_written(self._folder, self._board, names)
            self._others.drop_written(names)

    def look(self) -> float | None:
        """See `ObjectReader.look`."""
        if not self._mapped:
            return None
        generation, now = self._board.generation, clock()
        if generation != self._pruned:
            self._prune(generation, now)
        return IDLE_LOOK

    def close(self) -> None:
        """See `ObjectReader.close`."""
        self._mapped.clear()
        self._loader.close()
        self._others.close()
        self._board.close()
        self._folder.close()

    def _cached(self, name: str, generation: int, now: float) -> Stored | None:
        stored = self._mapped.get(name)
        if stored is not None and stored.generation != generation:
            stored = self._still_there(stored, generation)
        if stored is None:
            stored = self._map(name, generation)
        if stored is not None and now >= stored.touch_at:
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
        path = self._objects + file_name(name)
        with self._undisturbed():
            try:
                fd = os.open(path, os.O_RDONLY)
            except OSError:
                return None
            try:
                about = os.fstat(fd)
                memory = map_file(fd, about.st_size)
            except OSError:
                return None
            finally:
                os.close(fd)
            stored = Stored(memory, path, about.st_ino, generation)
            self._mapped[name] = stored
            if len(self._mapped) > MAPPED:
                self._mapped.pop(next(iter(self._mapped)), None)
        return stored

    def _unchanged(self, cached: Mapping[str, Stored]) -> dict[str, Stored]:
        """Those of these that are just so in the store. The others are cached no more."""
        peeks = [Peek(object_key(name), HEAD) for name in cached]
        try:
            heads = self.store.execute(peeks)
        except Unfit:  # there is a set in place of one
            heads = [None] * len(peeks)
        found = {
            name: stored
            for (name, stored), head in zip(cached.items(), heads, strict=True)
            if not isinstance(stored.blob, frozenset) and stored.blob[:HEAD] == head
        }
        if len(found) < len(cached):
            # Nor does anybody else get what is known here to be old.
            self.changed(cached.keys() - found.keys())
        return found

    def _loaded(self, names: Sequence[str], *, fresh: bool) -> dict[str, Stored | None]:
        def arrived() -> None:
            if fresh:  # what the keeper has looked at before may be older
                self.changed(names)

        found: dict[str, Stored | None] = {}
        for name, blob in self._loader.load(names, arrived).items():
            found[name] = None if blob is None else Stored(blob)
            if isinstance(blob, bytes) and self._is_read_again(name, blob):
                self._loader.offer(name, blob)
        return found

    def _is_read_again(self, name: str, blob: bytes) -> bool:
        """Whether it was read before, and has not changed. What changes often is not cached."""
        seen, now = self._seen.pop(name, None), hash(blob)
        self._seen[name] = now
        if len(self._seen) > SEEN:
            self._seen.pop(next(iter(self._seen)), None)
        return seen == now

    def _prune(self, generation: int, now: float) -> None:
        """Let go of the memory of what is not cached any more."""
        self._pruned, self._prune_at = generation, now + PRUNE_EVERY
        for name, stored in list(self._mapped.items()):
            if stored.generation != generation and not self._still_there(stored, generation):
                self._mapped.pop(name, None)
