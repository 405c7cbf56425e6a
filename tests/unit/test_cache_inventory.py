"""What is told of a cache: every change once, in parts, and all of it again on demand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudburst.cache import inventory as module
from cloudburst.cache.inventory import LEAST, Inventory
from cloudburst.core.hosts import CacheChanges
from cloudburst.scheduler.holdings import Holdings


@pytest.fixture
def inventory() -> Inventory:
    return Inventory()


def test_nothing_is_told_of_an_empty_cache(inventory: Inventory) -> None:
    assert inventory.changes() == CacheChanges()


def test_each_change_is_told_once(inventory: Inventory) -> None:
    inventory.add("a", LEAST)
    inventory.add("b", 2 * LEAST)

    assert inventory.changes() == CacheChanges(1, (("a", LEAST), ("b", 2 * LEAST)))
    assert inventory.changes() == CacheChanges(1)
    inventory.drop(["a", "unknown"])
    assert inventory.changes() == CacheChanges(2, (), ("a",))


def test_what_came_and_went_in_between_is_not_told(inventory: Inventory) -> None:
    inventory.add("a", LEAST)
    inventory.drop(["a"])

    assert inventory.changes() == CacheChanges()


def test_an_object_of_another_size_is(inventory: Inventory) -> None:
    inventory.add("a", LEAST)
    inventory.changes()
    inventory.add("a", LEAST)
    assert inventory.changes() == CacheChanges(1)

    inventory.add("a", 3 * LEAST)
    assert inventory.changes() == CacheChanges(2, (("a", 3 * LEAST),))


def test_small_objects_are_not_worth_a_word(inventory: Inventory) -> None:
    inventory.add("a", LEAST - 1)
    assert inventory.changes() == CacheChanges()

    inventory.add("b", LEAST)
    inventory.changes()
    inventory.add("b", LEAST - 1)
    assert inventory.changes() == CacheChanges(2, (), ("b",))


def test_nor_is_what_cannot_be_said(inventory: Inventory) -> None:
    inventory.add("\udc80", LEAST)
    assert inventory.changes() == CacheChanges()


def test_an_emptied_cache_is_told_in_a_word(inventory: Inventory) -> None:
    for number in range(9):
        inventory.add(str(number), LEAST)
    inventory.changes()
    inventory.clear()
    inventory.add("a", LEAST)

    assert inventory.changes() == CacheChanges(2, (("a", LEAST),), whole=True)


def test_many_changes_are_told_in_parts(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    for name in "abc":
        inventory.add(name, LEAST)

    assert [name for name, _ in inventory.changes().added] == ["a", "b"]
    assert [name for name, _ in inventory.changes().added] == ["c"]
    assert inventory.changes().number == 2


def test_so_are_long_names(inventory: Inventory) -> None:
    for number in range(100):
        inventory.add(f"{number}".ljust(1000), LEAST)

    parts = [inventory.changes() for _ in range(5)]
    letters = [sum(len(name) for name, _ in part.added) for part in parts]
    assert max(letters) < module.LETTERS + 1000
    assert sum(letters) == 100_000


def test_no_more_are_told_of_than_others_remember(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    for name in "abc":
        inventory.add(name, LEAST)
    inventory.changes()
    inventory.drop(["a"])
    inventory.add("d", LEAST)

    assert inventory.changes() == CacheChanges(2, (("d", LEAST),), ("a",))
    inventory.drop(["c"])  # of which nobody knows
    assert inventory.changes() == CacheChanges(2)


def test_who_has_missed_something_is_told_all_again(inventory: Inventory) -> None:
    inventory.add("a", LEAST)
    inventory.changes()
    inventory.add("b", LEAST)
    inventory.changes()
    inventory.recount(2)

    assert inventory.changes() == CacheChanges(3, (("a", LEAST), ("b", LEAST)), whole=True)
    inventory.recount(2)  # said before that was heard
    assert inventory.changes() == CacheChanges(3)


Step = tuple[str, int]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 9)),
        st.tuples(st.just("drop"), st.integers(0, 9)),
        st.tuples(st.just("clear"), st.just(0)),
        st.tuples(st.sampled_from(["tell", "lose", "repeat", "new scheduler"]), st.just(0)),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(steps)
def test_whatever_is_lost_or_repeated_in_the_end_both_know_the_same(drawn: list[Step]) -> None:
    inventory, holdings, here = Inventory(), Holdings(), dict[str, int]()
    last = CacheChanges()

    def tell(changes: CacheChanges) -> None:
        if not holdings.hear("h", changes):
            inventory.recount(changes.number)
        holdings.validate({"h"})

    for number, (what, pick) in enumerate(drawn, 1):
        match what:
            case "add":
                here[str(pick)] = LEAST + number
                inventory.add(str(pick), LEAST + number)
            case "drop":
                here.pop(str(pick), None)
                inventory.drop([str(pick)])
            case "clear":
                here.clear()
                inventory.clear()
            case "tell":
                last = inventory.changes()
                tell(last)
            case "lose":
                last = inventory.changes()
            case "repeat":
                tell(last)
            case _:
                holdings = Holdings()
    for _ in range(3):
        tell(inventory.changes())

    assert holdings.of("h") == here == inventory.told
