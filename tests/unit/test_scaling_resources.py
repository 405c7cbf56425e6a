"""Which hosts are asked for executors when a run waits for what not every host has."""

from __future__ import annotations

import pytest
from elastic import IDLE, SIZE, resized, retired
from scheduling import Cluster, started

from cloudburst.core.hosts import PoolSize
from cloudburst.scheduler.scaling import GROW_AFTER, GROW_EVERY

GPU = ("gpu",)
BRIEF = 5e-3


def host(cluster: Cluster, name: str, *executors: str, gpu: bool, size: PoolSize = SIZE) -> None:
    resources = GPU if gpu else ()
    cluster.size = size
    cluster.join(*executors, host=name, resources=resources)
    cluster.heartbeat(*executors, host=name, resources=resources)


@pytest.fixture
def cluster() -> Cluster:
    """Host ``plain`` of two to four executors, and ``special`` of as many, with a GPU.

    ``f`` runs anywhere and ``k`` on the GPU.
    """
    cluster = Cluster()
    host(cluster, "plain", "a", "b", gpu=False)
    host(cluster, "special", "g", "h", gpu=True)
    cluster.register("f")
    cluster.register("k", needs="gpu")
    return cluster


def call(cluster: Cluster, count: int, target: str) -> None:
    for number in range(count):
        cluster.call(f"{target}{number}", target)


def test_only_hosts_with_the_resource_are_asked(cluster: Cluster) -> None:
    call(cluster, 3, "k")

    assert resized(cluster.pass_time(GROW_AFTER)) == [("special", 3)]
    assert started(cluster.join("i", host="special", resources=GPU)) == [("k2", "i")]


def test_not_more_than_they_may_run(cluster: Cluster) -> None:
    call(cluster, 9, "k")

    assert resized(cluster.live(1.0)) == [("special", 4)]


def test_several_hosts_with_the_resource_share_what_is_missing(cluster: Cluster) -> None:
    host(cluster, "other", "x", "y", gpu=True)
    call(cluster, 7, "k")

    assert sorted(resized(cluster.pass_time(GROW_AFTER))) == [("other", 3), ("special", 4)]


def test_executors_without_it_are_no_reason_not_to_grow(cluster: Cluster) -> None:
    """They are idle, and of no use."""
    call(cluster, 3, "k")
    assert started(cluster.call("r1")) == [("r1", "a")]

    assert resized(cluster.pass_time(GROW_AFTER)) == [("special", 3)]


def test_who_needs_nothing_may_make_any_host_grow(cluster: Cluster) -> None:
    call(cluster, 6, "f")

    assert [count for _, count in resized(cluster.pass_time(GROW_AFTER))] == [3, 3]


def test_both_who_need_it_and_who_do_not_get_theirs(cluster: Cluster) -> None:
    call(cluster, 3, "k")
    call(cluster, 4, "f")
    fresh = iter("ijklmn")
    for _ in range(4):
        for name, count in resized(cluster.live(GROW_EVERY)):
            there = [e for e in cluster.state.members.executors.values() if e.host == name]
            resources = GPU if name == "special" else ()
            more = [next(fresh) for _ in range(count - len(there))]
            cluster.join(*more, host=name, resources=resources)

    assert all(run.placed_on for run in cluster.runs.values())
    assert len(cluster.state.members.executors) == 7, "one each"


def test_where_nobody_has_it_nobody_is_asked() -> None:
    cluster = Cluster()
    host(cluster, "plain", "a", "b", gpu=False)
    cluster.join("g", host="special", resources=GPU)
    cluster.heartbeat("g", host="special", resources=GPU)
    cluster.register("k", needs="gpu")
    cluster.die("g", host="special")
    cluster.drain("special")
    call(cluster, 3, "k")

    assert resized(cluster.pass_time(GROW_AFTER)) == []
    assert resized(cluster.pass_time(GROW_EVERY)) == []


def test_executors_of_other_hosts_are_not_missed(cluster: Cluster) -> None:
    """Brief work needs a few that are not held up, of those that it can run on."""
    host(cluster, "large", *"stuvwxyz", gpu=False, size=PoolSize(8, 8, 8, IDLE))
    cluster.learn("k", BRIEF)
    call(cluster, 3, "k")

    assert resized(cluster.pass_time(BRIEF)) == []


def test_steps_that_need_nothing_are_not_counted_for_those_that_have_it(cluster: Cluster) -> None:
    names = [f"s{number}" for number in range(4)]
    steps = [("x", "k"), *((name, "f") for name in names), ("end", "f")]
    edges = [("x", name) for name in names] + [(name, "end") for name in names]
    cluster.dag("fan", steps, edges)
    call(cluster, 2, "k")
    cluster.call("wide", "fan")

    assert resized(cluster.pass_time(GROW_AFTER)) == [("special", 3)]


def test_nobody_is_let_go_while_others_wait_for_a_resource(cluster: Cluster) -> None:
    host(cluster, "plain", "c", gpu=False)
    cluster.heartbeat("a", "b", "c", host="plain")
    call(cluster, 5, "k")
    cluster.now += 2 * IDLE
    assert retired(cluster.heartbeat("a", "b", "c", host="plain")) == []

    for run_id in [*cluster.runs]:
        cluster.cancel(run_id)
    for name, run_id in (("g", "k0"), ("h", "k1")):
        cluster.let_go(name, run_id)
    assert retired(cluster.heartbeat("a", "b", "c", host="plain")) == ["a"]
