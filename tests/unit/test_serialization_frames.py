"""The layout of packed values: heads, blobs, and what damage to them leads to."""

from __future__ import annotations

import ctypes
import pickle
import random
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from fresh_interpreter import in_fresh_interpreter

from cloudburst.core.messages import Buffer
from cloudburst.errors import SerializationError
from cloudburst.serialization import (
    CloudburstReference,
    has_references,
    join,
    pack,
    split,
    unpack,
)
from cloudburst.serialization.frames import ALIGNMENT, make_head, read_head

LARGE = np.arange(30_001, dtype=np.float64)


def address(frame: Buffer) -> int:
    return int(np.frombuffer(frame, np.uint8).ctypes.data)


def aligned_copy(blob: Buffer) -> memoryview:
    """The blob where mmap or shared memory would have it: at the start of a cache line."""
    room = (ctypes.c_char * (len(blob) + ALIGNMENT))()
    start = -ctypes.addressof(room) % ALIGNMENT
    view = memoryview(room).cast("B")[start : start + len(blob)]
    view[:] = blob
    return view


def three_frames() -> list[Buffer]:
    return pack({"one": LARGE, "two": LARGE[::-1].copy(), "small": b"x"}).frames


def test_a_small_value_is_one_frame_and_a_plain_pickle() -> None:
    value = {"a": [1, 2], "b": np.arange(10)}

    (frame,) = pack(value).frames

    assert bytes(frame[:2]) == b"\x80\x05"
    assert pickle.loads(frame)["a"] == [1, 2]


def test_joining_a_single_frame_gives_that_frame_itself() -> None:
    for value in (1, {"key": CloudburstReference("k")}):
        frames = pack(value).frames
        assert join(frames) is frames[0]
        assert split(join(frames)) == frames


def test_a_joined_blob_splits_into_the_same_frames_without_a_copy() -> None:
    frames = three_frames()

    blob = join(frames)
    parts = split(blob)

    assert [bytes(part) for part in parts] == [bytes(frame) for frame in frames]
    assert len(parts) == 3
    whole = np.frombuffer(blob, np.uint8)
    assert all(np.shares_memory(whole, np.frombuffer(part, np.uint8)) for part in parts)
    assert parts[0].readonly  # type: ignore[union-attr]


def test_splitting_a_writable_blob_gives_writable_views() -> None:
    parts = split(aligned_copy(join(three_frames())))

    array = unpack(parts)["one"]
    array[0] = -1.0

    assert unpack(parts)["one"][0] == -1.0


def test_buffers_in_a_blob_begin_at_multiples_of_64_bytes() -> None:
    odd = [np.arange(20_000 + extra, dtype=np.uint8) for extra in (1, 63, 64, 65)]
    blob = aligned_copy(join(pack(odd).frames))

    offsets = [address(frame) - address(blob) for frame in split(blob)[1:]]
    arrays = unpack(split(blob))

    assert [offset % ALIGNMENT for offset in offsets] == [0, 0, 0, 0]
    assert [array.ctypes.data % ALIGNMENT for array in arrays] == [0, 0, 0, 0]
    assert all(np.array_equal(array, own) for array, own in zip(arrays, odd, strict=True))


def test_a_head_tells_lengths_and_which_buffers_were_writable() -> None:
    buffers: list[Buffer] = [b"12345", memoryview(bytearray(7)), memoryview(b"123")]

    head = read_head(make_head(b"pickle", buffers, has_references=False))

    assert bytes(head.pickle) == b"pickle"
    assert head.lengths == (5, 7, 3)
    assert head.writable == (False, True, False)


def test_references_are_seen_in_the_head_alone() -> None:
    with_one = pack([1, {"x": CloudburstReference("k")}, LARGE]).frames

    assert has_references(with_one)
    assert has_references([memoryview(with_one[0]), *with_one[1:]])
    assert not has_references(pack([1, LARGE]).frames)
    assert not has_references(pack(1).frames)
    assert not has_references([])
    assert not has_references([b""])


def test_frames_of_different_values_do_not_join() -> None:
    frames = three_frames()
    for wrong in ([], frames[:2], [*frames, b""], [frames[1], frames[0]], [frames[0], b"", b""]):
        with pytest.raises(SerializationError):
            join(wrong)


def damaged_frames() -> Iterator[list[Buffer]]:
    head, one, two = (bytes(frame) for frame in three_frames())
    yield []
    yield [b""]
    yield [b"", b""]
    yield [b"\xcb"]
    yield [b"no pickle and no head"]
    yield [head]
    yield [head, one]
    yield [head, one, two, two]
    yield [head, one[:-1], two]
    yield [head, one, two + b"x"]
    yield [head + b"x", one, two]
    yield [pack(1).frames[0], b"one frame too many"]
    yield [struct.pack("<BBHIQ", 0xCB, 0, 0, 2**32 - 1, 2**64 - 1)]
    yield [struct.pack("<BBHIQ", 0xCB, 0, 0, 0, 0)]
    for length in range(len(head)):
        yield [head[:length], one, two]
    plain = bytes(pack({"a": [1, "two", 3.0]}).frames[0])
    for length in range(len(plain)):
        yield [plain[:length]]


def test_damaged_frames_are_reported() -> None:
    for frames in damaged_frames():
        with pytest.raises(SerializationError):
            unpack(frames)


def test_a_blob_cut_off_anywhere_is_reported() -> None:
    blob = bytes(join(pack([np.zeros(20_000, np.uint8), np.ones(17_000, np.uint8)]).frames))
    for length in [*range(200), *range(200, len(blob), 997), len(blob) - 1]:
        with pytest.raises(SerializationError):
            unpack(split(blob[:length]))
    with pytest.raises(SerializationError):
        split(blob + b"x")


def test_random_damage_to_a_head_never_does_worse() -> None:
    chance = random.Random(20)
    frames = [bytes(frame) for frame in three_frames()]
    table = len(frames[0]) - len(read_head(frames[0]).pickle)
    outcomes = set()
    for _ in range(3_000):
        head = bytearray(frames[0])
        for _ in range(chance.randint(1, 3)):
            head[chance.randrange(table)] = chance.randrange(256)
        try:
            unpack([bytes(head), *frames[1:]])
            outcomes.add("harmless")
        except SerializationError:
            outcomes.add("reported")
    assert outcomes == {"harmless", "reported"}  # the flags and the zeros carry no more


def test_random_damage_to_a_pickle_never_does_worse() -> None:
    """In a process of its own: damaged pickles may ask for any amount of memory."""
    script = """
        import contextlib, random, resource
        with contextlib.suppress(OSError, ValueError):  # where there is no such limit
            resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        from cloudburst.errors import SerializationError
        from cloudburst.serialization import CloudburstReference, pack, unpack

        chance, outcomes = random.Random(21), set()
        value = {"a": [1, 2.5, "text", b"bytes"], "r": CloudburstReference("key"), 3: {4, 5}}
        frame = bytes(pack(value).frames[0])
        for _ in range(10_000):
            damaged = bytearray(frame)
            for _ in range(chance.randint(1, 3)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            try:
                unpack([bytes(damaged)])
                outcomes.add(b"another value")
            except SerializationError:
                outcomes.add(b"reported")
        reply(b", ".join(sorted(outcomes)))
    """
    assert in_fresh_interpreter(script) == b"another value, reported"
