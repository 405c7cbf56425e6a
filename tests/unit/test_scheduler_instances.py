"""Class steps of which there may be several instances: which run comes to which, and who waits."""

from __future__ import annotations

import pytest
from elastic import cluster_of, resized
from scheduling import Cluster, sent, started

from cloudburst.core.hosts import PoolSize
from cloudburst.core.messages import DropDag
from cloudburst.core.requests import DeleteDag
from cloudburst.scheduler.queues import ANY, HOME
from cloudburst.scheduler.scaling import GROW_AFTER

FIXED = PoolSize(3, 3, 3, 30.0)


@pytest.fixture
def cluster() -> Cluster:
    """Three executors and no more; the DAG ``d`` of a class may have two instances."""
    cluster = cluster_of("a", "b", "c", size=FIXED)
    cluster.register("C", is_class=True)
    cluster.dag("d", ["C"], replicas=2)
    return cluster


def busy(cluster: Cluster, *names: str) -> None:
    """These were at work for most of the time, lately."""
    for name in names:
        cluster.state.members.executors[name].utilisation = 0.9


def two(cluster: Cluster) -> None:
    """Instances on ``a`` and ``b``, at work for ``r1`` and ``r2``."""
    cluster.call("r1", "d")
    busy(cluster, "a")
    cluster.call("r2", "d")
    assert cluster.homes == {("d", "C"): ["a", "b"]}


def test_a_second_is_made_when_the_first_was_busy_for_long(cluster: Cluster) -> None:
    cluster.call("r1", "d")
    assert started(cluster.call("r2", "d")) == []
    assert cluster.queues.waits_in(HOME) == [HOME + "d"]
    cluster.cancel("r2")

    busy(cluster, "a")
    assert started(cluster.call("r3", "d")) == [("r3", "b")]


def test_a_third_is_not(cluster: Cluster) -> None:
    two(cluster)
    busy(cluster, "a", "b")

    assert started(cluster.call("r3", "d")) == []
    assert started(cluster.finish("r2")) == [("r3", "b")]


def test_the_one_that_was_busy_less_is_taken(cluster: Cluster) -> None:
    two(cluster)
    cluster.finish("r1")
    cluster.finish("r2")

    assert started(cluster.call("r3", "d")) == [("r3", "b")]
    assert started(cluster.call("r4", "d")) == [("r4", "a")]


def test_who_waits_has_another_made_as_soon_as_the_first_is_busy_for_long(
    cluster: Cluster,
) -> None:
    """It need not end for that: others are idle."""
    cluster.call("r1", "d")
    cluster.call("r2", "d")
    cluster.call("r3", "d")

    cluster.now += 1.0
    assert started(cluster.heartbeat("a", "b", "c")) == [], "half of its time so far"
    cluster.now += 1.0
    assert started(cluster.heartbeat("a", "b", "c")) == [("r2", "b")], "three quarters"
    assert cluster.places("r3") == []


def test_where_there_may_be_one_who_waits_goes_on_waiting(cluster: Cluster) -> None:
    cluster.dag("one", ["C"])
    cluster.call("r1", "one")
    cluster.call("r2", "one")
    busy(cluster, "a")

    cluster.heartbeat("a", "b", "c")
    assert cluster.places("r2") == []


def test_who_may_have_one_made_waits_for_any_executor(cluster: Cluster) -> None:
    two(cluster)
    cluster.finish("r2")
    cluster.dag("d", ["C"], replicas=3)
    cluster.call("on b", "d")
    cluster.call("on c")
    busy(cluster, "a", "b")
    cluster.call("r3", "d")
    assert cluster.queues.waiting(ANY)

    assert started(cluster.finish("on c")) == [("r3", "c")]


def test_executors_are_asked_for_then() -> None:
    cluster = cluster_of("a", "b")
    cluster.register("C", is_class=True)
    cluster.dag("d", ["C"], replicas=2)
    cluster.call("r1", "d")
    cluster.call("on b")
    cluster.call("r2", "d")
    assert resized(cluster.pass_time(GROW_AFTER)) == [], "it waits for the one there is"
    busy(cluster, "a")
    cluster.heartbeat("a", "b")

    assert resized(cluster.pass_time(GROW_AFTER)) == [("host", 3)]
    assert started(cluster.join("c")) == [("r2", "c")]


