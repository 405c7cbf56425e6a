"""The board of a cache: a page that its keeper writes and all readers have mapped.

::

    u64 generation       another number whenever an object was dropped
    f64 trusted until    till when what is cached may be believed, on the `clock`
    f64[SLOTS] written   when a key was last written on this machine, by a hash of the key

Each is read and written at once, never half of it.
"""

from __future__ import annotations

import mmap
import os
import time
import zlib
from pathlib import Path

SLOTS = 1022
_SIZE = 8 * (SLOTS + 2)
_GENERATION, _TRUSTED, _FIRST_SLOT = range(3)
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Seconds, the same for all processes, that pass while the machine is suspended, too."""
    return time.clock_gettime(_CLOCK)


def make_board(path: Path) -> None:
    """Make the file of a board that nothing is written on."""
    path.write_bytes(bytes(_SIZE))


class CacheBoard:
    """A view of a board.

    Args:
        path: its file.

    Raises:
        OSError: there is none.
    """

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR)
        try:
            self._memory = mmap.mmap(fd, _SIZE)
        finally:
            os.close(fd)
        self._numbers = memoryview(self._memory).cast("Q")
        self._moments = memoryview(self._memory).cast("d")

    @property
    def generation(self) -> int:
        """Another number after an object was dropped. Read it before you look for the object."""
        return self._numbers[_GENERATION]

    def advance(self) -> None:
        """An object was dropped."""
        # Not the next number: who was stopped half-way would bring an old one back.
        self._numbers[_GENERATION] = int.from_bytes(os.urandom(8), "little")

    @property
    def is_trusted(self) -> bool:
        """Whether changes in the store have been heard of. Read it before you look for objects."""
        return clock() <= self._moments[_TRUSTED]

    def trust(self, until: float) -> None:
        """What is cached may be believed until then; for the keeper."""
        self._moments[_TRUSTED] = until

    def written(self, key: str) -> float:
        """When that key, or one that shares its slot, was last written here."""
        return self._moments[_slot(key)]

    def wrote(self, key: str) -> None:
        """It was written now."""
        self._moments[_slot(key)] = clock()

    def close(self) -> None:
        """Give up this view. Closing twice is harmless."""
        self._numbers.release()
        self._moments.release()
        self._memory.close()


def _slot(key: str) -> int:
    return _FIRST_SLOT + zlib.crc32(key.encode("utf-8", "surrogatepass")) % SLOTS
