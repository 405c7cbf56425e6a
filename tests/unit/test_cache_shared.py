"""Counters and sets, which are objects too, beside cached ones."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from caching import World, value_of, warmed, zeros

from cloudburst.kvs.base import AddMembers, Delete, Increment
from cloudburst.kvs.keys import object_key


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def test_a_set_is_read_beside_values(world: World) -> None:
    world.put(array=zeros(), number=7)
    world.store.execute([AddMembers(object_key("set"), [b"\x01", b"\x02"])])
    reader = world.reader()

    for _ in range(3):
        read = reader.read(["array", "number", "set", "missing"])
        array, *others = [None if stored is None else stored.load() for stored in read]
        assert np.array_equal(array, zeros())
        assert others == [7, {1, 2}, None]
        world.settle()


def test_a_set_in_place_of_what_was_cached(world: World) -> None:
    reader = warmed(world, "k", zeros())
    world.store.execute([Delete(object_key("k")), AddMembers(object_key("k"), [b"\x01"])])

    assert value_of(reader, "k", fresh=True) == {1}
    assert value_of(reader, "k") == {1}
    world.told.changed("k")
    world.settle()
    assert world.cached() == 0


def test_a_counter_that_is_read_again_and_again_may_be_cached(world: World) -> None:
    world.store.execute([Increment(object_key("n"), 5)])
    reader = world.reader()
    for _ in range(3):
        assert value_of(reader, "n") == 5
        world.settle()
    assert world.cached() == 1
    world.store.execute([Increment(object_key("n"), 1)])
    reader.changed(["n"])

    assert value_of(reader, "n") == 6
