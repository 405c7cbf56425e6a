"""Objects that are in the cache before anybody has read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from caching import SIZE, World, gets, value_of, zeros

from cloudburst.cache.inventory import Inventory
from cloudburst.cache.prefetching import PART, Prefetcher
from cloudburst.errors import KVSUnavailable
from cloudburst.kvs.base import AddMembers, Append, Peek
from cloudburst.kvs.keys import object_key
from cloudburst.kvs.objects import write_objects


class Room(World):
    """A machine whose host fetches what it is told to."""

    def __init__(self, root: Path, budget: int = 1 << 26) -> None:
        super().__init__(root, budget)
        self.inventory: Inventory = self.keeper._inventory
        self.prefetcher = Prefetcher(self.store, self.folder, self.inventory, budget)

    def fetch(self, *names: str) -> None:
        self.prefetcher.fetch(names)
        self.settle()

    def close(self) -> None:
        self.prefetcher.close()
        super().close()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    yield room
    room.close()


def test_what_was_fetched_nobody_has_to_fetch_again(room: Room) -> None:
    room.put(a=np.full(SIZE, 1), b=np.full(SIZE, 2))
    room.fetch("a", "b", "a")
    assert gets(room.store) == 2
    assert room.inventory.told == {}
    assert dict(room.inventory.changes().added).keys() == {"a", "b"}

    reader = room.reader()
    assert [value_of(reader, name)[0] for name in "ab"] == [1, 2]
    assert gets(room.store) == 0


def test_what_is_cached_is_not_fetched(room: Room) -> None:
    room.put(a=zeros())
    room.fetch("a")
    room.store.carried_out.clear()
    room.fetch("a")

    assert room.store.carried_out == []


def test_what_has_changed_since_is_not_read(room: Room) -> None:
    room.put(a=np.full(SIZE, 1))
    room.fetch("a")
    room.put(a=np.full(SIZE, 2))
    room.settle()

    assert value_of(room.reader(), "a")[0] == 2


def test_nor_is_what_changed_while_it_came(room: Room) -> None:
    room.put(a=np.full(SIZE, 1))
    room.prefetcher.fetch(["a"])
    write_objects(room.store, {"a": np.full(SIZE, 2)})
    room.settle()

    assert (room.cached(), room.offered()) == (0, 0)
    assert value_of(room.reader(), "a")[0] == 2


def test_what_is_small_missing_or_no_value_is_left_alone(room: Room) -> None:
    room.put(small=1, text="x" * 5000, large=zeros())
    room.store.execute([AddMembers(object_key("set"), [b"a"])])
    room.store.execute([Append(object_key("foreign list"), b"item", 60.0)])
    room.store.carried_out.clear()
    room.fetch("small", "text", "set", "missing", "foreign list", "large")

    assert gets(room.store) == 1
    assert room.cached() == 1


def test_what_the_cache_would_not_take_is_not_fetched(tmp_path: Path) -> None:
    room = Room(tmp_path, budget=(SIZE - 1) * PART)
    room.put(a=zeros())
    room.fetch("a")

    assert room.store.count(Peek) == 1
    assert room.cached() == 0
    room.close()


def test_no_more_comes_at_a_time_than_there_is_memory_for(tmp_path: Path) -> None:
    room = Room(tmp_path, budget=2 * PART * SIZE + PART * 10_000)
    together: list[int] = []
    load = room.store.load

    def noted(operations, place):  # type: ignore[no-untyped-def]
        together.append(len(operations))
        return load(operations, place)

    room.store.load = noted  # type: ignore[method-assign]
    names = [f"k{number}" for number in range(5)]
    room.put(**{name: zeros() for name in names})
    room.fetch(*names)

    assert together == [2, 2, 1]
    assert room.cached() == 5
    room.close()


def test_a_store_that_is_gone_does_no_harm(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise KVSUnavailable("gone")

    monkeypatch.setattr(room.store, "execute", fails)
    room.prefetcher.fetch(["a"])
