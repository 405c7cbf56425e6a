"""Reading through a cache: what is read again, what is believed, and what is not."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caching import SIZE, Loading, World, gets, value_of, warmed, zeros

from cloudburst.cache.board import CacheBoard, clock
from cloudburst.cache.changes import LocalCaches
from cloudburst.cache.folder import CacheFolder, OwnFolder
from cloudburst.cache.reader import CacheReader, ObjectReader, reader_of
from cloudburst.errors import KVSUnavailable
from cloudburst.kvs.base import Delete, Peek
from cloudburst.kvs.keys import object_key
from cloudburst.kvs.objects import write_objects


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()
    assert list(tmp_path.iterdir()) == []


# what is cached


def test_a_large_object_is_read_from_the_store_once_by_all(world: World) -> None:
    first = warmed(world, "k", zeros())
    second = world.reader()

    for reader in (first, second, first, second):
        assert value_of(reader, "k").sum() == 0

    assert world.store.carried_out == []


def test_readers_share_the_memory_and_get_views_of_it(world: World) -> None:
    reader = warmed(world, "k", zeros())
    one, other = value_of(reader, "k"), value_of(reader, "k")

    assert np.shares_memory(one, other)
    one.shape = (10, SIZE // 10)
    assert other.shape == value_of(reader, "k").shape == (SIZE,)
    with pytest.raises(ValueError, match="read-only"):
        one += 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        one.flags.writeable = True


def test_what_is_no_array_is_everybodys_own(world: World) -> None:
    reader = warmed(world, "k", {"array": zeros(), "list": [1]})
    value_of(reader, "k")["list"].append(2)
    assert value_of(reader, "k")["list"] == [1]


def test_a_small_object_is_cached_when_it_is_read_again_unchanged(world: World) -> None:
    world.put(k="small")
    reader = world.reader()
    for cached in (0, 1):
        assert value_of(reader, "k") == "small"
        world.settle()
        assert world.cached() == cached
    world.store.carried_out.clear()

    assert value_of(reader, "k") == "small"
    assert value_of(world.reader(), "k") == "small"
    assert world.store.carried_out == []


def test_a_small_object_that_always_changes_is_not_cached(world: World) -> None:
    reader = world.reader()
    for number in range(5):
        world.put(k=number)
        assert value_of(reader, "k") == number
        world.settle()
    assert world.cached() == 0


def test_what_is_missing_is_not_cached(world: World) -> None:
    reader = world.reader()
    for _ in range(3):
        assert value_of(reader, "k") is None
        world.settle()
    world.put(k=zeros())
    assert value_of(reader, "k").sum() == 0


def test_several_objects_take_one_round_trip(world: World) -> None:
    warmed(world, "cached", zeros())
    world.put(small=1, large=zeros() + 1)
    reader = world.reader()

    found = reader.read(["small", "missing", "cached", "large", "small"])

    values = [None if stored is None else stored.load() for stored in found]
    assert values[0] == values[4] == 1
    assert values[1] is None
    assert (values[2].sum(), values[3].sum()) == (0, SIZE)
    assert gets(world.store) == 3
    world.settle()
    assert (world.cached(), world.offered()) == (2, 0)


def test_two_who_offer_the_same_at_once(world: World) -> None:
    world.put(k=zeros())
    for reader in (world.reader(), world.reader(), world.reader()):
        value_of(reader, "k")
    world.settle()
    (inode,) = [path.stat().st_ino for path in world.folder.objects.iterdir()]
    value_of(world.reader(), "k")
    world.settle()

    assert [path.stat().st_ino for path in world.folder.objects.iterdir()] == [inode]
    assert world.offered() == 0


def test_reading_opens_no_files_for_good(world: World) -> None:
    before = _open_files()
    reader = world.reader()
    opened = _open_files() - before
    kept = []
    for number in range(50):
        world.put(**{f"k{number}": zeros()})
        for _ in range(2):
            kept.append(value_of(reader, f"k{number}"))
            world.settle()

    assert _open_files() == before + opened


# what has changed


def test_a_change_elsewhere_is_seen_once_it_was_told(world: World) -> None:
    reader = warmed(world, "k", zeros())
    world.put(k=zeros() + 1)
    assert value_of(reader, "k").sum() == 0  # not yet

    world.settle()

    assert value_of(reader, "k").sum() == SIZE
    assert world.cached() == 0


def test_or_at_once_if_the_newest_is_asked_for(world: World) -> None:
    reader = warmed(world, "k", zeros())
    assert value_of(reader, "k", fresh=True).sum() == 0
    assert (world.store.count(Peek), gets(world.store)) == (1, 0)

    world.put(k=zeros() + 1)

    assert value_of(reader, "k", fresh=True).sum() == SIZE


def test_what_one_has_seen_nobody_sees_an_older_one_of(world: World) -> None:
    reader, other = warmed(world, "k", zeros()), world.reader()
    value_of(other, "k")
    world.put(k=zeros() + 1)
    value_of(reader, "k", fresh=True)

    assert value_of(other, "k").sum() == SIZE
    assert value_of(reader, "k").sum() == SIZE


def test_a_write_on_this_machine_is_seen_at_once_by_all(world: World) -> None:
    reader, writer = warmed(world, "k", zeros()), world.reader()
    value_of(writer, "k")

    write_objects(world.store, {"k": zeros() + 1})  # of which the keeper has not heard
    writer.changed(["k"])

    assert value_of(reader, "k").sum() == SIZE
    assert value_of(writer, "k").sum() == SIZE


def test_so_is_a_clients(world: World) -> None:
    reader = warmed(world, "k", zeros())
    caches = LocalCaches(world.folder.path.parent)
    write_objects(world.store, {"k": zeros() + 1})
    caches.drop_written(["k"])

    assert value_of(reader, "k").sum() == SIZE
    caches.close()
    caches.close()


def test_and_one_of_another_host_of_this_machine(world: World, tmp_path: Path) -> None:
    reader = warmed(world, "k", zeros())
    folder = OwnFolder("other", tmp_path)
    writer = CacheReader(world.store, CacheFolder(folder.path), "w")
    write_objects(world.store, {"k": zeros() + 1})
    writer.changed(["k"])

    assert value_of(reader, "k").sum() == SIZE
    writer.close()
    folder.remove()


def test_what_was_read_before_a_write_is_not_published_after_it(world: World) -> None:
    reader = world.reader()
    world.put(k=zeros())
    value_of(reader, "k")
    world.keeper._take_offers()  # which looks, and sees no change yet
    write_objects(world.store, {"k": zeros() + 1})
    reader.changed(["k"])

    world.settle()

    assert world.cached() == 0
    assert value_of(reader, "k").sum() == SIZE
    world.settle()
    assert world.cached() == 1


def test_a_deleted_object(world: World) -> None:
    reader = warmed(world, "k", zeros())
    world.store.execute([Delete(object_key("k"))])
    reader.changed(["k"])
    assert value_of(reader, "k") is None


# when nobody knows what has changed


def test_when_the_keeper_hears_nothing_readers_look(world: World) -> None:
    reader = warmed(world, "k", zeros())
    board = CacheBoard(world.folder.board)
    board.trust(clock() - 0.001)

    assert value_of(reader, "k").sum() == 0
    assert (world.store.count(Peek), gets(world.store)) == (1, 0)
    write_objects(world.store, {"k": zeros() + 1})
    assert value_of(reader, "k").sum() == SIZE
    board.close()


def test_trust_that_comes_back_meanwhile_does_not_count(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader was stopped after it had found an object that changed while nobody listened."""
    reader = warmed(world, "k", zeros())
    board = CacheBoard(world.folder.board)
    board.trust(0.0)
    write_objects(world.store, {"k": zeros() + 1})
    find = CacheReader._cached

    def stopped(*args: Any) -> Any:
        found = find(*args)
        board.trust(clock() + 100.0)
        return found

    monkeypatch.setattr(CacheReader, "_cached", stopped)

    assert value_of(reader, "k").sum() == SIZE
    board.close()


