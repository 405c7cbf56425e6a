"""Messages as bytes in a row, and back. No sockets here.

A message is its number of frames, their lengths, and the frames themselves, all integers of 64
bits, little-endian. A frame whose length has the highest bit is not there itself: it came in shared
memory, whose descriptor was passed with the first byte of the message.
"""

from __future__ import annotations

import mmap
import struct
from collections import deque
from collections.abc import Callable, Container, Iterator
from typing import Protocol

from cloudburst.core.messages import Buffer, Frames
from cloudburst.core.wire import MAX_FRAMES
from cloudburst.transport.base import COPY_BELOW, MAX_MESSAGE, Memory

COMMIT_BELOW = 64 << 20
"""Bytes from which memory for a frame is only reserved: the kernel provides it as it is filled, so
that a wrong length costs nothing. Below, memory that was used before is much faster."""

SHARED = 1 << 63
"""Set in the length of a frame that is in shared memory."""

_WORD = 8
_ONE_FRAME = struct.Struct("<QQ")


class Malformed(Exception):
    """These bytes are not messages of ours."""


class Given(Protocol):
    """Where complete messages go: a list or deque of them."""

    def append(self, frames: list[Buffer], /) -> None:
        """Take the next message."""


def check(frames: Frames) -> None:
    """See whether this can be sent.

    Raises:
        ValueError: a message must have at least one frame, and is limited in size.
    """
    size = sum(map(len, frames))
    if not 0 < len(frames) <= MAX_FRAMES or size > MAX_MESSAGE:
        raise ValueError(f"a message cannot have {len(frames)} frames and {size} bytes")


def to_pieces(frames: Frames, shared: Container[int] = ()) -> list[Buffer]:
    """What to hand to the kernel: one piece if that is cheap, else each large frame by itself.

    Args:
        frames: of the message.
        shared: the numbers of those that go through shared memory.

    Raises:
        ValueError: see `check`.
    """
    if len(frames) == 1 and len(frames[0]) < COPY_BELOW:
        return [_ONE_FRAME.pack(1, len(frames[0])) + frames[0]]
    check(frames)
    lengths = [len(frame) for frame in frames]
    if shared:
        lengths = [n | SHARED if number in shared else n for number, n in enumerate(lengths)]
        frames = [frame for number, frame in enumerate(frames) if number not in shared]
    head = struct.pack(f"<{len(lengths) + 1}Q", len(lengths), *lengths)
    if sum(map(len, frames)) < COPY_BELOW:
        return [b"".join([head, *frames])]
    pieces: list[Buffer] = []
    small: list[Buffer] = [head]
    for frame in frames:
        if len(frame) < COPY_BELOW:
            small.append(frame)
        else:
            pieces += [b"".join(small), frame] if small else [frame]
            small = []
    return [*pieces, b"".join(small)] if small else pieces


def kept(frames: Frames, memory: Memory) -> list[Buffer]:
    """The frames in memory that nobody changes: those in memory of others are copied."""
    if memory is Memory.OURS:
        return list(frames)
    return [frame if isinstance(frame, bytes) else bytes(frame) for frame in frames]


def unsent(pieces: list[Buffer], sent: int, memory: Memory) -> Iterator[memoryview]:
    """The pieces without their first ``sent`` bytes, in memory that nobody changes."""
    for piece in pieces:
        skipped = min(sent, len(piece))
        sent -= skipped
        if skipped < len(piece):
            borrowed = memory is Memory.BORROWED and not isinstance(piece, bytes)
            rest = memoryview(piece)[skipped:]
            yield memoryview(bytes(rest)) if borrowed else rest


def _refused(size: int) -> memoryview:
    raise Malformed(f"nothing was passed for a frame of {size} bytes in shared memory")


