"""What is stored has a version, which tells it from all else that was stored under its key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cloudburst.errors import SerializationError
from cloudburst.kvs.tracking import HEAD
from cloudburst.serialization import (
    CloudburstReference,
    has_references,
    join,
    join_for_store,
    pack,
    size_in_store,
    split,
    unpack,
    unpacker,
)
from cloudburst.serialization.frames import ALIGNMENT, VERSIONED_FROM

VALUES: dict[str, Callable[[], Any]] = {
    "array": lambda: np.arange(30_000),
    "arrays": lambda: [np.arange(30_000), np.zeros(20_000), "text"],
    "pickle": lambda: ["x"] * 10_000 + [*range(10_000)],
    "just large enough": lambda: "x" * VERSIONED_FROM,
    "references": lambda: [CloudburstReference("k" * 990 + str(n)) for n in range(10)],
}


@pytest.mark.parametrize("name", VALUES)
def test_no_two_stored_values_begin_alike(name: str) -> None:
    value = VALUES[name]()
    blobs = [bytes(join_for_store(pack(value).frames)) for _ in range(50)]

    assert len({blob[:HEAD] for blob in blobs}) == 50
    assert len({len(blob) for blob in blobs}) == 1
    for blob in blobs[:3]:
        for found in (unpack(split(blob)), unpacker(blob)(), unpack(split(blob), shared=True)):
            np.testing.assert_equal(found, value)
        assert has_references(split(blob)) == (name == "references")


@pytest.mark.parametrize("value", [None, 1, "x" * 100, b"", list(range(100))])
def test_what_is_small_is_compared_as_a_whole(value: object) -> None:
    frames = pack(value).frames
    assert join_for_store(frames) is frames[0]
    assert len(frames[0]) < VERSIONED_FROM <= HEAD


def test_the_bytes_of_arrays_stay_aligned() -> None:
    blob = join_for_store(pack([np.arange(30_001.0), np.zeros(20_001)]).frames)
    for frame in split(blob)[1:]:
        offset = (
            np.frombuffer(frame, np.uint8).ctypes.data - np.frombuffer(blob, np.uint8).ctypes.data
        )
        assert offset % ALIGNMENT == 0


def test_a_value_on_its_way_has_no_version() -> None:
    frames = pack(np.arange(30_000)).frames
    assert bytes(join(frames)) == bytes(join(frames))
    assert bytes(join_for_store(split(join_for_store(frames)))) != bytes(join(frames))


@pytest.mark.parametrize("frames", [[], [b"a", b"b"], [b"\xcb" * 5000]])
def test_frames_that_are_no_value(frames: list[bytes]) -> None:
    with pytest.raises(SerializationError):
        join_for_store(frames)


def test_frames_of_several_values() -> None:
    one, other = pack(np.arange(30_000)).frames, pack(np.arange(20_000)).frames
    with pytest.raises(SerializationError, match="not the frames of one value"):
        join_for_store([one[0], other[1]])


def test_an_unpacker_makes_values_that_have_nothing_in_common() -> None:
    blob = bytes(join_for_store(pack([[1], np.arange(30_000)]).frames))
    make = unpacker(blob)
    first, second = make(), make()
    first[0].append(2)

    assert second[0] == [1]
    assert not second[1].flags.writeable
    assert np.shares_memory(first[1], second[1])


def test_an_unpacker_of_a_small_value() -> None:
    make = unpacker(bytes(pack([1]).frames[0]))
    make().append(2)
    assert make() == [1]


@pytest.mark.parametrize("name", VALUES)
def test_a_beginning_tells_the_size_of_what_is_stored(name: str) -> None:
    blob = join_for_store(pack(VALUES[name]()).frames)

    assert size_in_store(memoryview(blob)[:HEAD]) == len(blob)
    assert size_in_store(blob) == len(blob)


@pytest.mark.parametrize("beginning", [b"", b"12", b"\xcb", pack("small").frames[0], b"list"])
def test_other_beginnings_tell_nothing(beginning: bytes) -> None:
    assert size_in_store(beginning) is None


def test_nor_does_one_that_does_not_name_all_arrays() -> None:
    blob = join_for_store(pack([np.zeros(20_000) for _ in range(600)]).frames)

    assert size_in_store(memoryview(blob)[:HEAD]) is None
    assert size_in_store(blob) == len(blob)
