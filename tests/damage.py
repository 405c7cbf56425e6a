"""Messages damaged in every way one can think of.

Decode some millions of them: ``cd tests && python -m damage 2000000``.
"""

from __future__ import annotations

import math
import random
import sys
import typing
from collections import Counter
from typing import Any, TypeAlias, get_args, get_origin

import msgpack

from cloudburst.core.messages import Message
from cloudburst.core.options import RunOptions
from cloudburst.core.wire import INLINE_BYTES, decode, encode
from cloudburst.errors import ProtocolError

Frames: TypeAlias = list[bytes]
KINDS: tuple[type[Any], ...] = get_args(Message)

NONSENSE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 2**64 - 1, 0.0, -1.0, 1e300),
    *(math.nan, math.inf, -math.inf, "", "x" * 300, "\0", b"", b"\xff" * 9),
    *((), ((),), ("",), (0,), (b"",), (None,), {}, {"a": 1}, msgpack.Timestamp(1)),
)


# seeds


def typical(hint: Any) -> Any:
    """A value as a field of that type has it."""
    if get_origin(hint) is not tuple:
        return {int: 3, float: 1.5, str: "c-1", bytes: b"\x93\x01\x02\x03", bool: True}[hint]
    items = get_args(hint)
    if items[-1] is Ellipsis:
        return (typical(items[0]),) * 2
    return tuple(map(typical, items))


def sensible(kind: type[Any], payload: tuple[bytes, ...] = (b"a", b"", b"bc")) -> Any:
    hints = typing.get_type_hints(kind)
    values = {name: typical(hints[name]) for name in kind._fields if name != "frames"}
    if "options" in values:
        values["options"] = tuple(RunOptions(timeout=2.0))
    return kind(**values, **({"frames": payload} if "frames" in kind._fields else {}))


LARGE = (b"a" * (INLINE_BYTES + 1), b"b")
SEEDS: list[Frames] = [
    [bytes(frame) for frame in encode(sensible(kind, payload))]
    for kind in KINDS
    for payload in ((b"a", b"", b"bc"), LARGE)
]


# damage


def damaged_bytes(data: bytes, chance: random.Random) -> bytes:
    """Some bytes of it changed, dropped, doubled or added."""
    damaged = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(damaged) + 1)
        end = min(len(damaged), start + chance.randint(1, 8))
        match chance.randrange(5):
            case 0:
                damaged[start:end] = chance.randbytes(end - start)
            case 1:
                del damaged[start:end]
            case 2:
                damaged[start:start] = damaged[start:end]
            case 3:
                damaged[start:start] = chance.randbytes(chance.randint(1, 8))
            case _:
                # Where msgpack says what follows, and how much of it.
                damaged[start : start + 1] = bytes([chance.randrange(0x80, 0x100)])
    return bytes(damaged)


def damaged_value(value: Any, chance: random.Random) -> Any:
    """The value with one of its parts, or all of it, replaced by nonsense."""
    if type(value) is not tuple or not value or chance.random() < 0.1:
        alike = [other for other in NONSENSE if type(other) is type(value)]
        return chance.choice(alike if alike and chance.random() < 0.7 else NONSENSE)
    items = list(value)
    place = chance.randrange(len(items))
    match chance.randrange(8):
        case 0:
            del items[place]
        case 1:
            items.insert(place, chance.choice((*items, *NONSENSE)))
        case 2:
            other = chance.randrange(len(items))
            items[place], items[other] = items[other], items[place]
        case _:
            items[place] = damaged_value(items[place], chance)
    return tuple(items)


def damaged_header(header: bytes, chance: random.Random) -> bytes:
    """The same message with another value in it."""
    value = damaged_value(msgpack.unpackb(header, use_list=False), chance)
    packed: bytes = msgpack.packb(value)
    return packed


def damaged_frames(frames: Frames, chance: random.Random) -> Frames:
    """The frames with one of them dropped, doubled, moved, or of another message."""
    frames = list(frames)
    place = chance.randrange(len(frames))
    match chance.randrange(4):
        case 0:
            del frames[place]
        case 1:
            frames.insert(place, frames[place])
        case 2:
            frames.insert(chance.randrange(len(frames)), frames.pop(place))
        case _:
            frames[place] = chance.choice(chance.choice(SEEDS))
    return frames


def mutated(frames: Frames, chance: random.Random) -> Frames:
    match chance.randrange(8):
        case 0:
            return damaged_frames(frames, chance)
        case 1 | 2 | 3:
            return [damaged_bytes(frames[0], chance), *frames[1:]]
        case _:
            return [damaged_header(frames[0], chance), *frames[1:]]


# what comes of it


def decode_damaged(count: int, seed: int) -> Counter[str]:
    """Decode so many damaged messages. Returns how many were refused, and the others by kind."""
    chance = random.Random(seed)
    came: Counter[str] = Counter()
    for number in range(count):
        frames = mutated(SEEDS[number % len(SEEDS)], chance)
        try:
            message = decode(frames)
        except ProtocolError:
            came["refused"] += 1
            continue
        assert type(message) in KINDS, frames
        # This also shows that it has nothing that is not even equal to itself.
        again = decode([bytes(frame) for frame in encode(message)])
        assert comparable(again) == comparable(message), frames
        came[type(message).__name__] += 1
    return came


def comparable(message: Any) -> tuple[Any, ...]:
    return tuple(tuple(field) if isinstance(field, list) else field for field in message)


if __name__ == "__main__":
    sys.stdout.write(f"{decode_damaged(int(sys.argv[1]), seed=random.randrange(2**32))}\n")
