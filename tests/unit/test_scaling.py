"""How many executors hosts are asked for."""

from __future__ import annotations

import pytest
from elastic import IDLE, SIZE, call, cluster_of, fan, resized
from scheduling import LONG, SHORT, Cluster, started

from cloudburst.core.hosts import PoolSize
from cloudburst.scheduler.outlook import SPREAD_PATIENCE
from cloudburst.scheduler.placement import LONG as WORTH_ANOTHER
from cloudburst.scheduler.scaling import GROW_AFTER, GROW_EVERY, START_PATIENCE

BRIEF = 5e-3
"""Seconds too long to be sent ahead, and too short for another executor."""


@pytest.fixture
def cluster() -> Cluster:
    """Executors ``a`` and ``b`` on a host of two to four, besides those that are blocked."""
    return cluster_of("a", "b")


# growing


def test_long_work_that_waits_gets_an_executor(cluster: Cluster) -> None:
    assert resized(call(cluster, 3)) == []
    assert cluster.state.next_deadline() == GROW_AFTER

    assert resized(cluster.pass_time(GROW_AFTER)) == [("host", 3)]
    assert started(cluster.join("c")) == [("r3", "c")]


def test_what_never_ran_may_be_long(cluster: Cluster) -> None:
    cluster.register("g")
    call(cluster, 3, "g")

    assert resized(cluster.pass_time(GROW_AFTER)) == [("host", 3)]


def test_what_finds_room_in_time_needs_no_executor(cluster: Cluster) -> None:
    call(cluster, 3)
    assert started(cluster.finish("r1")) == [("r3", "a")]

    assert resized(cluster.pass_time(GROW_AFTER)) == []
    assert cluster.state.life.placing.scaling.deadline is None


def test_there_are_never_more_than_the_host_may_run(cluster: Cluster) -> None:
    call(cluster, 20)

    assert resized(cluster.live(1.0)) == [("host", 4)]
    assert resized(cluster.join("c", "d")) == []
    assert resized(cluster.live(10.0)) == []


def test_executors_are_asked_for_once_while_they_start(cluster: Cluster) -> None:
    call(cluster, 4)
    assert resized(cluster.live(GROW_AFTER)) == [("host", 4)]

    assert resized(cluster.live(START_PATIENCE - 2 * GROW_EVERY)) == []
    assert resized(cluster.live(3 * GROW_EVERY)) == [("host", 4)]


def test_one_that_has_started_is_not_missed_any_more(cluster: Cluster) -> None:
    call(cluster, 4)
    cluster.pass_time(GROW_AFTER)
    cluster.join("c")

    assert resized(cluster.live(1.0)) == []
    cluster.call("r5")
    assert resized(cluster.live(GROW_EVERY)) == [], "four is the most"


def test_a_host_of_a_fixed_size_is_asked_for_nothing() -> None:
    cluster = cluster_of("a", "b", size=PoolSize(2, 2, 2, IDLE))
    call(cluster, 20)

    assert resized(cluster.live(10.0)) == []


def test_before_its_first_heartbeat_a_host_is_asked_for_nothing() -> None:
    cluster = Cluster()
    cluster.join("a")
    cluster.register("f")
    call(cluster, 3)

    assert resized(cluster.pass_time(GROW_AFTER)) == []
    cluster.size = SIZE
    cluster.heartbeat("a")
    assert resized(cluster.pass_time(GROW_EVERY)) == [("host", 3)]


def test_brief_work_waits_for_room(cluster: Cluster) -> None:
    cluster.register("g")
    cluster.learn("g", BRIEF)
    assert BRIEF < WORTH_ANOTHER
    call(cluster, 20, "g")

    assert resized(cluster.pass_time(GROW_AFTER)) == []


def test_brief_work_that_nobody_has_time_for_gets_executors_that_have(cluster: Cluster) -> None:
    cluster.register("g")
    cluster.learn("g", BRIEF)
    call(cluster, 20, "g")
    cluster.pass_time(GROW_AFTER)

    # Both are late by now: for two executors that are held up there are two others.
    assert resized(cluster.pass_time(GROW_EVERY)) == [("host", 4)]


def test_runs_that_go_together_need_one_executor_for_all_of_them() -> None:
    cluster = cluster_of("a", "b", size=SIZE._replace(most=20, ceiling=20))
    cluster.register("m", batch=(4, 0.0))
    cluster.learn("m", LONG)
    call(cluster, 16, "m")
    assert cluster.state.life.placing.queues.waits_for_room is False
    for number in range(5):
        cluster.call(f"more{number}", "m")

    assert resized(cluster.pass_time(GROW_AFTER)) == [("host", 4)]


def test_but_not_those_that_may_cost_an_executor() -> None:
    cluster = cluster_of("a", "b", size=SIZE._replace(most=20, ceiling=20))
    cluster.register("m", batch=(4, 0.0))
    cluster.learn("m", LONG)
    call(cluster, 8, "m")
    cluster.die("a")
    cluster.die("b")

    assert resized(cluster.pass_time(GROW_AFTER)) == [("host", 8)]


def test_what_an_executor_died_of_gets_one_of_its_own() -> None:
    cluster = cluster_of("a", "b", size=SIZE._replace(least=1))
    cluster.register("g")
    cluster.learn("g", BRIEF)
    cluster.call("killer", "g", max_retries=3)
    assert cluster.places("killer") == ["a"]
    cluster.call("other", "g")
    cluster.die("a", running="killer")

    assert cluster.places("killer") == []
    assert resized(cluster.pass_time(GROW_AFTER)) == [("host", 2)]


