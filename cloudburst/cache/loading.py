"""Files for objects that are read from the store, and their offer to the cache's keeper."""

from __future__ import annotations

import mmap
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgpack

from cloudburst.cache.folder import CacheFolder
from cloudburst.core.messages import Buffer
from cloudburst.kvs.base import Get, LoadingStore
from cloudburst.kvs.keys import object_key

RESERVE = 0.1
"""Part of the shared memory that is left to others."""


class Loader:
    """Reads large objects straight into files that the cache may take as they are.

    Args:
        store: where they are.
        folder: the machine's cache.
        name: tells this loader's files from those of others.
    """

    def __init__(self, store: LoadingStore, folder: CacheFolder, name: str) -> None:
        self._store = store
        self._folder = folder
        self._name = name
        self._count = 0
        self._files: dict[int, Path] = {}
        self._offers = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._offers.settimeout(0)

    def load(self, names: Sequence[str]) -> dict[str, Buffer | None]:
        """Read objects in one round trip; None for each that is missing.

        Large ones are offered to the cache.

        Raises:
            KVSUnavailable: the store does not answer.
        """
        try:
            gets = [Get(object_key(name)) for name in names]
            blobs: list[Any] = self._store.load(gets, self._place)
            found = dict(zip(names, blobs, strict=True))
            for name, blob in found.items():
                if isinstance(blob, memoryview) and isinstance(blob.obj, mmap.mmap):
                    found[name] = blob.toreadonly()
                    self._offer(name, self._files.pop(id(blob.obj)))
        finally:
            for file in self._files.values():  # of attempts that failed
                file.unlink(missing_ok=True)
            self._files.clear()
        return found

    def offer(self, name: str, blob: Buffer) -> None:
        """Offer an object that was not read into a file."""
        file = self._new_file()
        try:
            file.write_bytes(blob)
        except OSError:
            file.unlink(missing_ok=True)
            return
        self._offer(name, file)

    def close(self) -> None:
        """Give back the socket."""
        self._offers.close()

    def _place(self, size: int) -> memoryview | None:
        """Shared memory for so many bytes, in a new file; None if there is too little."""
        file = self._new_file()
        try:
            memory = _memory(file, size)
        except OSError:
            file.unlink(missing_ok=True)
            return None
        self._files[id(memory)] = file
        return memoryview(memory)

    def _new_file(self) -> Path:
        self._count += 1
        return self._folder.new / f"{self._name}.{self._count}"

    def _offer(self, name: str, file: Path) -> None:
        try:
            words: bytes = msgpack.packb((name, file.name))
            self._offers.sendto(words, os.fspath(self._folder.offers))
        except OSError:  # the keeper has ended, or has too much to do
            file.unlink(missing_ok=True)


def _memory(file: Path, size: int) -> mmap.mmap:
    """A new file of that size, mapped.

    Raises:
        OSError: there is too little memory for it.
    """
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        room = os.fstatvfs(fd)
        if (room.f_bavail - RESERVE * room.f_blocks) * room.f_frsize < size:
            raise OSError("shared memory is short")
        if sys.platform == "linux":
            # Or else writing to it, when none is left, would kill the process.
            os.posix_fallocate(fd, 0, size)
        else:
            os.ftruncate(fd, size)
        return mmap.mmap(fd, size)
    finally:
        os.close(fd)