def test_other_runs_start_while_runs_wait_for_instances(cluster: Cluster) -> None:
    two(cluster)
    cluster.call("r3", "d")

    assert started(cluster.call("f1")) == [("f1", "c")]
    cluster.finish("f1")
    assert started(cluster.call("f2")) == [("f2", "c")]


# instances that are lost


def test_those_that_waited_for_the_only_one_go_on_elsewhere(cluster: Cluster) -> None:
    cluster.call("r1", "d")
    cluster.call("r2", "d")
    cluster.call("r3", "d")

    assert started(cluster.die("a")) == [("r1", "b")]
    assert cluster.homes == {("d", "C"): ["b"]}
    assert cluster.queues.waits_in(HOME) == [HOME + "d"]
    assert started(cluster.finish("r1")) == [("r2", "b")]


def test_those_that_waited_for_either_wait_for_the_other(cluster: Cluster) -> None:
    two(cluster)
    cluster.call("r3", "d")
    cluster.die("a")
    assert cluster.homes == {("d", "C"): ["b"]}
    assert cluster.places("r1") == []

    assert started(cluster.finish("r2")) == [("r1", "b")]
    assert started(cluster.finish("r1")) == [("r3", "b")]


def test_the_one_that_was_lost_is_made_again_when_it_is_needed(cluster: Cluster) -> None:
    two(cluster)
    cluster.die("a")
    busy(cluster, "b")
    cluster.heartbeat("b", "c")

    assert cluster.places("r1") == ["c"]
    assert cluster.homes == {("d", "C"): ["b", "c"]}


def test_those_of_a_host_that_ends_are_made_elsewhere(cluster: Cluster) -> None:
    cluster.call("r1", "d")
    cluster.call("r2", "d")
    cluster.join("x", host="other")

    assert started(cluster.drain()) == [("r2", "x")]


# what is registered changes


def test_when_the_dag_is_deleted_those_that_waited_go_anywhere(cluster: Cluster) -> None:
    two(cluster)
    cluster.call("r3", "d")
    cluster.call("r4", "d")
    commands = cluster.write(cluster.tell("client", DeleteDag(9, "d")))

    assert sent(commands, DropDag) == [("a", DropDag("d")), ("b", DropDag("d"))]
    assert started(commands) == [("r3", "c")]
    assert started(cluster.finish("r1")) == [("r4", "a")]
    assert cluster.homes == {}


def test_there_may_be_more_from_now_on(cluster: Cluster) -> None:
    two(cluster)
    busy(cluster, "a", "b")
    cluster.call("r3", "d")
    cluster.dag("d", ["C"], replicas=3)

    cluster.heartbeat("a", "b", "c")
    assert cluster.places("r3") == ["c"]


def test_there_are_to_be_fewer_from_now_on(cluster: Cluster) -> None:
    two(cluster)
    cluster.finish("r1")
    cluster.finish("r2")
    commands = cluster.dag("d", ["C"], replicas=1)

    assert sent(commands, DropDag) == [("b", DropDag("d"))]
    assert cluster.homes == {("d", "C"): ["a"]}
    assert started(cluster.call("r3", "d")) == [("r3", "a")]
    assert started(cluster.call("r4", "d")) == []


def test_the_one_that_is_dropped_may_be_at_work(cluster: Cluster) -> None:
    two(cluster)
    cluster.call("r3", "d")
    cluster.dag("d", ["C"], replicas=1)

    assert started(cluster.finish("r2")) == []
    assert started(cluster.finish("r1")) == [("r3", "a")]


# calls of functions


def test_a_call_from_an_instance_does_not_push_all_of_them_out(cluster: Cluster) -> None:
    """The one on ``a`` waits for it, so it is not for this call."""
    two(cluster)
    busy(cluster, "a", "b")
    cluster.block("a", "r1")

    assert started(cluster.call("below", "d", parent="r1")) == []
    assert cluster.homes == {("d", "C"): ["a", "b"]}
    assert started(cluster.finish("r2")) == [("below", "b")]
