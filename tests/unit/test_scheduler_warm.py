"""Code is loaded where it is not, ahead of its calls: where such runs go, and whom they hold up."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from elastic import cluster_of, resized
from scheduling import Cluster, context, sent, started

from cloudburst.core.hosts import PoolSize
from cloudburst.core.messages import Rejected, Start
from cloudburst.scheduler.events import Command
from cloudburst.scheduler.scaling import GROW_AFTER

FIXED = PoolSize(2, 2, 2, 30.0)
GPU = ("gpu",)


def prewarm(cluster: Cluster, target: str, count: int) -> list[Command]:
    """So many runs ``w1``, ``w2``, ... that only load the code."""
    said = [cluster.call(f"w{n + 1}", target, warm=count) for n in range(count)]
    return [command for commands in said for command in commands]


def done(cluster: Cluster, *names: str) -> list[tuple[str, str]]:
    """These runs end; returns what starts then."""
    return [pair for name in names for pair in started(cluster.finish(name))]


def where(cluster: Cluster, count: int) -> list[str]:
    """Where the first segments of runs that load code are; "" for those that wait."""
    return [(cluster.places(f"w{number + 1}") or [""])[0] for number in range(count)]


def where_after(cluster: Cluster, target: str, count: int) -> list[str]:
    """The same, after so many were called."""
    prewarm(cluster, target, count)
    return where(cluster, count)


def refusals(commands: Iterable[Command]) -> list[Rejected]:
    return [message for _, message in sent(commands, Rejected)]


@pytest.fixture
def cluster() -> Cluster:
    """Two executors and no more, of which ``a`` has run ``f``."""
    cluster = cluster_of("a", "b", size=FIXED)
    cluster.register("g")
    return cluster


def test_executors_are_told_that_code_is_only_to_be_loaded(cluster: Cluster) -> None:
    ((_, start),) = sent(prewarm(cluster, "g", 1), Start)
    ((_, other),) = sent(cluster.call("r1", "g"), Start)

    assert (context(start).warms, context(other).warms) == (True, False)


def test_as_many_executors_have_it_as_were_asked_for(cluster: Cluster) -> None:
    assert sorted(started(prewarm(cluster, "g", 2))) == [("w1", "a"), ("w2", "b")]


def test_it_goes_to_executors_that_do_not_have_it_yet(cluster: Cluster) -> None:
    assert started(prewarm(cluster, "f", 2))[0] == ("w1", "b")
    assert where(cluster, 2) == ["b", "a"], "and once enough have it, to any"


def test_if_enough_have_it_any_will_do(cluster: Cluster) -> None:
    assert started(prewarm(cluster, "f", 1)) == [("w1", "a")]


def test_it_waits_for_one_that_does_not_have_it_though_others_are_idle(cluster: Cluster) -> None:
    for name in ("other", "on b"):
        cluster.call(name, "g")
    cluster.finish("other")
    assert started(prewarm(cluster, "f", 2)) == []

    assert done(cluster, "on b") == [("w1", "b"), ("w2", "a")]


def test_while_it_waits_others_start(cluster: Cluster) -> None:
    cluster.call("other", "g")
    cluster.call("on b", "g")
    cluster.finish("other")
    prewarm(cluster, "f", 2)

    for number in range(3):
        assert started(cluster.call(f"r{number}")) == [(f"r{number}", "a")]
        assert done(cluster, f"r{number}") == []


def test_those_that_are_called_later_do_not_overtake_it_there(cluster: Cluster) -> None:
    cluster.call("other", "g")
    cluster.call("on b", "g")
    cluster.finish("other")
    prewarm(cluster, "f", 2)
    cluster.call("on a")
    cluster.call("later")

    assert done(cluster, "on b") == [("w1", "b")]
    assert done(cluster, "on a") == [("w2", "a")]
    assert ("later", "b") in started(cluster.finish("w1"))


def test_what_waits_for_other_code_is_not_held_up(cluster: Cluster) -> None:
    """``f`` is on ``a`` and ``g`` on ``b``, which is busy."""
    cluster.call("on a")
    cluster.call("on b", "g")
    cluster.finish("on a")
    prewarm(cluster, "f", 2)

    assert started(cluster.call("g1", "g", warm=2)) == [("g1", "a")]


def test_it_waits_for_executors_that_are_to_come() -> None:
    cluster = cluster_of("a", "b")
    assert where_after(cluster, "f", 4) == ["b", "", "", ""]
    assert resized(cluster.pass_time(GROW_AFTER)) == [("host", 4)]
    assert started(cluster.join("c")) == [("w2", "c")]
    assert started(cluster.join("d"))[0] == ("w3", "d")


def test_executors_that_have_it_are_no_reason_not_to_grow() -> None:
    cluster = cluster_of("a", "b")
    cluster.call("r1")
    cluster.call("r2")
    cluster.finish("r1")
    cluster.finish("r2")
    prewarm(cluster, "f", 3)

    assert resized(cluster.pass_time(GROW_AFTER)) == [("host", 4)]
    assert started(cluster.join("c", "d"))[0] == ("w1", "c")


def test_it_does_not_wait_for_executors_that_cannot_come(cluster: Cluster) -> None:
    assert where_after(cluster, "g", 4) == ["a", "b", "", ""]

    cluster.live(1.0)
    assert done(cluster, "w1") == [("w3", "a")]
    assert done(cluster, "w2", "w3") == [("w4", "b")]


def test_nor_for_those_that_did_not_come() -> None:
    cluster = cluster_of("a", "b")
    assert where_after(cluster, "f", 3) == ["b", "", ""]
    done(cluster, "w1")
    cluster.live(1.0)
    assert cluster.places("w2") == cluster.places("w3") == []

    cluster.size = FIXED  # says its host now
    cluster.live(3.0)
    assert sorted(cluster.places("w2") + cluster.places("w3")) == ["a", "b"]


def test_those_of_a_host_that_has_what_it_needs() -> None:
    cluster = cluster_of("a", "b", size=FIXED)
    cluster.join("g", host="special", resources=GPU)
    cluster.size = PoolSize(1, 1, 1, 30.0)
    cluster.heartbeat("g", host="special", resources=GPU)
    cluster.register("k", needs="gpu")
    assert where_after(cluster, "k", 2) == ["g", ""]

    assert done(cluster, "w1") == [("w2", "g")], "executors without it will never do"


def test_no_executor_is_waited_for_that_cannot_have_what_it_needs() -> None:
    cluster = cluster_of("a", "b")
    cluster.size = PoolSize(1, 1, 1, 30.0)
    cluster.join("g", host="special", resources=GPU)
    cluster.heartbeat("g", host="special", resources=GPU)
    cluster.register("k", needs="gpu")
    prewarm(cluster, "k", 2)
    assert cluster.state.life.placing.scaling.may_grow(), "but not there"

    assert done(cluster, "w1") == [("w2", "g")]


# classes


@pytest.fixture
def counters() -> Cluster:
    """Three executors and no more; the DAG ``d`` of a class may have two instances."""
    cluster = cluster_of("a", "b", "c", size=PoolSize(3, 3, 3, 30.0))
    cluster.register("C", is_class=True)
    cluster.dag("d", ["C"], replicas=2)
    return cluster


def test_instances_are_made_each_on_an_executor_of_its_own(counters: Cluster) -> None:
    prewarm(counters, "d", 2)
    assert counters.homes == {("d", "C"): ["a", "b"]}
    done(counters, "w1", "w2")

    assert started(counters.call("r1", "d")) == [("r1", "a")]
    assert started(counters.call("r2", "d")) == [("r2", "b")]
    assert started(counters.call("r3", "d")) == []


def test_one_that_is_there_counts(counters: Cluster) -> None:
    counters.call("r1", "d")
    counters.finish("r1")
    prewarm(counters, "d", 2)

    assert counters.homes == {("d", "C"): ["a", "b"]}


def test_more_than_there_may_be_are_refused(counters: Cluster) -> None:
    (first, *others) = refusals(prewarm(counters, "d", 3))

    assert len(others) == 2
    assert first.error == "UsageError"
    assert "DAG 'd' keeps 2 instance(s) of its classes: register it with replicas=3" in first.text
    assert counters.runs == {}


def test_functions_and_lone_classes_may_be_anywhere(counters: Cluster) -> None:
    assert refusals(prewarm(counters, "C", 3)) == []
    assert where(counters, 3) == ["a", "b", "c"]
    assert counters.homes == {}


def test_every_class_of_a_dag_gets_as_many(counters: Cluster) -> None:
    steps = [("x", "C"), ("y", "C"), ("z", "f")]
    counters.dag("two", steps, [("x", "z"), ("y", "z")], replicas=2)
    prewarm(counters, "two", 2)
    for name in ("w1", "w2"):
        counters.finish(name)

    assert {home: len(names) for home, names in counters.homes.items()} == {
        ("two", "x"): 2,
        ("two", "y"): 2,
    }


def test_a_class_that_has_fewer_gets_the_rest(counters: Cluster) -> None:
    steps = [("x", "C"), ("y", "C"), ("z", "f")]
    counters.dag("two", steps, [("x", "z"), ("y", "z")], replicas=2)
    counters.join("e")
    prewarm(counters, "two", 2)
    for name in ("w1", "w2"):
        counters.finish(name)
    lost, kept = counters.homes["two", "y"]
    others = counters.homes["two", "x"]
    assert not {lost, kept} & {*others}
    counters.die(lost)

    prewarm(counters, "two", 2)
    assert len(counters.homes["two", "y"]) == 2
    assert counters.homes["two", "x"] == others


def test_runs_that_wait_for_an_instance_do_not_keep_another_from_being_made(
    counters: Cluster,
) -> None:
    counters.call("on a", "d")
    counters.call("waits", "d")

    assert started(counters.call("w1", "d", warm=2)) == [("w1", "b")]


def test_what_is_not_there_cannot_be_loaded(counters: Cluster) -> None:
    for target in ("nothing", "e"):
        (refused,) = refusals(prewarm(counters, target, 1))
        assert refused.error == "UnknownFunction"
