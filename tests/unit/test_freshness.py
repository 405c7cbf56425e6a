"""The checker of reads finds what is wrong: in histories made up, and in those of broken caches."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from caching import World, value_of
from freshness import Did, stale_reads

from cloudburst.cache.reader import CacheReader
from cloudburst.kvs.objects import write_objects
from cloudburst.kvs.tracking import Blind, Changed, News


def wrote(value: int, began: float, ended: float) -> Did:
    return Did("k", value, began, ended, wrote=True)


def read(value: int | None, began: float, ended: float) -> Did:
    return Did("k", value, began, ended)


@pytest.mark.parametrize(
    ("history", "wrong"),
    [
        ([read(None, 0, 1), wrote(1, 2, 3), read(1, 4, 5)], 0),
        ([wrote(1, 0, 1), read(None, 2, 3)], 1),
        ([wrote(1, 0, 1), wrote(2, 2, 3), read(1, 4, 5)], 1),
        ([wrote(1, 0, 1), wrote(2, 2, 3), read(1, 2.5, 5)], 0),
        ([wrote(1, 0, 3), wrote(2, 2, 3), read(1, 4, 5), read(2, 4, 5)], 0),
        ([wrote(1, 0, 1), wrote(2, 2, 9), read(2, 3, 4), read(1, 5, 6)], 0),
        ([wrote(1, 0, 9), wrote(2, 2, 3), read(1, 4, 5)], 0),
        ([wrote(1, 0, 1), wrote(3, 4, 5), wrote(2, 2, 6), read(2, 7, 8), read(1, 7, 8)], 1),
        ([wrote(1, 0, 1), read(2, 1.5, 2), wrote(2, 3, 4)], 1),
        ([wrote(1, 0, 1), Did("other", 2, 2, 3, wrote=True), read(1, 4, 5)], 0),
    ],
)
def test_histories(history: list[Did], wrong: int) -> None:
    assert len(stale_reads(history)) == wrong


def test_a_read_may_be_behind_by_so_much() -> None:
    history = [wrote(1, 0, 1), wrote(2, 2, 3), read(1, 4, 5)]
    assert stale_reads(history, lag=1.5) == []
    assert len(stale_reads(history, lag=0.5)) == 1


def history_of(root: Path, *, steps: int = 3000, seed: int = 1) -> list[Did]:
    """Random writes and reads of a few keys by four readers of one cache, one at a time."""
    chance, world, history = random.Random(seed), World(root), []
    readers = [world.reader() for _ in range(4)]
    for now in range(steps):
        reader, name = chance.choice(readers), f"k{chance.randrange(3)}"
        match chance.randrange(10):
            case 0:
                write_objects(world.store, {name: np.full(20_000, now)})
                reader.changed([name])
                history.append(Did(name, now, now, now + 0.5, wrote=True))
                world.told.changed(name)
            case 1 | 2:
                world.settle()
            case _:
                array = value_of(reader, name, fresh=chance.random() < 0.1)
                value = None if array is None else int(array[0])
                history.append(Did(name, value, now, now + 0.5))
    world.close()
    return history


@pytest.mark.parametrize("seed", range(5))
def test_the_cache_keeps_the_rule(tmp_path: Path, seed: int) -> None:
    history = history_of(tmp_path, seed=seed)
    assert stale_reads(history) == []
    assert sum(not did.wrote for did in history) > 1500


def test_a_cache_whose_writers_drop_nothing_breaks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutation: `CacheReader.changed` does nothing."""
    monkeypatch.setattr(CacheReader, "changed", lambda *_: None)
    assert stale_reads(history_of(tmp_path)) != []


def test_a_cache_that_does_not_see_that_an_object_was_replaced_breaks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutation: a reader that has mapped an object does not look whether it is still there."""
    monkeypatch.setattr(CacheReader, "_still_there", lambda _, stored, __: stored)
    assert stale_reads(history_of(tmp_path)) != []


def test_a_cache_whose_keeper_hears_of_no_changes_breaks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutation: the keeper ignores invalidations. Writes elsewhere are then never seen."""
    world = World(tmp_path)
    reader, history = world.reader(), []
    news = type(world.told).news

    def deaf(told: object) -> list[News]:
        return [each for each in news(told) if not isinstance(each, Changed | Blind)]  # type: ignore[arg-type]

    for broken in (False, True):
        if broken:
            monkeypatch.setattr(type(world.told), "news", deaf)
        history.clear()
        for now in range(50 * broken, 50 * broken + 20):
            world.put(k=np.full(20_000, now))
            history.append(Did("k", now, now, now + 0.1, wrote=True))
            world.settle()
            for part in (0.2, 0.3):
                value = int(value_of(reader, "k")[0])
                history.append(Did("k", value, now + part, now + part))
                world.settle()
        assert bool(stale_reads(history)) == broken
    monkeypatch.undo()
    world.close()
