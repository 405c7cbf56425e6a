"""Instances of classes: when a run goes to one that is there, and when another is made."""

from __future__ import annotations

import pytest
from choosing import Room, chain, places, plan_of

from cloudburst.scheduler.policy import BUSY
from cloudburst.scheduler.queues import ANY, HOME, NEEDS

LONELY = chain("C")
ON_GPU = chain("G")
LATER = plan_of(
    *[("s", "f"), ("x", "f"), ("y", "f"), ("c", "C")],
    edges=[("s", "x"), ("s", "y"), ("x", "c"), ("y", "c")],
)
"""A class step behind two branches: segments ``s``, ``x``, ``y`` and ``c``."""
AT = 3


@pytest.fixture
def room() -> Room:
    return Room(3)


def test_of_several_instances_one_with_room_is_taken(room: Room) -> None:
    room.settle(LONELY, 1, 2)
    room.busy(1)

    assert places(room.place(LONELY, replicas=2)) == [2]


def test_another_is_made_when_all_have_no_room_and_were_busy_for_long(room: Room) -> None:
    room.settle(LONELY, 1)
    room.busy(1)
    room.used(1)

    assert places(room.place(LONELY, replicas=2)) == [0]


@pytest.mark.parametrize(
    ("replicas", "used", "busy"),
    [(1, 0.9, True), (2, BUSY, True), (2, 0.0, True)],
    ids=["as many as there may be", "not busy enough", "never busy"],
)
def test_otherwise_a_run_waits_for_one_that_is_there(
    room: Room, replicas: int, used: float, busy: bool
) -> None:
    room.settle(LONELY, 1)
    room.busy(*[1] * busy)
    room.used(1, share=used)

    assert room.place(LONELY, replicas=replicas) == ((), HOME + "d")


def test_none_is_made_while_one_has_room(room: Room) -> None:
    room.settle(LONELY, 1)
    room.used(1)

    assert places(room.place(LONELY, replicas=2)) == [1]


def test_all_must_have_been_busy(room: Room) -> None:
    room.settle(LONELY, 0, 1)
    room.busy(0, 1)
    room.used(0)

    assert room.place(LONELY, replicas=3).blocked_on == HOME + "d"
    room.used(1)
    assert places(room.place(LONELY, replicas=3)) == [2]


def test_one_that_may_be_made_waits_for_any_room(room: Room) -> None:
    room.settle(LONELY, 1)
    room.busy(0, 1, 2)
    room.used(1)

    assert room.place(LONELY, replicas=2) == ((), ANY)


def test_an_instance_that_is_not_for_this_run_counts_all_the_same(room: Room) -> None:
    """Else another would be made, and take the place of both."""
    room.settle(LONELY, 0, 1)
    room.busy(1)
    room.used(0, 1)

    assert room.place(LONELY, replicas=2, without=[0]) == ((), HOME + "d")


# what they need


def test_one_that_needs_a_resource_waits_for_it_and_for_nothing_else() -> None:
    room = Room(3, gpus=[1])
    room.settle(ON_GPU, 1)
    room.busy(1)
    room.used(1)

    assert room.place(ON_GPU, replicas=2) == ((), NEEDS + "gpu")
    room = Room(3, gpus=[1, 2])
    room.settle(ON_GPU, 1)
    room.busy(1)
    room.used(1)
    assert places(room.place(ON_GPU, replicas=2)) == [2]


def test_an_instance_where_there_is_not_what_it_needs_by_now_is_left() -> None:
    """The class was registered anew, and needs more."""
    room = Room(3, gpus=[2])
    room.settle(chain("C"), 0)

    assert places(room.place(ON_GPU)) == [2]
    room.busy(2)
    assert room.place(ON_GPU).blocked_on == NEEDS + "gpu"


# in graphs


def test_a_source_of_several_goes_to_one_with_room_or_has_another_made(room: Room) -> None:
    plan = plan_of(("x", "f"), ("y", "C"), ("z", "f"), edges=[("x", "z"), ("y", "z")])
    room.settle(plan, 0, 1, 0)
    room.busy(1)

    assert room.place(plan, replicas=2) == ((), HOME + "d")
    room.used(1)
    assert places(room.place(plan, replicas=2))[1] == 2
    assert room.place(plan, replicas=1).blocked_on == HOME + "d"


def test_the_first_source_has_another_made_too(room: Room) -> None:
    plan = plan_of(("x", "C"), ("y", "f"), ("z", "f"), edges=[("x", "z"), ("y", "z")])
    room.settle(plan, 1, 0, 0)
    room.busy(1)

    assert room.place(plan, replicas=2).blocked_on == HOME + "d"
    room.used(1)
    assert places(room.place(plan, replicas=2))[0] == 0
    room.busy(0, 2)
    assert room.place(plan, replicas=2).blocked_on == ANY


def test_what_comes_later_goes_to_an_instance_however_busy_it_is(room: Room) -> None:
    room.settle(LATER, 0, 0, 0, 2)
    room.busy(2)

    assert places(room.place(LATER))[AT] == 2
    assert places(room.place(LATER, replicas=2))[AT] == 2


def test_what_comes_later_has_another_made_when_that_was_busy_for_long(room: Room) -> None:
    room.settle(LATER, 0, 0, 0, 2)
    room.busy(2)
    room.used(2)

    assert places(room.place(LATER, replicas=1))[AT] == 2
    assert places(room.place(LATER, replicas=2))[AT] in {0, 1}


def test_what_comes_later_has_none_made_while_one_has_room(room: Room) -> None:
    room.settle(LATER, 0, 0, 0, 2)
    room.used(2)

    assert places(room.place(LATER, replicas=2))[AT] == 2


def test_of_several_what_comes_later_takes_the_one_with_room(room: Room) -> None:
    room.settle(LATER, 0, 0, 0, 2)
    room.settle(LATER, 0, 0, 0, 1)
    room.busy(2)

    assert places(room.place(LATER, replicas=2))[AT] == 1
