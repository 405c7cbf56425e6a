"""Arguments that a client leaves in the caches of its machine, where executors take them.

They are written once, under a name that no other value ever has, so an executor need not wait
until the keeper has looked at them. The keeper counts them all the same, and drops them when the
store does.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgpack

from cloudburst.cache.folder import CacheFolder, file_name, room_in
from cloudburst.cache.loading import RESERVE
from cloudburst.core.messages import Buffer
from cloudburst.mapping import map_file


def leave(folder: CacheFolder, name: str, pieces: Sequence[Buffer]) -> None:
    """Leave an argument that is in the store; of no effect if there is too little room.

    Args:
        folder: the cache.
        name: the object's name.
        pieces: its bytes.
    """
    file = folder.new / file_name(name)
    begun = file.with_name(f"{file.name}.{os.getpid()}")
    with suppress(OSError):
        if room_in(folder.new, RESERVE) < sum(map(len, pieces)):
            return
        try:
            with begun.open("xb", buffering=0) as stream:
                for piece in pieces:
                    _write(stream.fileno(), piece)
            begun.replace(file)
        except BaseException:
            begun.unlink(missing_ok=True)
            raise
        words: bytes = msgpack.packb((name, file.name), unicode_errors="surrogatepass")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as offers:
            offers.settimeout(0)
            offers.sendto(words, os.fspath(folder.offers))


def take(folder: CacheFolder, name: str) -> memoryview | None:
    """An argument that was left, as the caller's own memory; None if it is not there.

    Raises:
        OSError: it cannot be mapped.
    """
    for place in (folder.new, folder.objects):  # the way that it goes
        with suppress(FileNotFoundError):
            return _mapped(place / file_name(name))
    return None


def _mapped(file: Path) -> memoryview:
    fd = os.open(file, os.O_RDONLY)
    try:
        return map_file(fd, os.fstat(fd).st_size, writable=True, private=True)
    finally:
        os.close(fd)


def _write(fd: int, piece: Buffer) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(fd, rest) :]
