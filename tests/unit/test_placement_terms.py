"""Steps that need something, run together, take the first of several results, or in batches."""

from __future__ import annotations

import pytest
from choosing import LONE, Room, chain, places, plan_of, race

from cloudburst.scheduler.membership import LATE
from cloudburst.scheduler.placement import LONG, width
from cloudburst.scheduler.queues import ANY, NEEDS

GPU = NEEDS + "gpu"

# what they need


def test_what_needs_a_resource_goes_where_it_is() -> None:
    assert places(Room(3, gpus=[2]).place(LONE["k"])) == [2]


def test_others_take_it_last() -> None:
    room = Room(3, gpus=[0, 1])

    assert places(room.place(LONE["f"])) == [2]
    room.busy(2)
    assert places(room.place(LONE["f"])) == [0]


def test_even_where_their_code_is_warm() -> None:
    room = Room(2, gpus=[0])
    room[0].plans.add(LONE["f"].id)

    assert places(room.place(LONE["f"])) == [1]


def test_who_needs_it_prefers_warm_code_as_others_do() -> None:
    room = Room(3, gpus=[1, 2])
    room[2].plans.add(LONE["k"].id)

    assert places(room.place(LONE["k"])) == [2]


@pytest.mark.parametrize("gpus", [[], [1]])
def test_who_needs_it_waits_for_it_though_others_are_idle(gpus: list[int]) -> None:
    room = Room(2, gpus)
    room.busy(*gpus)

    assert room.place(LONE["k"]) == ((), GPU)


@pytest.mark.parametrize("functions", [("k", "f"), ("f", "k"), ("f", "k", "f")])
def test_steps_of_a_chain_go_where_each_may(functions: tuple[str, ...]) -> None:
    plan, room = chain(*functions), Room(3, gpus=[2])

    where = places(room.place(plan))
    for number, function in enumerate(functions):
        if function == "k":
            assert where[plan.segment_of[number]] == 2


def test_sources_go_where_each_may() -> None:
    plan = plan_of(("x", "f"), ("y", "k"), ("z", "f"), edges=[("x", "z"), ("y", "z")])

    assert places(Room(3, gpus=[2]).place(plan))[:2] == [0, 2]
    room = Room(3, gpus=[2])
    room.busy(2)
    assert room.place(plan) == ((), GPU)


def test_a_later_step_waits_for_its_resource_only_if_there_is_none() -> None:
    plan, room = chain("f", "k"), Room(2, gpus=[1])
    room.busy(1)

    assert places(room.place(plan)) == [0, 1]
    assert Room(2).place(plan) == ((), GPU)


def test_steps_of_one_function_may_need_what_others_of_it_do_not() -> None:
    plan = plan_of(("x", "f"), ("y", "f"), edges=[("x", "y")], needing=["y"])

    assert places(Room(2, gpus=[1]).place(plan)) == [0, 1]


def test_only_steps_that_need_it_make_a_plan_wide_there() -> None:
    steps = [("x", "k"), ("y", "k"), ("z", "f"), ("end", "f")]
    plan = plan_of(*steps, edges=[("x", "end"), ("y", "end"), ("z", "end")])

    assert width(plan, [1.0] * 4) == 3
    assert width(plan, [1.0] * 4, "gpu") == 2
    assert width(plan, [1.0] * 4, "ssd") == 1


# those that run together

BRANCHES = [("top", "f"), ("x", "f"), ("y", "f"), ("z", "f"), ("end", "f")]
FAN = [("top", name) for name in "xyz"] + [(name, "end") for name in "xyz"]


def test_steps_that_run_together_do_and_the_others_spread() -> None:
    plan = plan_of(*BRANCHES, edges=FAN, together=[["x", "z"]])

    _, x, y, z, _ = places(Room(3).place(plan))
    assert x == z != y


