"""Which executors keep instances of classes: where they settle, and when they are forgotten."""

from __future__ import annotations

from choosing import FUNCTIONS, LONE, Room, chain, plan_of

from cloudburst.core.dag import Dag, make_steps
from cloudburst.core.plan import Plan, compile_dag
from cloudburst.scheduler.homes import Homes, home_of

LONELY = chain("C")


def names(homes: Homes, plan: Plan, segment: int = 0) -> list[str]:
    homes.validate({f"e{number}" for number in range(9)}, {"d", "other"})
    return list(homes.of(plan, segment))


def test_classes_settle_where_they_run_and_functions_do_not() -> None:
    plan = plan_of(("x", "f"), ("y", "C"), ("z", "f"), edges=[("x", "z"), ("y", "z")])
    room = Room(3)
    room.settle(plan, 0, 1, 2)

    assert [names(room.homes, plan, number) for number in range(3)] == [[], ["e1"], []]
    assert "e1" in room.homes
    assert "e0" not in room.homes


def test_a_segment_with_a_class_anywhere_in_it_has_a_home() -> None:
    plan = chain("f", "C", "f")
    room = Room(1)
    room.settle(plan, 0)

    assert home_of(plan, 0) == ("d", "s0")
    assert names(room.homes, plan) == ["e0"]


def test_the_home_is_found_by_other_code_of_the_same_steps() -> None:
    newer = {**FUNCTIONS, "C": FUNCTIONS["C"]._replace(version="v2")}
    room = Room(2)
    room.settle(LONELY, 1)

    assert names(room.homes, compile_dag(Dag("d", make_steps([("s0", "C")]), ()), newer)) == ["e1"]


def test_other_dags_have_homes_of_their_own() -> None:
    other = compile_dag(Dag("other", make_steps([("s0", "C")]), ()), FUNCTIONS)
    room = Room(2)
    room.settle(LONELY, 0)

    assert names(room.homes, other) == []
    room.settle(other, 1)
    assert (names(room.homes, other), names(room.homes, LONELY)) == (["e1"], ["e0"])


def test_a_class_called_alone_has_no_home() -> None:
    assert names(Room(1).homes, LONE["C"]) == []


def test_so_many_settle_as_there_may_be_the_eldest_first() -> None:
    room = Room(3)
    room.settle(LONELY, 2, 0, 1, replicas=3)

    assert names(room.homes, LONELY) == ["e2", "e0", "e1"]


def test_who_is_there_settles_once() -> None:
    room = Room(2)
    room.settle(LONELY, 0, 1, 0, 1, replicas=2)

    assert names(room.homes, LONELY) == ["e0", "e1"]


def test_one_more_than_there_may_be_takes_the_place_of_all() -> None:
    room = Room(3)
    room.settle(LONELY, 0, 1, 2, replicas=2)

    assert names(room.homes, LONELY) == ["e2"]
    assert "e0" not in room.homes


def test_what_nobody_keeps_any_more_is_told() -> None:
    two = plan_of(("x", "C"), ("y", "C"), ("z", "f"), edges=[("x", "z"), ("y", "z")])
    room = Room(3)
    room.settle(two, 0, 1, 2)
    room.settle(two, 2, 1, 2)

    assert room.homes.leave(["e0"]) == [], "e2 has it, too"
    assert room.homes.leave(["e1", "e2", "e1"]) == [("d", "y"), ("d", "x")]
    assert names(room.homes, two) == names(room.homes, two, 1) == []


def test_who_keeps_nothing_leaves_nothing() -> None:
    assert Room(1).homes.leave(["e0", "nobody"]) == []


def test_the_latest_are_dropped_if_there_are_to_be_fewer() -> None:
    room = Room(4)
    room.settle(LONELY, 3, 0, 2)

    assert room.homes.drop_surplus(lambda _: 3) == []
    assert room.homes.drop_surplus(lambda _: 1) == [("d", "e0"), ("d", "e2")]
    assert names(room.homes, LONELY) == ["e3"]
    assert room.homes.drop_surplus(lambda _: 0) == [("d", "e3")]
    assert names(room.homes, LONELY) == []


def test_instances_of_other_dags_stay() -> None:
    other = compile_dag(Dag("other", make_steps([("s0", "C")]), ()), FUNCTIONS)
    room = Room(1)
    room.settle(LONELY, 0)
    room.settle(other, 0)

    assert room.homes.drop_surplus({"d": 0, "other": 1}.__getitem__) == [("d", "e0")]
    assert list(room.homes.at("e0")) == [("other", "s0")]


def test_who_still_keeps_something_for_the_dag_is_not_told_to_drop_it() -> None:
    two = plan_of(("x", "C"), ("y", "C"), ("z", "f"), edges=[("x", "z"), ("y", "z")])
    room = Room(3)
    room.settle(two, 0, 1, 2)
    room.settle(two, 1, 1, 2)

    assert room.homes.drop_surplus(lambda _: 1) == []
    assert names(room.homes, two, 0) == ["e0"]
    assert names(room.homes, two, 1) == ["e1"]
