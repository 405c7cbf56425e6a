"""Which executors are let go."""

from __future__ import annotations

from elastic import IDLE, SIZE, call, cluster_of, fan, resized, retired

from cloudburst.core.messages import RunState
from cloudburst.scheduler.scaling import GROW_AFTER, KEEP_WARM


def test_an_executor_above_the_minimum_is_let_go_once_it_was_idle_for_long() -> None:
    cluster = cluster_of("a", "b", "c")
    cluster.now = IDLE - 0.1
    assert retired(cluster.heartbeat("a", "b", "c")) == []

    cluster.now = IDLE
    assert retired(cluster.heartbeat("a", "b", "c")) == ["a"]
    assert [*cluster.state.members.executors] == ["b", "c"]


def test_the_minimum_stays() -> None:
    cluster = cluster_of("a", "b")

    assert retired(cluster.live(10 * IDLE)) == []


def test_those_that_are_idle_for_longest_are_let_go() -> None:
    cluster = cluster_of("a", "b", "c", "d")
    call(cluster, 4)
    for run_id in ("r2", "r4", "r1", "r3"):
        cluster.now += 1.0
        cluster.finish(run_id)
    cluster.now += IDLE

    assert retired(cluster.heartbeat("a", "b", "c", "d")) == ["b", "d"]


def test_an_executor_is_idle_since_its_last_run() -> None:
    cluster = cluster_of("a", "b", "c")
    cluster.now = IDLE - 1.0
    call(cluster, 3)
    for run_id in ("r1", "r2", "r3"):
        cluster.finish(run_id)
    cluster.now = 2 * IDLE - 1.1
    assert retired(cluster.heartbeat("a", "b", "c")) == []

    cluster.now = 2 * IDLE - 1.0
    assert len(retired(cluster.heartbeat("a", "b", "c"))) == 1


def test_an_executor_with_work_is_kept_however_long_that_takes() -> None:
    cluster = cluster_of("a", "b", "c")
    call(cluster, 3)
    cluster.live(10 * IDLE)
    assert set(cluster.state.members.executors) == {"a", "b", "c"}

    cluster.block("a", "r1")
    assert retired(cluster.live(10 * IDLE)) == []


def test_a_host_is_told_again_until_its_executor_is_gone() -> None:
    cluster = cluster_of("a", "b", "c")
    cluster.now = IDLE
    (first,) = retired(cluster.heartbeat("a", "b", "c"))

    assert retired(cluster.heartbeat("a", "b", "c")) == [first]
    cluster.die(first)
    assert retired(cluster.heartbeat(*cluster.state.members.executors)) == []


def test_who_is_let_go_gets_no_more_work() -> None:
    cluster = cluster_of("a", "b", "c")
    cluster.now = IDLE
    (gone,) = retired(cluster.heartbeat("a", "b", "c"))
    call(cluster, 3)

    left = {"a", "b", "c"} - {gone}
    assert {name for run in ("r1", "r2", "r3") for name in cluster.places(run)} == left
    assert resized(cluster.pass_time(GROW_AFTER)) == [("host", 3)]


def test_what_one_that_is_let_go_still_says_changes_nothing() -> None:
    cluster = cluster_of("a", "b", "c")
    cluster.now = IDLE
    (gone,) = retired(cluster.heartbeat("a", "b", "c"))
    call(cluster, 1)

    assert cluster.report(gone, "r1", 1, RunState.RUNNING) == []
    assert cluster.join(gone) == []
    assert gone not in cluster.state.members.executors


def test_executors_that_keep_instances_are_given_more_time() -> None:
    cluster = cluster_of("a", "b", size=SIZE._replace(least=1))
    cluster.register("C", is_class=True)
    cluster.dag("d", [("s", "C")])
    cluster.learn("d")
    assert cluster.homes == {("d", "s"): ["a"]}
    cluster.live(2 * IDLE)
    assert [*cluster.state.members.executors] == ["a"]

    cluster.join("b2")
    cluster.live(2 * IDLE)
    assert [*cluster.state.members.executors] == ["a"], "the newer one goes"


def test_instances_are_not_kept_warm_for_ever() -> None:
    cluster = cluster_of("a", "b", size=SIZE._replace(least=0))
    cluster.register("C", is_class=True)
    cluster.dag("d", [("s", "C")])
    cluster.learn("d")
    cluster.live(KEEP_WARM - 1.0)
    assert cluster.homes == {("d", "s"): ["a"]}

    cluster.live(2.0)
    assert not cluster.state.members.executors
    assert cluster.homes == {}


def test_nobody_is_let_go_while_runs_wait() -> None:
    cluster = cluster_of("a", "b", "c", size=SIZE._replace(idle_timeout=1.0))
    fan(cluster, 4)
    cluster.now = 2.0
    cluster.call("r1", "fan")
    assert cluster.places("r1") == []

    assert retired(cluster.heartbeat("a", "b", "c")) == []
    cluster.cancel("r1")
    assert len(retired(cluster.heartbeat("a", "b", "c"))) == 1


def test_a_host_that_is_about_to_end_lets_nobody_go_before() -> None:
    cluster = cluster_of("a", "b", "c")
    call(cluster, 1)
    cluster.drain()
    cluster.now = 10 * IDLE

    assert retired(cluster.heartbeat("a", "b", "c")) == []
