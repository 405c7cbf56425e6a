"""Messages to frames and back.

The first frame is a msgpack array ``[tag, field, ...]``. A small payload is its last field; a
larger one follows as frames of their own, and nobody copies a value to forward it.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any, TypeAlias, get_args, get_origin

import msgpack

from cloudburst.core.messages import Buffer, Call, Frames, Message, RunContext
from cloudburst.core.sense import rules_of
from cloudburst.errors import ProtocolError

MAX_HEADER = 16 * 1024 * 1024
MAX_FRAMES = 100_000
INLINE_FRAMES = 16
INLINE_BYTES = 4096
"""A payload up to these travels in the header: a frame of its own costs more than the copy."""

Check: TypeAlias = Callable[[Any], bool]

_pack = msgpack.Packer(autoreset=True).pack
_KINDS: tuple[type[Any], ...] = get_args(Message)


def _header_hints(kind: type[Any]) -> list[Any]:
    hints = typing.get_type_hints(kind)
    return [int, *(hints[name] for name in kind._fields if name != "frames")]


def _header_types(kind: type[Any]) -> tuple[type, ...]:
    return tuple(get_origin(hint) or hint for hint in _header_hints(kind))


def _checker(hint: Any) -> Check:
    """A function that says whether a value fits the annotation, as fast as Python can."""
    items = get_args(hint)
    if get_origin(hint) is not tuple:
        return lambda value: type(value) is hint
    if items[-1] is not Ellipsis:
        exact = tuple(get_origin(item) or item for item in items)
        return lambda value: type(value) is tuple and tuple(map(type, value)) == exact
    if get_origin(items[0]) is not tuple:
        only = {items[0]}
        return lambda value: type(value) is tuple and only.issuperset(map(type, value))
    fits = _checker(items[0])
    return lambda value: type(value) is tuple and all(map(fits, value))


def _nested(kind: type[Any]) -> tuple[tuple[int, Check], ...]:
    """The fields that are tuples: comparing types says nothing of their items."""
    hints = enumerate(_header_hints(kind))
    return tuple((number, _checker(hint)) for number, hint in hints if get_origin(hint) is tuple)


_TAGS = {kind: tag for tag, kind in enumerate(_KINDS)}
_HEADER_TYPES = tuple(_header_types(kind) for kind in _KINDS)
_NESTED = tuple(_nested(kind) for kind in _KINDS)
_SENSE = tuple(tuple((number + 1, rule) for number, rule in rules_of(kind)) for kind in _KINDS)
_HAS_FRAMES = tuple("frames" in kind._fields for kind in _KINDS)
_TYPES = tuple(
    (*types, tuple) if has_frames else types
    for types, has_frames in zip(_HEADER_TYPES, _HAS_FRAMES, strict=True)
)
"""Types of a header that holds its payload, if it has one."""
_TYPES_OUTSIDE = tuple((*types, type(None)) for types in _HEADER_TYPES)
"""Types of a header whose payload follows."""
_ONLY_BYTES = {bytes}
_CONTEXT_TYPES = _header_types(RunContext)[1:]
_CONTEXT_NESTED = _nested(RunContext)
_CONTEXT_SENSE = rules_of(RunContext)


def encode(message: Message) -> list[Buffer]:
    """The frames of a message; a large payload's frames are passed through, not copied."""
    tag = _TAGS[type(message)]
    if _HAS_FRAMES[tag]:
        payload: Any = message[-1]
        if len(payload) > INLINE_FRAMES or sum(map(len, payload)) > INLINE_BYTES:
            return [_pack((tag, *message[:-1], None)), *payload]
    return [_pack((tag, *message))]


def decode(frames: Frames) -> Message:
    """The message that `encode` made these frames of.

    Only the header is read: its size, the number of fields, their types and that they make sense
    are checked.

    Raises:
        ProtocolError: they are not a message of this protocol.
    """
    header = _unpack(frames)
    if type(header) is not tuple or not header or type(header[0]) is not int:
        raise ProtocolError("a message's header is not an array that begins with a tag")
    tag = header[0]
    if not 0 <= tag < len(_KINDS):
        raise ProtocolError(f"there is no message with tag {tag}")
    kind = _KINDS[tag]
    types = tuple(map(type, header))
    message: Message
    for number, fits in _NESTED[tag]:
        if number >= len(header) or not fits(header[number]):
            raise ProtocolError(f"field {number} of a {kind.__name__} has items of other types")
    if types == _TYPES[tag] and len(frames) == 1:
        if _HAS_FRAMES[tag] and not _ONLY_BYTES.issuperset(map(type, header[-1])):
            raise ProtocolError(f"the payload of a {kind.__name__} is not frames")
        message = kind(*header[1:])
    elif types == _TYPES_OUTSIDE[tag] and _HAS_FRAMES[tag]:
        message = kind(*header[1:-1], frames[1:])
    else:
        raise ProtocolError(f"the fields of a {kind.__name__} have other types or number")
    for number, makes_sense in _SENSE[tag]:
        if not makes_sense(header[number]):
            raise ProtocolError(f"field {number} of a {kind.__name__} makes no sense")
    return message


def pack_context(context: RunContext) -> bytes:
    """A run's context as it travels inside `Start` and `Trigger`."""
    packed: bytes = _pack(context)
    return packed


def unpack_context(blob: bytes) -> RunContext:
    """The inverse of `pack_context`.

    Raises:
        ProtocolError: the bytes are not a context.
    """
    fields = _unpack([blob])
    if type(fields) is not tuple or tuple(map(type, fields)) != _CONTEXT_TYPES:
        raise ProtocolError("a run's context has other types or number of fields")
    if not all(fits(fields[number - 1]) for number, fits in _CONTEXT_NESTED):
        raise ProtocolError("a run's context has items of other types")
    if not all(makes_sense(fields[number]) for number, makes_sense in _CONTEXT_SENSE):
        raise ProtocolError("a run's context has values that make no sense")
    return RunContext(*fields)


def _unpack(frames: Frames) -> object:
    if not frames or len(frames) > MAX_FRAMES:
        raise ProtocolError(f"a message has 1 to {MAX_FRAMES} frames, not {len(frames)}")
    if len(frames[0]) > MAX_HEADER:
        raise ProtocolError(f"a message's header has at most {MAX_HEADER} bytes")
    try:
        return msgpack.unpackb(frames[0], use_list=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ProtocolError(f"a message's header is not msgpack: {error}") from None


def pack_call(call: Call, client: str) -> bytes:
    """A call as kept in its run's record, so that a restarted scheduler can start it again."""
    # Not the shared packer: it would keep a buffer of the largest call for ever.
    packed: bytes = msgpack.packb((client, *encode(call)))
    return packed


def unpack_call(blob: Buffer) -> tuple[Call, str]:
    """The inverse of `pack_call`: the call, and the identity of the client it came from.

    Raises:
        ProtocolError: the bytes are not a packed call.
    """
    try:
        record = msgpack.unpackb(blob, use_list=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ProtocolError(f"a run's recorded call cannot be read: {error}") from None
    if type(record) is not tuple or [*map(type, record)] != [str] + [bytes] * (len(record) - 1):
        raise ProtocolError("a run's recorded call is not a client and frames")
    call = decode(record[1:])
    if not isinstance(call, Call):
        raise ProtocolError(f"a run's record holds a {type(call).__name__} instead of a call")
    return call, record[0]