def test_a_store_that_does_not_answer_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = warmed(world, "k", zeros())
    world.told.blind()
    world.keeper.turn()
    assert world.cached() == 0

    def refuse(*_: Any) -> Any:
        raise KVSUnavailable("gone")

    monkeypatch.setattr(world.store, "execute", refuse)
    with pytest.raises(KVSUnavailable):
        value_of(reader, "k")


def test_without_news_of_changes_each_read_looks_and_nothing_is_transferred(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, tracked=False)
    reader = world.reader()
    for number in range(3):
        world.put(k=zeros() + number)
        for _ in range(3):
            assert value_of(reader, "k").sum() == number * SIZE
            world.keeper.turn()
    world.store.carried_out.clear()
    assert value_of(reader, "k").sum() == 2 * SIZE
    assert (world.store.count(Peek), gets(world.store)) == (1, 0)
    world.close()


# what readers keep


def test_what_is_dropped_is_let_go_of(world: World) -> None:
    reader = warmed(world, "k", zeros())
    value_of(reader, "k")
    assert _maps(world) == 1
    assert reader.look() is not None
    world.told.changed("k")
    world.settle()
    assert _maps(world) == 1

    reader.look()
    gc.collect()

    assert _maps(world) == 0
    assert reader.look() is None


def test_but_not_of_what_the_user_still_has(world: World) -> None:
    reader = warmed(world, "k", zeros() + 7)
    array = value_of(reader, "k")
    world.told.changed("k")
    world.settle()
    reader.look()
    reader.close()
    reader.close()

    assert array.sum() == 7 * SIZE


def _open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def _maps(world: World) -> int:
    """How many of its objects this process has mapped, removed ones included."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("there is no list of what is mapped")
    name = f"{world.folder.path}/objects/"
    new = f"{world.folder.path}/new/"
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sum(name in line or new in line for line in lines)


# readers without a cache


@pytest.mark.parametrize("path", ["", "/nowhere/at/all"])
def test_without_a_cache_all_is_read_from_the_store(path: str) -> None:
    store = Loading()
    reader = reader_of(store, path, "e", nullcontext)
    write_objects(store, {"k": zeros()})

    for fresh in (False, True):
        (stored,) = reader.read(["k"], fresh=fresh)
        assert stored is not None
        assert not stored.load().flags.writeable
    reader.changed(["k"])
    assert reader.look() is None
    assert type(reader) is ObjectReader
    reader.close()


def test_what_was_looked_at_before_the_newest_was_read_is_not_published(world: World) -> None:
    reader = world.reader()
    world.put(k=zeros())
    value_of(reader, "k")
    world.keeper._take_offers()  # which looks
    write_objects(world.store, {"k": zeros() + 1})  # elsewhere; the keeper has yet to hear of it
    assert value_of(reader, "k", fresh=True).sum() == SIZE
    world.keeper._hear()

    assert value_of(reader, "k").sum() == SIZE
    world.settle()
    assert value_of(reader, "k").sum() == SIZE
    world.settle()
    assert world.cached() == 1
