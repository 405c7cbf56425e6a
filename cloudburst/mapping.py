"""Files as memory.

What `mmap.mmap` makes of a file keeps a descriptor of it open, of which a process has too few for
all that it may have read. (From Python 3.13 on there is ``trackfd=False``.)
"""

from __future__ import annotations

import ctypes
import mmap
import os

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
_FIXED = 0x10
_FAILED = ctypes.c_void_p(-1).value


def map_file(fd: int, size: int, *, writable: bool = False, private: bool = False) -> memoryview:
    """The first bytes of a file as memory, as long as anybody has a view of it.

    Args:
        fd: the open file, which may be closed then.
        size: how many bytes.
        writable: whether it may be written to.
        private: what is written stays here, and does not go into the file.

    Raises:
        OSError: there is no room for it.
    """
    # The file takes the place of memory of nobody, which knows when it is not needed any more.
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    place = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    kind = mmap.MAP_PRIVATE if private else mmap.MAP_SHARED
    if _mmap(place, size, protection, kind | _FIXED, fd, 0) == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    view = memoryview(memory)
    return view if writable else view.toreadonly()
