"""Values to frames and back."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from types import NoneType
from typing import Any, NamedTuple

from cloudburst.core.messages import Buffer, Frames
from cloudburst.errors import SerializationError
from cloudburst.serialization import exceptions, own_modules
from cloudburst.serialization.diagnosis import explain
from cloudburst.serialization.frames import PICKLE, buffers_of, make_head, read_head, split
from cloudburst.serialization.pickling import PROTOCOL, BufferCallback, dump_by_value, load
from cloudburst.serialization.references import collect, collector

IN_BAND = 16 * 1024
"""Buffers below this many bytes stay inside the pickle, where copying costs less than a frame."""

_SCALARS = frozenset((bool, complex, float, int, NoneType, str))
_REFERS_BY_NAME = pickle.STACK_GLOBAL
_dumps = pickle.dumps


class Packed(NamedTuple):
    """A value as frames, and the keys of the references inside, in order, without duplicates.

    Frames of type ``memoryview`` are the caller's own memory (that of arrays): send or copy
    them before the caller can change it. Frames of type ``bytes`` never change.
    """

    frames: list[Buffer]
    references: tuple[str, ...]


class _NeedsHelp(Exception):
    """A plain pickle names what executors may not have, or could not make of it."""


class _LargeBytes:
    """Has `bytes` pickled out of band, which pickle does not do for them."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __reduce_ex__(self, _: object) -> tuple[type[bytes], tuple[pickle.PickleBuffer]]:
        return bytes, (pickle.PickleBuffer(self.content),)


def pack(value: object, what: str = "value") -> Packed:
    """Pickle a value; its large buffers become frames of their own and are not copied.

    Args:
        value: anything that can be pickled, by plain pickle or by cloudpickle.
        what: what the value is to the caller, for the message: ``"argument 2 of 'incr'"``.

    Raises:
        SerializationError: it cannot; the message says which part of it and what to do.
    """
    try:
        return try_pack(value)
    except Exception as error:
        with collect():  # futures must go on pickling as references while the search runs
            message = explain(value, what, error)
        raise SerializationError(message) from error


def pack_scalar(value: object) -> bytes | None:
    """The one frame that `pack` makes of a number or a string; None for everything else."""
    return _dumps(value, PROTOCOL) if type(value) in _SCALARS else None


def try_pack(value: object) -> Packed:
    """As `pack`, but raises what pickling raised, undiagnosed."""
    kind = type(value)
    if kind in _SCALARS:
        return Packed([_dumps(value, PROTOCOL)], ())
    if kind is bytes and len(value) >= IN_BAND:  # type: ignore[arg-type]  # it is bytes
        value = _LargeBytes(value)  # type: ignore[arg-type]
    try:
        return _pack_with(_dump_plain, value)
    except Exception:  # noqa: BLE001  cloudpickle can do more, and its error is the better one
        return _pack_with(dump_by_value, value)


def _dump_plain(value: object, buffer_callback: BufferCallback) -> bytes:
    data = _dumps(value, PROTOCOL, buffer_callback=buffer_callback)
    if _REFERS_BY_NAME in data and (
        own_modules.mentioned_in(data) or exceptions.mentioned_in(data)
    ):
        raise _NeedsHelp
    return data


def _pack_with(dump: Any, value: object) -> Packed:
    buffers: list[Buffer] = []

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < IN_BAND:
            return True
        buffers.append(raw.obj if type(raw.obj) is bytes else raw)
        return False

    outer = collector.keys
    keys: dict[str, None] = {}
    collector.keys = keys
    try:
        data = dump(value, keep_in_band)
    finally:
        collector.keys = outer
    if not buffers and not keys:
        return Packed([data], ())
    return Packed([make_head(data, buffers, bool(keys)), *buffers], tuple(keys))


def unpack(frames: Frames, *, shared: bool = False) -> Any:
    """The value that `pack` made these frames of.

    Arrays are views into the frames, and writable if they were when packed; a frame that is
    read-only itself is copied for that.

    Args:
        frames: all frames of one value.
        shared: copy nothing and make every array a read-only view.

    Raises:
        SerializationError: the frames are damaged, or something the value needs is missing here.
    """
    if not frames:
        raise SerializationError("a value has at least one frame")
    data = frames[0]
    if len(frames) == 1 and len(data) and data[0] == PICKLE:
        return load(data)
    head = read_head(data)
    return load(head.pickle, buffers_of(head, frames, shared=shared))


def unpacker(blob: Buffer) -> Callable[[], Any]:
    """What makes the value of a blob as often as it is called, as `unpack` does with ``shared``.

    Raises:
        SerializationError: the blob is damaged; or when called, something the value needs is
            missing here.
    """
    frames = split(blob)
    data = frames[0]
    if data[0] == PICKLE:
        return partial(load, data)
    head = read_head(data)
    return partial(load, head.pickle, buffers_of(head, frames, shared=True))
