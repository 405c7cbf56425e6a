"""Late binding and order: what is sent ahead, what waits, and who is served next."""

from __future__ import annotations

import pytest
from scheduling import LONG, SHORT, Cluster, started

from cloudburst.core.messages import RunState


def alone(target: str = "f", seconds: float | None = None) -> Cluster:
    """One executor, and a function that takes so long."""
    cluster = Cluster()
    cluster.join("a")
    cluster.register("f")
    cluster.register("g")
    if seconds is not None:
        cluster.learn(target, seconds)
    return cluster


def test_a_function_never_seen_is_given_out_one_run_at_a_time(cluster: Cluster) -> None:
    commands = [command for n in range(4) for command in cluster.call(f"r{n}")]

    assert started(commands) == [("r0", "a"), ("r1", "b")]
    assert started(cluster.finish("r1")) == [("r2", "b")]
    assert started(cluster.finish("r0")) == [("r3", "a")]


def test_a_short_function_is_sent_ahead_for_two_milliseconds() -> None:
    cluster = alone(seconds=SHORT)

    running = [n for n in range(100) if started(cluster.call(f"r{n}"))]

    per_run = SHORT + 50e-6
    assert running == list(range(int(2e-3 / per_run)))


@pytest.mark.parametrize("seconds", [1.1e-3, 10e-3, LONG])
def test_what_takes_more_than_a_millisecond_is_never_sent_ahead(seconds: float) -> None:
    cluster = alone(seconds=seconds)
    cluster.call("r1")

    assert started(cluster.call("r2")) == []


def test_a_function_that_turns_slow_is_not_sent_ahead_any_more() -> None:
    cluster = alone(seconds=SHORT)
    for number in range(3):
        assert started(cluster.call(f"r{number}"))

    cluster.finish("r0", LONG)
    assert started(cluster.call("r3")) == []

    cluster.finish("r1", LONG)
    assert started(cluster.finish("r2", LONG)) == [("r3", "a")]
    assert started(cluster.call("r4")) == []


def test_a_function_that_turns_fast_is_sent_ahead_after_a_while() -> None:
    cluster = alone(seconds=10e-3)
    for number in range(40):
        cluster.call(f"r{number}")
        cluster.finish(f"r{number}", SHORT)

    cluster.call("x")
    assert started(cluster.call("y"))


def test_one_slow_run_holds_nobody_up(cluster: Cluster) -> None:
    cluster.call("slow")
    commands = [command for n in range(9) for command in cluster.call(f"r{n}")]
    for number in range(9):
        commands += cluster.finish(f"r{number}", SHORT)

    assert started(commands) == [(f"r{n}", "b") for n in range(9)]
    assert cluster.places("slow") == ["a"]


def test_an_unknown_function_is_not_queued_behind_short_ones_that_run() -> None:
    cluster = alone("f", SHORT)
    cluster.call("short")

    assert started(cluster.call("unknown", "g")) == []
    assert started(cluster.finish("short", SHORT)) == [("unknown", "a")]


def test_runs_that_wait_are_served_in_the_order_of_their_calls() -> None:
    cluster = alone()
    for number in range(6):
        cluster.call(f"r{number}")

    served = [run for n in range(5) for run, _ in started(cluster.finish(f"r{n}"))]

    assert served == ["r1", "r2", "r3", "r4", "r5"]


def test_a_short_run_does_not_overtake_a_long_one_that_waits() -> None:
    cluster = alone("f", SHORT)
    cluster.call("r0")
    cluster.call("long", "g")

    assert started(cluster.call("r1")) == []
    assert started(cluster.finish("r0", SHORT)) == [("long", "a")]
    assert started(cluster.finish("long")) == [("r1", "a")]


def test_one_end_may_start_several_short_runs() -> None:
    cluster = alone("f", SHORT)
    cluster.call("long", "g")
    for number in range(3):
        cluster.call(f"r{number}")

    served = started(cluster.finish("long"))

    assert served == [("r0", "a"), ("r1", "a"), ("r2", "a")]


def test_calls_before_the_first_executor_wait_for_it() -> None:
    cluster = Cluster()
    cluster.register("f")
    assert started(cluster.call("r0")) == []
    cluster.call("r1")

    assert started(cluster.join("a")) == [("r0", "a")]
    assert started(cluster.join("b")) == [("r1", "b")]


def test_a_retried_run_keeps_its_place_in_the_queue() -> None:
    cluster = Cluster()
    cluster.register("f")
    for name in ("r0", "r1", "r2"):
        cluster.call(name)
    cluster.join("a")

    cluster.die("a")

    assert started(cluster.join("b")) == [("r0", "b")]
    assert started(cluster.finish("r0")) == [("r1", "b")]


def test_a_share_that_is_done_makes_room_before_the_run_ends(cluster: Cluster) -> None:
    cluster.dag("d", [("x", "f"), ("y", "f"), ("z", "f")], [("x", "z"), ("y", "z")])
    cluster.call("r1", "d")
    assert cluster.places("r1") == ["a", "b", "a"]
    cluster.call("next")

    commands = cluster.report("b", "r1", 1, RunState.RUNNING)

    assert started(commands) == [("next", "b")]
    assert "r1" in cluster.runs
