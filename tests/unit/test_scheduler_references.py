"""Runs whose arguments are the results of other runs wait for them, holding no executor."""

from __future__ import annotations

import pytest
from scheduling import Cluster, started

from cloudburst.core.messages import RunState


def test_a_run_waits_for_the_result_it_needs(cluster: Cluster) -> None:
    cluster.call("r1")

    assert started(cluster.call("r2", references=("r1",))) == []
    assert started(cluster.finish("r1")) == [("r2", "a")]


@pytest.mark.parametrize("state", [RunState.SUCCEEDED, RunState.FAILED])
def test_a_run_wakes_however_the_awaited_one_ends(cluster: Cluster, state: RunState) -> None:
    cluster.call("r1")
    cluster.call("r2", references=("r1",))

    assert started(cluster.finish("r1", state=state)) == [("r2", "a")]


def test_a_run_waits_for_all_results_it_needs(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.call("r2")
    cluster.call("r3", references=("r1", "r2", "r1"))

    assert started(cluster.finish("r2")) == []
    assert started(cluster.finish("r1")) == [("r3", "a")]


def test_a_key_that_is_no_open_run_is_not_waited_for(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.finish("r1")

    assert started(cluster.call("r2", references=("r1", "some key"))) == [("r2", "a")]


def test_a_run_that_refers_to_itself_does_not_wait(cluster: Cluster) -> None:
    assert started(cluster.call("r1", references=("r1",))) == [("r1", "a")]


def test_a_chain_of_references_never_blocks_a_single_executor() -> None:
    cluster = Cluster()
    cluster.join("a")
    cluster.register("f")
    cluster.call("r0")
    for number in range(1, 50):
        cluster.call(f"r{number}", references=(f"r{number - 1}",))

    order = [run for n in range(49) for run, _ in started(cluster.finish(f"r{n}"))]

    assert order == [f"r{number}" for number in range(1, 50)]


def test_a_run_that_waits_for_a_result_does_not_block_others(cluster: Cluster) -> None:
    cluster.call("slow")
    cluster.call("parked", references=("slow",))

    assert started(cluster.call("r1")) == [("r1", "b")]


def test_many_may_wait_for_one(cluster: Cluster) -> None:
    cluster.call("r0")
    for number in range(1, 4):
        cluster.call(f"r{number}", references=("r0",))

    assert started(cluster.finish("r0")) == [("r1", "a"), ("r2", "b")]
    assert started(cluster.finish("r1")) == [("r3", "a")]


def test_a_run_that_wakes_keeps_its_place() -> None:
    cluster = Cluster()
    cluster.join("a", "b")
    cluster.register("f")
    cluster.call("r0")
    cluster.call("busy")
    cluster.call("parked", references=("r0",))
    cluster.call("younger")

    assert started(cluster.finish("r0")) == [("parked", "a")]
    assert started(cluster.finish("busy")) == [("younger", "b")]


def test_a_run_goes_on_waiting_while_the_awaited_one_is_retried(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.call("r2", references=("r1",))

    assert started(cluster.die("a")) == [("r1", "b")]
    assert started(cluster.finish("r1")) == [("r2", "b")]


def test_a_run_wakes_when_the_awaited_one_is_given_up() -> None:
    cluster = Cluster()
    cluster.join("a", "b", "c", "d")
    cluster.register("f")
    cluster.call("r1")
    cluster.call("r2", references=("r1",))

    commands = [command for name in "abc" for command in cluster.die(name)]

    assert started(commands) == [("r1", "b"), ("r1", "c"), ("r2", "d")]


def test_runs_that_wait_for_results_count_against_the_limit() -> None:
    cluster = Cluster(max_waiting=1)
    cluster.join("a", "b")
    cluster.register("f")
    cluster.call("r1")
    cluster.call("r2", references=("r1",))

    assert started(cluster.call("r3")) == []
    assert "r3" not in cluster.runs
