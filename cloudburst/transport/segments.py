"""Large frames in memory that processes of one machine share: only a descriptor crosses a socket.

The sender writes a frame into memory that has no name, and passes the descriptor with the message;
the receiver maps it for itself alone, and keeps no descriptor. The kernel frees the memory when the
last one has let go of it, whoever was killed meanwhile.

To get memory from the kernel takes longer than to copy into it. So who sends often keeps some, and
uses it again once no receiver has it mapped any more. That the kernel knows: a receiver has a
description of the file that is only for reading, and as long as there is one, however it is held,
nobody else is granted a lease to write.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from mmap import mmap
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from cloudburst.core.messages import Buffer
from cloudburst.mapping import map_file
from cloudburst.transport.descriptors import SHRINK, Descriptors

SHARE_FROM = 1 << 20
"""Bytes of a frame from which on kept memory is faster than the socket."""

NEW_FROM = 8 << 20
"""Bytes from which on new memory is faster than the socket."""

KEEP = 256 << 20
"""Bytes that are kept by who sends often."""

KEPT = 16
"""Pieces of memory that are kept."""

IDLE = 5.0
"""Seconds after which memory that was not used is given back."""

_RESERVE = 0.1
"""Part of the machine's memory that is left to others."""

_WASTE = 4
"""A frame does not get memory for frames so many times as large."""

_CAN_SHARE = sys.platform == "linux" and hasattr(os, "memfd_create")
_F_ADD_SEALS, _F_SETLEASE = 1033, 1024
# Not that nobody may write: the kernel would look at every page, and wait for other processors.
_SEALS = 0x1 | SHRINK | 0x4


@dataclass(eq=False, slots=True)
class _Segment:
    """Kept memory.

    Attributes:
        size: bytes that it may have; 0 as long as it is being made.
        written: bytes that it has had, and takes.
        used: when it was used last.
        fds: its descriptor.
        memory: the same, mapped.
    """

    size: int = 0
    written: int = 0
    used: float = 0.0
    fds: Descriptors = field(default_factory=Descriptors)
    fd: int = -1
    memory: memoryview | None = None

    @property
    def is_free(self) -> bool:
        """Whether nobody else has it, mapped or on its way."""
        return _is_alone(self.fd)

    def write(self, frame: Buffer) -> None:
        """Put a frame there."""
        size = len(frame)
        if size > self.written:
            # Not into the mapping: if there is no memory, that would kill the process.
            _write(self.fd, frame)
            self.written = size
            return
        if self.memory is None:
            self.memory = map_file(self.fd, self.size, writable=True)
        self.memory[:size] = frame


