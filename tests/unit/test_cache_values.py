"""Values of every kind come out of a cache as they were put into the store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caching import SIZE, World, gets, value_of, warmed, zeros


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def _values() -> dict[str, Callable[[], Any]]:
    structured = np.dtype([("a", "<i4"), ("b", "S7"), ("c", "f8", (2, 3))])
    return {
        "zero size": lambda: np.zeros((0, 5)),
        "scalar array": lambda: np.array(3.5),
        "fortran": lambda: np.asfortranarray(np.arange(30_000.0).reshape(100, 300)),
        "slice": lambda: np.arange(60_000)[::2],
        "reversed": lambda: np.arange(60_000)[::-1],
        "big endian": lambda: np.arange(30_000, dtype=">f8"),
        "structured": lambda: np.zeros(5000, structured),
        "dates": lambda: np.arange(20_000).astype("M8[s]"),
        "text": lambda: np.array(["ä" * 40] * 1000),
        "objects": lambda: np.array([1, "a", None] * 10_000, object),
        "masked": lambda: np.ma.masked_less(np.arange(30_000), 7),
        "matrix of bools": lambda: np.eye(300, dtype=bool),
        "several": lambda: {
            "x": [np.arange(30_000), np.ones(30_000)],
            "y": (zeros(), b"z" * SIZE),
        },
        "bytes": lambda: os.urandom(300_000),
        "a large pickle": lambda: [str(number) for number in range(50_000)],
        "text of its own": lambda: "ä" * SIZE,
        "number": lambda: 2**70,
        "none": lambda: None,
    }


@pytest.mark.parametrize("name", _values())
def test_values_of_every_kind(world: World, name: str) -> None:
    value = _values()[name]()
    world.put(k=value)
    reader = world.reader()
    for turn in range(4):
        (stored,) = reader.read(["k"], fresh=turn == 3)
        assert stored is not None
        found = stored.load()
        assert type(found) is type(value)
        if isinstance(value, np.ndarray):
            assert (found.dtype, found.shape) == (value.dtype, value.shape)
            assert found.flags.f_contiguous == value.flags.f_contiguous or name in (
                "slice",
                "reversed",
            )
        np.testing.assert_equal(found, value)
        del found, stored
        world.settle()
    assert world.cached() == 1
    assert gets(world.store) <= 2


def test_a_mapped_file_is_a_value(world: World, tmp_path: Path) -> None:
    file = tmp_path / "numbers"
    numbers = np.memmap(file, np.float64, "w+", shape=(20_000,))
    numbers[:] = np.arange(20_000)
    reader = warmed(world, "k", numbers)
    np.testing.assert_array_equal(value_of(reader, "k"), np.arange(20_000))
    del numbers
    file.unlink()


def test_a_table_is_a_value(world: World) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"a": np.arange(30_000), "b": np.arange(30_000) / 2, "c": "text"})
    reader = warmed(world, "k", table)
    for _ in range(2):
        pandas.testing.assert_frame_equal(value_of(reader, "k"), table)