def test_several_groups_are_several_places() -> None:
    plan = plan_of(*BRANCHES, edges=FAN, together=[["x", "y"], ["z", "end"]])

    _, x, y, z, end = places(Room(3).place(plan))
    assert (x == y, z == end) == (True, True)
    assert x != z


def test_long_branches_that_run_together_do_not_wait_for_others() -> None:
    plan = plan_of(*BRANCHES, edges=FAN, together=[["x", "y", "z"]])

    assert len({*places(Room(1).place(plan, more=True))}) == 1
    assert Room(1).place(plan_of(*BRANCHES, edges=FAN), more=True).blocked_on == ANY


def test_sources_run_together_where_there_is_room() -> None:
    steps = [("x", "f"), ("y", "f"), ("z", "f")]
    edges = [("x", "z"), ("y", "z")]
    plan = plan_of(*steps, edges=edges, together=[["x", "y"]])

    assert places(Room(2).place(plan))[:2] == [0, 0]
    assert places(Room(2).place(plan_of(*steps, edges=edges)))[:2] == [0, 1]


def test_what_a_step_needs_goes_before_its_group() -> None:
    plan = plan_of(
        *[("x", "f"), ("y", "k"), ("z", "f")],
        edges=[("x", "z"), ("y", "z")],
        together=[["x", "y"]],
    )
    assert places(Room(2, gpus=[1]).place(plan))[:2] == [0, 1]

    later = plan_of(*BRANCHES, edges=FAN, together=[["x", "z"]], needing=["z"])
    where = places(Room(2, gpus=[1]).place(later))
    assert where[later.segment_of[3]] == 1


def test_an_instance_goes_before_its_group() -> None:
    plan = plan_of(
        *[("top", "f"), ("x", "f"), ("y", "C"), ("end", "f")],
        edges=[("top", "x"), ("top", "y"), ("x", "end"), ("y", "end")],
        together=[["x", "y"]],
    )
    room = Room(3)
    room.settle(plan, 0, 0, 2, 0)

    assert places(room.place(plan))[2] == 2


# the first of several results


def test_branches_of_which_the_first_counts_do_not_share_an_executor() -> None:
    first, second, _ = places(Room(3).place(race("f", "f"), patient=True))

    assert first != second


def test_who_takes_the_first_does_not_wait_behind_those_that_come_later() -> None:
    *branches, end = places(Room(3).place(race("f", "f"), patient=True))

    assert end not in branches


def test_of_those_that_do_not_race_it_takes_the_least_busy() -> None:
    room = Room(4)
    room.busy(2)

    assert places(room.place(race("f", "f"), patient=True)) == [0, 1, 3]


def test_short_branches_are_joined_elsewhere_as_they_may_turn_out_long() -> None:
    *branches, end = places(Room(3).place(race("f", "f"), LONG / 2, patient=True))

    assert end not in branches


def test_the_end_of_a_race_is_not_put_behind_something_else() -> None:
    room = Room(3)
    room.busy(2)

    assert room.place(race("f", "f"), LONG, patient=True) == ((), ANY)
    *branches, end = places(room.place(race("f", "f"), LONG))
    assert end in branches, "what the other executor is at takes longer"


def test_short_races_wait_for_nobody() -> None:
    room = Room(3)
    room.busy(2)

    *branches, end = places(room.place(race("f", "f"), 1e-4, patient=True))
    assert end in branches


def test_branches_wait_for_others_to_become_idle() -> None:
    room = Room(3)
    room.busy(1, 2)

    assert room.place(race("f", "f"), patient=True) == ((), ANY)
    assert room.place(race("f", "f"), LONG / 2, patient=True) == ((), ANY)
    assert places(room.place(race("f", "f")))[:2] == [0, 0], "but not for ever"


def test_branches_wait_for_executors_that_may_come() -> None:
    assert Room(1).place(race("f", "f"), more=True, patient=True) == ((), ANY)
    assert Room(2).place(race("f", "f"), more=True, patient=True) == ((), ANY), "the end, too"
    assert Room(2).place(race("f", "f"), patient=True).blocked_on is None


