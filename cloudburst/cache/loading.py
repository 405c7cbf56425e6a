"""Files for objects that are read from the store, and their offer to the cache's keeper."""

from __future__ import annotations

import itertools
import os
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import msgpack

from cloudburst.cache.folder import CacheFolder, room_in
from cloudburst.core.messages import Buffer
from cloudburst.kvs.base import Get, LoadingStore, Unfit
from cloudburst.kvs.keys import object_key
from cloudburst.kvs.objects import Blob, find_any
from cloudburst.mapping import map_file

RESERVE = 0.1
"""Part of the shared memory that is left to others."""

MOST_WORDS = 8192
"""Bytes of a datagram with offers."""

Undisturbed: TypeAlias = Callable[[], AbstractContextManager[None]]
"""Makes contexts for what must not be interrupted half-way."""


class Loader:
    """Reads large objects straight into files that the cache may take as they are.

    Threads may share it.

    Args:
        store: where they are.
        folder: the machine's cache.
        name: tells this loader's files from those of others.
        undisturbed: see there.
    """

    def __init__(
        self, store: LoadingStore, folder: CacheFolder, name: str, undisturbed: Undisturbed
    ) -> None:
        self._store = store
        self._folder = folder
        self._name = name
        self._numbers = itertools.count(1)
        self._undisturbed = undisturbed
        self._offers = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._offers.settimeout(0)

    def load(
        self, names: Sequence[str], arrived: Callable[[], None] = lambda: None
    ) -> dict[str, Blob | None]:
        """Read objects in one round trip; None for each that is missing.

        Large ones are offered to the cache.

        Args:
            names: of the objects.
            arrived: called when they were read, before they are offered.

        Raises:
            KVSUnavailable: the store does not answer.
        """
        files = _Files(self._new_file, self._undisturbed)
        try:
            blobs = self._read(names, files)
            with self._undisturbed():
                arrived()
                found = dict(zip(names, blobs, strict=True))
                offers: list[tuple[str, Path]] = []
                for name, blob in found.items():
                    if (file := files.take(blob)) is not None:
                        found[name] = blob.toreadonly()
                        offers.append((name, file))
                self._offer(offers)
        finally:
            files.remove()
        return found

    def offer(self, name: str, blob: Buffer) -> None:
        """Offer an object that was not read into a file."""
        with self._undisturbed():
            file = self._new_file()
            try:
                if room_in(self._folder.new, RESERVE) < len(blob):
                    return
                file.write_bytes(blob)
            except OSError:
                _unlink(file)
                return
            self._offer([(name, file)])

    def close(self) -> None:
        """Give back the socket."""
        self._offers.close()

    def _read(self, names: Sequence[str], files: _Files) -> list[Any]:
        with suppress(Unfit):  # there is a set among them
            return self._store.load([Get(object_key(name)) for name in names], files.place)
        return find_any(self._store, names)

    def _new_file(self) -> Path:
        return self._folder.new / f"{self._name}.{next(self._numbers)}"

    def _offer(self, offers: Sequence[tuple[str, Path]]) -> None:
        """Offer files; many together, as few datagrams wait to be read at a time."""
        words, files = b"", list[Path]()
        for name, file in offers:
            more: bytes = msgpack.packb((name, file.name), unicode_errors="surrogatepass")
            if files and len(words) + len(more) > MOST_WORDS:
                self._send(words, files)
                words, files = b"", []
            words += more
            files.append(file)
        if files:
            self._send(words, files)

    def _send(self, words: bytes, files: Iterable[Path]) -> None:
        try:
            self._offers.sendto(words, os.fspath(self._folder.offers))
        except OSError:  # the keeper has ended, or has too much to do
            for file in files:
                _unlink(file)


class _Files:
    """What was made for the values of one round trip, of which some may fail."""

    def __init__(self, new_file: Callable[[], Path], undisturbed: Undisturbed) -> None:
        self._new_file = new_file
        self._undisturbed = undisturbed
        self._made: list[tuple[memoryview, Path]] = []

    def place(self, size: int) -> memoryview | None:
        """Shared memory for so many bytes, in a new file; None if there is too little."""
        with self._undisturbed():
            file = self._new_file()
            try:
                memory = _memory(file, size)
            except OSError:
                _unlink(file)
                return None
            self._made.append((memory, file))
        return memory

    def take(self, blob: object) -> Path | None:
        """The file of what `place` has given; it is the caller's from now on."""
        for index, (memory, file) in enumerate(self._made):
            if memory is blob:
                del self._made[index]
                return file
        return None

    def remove(self) -> None:
        """Remove what nobody has taken."""
        with self._undisturbed():
            while self._made:
                _unlink(self._made.pop()[1])

    def __del__(self) -> None:
        # Whoever was to remove it was interrupted before it could, or its making was.
        for _, file in getattr(self, "_made", ()):
            _unlink(file)


def _unlink(file: Path) -> None:
    with suppress(OSError):
        file.unlink()


def _memory(file: Path, size: int) -> memoryview:
    """A new file of that size, mapped.

    Raises:
        OSError: there is too little memory for it.
    """
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if room_in(fd, RESERVE) < size:
            raise OSError("shared memory is short")
        if sys.platform == "linux":
            # Or else writing to it, when none is left, would kill the process.
            os.posix_fallocate(fd, 0, size)
        else:
            os.ftruncate(fd, size)
        return map_file(fd, size, writable=True)
    finally:
        os.close(fd)