class Segments:
    """Where one process puts frames for others.

    Args:
        keep: bytes that may be kept; then `look` is to be called now and then.
        now: monotonic seconds.
    """

    def __init__(self, keep: int = 0, now: Callable[[], float] = time.monotonic) -> None:
        self._keep = keep if _CAN_SHARE and _leases_tell() else 0
        self._now = now
        # For a moment only; what is interrupted then is closed the next time.
        self._own = Descriptors()
        self._kept: list[_Segment] = []
        self._held: WeakKeyDictionary[Any, tuple[int, _Segment]] = WeakKeyDictionary()

    @property
    def kept(self) -> int:
        """Bytes that are kept."""
        return sum([segment.written for segment in self._kept])

    def hold(self, frame: Buffer) -> memoryview | None:
        """A copy of a frame that can be put for others, often, without being written again.

        Returns:
            The copy, which cannot be written to; None if it is none to keep memory for.

        Raises:
            OSError: there are no descriptors, or there is no memory.
        """
        segment = self._written(frame) if self._keep and len(frame) >= SHARE_FROM else None
        if segment is None:
            return None
        ours = self._own
        ours.close()
        try:
            # Counts as another's, so that as long as it is there nothing else is written there.
            ours.reopen(segment.fd, os.O_RDONLY)
            view = ours.claim(len(frame))
        finally:
            ours.close()
        self._held[view.obj] = len(frame), segment
        return view.toreadonly()

    def put(self, frame: Buffer, passed: Descriptors) -> bool:
        """See to it that a frame is in shared memory, and add its descriptor.

        Returns:
            Whether it is there. If not, the socket is faster, or there is too little memory.

        Raises:
            OSError: there are no descriptors, or there is no memory.
        """
        size = len(frame)
        segment = self._holding(frame) or (self._written(frame) if self._keep else None)
        if segment is not None:
            segment.used = self._now()
            passed.reopen(segment.fd, os.O_RDONLY)
        elif _CAN_SHARE and size >= NEW_FROM and _is_to_be_had(size):
            _fill(passed.create(), frame, size)
        else:
            return False
        return True

    def look(self) -> float | None:
        """Give back what was not used for a while.

        Returns:
            Seconds until the next time; None if there is nothing to give back.
        """
        now = self._now()
        for segment in [*self._kept]:
            if now - segment.used >= IDLE:
                self._drop(segment)
        return min([segment.used + IDLE - now for segment in self._kept], default=None)

    def close(self) -> None:
        """Give back all. Receivers keep what they have."""
        self._own.close()
        for segment in [*self._kept]:
            self._drop(segment)

    def _holding(self, frame: Buffer) -> _Segment | None:
        if not (self._held and isinstance(frame, memoryview) and isinstance(frame.obj, mmap)):
            return None
        size, segment = self._held.get(frame.obj, (-1, None))
        # All of it; and nobody has given the memory back meanwhile.
        return segment if segment is not None and size == len(frame) and segment.size else None

    def _written(self, frame: Buffer) -> _Segment | None:
        """Kept memory that the frame was written to; None if there is too little."""
        size = len(frame)
        segment = self._free_for(size)
        if segment is not None:
            segment.used = self._now()
            segment.write(frame)
            return segment
        return self._new(frame) if self._makes_room(size) and _is_to_be_had(size) else None

    def _free_for(self, size: int) -> _Segment | None:
        found = [s for s in self._kept if size <= s.size <= _WASTE * size]
        found.sort(key=lambda segment: (segment.size, segment.used))
        return next((segment for segment in found if segment.is_free), None)

    def _makes_room(self, size: int) -> bool:
        """Whether so much may be kept besides; others that nobody uses have to go for it."""
        if size > self._keep:
            return False
        for segment in sorted(self._kept, key=lambda segment: segment.used):
            if len(self._kept) < KEPT and self.kept + size <= self._keep:
                break
            if not segment.size or segment.is_free:
                self._drop(segment)
        return len(self._kept) < KEPT and self.kept + size <= self._keep

    def _new(self, frame: Buffer) -> _Segment:
        size = 1 << (len(frame) - 1).bit_length()
        segment = _Segment(used=self._now())
        self._kept.append(segment)  # what is interrupted now is given back later
        made = self._own
        made.close()
        try:
            # Of memory that was not opened the kernel does not count who has it.
            segment.fd = segment.fds.reopen(made.create(), os.O_RDWR)
        finally:
            made.close()
        _fill(segment.fd, frame, size)
        segment.size, segment.written = size, len(frame)
        return segment

    def _drop(self, segment: _Segment) -> None:
        segment.size, segment.memory = 0, None
        segment.fds.close()
        self._kept.remove(segment)


def _fill(fd: int, frame: Buffer, size: int) -> None:
    """Write a frame into a new file, which is to have that size for ever."""
    _write(fd, frame)
    if size > len(frame):
        os.ftruncate(fd, size)
    fcntl.fcntl(fd, _F_ADD_SEALS, _SEALS)


def _write(fd: int, frame: Buffer) -> None:
    rest, written = memoryview(frame), 0
    while written < len(rest):
        written += os.pwrite(fd, rest[written:], written)


def _is_alone(fd: int) -> bool:
    """Whether nobody else has the file open or mapped."""
    try:
        # In one call: who opened it while we have the lease would get a deadly signal sent to us.
        list(map(fcntl.fcntl, (fd, fd), (_F_SETLEASE,) * 2, (fcntl.F_WRLCK, fcntl.F_UNLCK)))
    except OSError:
        return False
    return True


def _leases_tell() -> bool:
    """Whether this system is one that knows who has a file."""
    files = Descriptors()
    try:
        ours = files.reopen(files.create(), os.O_RDWR)
        if not _is_alone(ours):
            return False
        files.reopen(ours, os.O_RDONLY)
        return not _is_alone(ours)
    except OSError:
        return False
    finally:
        files.close()


def _is_to_be_had(size: int) -> bool:
    """Whether there is so much memory for us."""
    if size < NEW_FROM:  # not worth a look; the socket would need as much
        return True
    page = os.sysconf("SC_PAGE_SIZE")
    wanted = size + _RESERVE * page * os.sysconf("SC_PHYS_PAGES")
    if os.sysconf("SC_AVPHYS_PAGES") * page >= wanted:
        return True
    # Not counted were pages of files, which are free as soon as somebody wants them.
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_bytes().splitlines():
            if line.startswith(b"MemAvailable:"):
                return int(line.split()[1]) * 1024 >= wanted
    return False
