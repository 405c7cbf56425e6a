"""Runs of which a step takes the first of several results: where they go, and how they end."""

from __future__ import annotations

import pytest
from elastic import SIZE, cluster_of, resized
from scheduling import Cluster, context, sent, started

from cloudburst.core.dag import FirstOf
from cloudburst.core.hosts import Knock
from cloudburst.core.messages import RunState, Start, Stop
from cloudburst.scheduler.outlook import RACE_PATIENCE
from cloudburst.scheduler.scaling import GROW_AFTER

EDGES = [("x", "end"), ("y", "end")]


def race(cluster: Cluster, name: str = "race") -> None:
    """A DAG of two branches, of which ``end`` takes the first result."""
    cluster.dag(name, [("x", "f"), ("y", "f"), FirstOf(("end", "f"), b"none")], EDGES)


@pytest.fixture
def cluster() -> Cluster:
    """Three executors and no more."""
    cluster = Cluster()
    cluster.join("a", "b", "c")
    cluster.register("f")
    race(cluster)
    return cluster


def test_branches_and_what_takes_the_first_run_apart(cluster: Cluster) -> None:
    assert started(cluster.call("r1", "race")) == [("r1", "a"), ("r1", "b")]
    assert cluster.places("r1") == ["a", "b", "c"]


def test_when_it_has_succeeded_the_others_are_stopped(cluster: Cluster) -> None:
    cluster.call("r1", "race")
    cluster.let_go("a", "r1")
    commands = cluster.report("c", "r1", 1, RunState.SUCCEEDED, [(2, 0.1)])

    assert sent(commands, Stop) == [("b", Stop("r1", 1, "SUCCEEDED"))]
    assert sent(commands, Knock) == [("host", Knock("b"))]
    assert "r1" not in cluster.runs
    assert not cluster.idle()
    cluster.let_go("b", "r1")
    assert cluster.idle()


def test_a_run_without_such_a_step_stops_nobody(cluster: Cluster) -> None:
    cluster.dag("join", [("x", "f"), ("y", "f"), ("end", "f")], EDGES)
    cluster.call("r1", "join")
    sink = cluster.places("r1")[-1]

    assert sent(cluster.report(sink, "r1", 1, RunState.SUCCEEDED), Stop) == []


def test_who_was_stopped_takes_others_once_it_says_so(cluster: Cluster) -> None:
    cluster.call("r1", "race")
    cluster.report("c", "r1", 1, RunState.SUCCEEDED)
    for number, name in enumerate("xyz"):
        cluster.call(name)
        assert (cluster.places(name) == []) == (number > 0)

    assert started(cluster.let_go("b", "r1")) == [("y", "b")]


def test_who_does_not_stop_is_reminded(cluster: Cluster) -> None:
    cluster.call("r1", "race")
    cluster.let_go("a", "r1")
    cluster.report("c", "r1", 1, RunState.SUCCEEDED)

    assert ("b", Stop("r1", 1, "UNKNOWN")) in sent(cluster.live(2.5), Stop)


def test_what_a_loser_says_afterwards_is_not_listened_to(cluster: Cluster) -> None:
    cluster.call("r1", "race", store=True)
    cluster.report("c", "r1", 1, RunState.SUCCEEDED)

    for state in (RunState.FAILED, RunState.SUCCEEDED):
        assert cluster.report("b", "r1", 1, state) == []
    cluster.let_go("a", "r1")
    assert cluster.idle()


def test_an_executor_that_dies_in_a_race_ends_it_and_it_starts_again(cluster: Cluster) -> None:
    cluster.call("r1", "race")
    commands = cluster.die("b", running="r1")

    assert [to for to, _ in sent(commands, Stop)] == ["a", "c"]
    cluster.let_go("a", "r1")
    assert cluster.runs["r1"].deaths == 1


def test_a_run_that_has_cost_an_executor_is_said_to_run_alone(cluster: Cluster) -> None:
    ((_, first),) = sent(cluster.call("r1"), Start)
    cluster.die("a", running="r1")
    assert cluster.places("r1") == ["b"]
    commands = cluster.hand_back("b", "r1", 2)
    ((_, again),) = sent([*commands, *cluster.live(1.0)], Start)

    assert (context(first).alone, context(again).alone) == (False, True)


# while others are busy


def test_a_race_waits_for_those_that_may_become_idle(cluster: Cluster) -> None:
    for name in ("one", "two"):
        cluster.call(name)
    assert started(cluster.call("r1", "race")) == []

    assert started(cluster.finish("one")) == [], "its end would have to wait for the other"
    cluster.finish("two")
    assert sorted(cluster.places("r1")) == ["a", "b", "c"]


def test_a_race_does_not_wait_for_ever(cluster: Cluster) -> None:
    for name in ("one", "two"):
        cluster.call(name)
    cluster.call("r1", "race")
    cluster.live(RACE_PATIENCE / 2)
    assert cluster.places("r1") == []

    cluster.live(2 * RACE_PATIENCE)
    assert cluster.places("r1")[:2] == ["c", "c"]


def test_a_race_gets_executors_for_all_branches_and_the_end() -> None:
    cluster = cluster_of("a", "b", size=SIZE)
    race(cluster)
    cluster.call("r1", "race")

    assert resized(cluster.pass_time(GROW_AFTER)) == [("host", 3)]
    assert [to for _, to in started(cluster.join("c"))] == ["a", "b"]
    assert cluster.places("r1") == ["a", "b", "c"]


def test_races_follow_one_another_in_the_order_of_calls(cluster: Cluster) -> None:
    for number in range(3):
        cluster.call(f"r{number}", "race")
    assert cluster.places("r1") == cluster.places("r2") == []
    cluster.report("c", "r0", 1, RunState.SUCCEEDED)
    cluster.let_go("a", "r0")
    cluster.let_go("b", "r0")

    assert cluster.places("r1") != []
    assert cluster.places("r2") == []


def test_on_one_executor_the_branches_run_one_after_another() -> None:
    cluster = Cluster()
    cluster.join("a")
    cluster.register("f")
    race(cluster)

    assert started(cluster.call("r1", "race")) == [("r1", "a")]
    cluster.finish("r1")
    assert cluster.idle()
