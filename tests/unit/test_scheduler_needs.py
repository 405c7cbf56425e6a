"""Runs that need what not every host has: where they run, and who waits for whom meanwhile."""

from __future__ import annotations

import pytest
from elastic import resized
from scheduling import SHORT, Cluster, started

from cloudburst.core.hosts import PoolSize
from cloudburst.core.messages import RunState
from cloudburst.scheduler.queues import ANY, HOME, LIMIT, NEEDS

GPU = ("gpu",)


def lab(*names: str, gpus: str = "g") -> Cluster:
    """Executors of one host, and those of another that has a GPU.

    ``f`` needs nothing, ``k`` needs the GPU.
    """
    cluster = Cluster()
    cluster.join(*names, host="plain")
    cluster.heartbeat(*names, host="plain")
    cluster.join(*gpus, host="special", resources=GPU)
    cluster.heartbeat(*gpus, host="special", resources=GPU)
    cluster.register("f")
    cluster.register("k", needs="gpu")
    return cluster


@pytest.fixture
def cluster() -> Cluster:
    """Executor ``a``, and ``g`` with a GPU."""
    return lab("a")


def waiting(cluster: Cluster) -> set[str]:
    """The queues in which runs wait."""
    return {
        queue for prefix in (ANY, HOME, NEEDS, LIMIT) for queue in cluster.queues.waits_in(prefix)
    }


def test_a_resource_is_known_as_soon_as_an_executor_that_has_it() -> None:
    cluster = Cluster()
    cluster.join("g", host="special", resources=GPU)
    cluster.register("k", needs="gpu")

    assert started(cluster.call("r1", "k")) == [("r1", "g")]


# where they run


def test_what_needs_a_resource_runs_where_it_is(cluster: Cluster) -> None:
    assert started(cluster.call("r1", "k")) == [("r1", "g")]
    assert started(cluster.call("r2", "k")) == []
    assert waiting(cluster) == {NEEDS + "gpu"}


def test_others_run_there_only_if_nobody_else_is_idle(cluster: Cluster) -> None:
    assert started(cluster.call("r1")) == [("r1", "a")]
    assert started(cluster.call("r2")) == [("r2", "g")]


def test_not_even_warm_code_draws_others_there(cluster: Cluster) -> None:
    cluster.call("busy")
    cluster.call("warms g")
    cluster.finish("busy")
    cluster.finish("warms g")
    cluster.register("new")

    assert started(cluster.call("r1", "new")) == [("r1", "a")]


def test_steps_of_a_dag_run_where_each_may(cluster: Cluster) -> None:
    cluster.dag("d", [("x", "f"), ("y", "k"), ("z", "f")], [("x", "y"), ("y", "z")])
    cluster.call("r1", "d")

    first, middle, last = cluster.places("r1")
    assert (first, middle) == ("a", "g")
    assert last in {"a", "g"}


def test_a_later_step_waits_for_its_resource_before_the_run_begins() -> None:
    cluster = lab("a", gpus="")
    cluster.join("g", host="special", resources=GPU)
    cluster.dag("d", [("x", "f"), ("y", "k")], [("x", "y")])
    cluster.drain("special")

    assert started(cluster.call("r1", "d")) == []
    assert waiting(cluster) == {NEEDS + "gpu"}
    assert started(cluster.call("r2")) == [("r2", "a")]
    cluster.finish("r2")
    cluster.join("g2", host="other", resources=GPU)
    assert cluster.places("r1") == ["a", "g2"]


# who is served when


def test_a_run_is_served_when_an_executor_with_the_resource_joins() -> None:
    cluster = lab("a", gpus="")
    cluster.call("r1", "k")

    assert started(cluster.join("b", host="plain")) == []
    assert started(cluster.join("s", host="disk", resources=("ssd",))) == []
    assert started(cluster.join("g", host="special", resources=("ssd", "gpu"))) == [("r1", "g")]


def test_a_run_is_served_when_the_executor_is_free_in_the_order_of_calls(cluster: Cluster) -> None:
    for name in ("busy", "r1", "r2"):
        cluster.call(name, "k")

    assert started(cluster.finish("busy")) == [("r1", "g")]
    assert started(cluster.finish("r1")) == [("r2", "g")]


def test_others_that_came_before_are_served_first_there(cluster: Cluster) -> None:
    cluster.call("on g", "k")
    cluster.call("on a")
    cluster.call("elder")
    cluster.call("younger", "k")
    assert waiting(cluster) == {ANY, NEEDS + "gpu"}

    assert started(cluster.finish("on g")) == [("elder", "g")]
    assert started(cluster.finish("on a")) == []
    assert started(cluster.finish("elder")) == [("younger", "g")]


def test_others_that_came_later_are_not(cluster: Cluster) -> None:
    cluster.call("on g", "k")
    cluster.call("on a")
    cluster.call("elder", "k")
    cluster.call("younger")

    assert started(cluster.finish("on g")) == [("elder", "g")]
    assert started(cluster.finish("on a")) == [("younger", "a")]


def test_those_that_wait_for_a_resource_do_not_hold_up_others(cluster: Cluster) -> None:
    cluster.call("on g", "k")
    for number in range(3):
        cluster.call(f"k{number}", "k")

    for number in range(3):
        assert started(cluster.call(f"f{number}")) == [(f"f{number}", "a")]
        cluster.finish(f"f{number}")


