"""How much memory this process takes."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

_STATM = Path("/proc/self/statm")
_HAS_STATM = _STATM.exists()
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024


def resident_memory() -> int:
    """Bytes of the machine's memory that this process holds; 0 if nobody can tell just now.

    Pages that it shares with the process it was forked from count, too. Without ``/proc``, as on
    macOS, it is the most that it has ever held, which does not fall when memory is given back.
    """
    if not _HAS_STATM:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _PEAK_UNIT
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE
    except OSError:  # user code has used up all file descriptors
        return 0
