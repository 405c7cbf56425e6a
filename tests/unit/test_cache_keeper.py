"""What is published, when it is dropped, and what the keeper does about trouble."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from caching import SIZE, World, value_of, warmed, zeros

from cloudburst.cache import keeper as module
from cloudburst.cache.board import CacheBoard, clock
from cloudburst.cache.folder import CacheFolder
from cloudburst.kvs.objects import write_objects


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def is_trusted(world: World) -> bool:
    board = CacheBoard(world.folder.board)
    try:
        return board.is_trusted
    finally:
        board.close()


def offered(world: World, **values: Any) -> None:
    """Objects that an executor has read and offered, and nobody has looked at yet."""
    world.put(**values)
    world.told.waiting.clear()
    reader = world.reader()
    for name in values:
        value_of(reader, name)


def test_nothing_is_trusted_before_all_changes_were_told(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.told.blind()
    world.keeper.turn()
    assert not is_trusted(world)
    world.told.complete()
    world.keeper.turn()
    assert is_trusted(world)
    world.close()


def test_trust_ends_by_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    later = clock() + module.TRUST
    monkeypatch.setattr("cloudburst.cache.board.clock", lambda: later + 0.001)
    assert not is_trusted(world)


def test_what_has_changed_since_it_was_read_is_not_published(world: World) -> None:
    offered(world, k=zeros())
    write_objects(world.store, {"k": zeros()})  # the same again, but another version

    world.settle()

    assert (world.cached(), world.offered()) == (0, 0)


def test_what_has_gone_since_it_was_read_is_not_published(world: World) -> None:
    offered(world, k=zeros())
    world.store._entries.clear()
    world.settle()
    assert (world.cached(), world.offered()) == (0, 0)


def test_without_a_connection_nothing_is_published(world: World) -> None:
    offered(world, k=zeros())
    world.told.is_open = False
    world.settle()
    assert (world.cached(), world.offered()) == (0, 0)


def test_when_it_may_have_missed_a_change_all_is_dropped(world: World) -> None:
    reader = warmed(world, "k", zeros())
    value_of(reader, "k")
    offered(world, other=zeros())
    world.told.blind()

    world.keeper.turn()

    assert not is_trusted(world)
    assert (world.cached(), world.offered(), len(world.keeper.shelf)) == (0, 0, 0)
    world.told.complete()
    world.keeper.turn()
    write_objects(world.store, {"k": zeros() + 1})
    assert value_of(reader, "k").sum() == SIZE


def test_what_expires_is_dropped_at_its_time(world: World) -> None:
    world.told.left = 30.0
    reader = warmed(world, "k", zeros())
    began = clock()
    world.keeper._clock = lambda: began + 29.0
    assert world.keeper.next_deadline() <= began + 30.0
    world.keeper.turn()
    assert world.cached() == 1

    world.keeper._clock = lambda: began + 30.0
    world.keeper.turn()

    assert world.cached() == 0
    assert not reader._cached("k", reader._board.generation, clock())


def test_the_budget_is_kept(tmp_path: Path) -> None:
    world = World(tmp_path, budget=1_000_000)
    reader = world.reader()
    for number in range(50):
        world.put(**{f"k{number}": zeros()})
        assert value_of(reader, f"k{number}").sum() == 0
        world.settle()
        size = sum(path.stat().st_size for path in world.folder.objects.iterdir())
        assert size <= world.keeper.shelf.size <= 1_000_000
    assert world.cached() == 9
    world.close()


def test_what_is_used_stays(tmp_path: Path) -> None:
    world = World(tmp_path, budget=1_000_000)
    reader = warmed(world, "hot", zeros())
    hot = world.folder.objects / module.file_name("hot")
    for number in range(30):
        world.put(**{f"k{number}": zeros()})
        value_of(reader, f"k{number}")
        os.utime(hot)
        world.settle()
    assert hot.exists()
    world.close()


def test_small_objects_count_with_all_the_memory_that_they_take(tmp_path: Path) -> None:
    world = World(tmp_path, budget=40_960)
    reader = world.reader()
    for number in range(30):
        world.put(**{f"k{number}": number})
        for _ in range(2):
            value_of(reader, f"k{number}")
        world.settle()
    assert world.cached() == 10
    world.close()


def test_what_would_take_more_than_half_of_it_is_not_cached(tmp_path: Path) -> None:
    world = World(tmp_path, budget=150_000)
    offered(world, k=zeros())
    world.settle()
    assert (world.cached(), world.offered()) == (0, 0)
    world.close()


def test_when_shared_memory_is_short_the_cache_shrinks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    there_is = 350_000

    def room(*_: Any) -> int:
        there = [*world.folder.objects.iterdir(), *world.folder.new.iterdir()]
        return there_is - sum(path.stat().st_size for path in there)

    monkeypatch.setattr(module, "room_in", room)
    reader = world.reader()
    for name in "abcdef":
        world.put(**{name: zeros()})
        value_of(reader, name)
        world.settle()
        assert room() >= 0
    assert world.cached() == 3

    there_is = 0
    world.put(g=zeros())
    value_of(reader, "g")
    world.keeper.turn()
    assert world.offered() == 0
    world.keeper.shelf.budget = 1_000_000


def test_what_nobody_has_offered_is_swept_away(world: World) -> None:
    for name, age in (("old", module.ABANDONED + 1.0), ("new", 0.0)):
        path = world.folder.new / name
        path.write_bytes(b"half")
        moment = path.stat().st_mtime - age
        os.utime(path, (moment, moment))
    later = clock() + module.SWEEP_EVERY
    world.keeper._clock = lambda: later

    world.keeper.turn()

    assert [path.name for path in world.folder.new.iterdir()] == ["new"]


def test_offers_of_what_is_not_there(world: World) -> None:
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.sendto(msgpack.packb(("k", "nothing")), os.fspath(world.folder.offers))
    sender.close()
    world.settle()
    assert world.cached() == 0


@pytest.mark.parametrize("words", [b"", b"\xc1", b"\x93\x01", msgpack.packb(7), b"\x92\x01\x02"])
def test_words_that_are_no_offer_are_dropped(world: World, words: bytes) -> None:
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.sendto(words, os.fspath(world.folder.offers))
    sender.close()
    world.settle()
    assert world.keeper.descriptors()


def test_who_holds_the_lock_for_long_cannot_have_old_things_published(world: World) -> None:
    """The keeper was stopped with the lock held; a writer has not waited for it."""
    offered(world, k=zeros())
    world.keeper._take_offers()
    writer = world.reader()
    other = CacheFolder(world.folder.path)
    with other.changing():
        write_objects(world.store, {"k": zeros() + 1})
        writer.changed(["k"])
        assert not is_trusted(world)
    other.close()
    world.settle()
    assert value_of(writer, "k").sum() == SIZE


def test_a_keeper_stopped_between_its_look_and_its_publishing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered(world, k=zeros())
    world.keeper._take_offers()
    writer = world.reader()
    replace = Path.replace

    def stopped(path: Path, target: Path) -> Path:
        write_objects(world.store, {"k": zeros() + 1})
        writer.changed(["k"])
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", stopped)
    world.keeper.turn()
    monkeypatch.undo()

    assert world.cached() == 0
    world.settle()
    assert value_of(writer, "k").sum() == SIZE


def test_a_folder_that_somebody_removes_ends_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    reader = warmed(world, "k", zeros())
    board = CacheBoard(world.folder.board)
    world.folder.remove()
    later = clock() + module.SWEEP_EVERY
    world.keeper._clock = lambda: later
    with pytest.raises(OSError, match="new"):
        world.keeper.turn()

    world.keeper.close()

    assert not board.is_trusted
    board.close()
    for _ in range(2):  # and readers read from the store
        np.testing.assert_array_equal(value_of(reader, "k"), zeros())
    reader.changed(["k"])
    reader.close()


def test_closing_leaves_nothing_that_is_believed(world: World) -> None:
    reader = warmed(world, "k", zeros())
    value_of(reader, "k")
    world.keeper.close()
    write_objects(world.store, {"k": zeros() + 1})

    assert value_of(reader, "k").sum() == SIZE
    assert not world.folder.path.exists()