def test_hosts_share_what_is_missing(cluster: Cluster) -> None:
    cluster.join("c", "d", host="other")
    cluster.heartbeat("c", "d", host="other")
    call(cluster, 7)

    assert sorted(resized(cluster.pass_time(GROW_AFTER))) == [("host", 4), ("other", 3)]


def test_a_host_without_room_is_not_asked(cluster: Cluster) -> None:
    cluster.size = PoolSize(1, 1, 1, IDLE)
    cluster.join("c", host="full")
    cluster.heartbeat("c", host="full")
    call(cluster, 5)

    assert resized(cluster.pass_time(GROW_AFTER)) == [("host", 4)]
    assert resized(cluster.pass_time(GROW_EVERY)) == []


def test_what_comes_while_others_are_starting_is_counted_too(cluster: Cluster) -> None:
    call(cluster, 3)
    assert resized(cluster.pass_time(GROW_AFTER)) == [("host", 3)]
    cluster.call("r4")

    assert resized(cluster.pass_time(GROW_EVERY)) == [("host", 4)]


def test_a_host_that_is_about_to_end_is_not_asked(cluster: Cluster) -> None:
    cluster.join("c", host="other")
    cluster.heartbeat("c", host="other")
    cluster.drain()
    call(cluster, 4)

    assert resized(cluster.pass_time(GROW_AFTER)) == [("other", 4)]


def test_nobody_looks_any_more_once_nothing_waits(cluster: Cluster) -> None:
    call(cluster, 3)
    cluster.cancel("r3")
    assert resized(cluster.pass_time(GROW_AFTER)) == []

    assert cluster.state.life.placing.scaling.deadline is None


# executors whose code waits


def test_blocked_executors_do_not_count_as_busy() -> None:
    cluster = cluster_of("a", "b", "c", "d")
    call(cluster, 5)
    assert resized(cluster.pass_time(GROW_AFTER)) == []

    # At once: it may wait for just what has no room.
    assert resized(cluster.block("a", "r1")) == [("host", 5)]
    assert started(cluster.join("e")) == [("r5", "e")]


def test_there_are_never_more_than_the_ceiling_however_many_are_blocked() -> None:
    names = ("a", "b", "c", "d", "e", "f")
    cluster = cluster_of(*names)
    call(cluster, 10)
    for number, name in enumerate(names):
        cluster.block(name, f"r{number + 1}")

    assert resized(cluster.live(10.0)) == []


def test_code_that_goes_on_counts_as_busy_again() -> None:
    cluster = cluster_of("a", "b", "c", "d")
    call(cluster, 4)
    cluster.block("a", "r1")
    cluster.block("a", "r1", waits=False)
    cluster.pass_time(2 * GROW_EVERY)

    cluster.call("r5")
    assert resized(cluster.pass_time(GROW_AFTER)) == []


def test_code_that_looks_for_something_again_and_again_does_not_count_in_between() -> None:
    cluster = cluster_of("a", "b", "c", "d")
    call(cluster, 4)
    for _ in range(5):
        cluster.block("a", "r1")
        cluster.pass_time(GROW_EVERY / 2)
        cluster.block("a", "r1", waits=False)

    cluster.call("r5")
    assert resized(cluster.pass_time(GROW_AFTER)) == [("host", 5)]


# several executors at once


def test_branches_get_an_executor_each(cluster: Cluster) -> None:
    fan(cluster, 4)
    cluster.call("r1", "fan")
    assert resized(cluster.pass_time(GROW_AFTER)) == [("host", 4)]

    cluster.join("c")
    assert cluster.places("r1") == [], "there is one to come"
    cluster.join("d")
    assert sorted(cluster.places("r1")[1:-1]) == ["a", "b", "c", "d"]


def test_branches_do_not_wait_for_ever_for_executors_that_do_not_come(cluster: Cluster) -> None:
    fan(cluster, 4)
    cluster.call("r1", "fan")
    cluster.live(SPREAD_PATIENCE - 2 * GROW_EVERY)
    assert cluster.places("r1") == []

    cluster.live(3 * GROW_EVERY)
    assert sorted(cluster.places("r1")[1:-1]) == ["a", "a", "b", "b"]


def test_branches_do_not_wait_where_no_more_executors_may_come() -> None:
    cluster = cluster_of("a", "b", size=PoolSize(2, 2, 2, IDLE))
    fan(cluster, 4)

    assert started(cluster.call("r1", "fan")) == [("r1", "a")]


def test_short_branches_do_not_wait_for_executors_of_their_own() -> None:
    cluster = cluster_of("a", "b", "c", "d", size=SIZE._replace(most=6))
    fan(cluster, 4)
    cluster.learn("fan", SHORT)
    call(cluster, 3)

    assert started(cluster.call("r4", "fan")) == [("r4", "d")]


def test_who_came_later_starts_when_the_one_that_waits_for_several_is_cancelled(
    cluster: Cluster,
) -> None:
    fan(cluster, 4)
    cluster.call("r1", "fan")
    assert started(cluster.call("r2")) == []

    assert started(cluster.cancel("r1")) == [("r2", "a")]


def test_a_run_held_back_for_a_result_lets_others_start(cluster: Cluster) -> None:
    fan(cluster, 4)
    cluster.call("r1", "fan", references=("r0",))
    cluster.call("r2")
    assert (cluster.places("r1"), cluster.places("r2")) == ([], [])

    assert started(cluster.call("r0")) == [("r2", "a"), ("r0", "b")]
    assert cluster.runs["r1"].waits_for == {"r0"}
