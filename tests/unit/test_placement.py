"""What is learned of service times, and how placement uses it. Stories of whole runs are told in
``test_scheduler_placement``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudburst.core.dag import Dag, make_steps
from cloudburst.core.plan import FunctionInfo, Plan, compile_dag, compile_function
from cloudburst.scheduler.homes import Homes
from cloudburst.scheduler.membership import AHEAD, Executor
from cloudburst.scheduler.placement import LONG, TRIFLE, Placement, Scene, place, width
from cloudburst.scheduler.queues import HOME
from cloudburst.scheduler.times import OVERHEAD, UNKNOWN, ServiceTimes

FUNCTIONS = {name: FunctionInfo(name, "v1", is_class=name == "C") for name in "fC"}
LONE = compile_function(FUNCTIONS["f"])


def executors(*loads: float, warm: tuple[int, ...] = ()) -> dict[str, Executor]:
    """Executors ``e0``, ``e1``, ... that hold so much work, and have run ``LONE`` if warm."""
    made = {f"e{n}": Executor(f"e{n}", "host", f"@{n}", n) for n in range(len(loads))}
    for number, load in enumerate(loads):
        if load:
            made[f"e{number}"].take("other", 1, load)
        if number in warm:
            made[f"e{number}"].plans.add(LONE.id)
    return made


def fan(width: int, function: str = "f") -> Plan:
    names = [f"s{number}" for number in range(width)]
    steps = make_steps([("top", "f"), *((name, function) for name in names), ("end", "f")])
    edges = [("top", name) for name in names] + [(name, "end") for name in names]
    return compile_dag(Dag("d", steps, tuple(edges)), FUNCTIONS)


def chosen(
    plan: Plan,
    members: dict[str, Executor],
    expected: float = 1.0,
    homes: Homes | None = None,
) -> list[str]:
    scene = Scene(members, homes or Homes())
    placement = place(plan, scene, [expected] * len(plan.segments))
    return [executor.name for executor in placement.executors]


def settled(plan: Plan, members: dict[str, Executor], kept: dict[int, str]) -> Homes:
    """Homes of some of a plan's segments; the others' steps are of no class."""
    homes = Homes()
    anywhere = next(iter(members))
    names = [kept.get(number, anywhere) for number in range(len(plan.segments))]
    homes.settle(plan, [members[name] for name in names], 1)
    return homes


# service times


def test_nothing_is_known_of_what_never_ran() -> None:
    assert ServiceTimes().of(LONE) == [UNKNOWN]


def test_the_first_measurement_counts_fully() -> None:
    times = ServiceTimes()
    times.of(LONE)
    times.observe(LONE.id, 0, 0.25)

    assert times.of(LONE) == [0.25 + OVERHEAD]


def test_later_measurements_move_the_average_by_a_fifth() -> None:
    times = ServiceTimes()
    times.of(LONE)
    for seconds in (1e-3, 6e-3):
        times.observe(LONE.id, 0, seconds)

    assert times.of(LONE) == [pytest.approx(2e-3 + OVERHEAD)]


def test_segments_are_measured_one_by_one() -> None:
    plan = fan(2)
    times = ServiceTimes()
    times.of(plan)
    times.observe(plan.id, 1, 0.5)

    assert times.of(plan) == [UNKNOWN, 0.5 + OVERHEAD, UNKNOWN, UNKNOWN]


@pytest.mark.parametrize("segment", [-1, 1, 10**9])
def test_a_segment_the_plan_does_not_have_is_not_measured(segment: int) -> None:
    times = ServiceTimes()
    times.of(LONE)
    times.observe(LONE.id, segment, 0.5)

    assert times.of(LONE) == [UNKNOWN]


def test_a_plan_nobody_asked_about_is_not_measured() -> None:
    times = ServiceTimes()
    times.observe(LONE.id, 0, 0.5)

    assert times.of(LONE) == [UNKNOWN]


def test_only_the_plans_that_are_kept_are_remembered() -> None:
    times, plan = ServiceTimes(), fan(1)
    for one in (LONE, plan):
        times.of(one)
        times.observe(one.id, 0, 0.5)
    times.forget({LONE.id})

    assert times.of(LONE) == [0.5 + OVERHEAD]
    assert times.of(plan) == [UNKNOWN] * len(plan.segments)


# a lone function


def test_without_executors_a_run_waits_for_any() -> None:
    for plan in (LONE, fan(3)):
        placement = place(plan, Scene({}, Homes()), [1.0] * len(plan.segments))
        assert (placement.executors, placement.blocked_on) == ((), "")


def test_an_idle_executor_is_taken() -> None:
    assert chosen(LONE, executors(1.0, 0.0, 1.0)) == ["e1"]


def test_of_idle_executors_the_eldest_is_taken_or_one_that_is_warm() -> None:
    assert chosen(LONE, executors(0.0, 0.0, 0.0)) == ["e0"]
    assert chosen(LONE, executors(0.0, 0.0, 0.0, warm=(1, 2))) == ["e1"]


def test_of_busy_executors_the_least_loaded_is_taken() -> None:
    loads = [number * TRIFLE + 1e-6 for number in (4, 2, 3)]

    assert chosen(LONE, executors(*loads), expected=100e-6) == ["e1"]


def test_an_idle_executor_is_better_than_one_that_has_work_and_is_warm() -> None:
    members = executors(TRIFLE * 1.5, 0.0, warm=(0,))

    assert chosen(LONE, members, expected=100e-6) == ["e1"]


def test_what_does_not_fit_ahead_waits() -> None:
    members = executors(AHEAD / 2, AHEAD / 2)

    assert chosen(LONE, members, expected=AHEAD * 0.6) == []
    assert chosen(LONE, members, expected=AHEAD * 0.4) == ["e0"]


# graphs


def test_a_first_run_of_branches_is_spread() -> None:
    top, *branches, end = chosen(fan(6), executors(0.0, 0.0, 0.0))

    assert (top, end) == ("e0", "e0")
    assert sorted(branches) == ["e0", "e0", "e1", "e1", "e2", "e2"]


def test_branches_avoid_who_is_busy() -> None:
    assert "e1" not in chosen(fan(4), executors(0.0, 9.0, 0.0))


def test_branches_that_cost_less_than_crossing_over_stay() -> None:
    assert set(chosen(fan(50), executors(0.0, 0.0), expected=100e-6)) == {"e0"}
    assert set(chosen(fan(50), executors(0.0, 0.0), expected=400e-6)) == {"e0", "e1"}


def test_segments_of_other_depths_do_not_count_against_each_other() -> None:
    top, branch, other, end = chosen(fan(2), executors(0.0, 0.0))

    assert top == branch == end == "e0"
    assert other == "e1"


def test_a_segment_with_a_home_goes_there_however_busy_it_is() -> None:
    plan = fan(2, "C")
    members = executors(0.0, 0.0, 9.0)
    homes = settled(plan, members, {1: "e2", 2: "e2"})

    assert chosen(plan, members, homes=homes) == ["e0", "e2", "e2", "e0"]


def test_a_source_with_a_home_waits_for_it() -> None:
    plan = compile_dag(Dag("d", make_steps(["C"]), ()), FUNCTIONS)

    members = executors(0.0, 9.0)
    placement = place(plan, Scene(members, settled(plan, members, {0: "e1"})), [1.0])

    assert (placement.executors, placement.blocked_on) == ((), HOME + "d")


def test_the_home_of_another_dag_does_not_matter() -> None:
    plan, other = (compile_dag(Dag(name, make_steps(["C"]), ()), FUNCTIONS) for name in "de")
    members = executors(0.0, 0.0)

    assert chosen(plan, members, homes=settled(other, members, {0: "e1"})) == ["e0"]


# executors that may come


def yes() -> bool:
    return True


def hoping(
    plan: Plan,
    members: dict[str, Executor],
    expected: float = 1.0,
    homes: Homes | None = None,
) -> Placement:
    """Where the segments go if there could be more executors soon."""
    scene = Scene(members, homes or Homes(), more_may_come=yes)
    return place(plan, scene, [expected] * len(plan.segments))


def test_long_branches_wait_for_executors_of_their_own() -> None:
    assert hoping(fan(3), executors(0.0, 0.0)) == ((), "")
    names = [executor.name for executor in hoping(fan(3), executors(0.0, 0.0, 0.0)).executors]
    assert sorted(names[1:-1]) == ["e0", "e1", "e2"]


def test_branches_are_long_from_a_hundredth_of_a_second_on() -> None:
    assert hoping(fan(3), executors(0.0), LONG).blocked_on == ""
    assert hoping(fan(3), executors(0.0), LONG * 0.99).blocked_on is None


def test_long_branches_do_not_wait_if_no_more_executors_will_come() -> None:
    assert chosen(fan(3), executors(0.0, 0.0)) != []


def test_nobody_is_asked_whether_more_will_come_if_there_are_enough() -> None:
    def asked() -> bool:
        raise AssertionError

    for members in (executors(0.0, 0.0, 0.0), executors(0.0, 0.0, 0.0, 0.0)):
        scene = Scene(members, Homes(), more_may_come=asked)
        assert place(fan(3), scene, [1.0] * 5).blocked_on is None


def test_a_busy_executor_is_good_enough_for_a_branch_but_not_one_that_is_blocked() -> None:
    members = executors(0.0, 0.5)
    assert hoping(fan(2), members).blocked_on is None

    members["e1"].block("other", 1, 0.0, waits=True)
    assert hoping(fan(2), members).blocked_on == ""


def test_branches_at_home_do_not_wait_for_others() -> None:
    """Their executor is known, whether or not there are more."""
    plan, members = fan(2, "C"), executors(0.0, 0.0)

    placement = hoping(plan, members, homes=settled(plan, members, {1: "e1", 2: "e1"}))

    assert [executor.name for executor in placement.executors] == ["e0", "e1", "e1", "e1"]


def test_a_lone_function_does_not_wait_where_there_is_room() -> None:
    assert hoping(LONE, executors(0.0)).blocked_on is None


@pytest.mark.parametrize(("branches", "seconds", "count"), [(5, 1.0, 5), (5, 1e-3, 1), (1, 1.0, 1)])
def test_a_plan_is_as_wide_as_it_has_long_branches(
    branches: int, seconds: float, count: int
) -> None:
    plan = fan(branches)

    assert width(plan, [seconds] * len(plan.segments)) == count


def test_only_branches_at_a_time_count_for_the_width() -> None:
    top, left, right, end = 1.0, 1.0, 1e-3, 1.0

    assert width(fan(2), [top, left, right, end]) == 1
    assert width(fan(2), [top, left, left, end]) == 2


@given(
    width=st.integers(1, 20),
    loads=st.lists(st.sampled_from([0.0, 1e-4, 1e-3, 1.0]), min_size=1, max_size=6),
    expected=st.sampled_from([1e-4, 4e-4, 1e-3, 1.0]),
)
def test_every_segment_is_placed_or_none(width: int, loads: list[float], expected: float) -> None:
    plan, members = fan(width), executors(*loads)

    placement = place(plan, Scene(members, Homes()), [expected] * len(plan.segments))

    has_room = any(one.has_room(expected) for one in members.values())
    assert len(placement.executors) == (len(plan.segments) if has_room else 0)
    assert placement.blocked_on == (None if has_room else "")
    assert all(members[one.name] is one for one in placement.executors)


@given(width=st.integers(1, 40), count=st.integers(1, 8))
def test_idle_executors_share_long_branches_evenly(width: int, count: int) -> None:
    branches = chosen(fan(width), executors(*[0.0] * count))[1:-1]

    counts = [branches.count(f"e{number}") for number in range(count)]
    if width > 1:
        assert max(counts) - min(counts) <= 1
