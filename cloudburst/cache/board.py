"""The board of a cache: a page that its keeper writes and all readers have mapped.

::

    u64 generation       counts how often an object was dropped
    f64 trusted until    till when what is cached may be believed, in monotonic seconds
    f64[SLOTS] written   when a key was last written on this machine, by a hash of the key
"""

from __future__ import annotations

import mmap
import os
import time
import zlib
from pathlib import Path
from struct import Struct

SLOTS = 1022
_SIZE = 8 * (SLOTS + 2)
_GENERATION = Struct("<Q")
_MOMENT = Struct("<d")


class CacheBoard:
    """A view of a board.

    Args:
        path: its file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(fd).st_size < _SIZE:
                os.ftruncate(fd, _SIZE)
            self._memory = mmap.mmap(fd, _SIZE)
        finally:
            os.close(fd)

    @property
    def generation(self) -> int:
        """Another number after an object was dropped. Read it before you look for the object."""
        number: int = _GENERATION.unpack_from(self._memory, 0)[0]
        return number

    def advance(self) -> None:
        """An object was dropped; for the keeper."""
        _GENERATION.pack_into(self._memory, 0, self.generation + 1)

    @property
    def is_trusted(self) -> bool:
        """Whether changes in the store have been heard of, up to a moment ago."""
        until: float = _MOMENT.unpack_from(self._memory, 8)[0]
        return time.monotonic() <= until

    def trust(self, until: float) -> None:
        """What is cached may be believed until then; for the keeper."""
        _MOMENT.pack_into(self._memory, 8, until)

    def written(self, key: str) -> float:
        """When that key, or one that shares its slot, was last written here."""
        moment: float = _MOMENT.unpack_from(self._memory, _slot(key))[0]
        return moment

    def wrote(self, key: str) -> None:
        """It was written now."""
        _MOMENT.pack_into(self._memory, _slot(key), time.monotonic())

    def close(self) -> None:
        """Give up this view. Closing twice is harmless."""
        self._memory.close()


def _slot(key: str) -> int:
    return 16 + 8 * (zlib.crc32(key.encode("utf-8", "surrogatepass")) % SLOTS)
