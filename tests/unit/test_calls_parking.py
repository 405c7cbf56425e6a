"""Which arguments of a call go through the store: not more than need be."""

from __future__ import annotations

from cloudburst.calls.parking import LARGE, SMALL, Parking
from cloudburst.core.ids import is_parked
from cloudburst.kvs import keys
from cloudburst.kvs.base import Get
from cloudburst.kvs.memory import MemoryStore


def parked(*sizes: int) -> list[int]:
    """The numbers of the arguments that go through the store, of arguments of these sizes."""
    store = MemoryStore()
    parking = Parking("r1", lambda: store)
    numbers = []
    for number, size in enumerate(sizes):
        reference = parking.park(number, [b"\x80".ljust(size, b".")])
        if reference is not None:
            numbers.append(number)
            assert is_parked(reference.key, "r1")
            (value,) = store.execute([Get(keys.object_key(reference.key))])
            assert value is not None
            assert len(value) >= size
    return numbers


def test_a_large_one_does() -> None:
    assert parked(LARGE - 1) == []
    assert parked(LARGE) == [0]


def test_those_that_are_large_together_do() -> None:
    """Otherwise the scheduler would have to hold whatever many of them make."""
    assert parked(LARGE // 2, LARGE // 2, LARGE // 4, SMALL) == [1]
    assert parked(*[LARGE - 1] * 5) == [1, 2, 3, 4]


def test_small_ones_never_do() -> None:
    assert parked(*[SMALL - 1] * 40) == []


def test_small_ones_leave_no_room_for_others() -> None:
    assert parked(*[SMALL - 1] * 20, SMALL) == [20]