def test_those_that_wait_for_another_resource_are_not_held_up(cluster: Cluster) -> None:
    cluster.join("s", host="disk", resources=("ssd",))
    cluster.heartbeat("s", host="disk", resources=("ssd",))
    cluster.register("w", needs="ssd")
    cluster.call("on g", "k")
    cluster.call("waits", "k")

    assert started(cluster.call("r1", "w")) == [("r1", "s")]


def test_those_that_wait_for_several_executors_do_not_hold_up_who_needs_a_resource() -> None:
    cluster = lab("a")
    cluster.size = PoolSize(1, 4, 4, 30.0)
    cluster.heartbeat("a", host="plain")
    names = [f"s{number}" for number in range(4)]
    edges = [("top", name) for name in names] + [(name, "end") for name in names]
    cluster.dag("fan", [(name, "f") for name in ("top", *names, "end")], edges)
    assert started(cluster.call("wide", "fan")) == []

    assert started(cluster.call("r1", "k")) == [("r1", "g")]
    assert started(cluster.call("r2")) == [], "it came later, and could take its place"


def test_who_needs_a_resource_waits_while_its_executor_is_at_short_work(cluster: Cluster) -> None:
    """It comes to an end by itself, and then all are looked at."""
    cluster.learn("k", SHORT)
    cluster.call("now", "k")

    assert started(cluster.call("ahead", "k")) == [("ahead", "g")]
    for number in range(200):
        cluster.call(f"r{number}", "k")
    assert waiting(cluster) == {NEEDS + "gpu"}
    assert started(cluster.finish("now", SHORT)) != []


@pytest.fixture
def wide() -> Cluster:
    """A run ``wide`` has three steps at a time for two GPUs; there may be four."""
    cluster = lab("a", gpus="gh")
    cluster.size = PoolSize(2, 4, 4, 30.0)
    cluster.heartbeat("g", "h", host="special", resources=GPU)
    names = [f"s{number}" for number in range(3)]
    steps = [("top", "f"), *((name, "k") for name in names), ("end", "f")]
    edges = [("top", name) for name in names] + [(name, "end") for name in names]
    cluster.dag("fan", steps, edges)
    cluster.call("wide", "fan")
    return cluster


def test_cancelling_who_waits_for_several_lets_the_next_one_start(wide: Cluster) -> None:
    assert waiting(wide) == {NEEDS + "gpu"}
    assert started(wide.call("r1", "k")) == []

    assert started(wide.cancel("wide")) == [("r1", "g")]


def test_who_waits_for_several_is_started_when_no_more_will_come(wide: Cluster) -> None:

    assert [name for name, _ in resized(wide.live(0.2))] == ["special"]
    assert wide.places("wide") == []
    wide.live(0.5)
    assert set(wide.places("wide")[1:4]) == {"g", "h"}


# what becomes of those that wait


def test_the_executor_dies_and_who_waited_goes_to_the_next(cluster: Cluster) -> None:
    cluster.call("on g", "k")
    cluster.call("r1", "k")
    cluster.die("g", host="special")
    assert cluster.places("on g") == cluster.places("r1") == []

    assert started(cluster.join("h", host="special", resources=GPU)) == [("on g", "h")]


def test_a_run_that_waits_may_be_cancelled_or_end_with_its_time(cluster: Cluster) -> None:
    cluster.call("on g", "k")
    cluster.call("r1", "k")
    cluster.call("r2", "k", timeout=1.0)
    cluster.cancel("r1")
    cluster.live(2.0)

    assert cluster.runs.keys() == {"on g"}
    assert waiting(cluster) == set()


def test_a_run_that_died_waits_for_its_resource_again(cluster: Cluster) -> None:
    cluster.call("r1", "k")
    cluster.call("r2", "k")
    cluster.report("g", "r1", 1, RunState.SUCCEEDED)
    assert cluster.places("r2") == ["g"]
    cluster.hand_back("g", "r2")

    assert cluster.places("r2") == ["g"], "again, and nowhere else"


# functions of which only so many run


def limited(cluster: Cluster) -> None:
    """``l``, one at a time, and a DAG of it and of what needs a GPU."""
    cluster.register("l", limits=(1, 0))
    steps = [("x", "l"), ("y", "k"), ("z", "f")]
    cluster.dag("both", steps, [("x", "z"), ("y", "z")])


def test_who_waits_for_a_resource_from_now_on_lets_the_next_of_the_limited_start(
    cluster: Cluster,
) -> None:
    limited(cluster)
    cluster.call("on g", "k")
    cluster.call("first", "l")
    cluster.call("needs both", "both")
    cluster.call("next", "l")
    assert waiting(cluster) == {LIMIT + "l"}

    assert started(cluster.finish("first")) == [("next", "a")]
    assert waiting(cluster) == {NEEDS + "gpu"}


def test_and_gets_its_own_turn(cluster: Cluster) -> None:
    limited(cluster)
    cluster.call("on g", "k")
    cluster.call("first", "l")
    cluster.call("needs both", "both")
    cluster.call("next", "l")
    cluster.finish("first")
    cluster.finish("on g")
    assert waiting(cluster) == {LIMIT + "l"}

    assert ("needs both", "a") in started(cluster.finish("next"))
