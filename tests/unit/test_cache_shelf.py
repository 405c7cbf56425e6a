"""Which objects have to go when there are too many."""

from __future__ import annotations

import math
import random

import pytest

from cloudburst.cache.shelf import Shelf


def never_used(_: str) -> float:
    return 0.0


def filled(*keys: str, budget: int = 100, size: int = 30) -> Shelf:
    shelf = Shelf(budget)
    for now, key in enumerate(keys):
        assert shelf.add(key, size, float(now), never_used) == []
    return shelf


def test_the_one_that_was_used_least_recently_goes() -> None:
    shelf = filled("a", "b", "c")

    assert shelf.add("d", 30, 3.0, never_used) == ["a"]
    assert "a" not in shelf
    assert shelf.size == 90
    shelf.validate()


def test_use_is_asked_for_only_when_some_have_to_go() -> None:
    asked: list[str] = []

    def used(key: str) -> float:
        asked.append(key)
        return {"a": 10.0, "b": 5.0}.get(key, 0.0)

    shelf = Shelf(100)
    for now, key in enumerate("abc"):
        shelf.add(key, 30, float(now), used)
    assert asked == []

    assert shelf.add("d", 30, 3.0, used) == ["c"]
    assert shelf.add("e", 30, 4.0, used) == ["d"]
    assert shelf.add("f", 30, 4.5, used) == ["e"]
    assert shelf.add("g", 30, 6.0, used) == ["f"]
    assert shelf.add("h", 30, 7.0, used) == ["b"]
    shelf.validate()


def test_as_many_go_as_have_to() -> None:
    shelf = filled("a", "b", "c")
    assert shelf.add("large", 50, 3.0, never_used) == ["a", "b"]


def test_a_new_one_takes_the_place_of_the_old_one_of_its_key() -> None:
    shelf = filled("a", "b", "c")
    assert shelf.add("a", 40, 3.0, never_used) == []
    assert shelf.size == 100
    assert shelf.add("d", 30, 4.0, never_used) == ["b"]
    shelf.validate()


def test_the_newest_stays_even_if_others_seem_to_be_used_later() -> None:
    shelf = filled("a", "b", "c")
    assert shelf.add("old clock", 30, -5.0, lambda _: 9.0) == ["a"]
    assert "old clock" in shelf
    shelf.validate()


def test_objects_that_would_displace_too_many_are_not_taken() -> None:
    shelf = Shelf(100)
    assert [shelf.takes(size) for size in (0, 1, 50, 51, 1000)] == [False, True, True, False, False]
    assert not Shelf(0).takes(1)


def test_with_a_smaller_budget_more_go_the_next_time() -> None:
    shelf = filled("a", "b", "c")
    shelf.budget = 60
    assert shelf.add("d", 30, 3.0, never_used) == ["a", "b"]


def test_what_expires_goes_at_its_time() -> None:
    shelf = Shelf(100)
    shelf.add("for ever", 10, 0.0, never_used)
    shelf.add("later", 10, 0.0, never_used, until=20.0)
    shelf.add("soon", 10, 0.0, never_used, until=10.0)
    shelf.add("replaced", 10, 0.0, never_used, until=5.0)
    shelf.add("replaced", 10, 0.0, never_used)

    assert shelf.next_expiry() == 5.0
    assert shelf.expire(9.9) == []
    assert shelf.next_expiry() == 10.0
    assert shelf.expire(10.0) == ["soon"]
    assert shelf.expire(100.0) == ["later"]
    assert shelf.next_expiry() == math.inf
    assert len(shelf) == 2
    shelf.validate()


def test_dropping_and_clearing() -> None:
    shelf = filled("a", "b")
    assert shelf.drop("a")
    assert not shelf.drop("a")
    shelf.clear()
    assert (len(shelf), shelf.size, shelf.next_expiry()) == (0, 0, math.inf)
    shelf.validate()


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_it_goes_by_last_use_and_keeps_its_budget(seed: int) -> None:
    chance = random.Random(seed)
    shelf, last, sizes, ends = Shelf(1000), {}, {}, {}
    for now in range(2000):
        key = f"k{chance.randrange(40)}"
        match chance.randrange(8):
            case 0:
                assert shelf.drop(key) == (key in sizes)
                sizes.pop(key, None)
            case 1 | 2 | 3 if key in sizes:
                last[key] = float(now)
            case 4:
                gone = {k for k in sizes if ends[k] <= now}
                assert set(shelf.expire(now)) == gone
                for k in gone:
                    del sizes[k]
            case _:
                size, until = chance.randint(1, 300), chance.choice((math.inf, now + 50.0))
                ends[key] = until
                gone = shelf.add(key, size, float(now), lambda k: last.get(k, 0.0), until)
                last[key], sizes[key] = float(now), size
                oldest_first = sorted((k for k in sizes if k != key), key=lambda k: last[k])
                assert gone == oldest_first[: len(gone)]
                for k in gone:
                    assert sum(sizes.values()) > 1000, "none goes in vain"
                    del sizes[k]
        assert shelf.size == sum(sizes.values())
        assert len(shelf) == len(sizes)
        shelf.validate()


def test_it_takes_no_more_memory_the_longer_it_works() -> None:
    shelf = Shelf(1000)
    for now in range(10_000):
        shelf.add("k", 10, float(now), never_used, until=1e9 + now)
    assert len(shelf._uses) + len(shelf._ends) < 200
