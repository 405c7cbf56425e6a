"""The layout of a packed value: a head, then its large buffers, each a frame of its own.

The head of a value without large buffers and references is a plain pickle. Otherwise it is::

    u8 magic | u8 flags | u16 zero | u32 number of buffers | u64 bytes of pickle | u64 version
    u64 of each buffer: its length, and the highest bit if it was writable
    pickle

As one blob, the frames follow each other with every buffer at a multiple of 64 bytes, so that
arrays over a mapped blob are aligned for any vector instruction. In the store it has a version, a
random number that tells it from all others that were ever stored under its key, unless it is so
small that it may be compared as a whole.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

from cloudburst.core.messages import Buffer, Frames
from cloudburst.errors import SerializationError

MAGIC = 0xCB
PICKLE = 0x80
ALIGNMENT = 64
_HAS_REFERENCES = 1
_WRITABLE = 1 << 63
_FIXED = struct.Struct("<BBHIQQ")
_VERSION_AT = 16
VERSIONED_FROM = 4096
"""Bytes of a blob from which on it has a version."""

_ENTRY_SIZE = 8


class Head(NamedTuple):
    """A parsed head.

    Attributes:
        size: bytes of the head itself.
        pickle: a view into the head.
        lengths: bytes of each buffer.
        writable: of each buffer, whether it was writable when it was packed.
    """

    size: int
    pickle: memoryview
    lengths: tuple[int, ...]
    writable: tuple[bool, ...]


def make_head(pickle: bytes, buffers: Sequence[Buffer], has_references: bool) -> bytes:
    """The first frame of a value that has large buffers or references.

    Args:
        pickle: the pickle without its out-of-band buffers.
        buffers: these buffers, in order.
        has_references: whether there is a `CloudburstReference` in the value.
    """
    table = [len(buffer) | _writable_bit(buffer) for buffer in buffers]
    fixed = (MAGIC, has_references, 0, len(buffers), len(pickle), 0)
    return struct.pack(f"<BBHIQQ{len(table)}Q", *fixed, *table) + pickle


def read_head(data: Buffer) -> Head:
    """Parse a head, or a blob that begins with one.

    Raises:
        SerializationError: it is not a head, or is cut off.
    """
    if len(data) < _FIXED.size or data[0] != MAGIC:
        raise SerializationError("this is not a value: it begins with neither a pickle nor a head")
    _, _, _, count, pickle_size, _ = _FIXED.unpack_from(data)
    start = _FIXED.size + _ENTRY_SIZE * count
    size = start + pickle_size
    if size > len(data):
        raise SerializationError(f"a value's head of {size} bytes was cut off at {len(data)}")
    table = struct.unpack_from(f"<{count}Q", data, _FIXED.size)
    return Head(
        size,
        memoryview(data)[start:size],
        tuple([entry & ~_WRITABLE for entry in table]),
        tuple([entry >= _WRITABLE for entry in table]),
    )


def has_references(frames: Frames) -> bool:
    """Whether there is a `CloudburstReference` in the value; nothing is unpickled."""
    head = frames[0] if frames else b""
    return len(head) > 1 and head[0] == MAGIC and bool(head[1] & _HAS_REFERENCES)


def join(frames: Frames) -> Buffer:
    """One blob. A single frame is its own blob and is not copied.

    Raises:
        SerializationError: the frames are not those of one value.
    """
    if len(frames) == 1:
        return frames[0]
    head = read_head(frames[0]) if frames else None
    if head is None or not _belong(head, frames):
        raise SerializationError("these are not the frames of one value")
    return b"".join(_laid_out(frames[:1], frames[1:]))


def join_for_store(frames: Frames) -> Buffer:
    """As `join`; a blob of `VERSIONED_FROM` bytes or more has a version of its own.

    Raises:
        SerializationError: the frames are not those of one value.
    """
    pieces = pieces_for_store(frames)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def pieces_for_store(frames: Frames) -> tuple[Buffer, ...]:
    """What `join_for_store` makes one blob of; nothing large is copied.

    Raises:
        SerializationError: the frames are not those of one value.
    """
    if len(frames) == 1 and len(frames[0]) < VERSIONED_FROM:
        return (frames[0],)
    first = frames[0] if frames else b""
    if len(frames) == 1 and first[0] == PICKLE:
        start, rest = _FIXED.pack(MAGIC, 0, 0, 0, len(first), 0), first
    else:
        if not _belong(read_head(first), frames):
            raise SerializationError("these are not the frames of one value")
        start, rest = bytes(first[: _FIXED.size]), memoryview(first)[_FIXED.size :]
    return _laid_out((start[:_VERSION_AT], os.urandom(8), rest), frames[1:])


def _laid_out(first: Sequence[Buffer], others: Frames) -> tuple[Buffer, ...]:
    parts = [*first]
    position = sum(map(len, first))
    for frame in others:
        padding = -position % ALIGNMENT
        parts += (bytes(padding), frame)
        position += padding + len(frame)
    return tuple(parts)


def split(blob: Buffer) -> list[Buffer]:
    """The frames of a blob that `join` made: views into it, nothing is copied.

    Raises:
        SerializationError: the blob is not a value, or is cut off.
    """
    if len(blob) and blob[0] == PICKLE:
        return [blob]
    head = read_head(blob)
    view = memoryview(blob)
    frames: list[Buffer] = [view[: head.size]]
    position = head.size
    for length in head.lengths:
        position += -position % ALIGNMENT
        frames.append(view[position : position + length])
        position += length
    if position != len(blob):
        raise SerializationError(f"a value of {position} bytes came with {len(blob)}")
    return frames


def size_in_store(beginning: Buffer) -> int | None:
    """The bytes of the blob that begins so; None if that cannot be told from so little of it."""
    if len(beginning) < _FIXED.size or beginning[0] != MAGIC:
        return None
    _, _, _, count, pickle_size, _ = _FIXED.unpack_from(beginning)
    start = _FIXED.size + _ENTRY_SIZE * count
    if start > len(beginning):
        return None
    size: int = start + pickle_size
    for entry in struct.unpack_from(f"<{count}Q", beginning, _FIXED.size):
        size += -size % ALIGNMENT + (entry & ~_WRITABLE)
    return size


def buffers_of(head: Head, frames: Frames, *, shared: bool) -> list[Buffer]:
    """The out-of-band buffers, each as writable as it was when it was packed.

    Args:
        head: the parsed first frame.
        frames: all frames of the value.
        shared: make all buffers read-only and copy none.

    Raises:
        SerializationError: the frames are not those that the head announces.
    """
    if not _belong(head, frames):
        raise SerializationError("a value's frames are not those that its head announces")
    if shared:
        return [memoryview(frame).toreadonly() for frame in frames[1:]]
    pairs = zip(head.writable, frames[1:], strict=True)
    return [_made_writable(frame) if writable else frame for writable, frame in pairs]


def _belong(head: Head, frames: Frames) -> bool:
    return (head.size, *head.lengths) == tuple(map(len, frames))


def _made_writable(frame: Buffer) -> Buffer:
    if isinstance(frame, memoryview) and not frame.readonly:
        return frame
    return memoryview(bytearray(frame))


def _writable_bit(buffer: Buffer) -> int:
    return _WRITABLE if isinstance(buffer, memoryview) and not buffer.readonly else 0
