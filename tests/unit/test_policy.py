"""Which of several executors with room a run begins on, by policy."""

from __future__ import annotations

from collections import Counter

import pytest

from cloudburst.config import POLICIES
from cloudburst.core.plan import FunctionInfo, compile_function
from cloudburst.scheduler.homes import Homes
from cloudburst.scheduler.membership import Executor
from cloudburst.scheduler.placement import Scene, place
from cloudburst.scheduler.policy import BUSY, Policy, Preference

PLAN = compile_function(FunctionInfo("f", "v", is_class=False))


@pytest.fixture
def executors() -> dict[str, Executor]:
    """Three idle ones; the last has run the plan before."""
    found = {name: Executor(name, "host", f"@{name}", n) for n, name in enumerate("abc", 1)}
    found["c"].plans.add(PLAN.id)
    return found


def chosen(executors: dict[str, Executor], preference: Preference, times: int = 1) -> list[str]:
    scene = Scene(executors, Homes(), preference=preference)
    placements = [place(PLAN, scene, [0.001]) for _ in range(times)]
    return [placement.executors[0].name for placement in placements]


def test_the_names_are_those_that_can_be_configured() -> None:
    assert tuple(Policy) == POLICIES


def test_locality_prefers_who_has_the_code(executors: dict[str, Executor]) -> None:
    assert chosen(executors, Preference(), 3) == ["c", "c", "c"]


def test_but_not_who_is_busy_most_of_the_time(executors: dict[str, Executor]) -> None:
    executors["c"].utilisation = BUSY + 0.1

    assert chosen(executors, Preference()) == ["a"]


def test_least_loaded_prefers_who_was_busy_least(executors: dict[str, Executor]) -> None:
    for name, utilisation in (("a", 0.5), ("b", 0.1), ("c", 0.3)):
        executors[name].utilisation = utilisation

    assert chosen(executors, Preference(Policy.LEAST_LOADED)) == ["b"]


def test_round_robin_takes_one_after_another(executors: dict[str, Executor]) -> None:
    assert chosen(executors, Preference(Policy.ROUND_ROBIN), 7) == list("abcabca")


def test_round_robin_passes_over_who_has_no_room(executors: dict[str, Executor]) -> None:
    executors["b"].take("long", 1, 1.0)

    assert chosen(executors, Preference(Policy.ROUND_ROBIN), 4) == list("acac")


def test_random_takes_all_of_them_and_the_same_with_the_same_seed(
    executors: dict[str, Executor],
) -> None:
    first = chosen(executors, Preference(Policy.RANDOM, seed=1), 60)

    assert chosen(executors, Preference(Policy.RANDOM, seed=1), 60) == first
    assert all(count > 5 for count in Counter(first).values())
    assert len(Counter(first)) == 3


def test_an_executors_utilisation_is_the_share_of_time_it_had_work(
    executors: dict[str, Executor],
) -> None:
    one = executors["a"]
    one.take("r", 1, 0.1, now=1.0)
    one.release("r", 1, now=1.5)
    one.measure(2.0)  # a quarter of the time, of which half counts

    assert one.utilisation == pytest.approx(0.125)
    for now in range(3, 20):
        one.measure(float(now))
    assert one.utilisation < 0.001
