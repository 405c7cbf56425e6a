"""Functions of which only so many run at a time, and runs that wait for their turn."""

from __future__ import annotations

import pytest
from scheduling import Cluster, started

from cloudburst.core.dag import Dag, make_steps, with_needs
from cloudburst.core.hosts import ExecutorDied
from cloudburst.core.messages import RunState
from cloudburst.core.options import NOTHING_SAID
from cloudburst.core.requests import RegisterDag
from cloudburst.scheduler.limits import queue_of


@pytest.fixture
def cluster() -> Cluster:
    """Four idle executors, two on each of two hosts."""
    cluster = Cluster()
    cluster.join("a", "b", host="one")
    cluster.join("c", "d", host="two")
    return cluster


def limited(cluster: Cluster, most: int = 0, per_host: int = 0) -> None:
    cluster.register("f", limits=(most, per_host))
    cluster.register("g")


def running(cluster: Cluster) -> list[str]:
    return [run_id for run_id, run in cluster.runs.items() if run.state is RunState.RUNNING]


def test_who_waits_for_a_limit_starts_when_it_is_raised(cluster: Cluster) -> None:
    limited(cluster, most=1)
    for number in range(4):
        cluster.call(f"r{number}")
    assert running(cluster) == ["r0"]

    cluster.register("f", limits=(3, 0))

    assert running(cluster) == ["r0", "r1", "r2"]


def test_more_than_the_limit_wait_in_order(cluster: Cluster) -> None:
    limited(cluster, most=2)
    for number in range(5):
        cluster.call(f"r{number}")
    assert running(cluster) == ["r0", "r1"]

    for number in range(5):
        assert running(cluster)[0] == f"r{number}"
        cluster.finish(f"r{number}")
    assert not cluster.runs


def test_others_are_not_held_up(cluster: Cluster) -> None:
    limited(cluster, most=1)
    cluster.call("r0")
    cluster.call("r1")

    assert started(cluster.call("other", "g")) == [("other", "b")]


def test_a_later_call_does_not_overtake_those_that_wait(cluster: Cluster) -> None:
    limited(cluster, most=1)
    for run_id in ("r0", "r1"):
        cluster.call(run_id)
    cluster.cancel("r0")
    cluster.call("r2")

    assert running(cluster) == ["r1"] or cluster.runs["r0"].state is RunState.CANCELLING
    cluster.report("a", "r0", 1, RunState.RUNNING)
    assert running(cluster) == ["r1"]


def test_a_run_that_is_being_stopped_counts_until_it_has(cluster: Cluster) -> None:
    limited(cluster, most=1)
    cluster.call("r0")
    cluster.call("r1")

    cluster.cancel("r0")
    assert cluster.runs["r1"].state is RunState.PENDING

    cluster.report("a", "r0", 1, RunState.RUNNING)
    assert cluster.runs["r1"].state is RunState.RUNNING


def test_a_run_whose_executor_died_makes_room_and_keeps_its_place(cluster: Cluster) -> None:
    limited(cluster, most=1)
    for run_id in ("r0", "r1"):
        cluster.call(run_id)
    cluster.tell("one", ExecutorDied("one", "a", "killed by signal 9", ""))

    assert running(cluster) == ["r0"]
    assert cluster.epoch("r0") == 2


def test_each_host_has_its_own_limit(cluster: Cluster) -> None:
    limited(cluster, per_host=1)
    for number in range(3):
        cluster.call(f"r{number}")

    assert sorted(cluster.places("r0") + cluster.places("r1")) == ["a", "c"]
    assert cluster.runs["r2"].state is RunState.PENDING
    cluster.finish("r1")
    assert cluster.places("r2") in (["c"], ["d"])


def test_parallel_steps_of_a_limited_function_run_one_after_another(cluster: Cluster) -> None:
    limited(cluster, most=1)
    cluster.dag(
        "d", [("x", "f"), ("y", "f"), ("z", "f"), "g"], [("x", "g"), ("y", "g"), ("z", "g")]
    )

    cluster.call("r1", "d")

    *limited_steps, _ = cluster.places("r1")
    assert len(set(limited_steps)) == 1


def test_parallel_steps_take_as_many_as_there_are(cluster: Cluster) -> None:
    limited(cluster, most=3)
    cluster.dag(
        "d", [("x", "f"), ("y", "f"), ("z", "f"), "g"], [("x", "g"), ("y", "g"), ("z", "g")]
    )

    cluster.call("r1", "d")
    cluster.call("r2", "d")

    *limited_steps, _ = cluster.places("r1")
    assert len(set(limited_steps)) == 3
    assert cluster.runs["r2"].state is RunState.PENDING
    assert cluster.queues.waiting(queue_of("f"))


def test_a_limit_that_is_lifted_holds_nobody_up(cluster: Cluster) -> None:
    limited(cluster, most=1)
    for number in range(3):
        cluster.call(f"r{number}")

    cluster.register("f")
    cluster.finish("r0")

    assert running(cluster) == ["r1", "r2"]


def test_a_call_does_not_wait_for_its_caller(cluster: Cluster) -> None:
    limited(cluster)
    cluster.register("h")
    cluster.call("top", "h")

    cluster.call("below", "g", parent="top")

    assert cluster.places("below") != cluster.places("top")


# executors that are idle, and not for them


def crowded(cluster: Cluster) -> None:
    """``f`` runs on host ``one`` as often as it may, others on all of ``two``; ``b`` is idle."""
    limited(cluster, per_host=1)
    cluster.call("r0")
    for run_id in ("g0", "g1", "g2"):
        cluster.call(run_id, "g")
    cluster.finish("g0")
    assert cluster.places("r0") == ["a"]


def test_who_waits_for_another_host_does_not_hold_up_others(cluster: Cluster) -> None:
    crowded(cluster)
    assert started(cluster.call("r1")) == []

    assert started(cluster.call("other", "g")) == [("other", "b")]


def test_who_waits_for_another_host_is_served_there_before_those_that_came_later(
    cluster: Cluster,
) -> None:
    crowded(cluster)
    cluster.call("r1")
    cluster.call("other", "g")
    cluster.call("later", "g")

    assert started(cluster.finish("other")) == [("later", "b")]
    assert started(cluster.call("last", "g")) == []
    assert started(cluster.finish("g1")) == [("r1", "c")]


def test_who_waits_for_another_host_is_served_when_its_own_has_room_again(
    cluster: Cluster,
) -> None:
    crowded(cluster)
    cluster.call("r1")
    cluster.call("r2")

    assert started(cluster.finish("r0")) == [("r1", "a")]


def test_steps_that_run_one_after_another_do_so_where_all_may(cluster: Cluster) -> None:
    """Only one of them needs what only one host has."""
    cluster.join("e", host="three", resources=("gpu",))
    cluster.heartbeat("e", host="three", resources=("gpu",))
    limited(cluster, most=1)
    steps = with_needs(make_steps([("x", "f"), ("y", "f"), ("z", "g")]), "gpu", ["y"])
    dag = Dag("d", steps, (("x", "z"), ("y", "z")))
    cluster.write(cluster.tell("client", RegisterDag(9, *dag, NOTHING_SAID, only_check=False)))

    cluster.call("r1", "d")

    assert cluster.places("r1")[:2] == ["e", "e"]