def test_where_all_executors_race_the_end_is_where_it_is_over_soonest() -> None:
    *_, end = places(Room(2).place(race("f", "f"), [5.0, 2.0, 1.0], patient=True))

    assert end == 1


def test_branches_of_other_resources_wait_for_these() -> None:
    room = Room(2, gpus=[1])

    assert places(room.place(race("f", "k"), patient=True))[:2] == [0, 1]
    assert room.place(race("k", "k"), more=True, patient=True) == ((), GPU)


def test_who_takes_the_first_may_need_a_resource_that_a_branch_uses() -> None:
    room = Room(3, gpus=[2])

    assert places(room.place(race("f", "k", end="k"))) == [0, 2, 2]
    assert places(room.place(race("f", "f", end="k"), patient=True)) == [0, 1, 2]
    assert Room(3).place(race("f", "f", end="k")) == ((), GPU)


def test_branches_that_are_not_raced_may_share_while_they_are_short() -> None:
    """Only those whose results are taken first."""
    plan = plan_of(*BRANCHES, edges=FAN)

    assert {*places(Room(3).place(plan, LONG / 50, patient=True))} == {0}


def test_a_race_is_one_wider_than_its_branches() -> None:
    assert width(race("f", "f"), [1.0] * 3) == 3
    assert width(race("f", "f"), [1e-3] * 3) == 1


# batches

BATCH = LONE["m"]


def together(room: Room, count: int, plan: str = BATCH.id, seconds: float = 1.0) -> None:
    """So many runs of a plan are on the first executor."""
    for number in range(count):
        room[0].take(f"m{number}", 1, seconds, batch=plan)


@pytest.mark.parametrize(("count", "has_room"), [(1, True), (7, True), (8, False), (9, False)])
def test_two_batches_have_room(count: int, has_room: bool) -> None:
    room = Room(1)
    together(room, count)

    assert (room.place(BATCH).blocked_on is None) == has_room


def test_only_runs_of_the_same_plan_are_put_together() -> None:
    room = Room(1)
    together(room, 2, plan="another")
    assert room.place(BATCH).blocked_on == ANY

    room = Room(1)
    together(room, 1)
    room[0].take("other", 1, 1.0)
    together(room, 2)
    assert room.place(BATCH).blocked_on == ANY


def test_a_run_that_is_to_be_alone_is_not_put_to_others() -> None:
    room = Room(1)
    together(room, 1)

    assert room.place(BATCH, batches=False).blocked_on == ANY


def test_none_is_put_behind_those_that_are_late() -> None:
    room = Room(1)
    together(room, 1, seconds=LATE)

    assert room.place(BATCH, now=LATE).blocked_on is None
    assert room.place(BATCH, now=LATE * 1.1).blocked_on == ANY


def test_none_is_put_where_others_were_taken_back() -> None:
    room = Room(1)
    together(room, 1)
    room[0].bounced = True

    assert room.place(BATCH).blocked_on == ANY


def test_sources_of_a_dag_are_put_to_a_batch_of_it() -> None:
    plan = plan_of(("x", "m"), ("y", "f"), ("z", "f"), edges=[("x", "z"), ("y", "z")])
    room = Room(2)
    for executor in room.executors.values():
        executor.take("m0", 1, 1.0, batch=plan.id)

    assert places(room.place(plan, 1e-4))[:2] == [0, 1]
    assert room.place(chain("m", "f"), 1e-4).blocked_on == ANY


def test_what_begins_with_something_that_takes_its_time_is_not_put_to_a_batch() -> None:
    plan, room = chain("f", "m"), Room(1)
    room[0].take("m0", 1, 1.0, batch=plan.id)

    assert room.place(plan, 1e-4).blocked_on is None
    assert room.place(plan, 1.0).blocked_on == ANY