class Cutter:
    """Cuts a stream of bytes into messages.

    Args:
        claim: gives the next frame, of that size, that came in shared memory; may raise what
            `feed` and `filled` do.

    Attributes:
        room: where the next bytes belong if a large frame is on its way, else None.
    """

    __slots__ = (
        "_beginning", "_claim", "_count", "_frames", "_lengths", "_needed", "_shared", "room",
    )  # fmt: skip

    def __init__(self, claim: Callable[[int], memoryview] = _refused) -> None:
        self.room: memoryview | None = None
        self._claim = claim
        # Bytes that are of no use before there are `_needed`: a count, lengths, or a small frame.
        self._beginning = bytearray()
        self._needed = _WORD
        # Of the message on its way: how many frames it has, the lengths of those that have not
        # begun (the next one last), and the others. No count, or else no lengths: still to come.
        self._count = 0
        self._lengths: list[int] = []
        self._frames: list[Buffer] = []
        # Those in shared memory whose turn has not come.
        self._shared: deque[Buffer] = deque()

    @property
    def is_in_header(self) -> bool:
        """Whether a message has begun, and the lengths of its frames are still to come."""
        return not self._lengths and self.room is None and bool(self._beginning or self._count)

    def feed(self, data: bytes, into: Given) -> None:
        """Take what was read while there was no `room`.

        Raises:
            Malformed: these are not messages; those before went to ``into``.
            MemoryError, OSError: there is no memory for a frame.
        """
        if self._beginning:
            self._beginning += data
            if len(self._beginning) < self._needed:
                return
            data = bytes(self._beginning)
            self._beginning = bytearray()
        at, end = 0, len(data)
        while True:
            if self.room is not None:
                if at == end:
                    return
                part = data[at : at + len(self.room)]
                self.room[: len(part)] = part
                self.filled(len(part), into)
                at += len(part)
                continue
            if not self._count and end - at >= _ONE_FRAME.size:
                # Nearly all messages are one small frame.
                count, length = _ONE_FRAME.unpack_from(data, at)
                after = at + _ONE_FRAME.size + length
                if count == 1 and length < COPY_BELOW and after <= end:
                    into.append([data[at + _ONE_FRAME.size : after]])
                    if after == end:
                        return
                    at = after
                    continue
            if end - at < self._needed:
                self._beginning += data[at:]
                return
            after = at + self._needed
            self._use(data[at:after], into)
            at = after

    def filled(self, count: int, into: Given) -> None:
        """So many bytes were read into `room`.

        Raises:
            MemoryError, OSError: there is no memory for the next frame.
        """
        assert self.room is not None
        self.room = self.room[count:] if count < len(self.room) else None
        if self.room is None:
            self._begin_frame(into)

    def _use(self, data: bytes, into: Given) -> None:
        """Take the bytes that were needed."""
        if not self._count:
            self._count = int.from_bytes(data, "little")
            if not 0 < self._count <= MAX_FRAMES:
                raise Malformed(f"a message of {self._count} frames")
            self._needed = _WORD * self._count
            return
        if self._lengths:
            self._lengths.pop()
            self._frames.append(data)
        else:
            lengths = struct.unpack(f"<{self._count}Q", data)
            sizes = [length & ~SHARED for length in lengths]
            if sum(sizes) > MAX_MESSAGE:
                raise Malformed(f"a message of {sum(sizes)} bytes")
            self._lengths.extend(reversed(lengths))
            # At once: there are few descriptors, and the rest of the message may take its time.
            shared = [n for n, length in zip(sizes, lengths, strict=True) if length & SHARED]
            self._shared.extend(map(self._claim, shared))
        self._begin_frame(into)

    def _begin_frame(self, into: Given) -> None:
        while self._lengths and self._lengths[-1] & SHARED:
            self._lengths.pop()
            self._frames.append(self._shared.popleft())
        if not self._lengths:
            into.append(self._frames)
            self._frames, self._count, self._needed = [], 0, _WORD
        elif self._lengths[-1] < COPY_BELOW:
            self._needed = self._lengths[-1]
        else:
            self.room = _allocate(self._lengths.pop())
            self._frames.append(self.room)


def _allocate(size: int) -> memoryview:
    if size < COMMIT_BELOW:
        return memoryview(bytearray(size))
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE))
