"""Where the segments of a DAG go, and what their executors are told."""

from __future__ import annotations

import itertools

import pytest
from scheduling import LONG, SHORT, Cluster, context, sent, started

from cloudburst.core.messages import RunState, Start

DIAMOND = [("top", "left"), ("top", "right"), ("left", "bottom"), ("right", "bottom")]


def steps(*names: str) -> list[tuple[str, str]]:
    return [(name, "f") for name in names]


def diamond(cluster: Cluster) -> Cluster:
    cluster.dag("d", steps("top", "left", "right", "bottom"), DIAMOND)
    return cluster


def fan_out(cluster: Cluster, width: int) -> Cluster:
    names = [f"s{number}" for number in range(width)]
    edges = [("top", name) for name in names] + [(name, "end") for name in names]
    cluster.dag("fan", steps("top", *names, "end"), edges)
    return cluster


def test_a_chain_goes_to_one_executor_in_one_message(cluster: Cluster) -> None:
    names = [f"s{number}" for number in range(20)]
    cluster.dag("d", steps(*names), itertools.pairwise(names))

    assert started(cluster.call("r1", "d")) == [("r1", "a")]
    assert cluster.places("r1") == ["a"]


def test_the_branches_of_a_diamond_run_side_by_side(cluster: Cluster) -> None:
    diamond(cluster).call("r1", "d")

    top, left, right, bottom = cluster.places("r1")
    assert {left, right} == {"a", "b"}
    assert left == top == bottom == "a"


def test_only_executors_with_something_to_begin_are_sent_a_start(cluster: Cluster) -> None:
    diamond(cluster)

    ((to, start),) = sent(cluster.call("r1", "d"), Start)

    assert to == "a"
    assert context(start).executors == ("@a", "@b")
    assert context(start).places == (0, 0, 1, 0)


def test_arguments_of_a_later_step_go_to_its_executor(cluster: Cluster) -> None:
    diamond(cluster)
    arguments = (("right", "", 2), ("top", "", 1), ("bottom", "k", 1), ("right", "x", 1))
    frames = [b"right 1", b"right 2", b"top", b"bottom", b"right x"]

    commands = cluster.call("r1", "d", arguments=arguments, frames=frames)

    starts = dict(sent(commands, Start))
    assert starts["a"].arguments == ((0, "", 1), (3, "k", 1))
    assert starts["a"].frames == [b"top", b"bottom"]
    assert starts["b"].arguments == ((2, "", 2), (2, "x", 1))
    assert starts["b"].frames == [b"right 1", b"right 2", b"right x"]
    assert context(starts["a"]) == context(starts["b"])
    assert context(starts["a"]).given == (2, 0, 3)


@pytest.mark.parametrize("executors", [1, 2, 7, 16])
def test_a_fan_out_spreads_evenly(executors: int) -> None:
    cluster = Cluster()
    cluster.join(*(f"e{number}" for number in range(executors)))
    cluster.register("f")
    fan_out(cluster, 100).call("r1", "fan")

    branches = cluster.places("r1")[1:-1]
    counts = [branches.count(f"e{number}") for number in range(executors)]
    assert sum(counts) == 100
    assert max(counts) - min(counts) <= 1


def test_branches_known_to_be_very_short_stay_together(cluster: Cluster) -> None:
    fan_out(cluster, 50).learn("fan", SHORT)

    assert started(cluster.call("r1", "fan")) == [("r1", "a")]
    assert set(cluster.places("r1")) == {"a"}


def test_branches_known_to_be_long_are_spread(cluster: Cluster) -> None:
    fan_out(cluster, 50).learn("fan", 1e-3)

    cluster.call("r1", "fan")

    assert cluster.places("r1")[1:-1].count("b") == 25


def test_a_short_join_goes_where_most_of_its_inputs_are() -> None:
    cluster = Cluster()
    cluster.join("a", "b")
    cluster.register("f")
    fan_out(cluster, 5)
    cluster.call("r0", "fan")
    shares = {executor.name: mine for executor, mine in cluster.runs["r0"].shares().items()}
    assert cluster.places("r0")[-1] == "a"
    for name, state in (("b", RunState.RUNNING), ("a", RunState.SUCCEEDED)):
        times = [(segment, LONG if 0 < segment < 6 else SHORT) for segment in shares[name]]
        cluster.report(name, "r0", 1, state, times)

    cluster.call("r1", "fan")

    *_, end = cluster.places("r1")
    branches = cluster.places("r1")[1:-1]
    assert branches.count(end) == 3


def test_three_sources_begin_on_the_executors_that_have_room() -> None:
    cluster = Cluster()
    cluster.join("a", "b", "c")
    cluster.register("f")
    cluster.dag("d", steps("x", "y", "z", "end"), [("x", "end"), ("y", "end"), ("z", "end")])
    cluster.call("busy")

    commands = cluster.call("r1", "d")

    assert cluster.places("busy") == ["a"]
    assert [to for to, _ in sent(commands, Start)] == ["b", "c"]
    assert sorted(cluster.places("r1")[:3]) == ["b", "b", "c"]


def test_sources_share_the_only_executor() -> None:
    cluster = Cluster()
    cluster.join("a")
    cluster.register("f")
    cluster.dag("d", steps("x", "y", "end"), [("x", "end"), ("y", "end")])

    assert started(cluster.call("r1", "d")) == [("r1", "a")]
    assert cluster.places("r1") == ["a", "a", "a"]


def test_a_dag_waits_while_no_executor_has_room(cluster: Cluster) -> None:
    diamond(cluster)
    cluster.call("x")
    cluster.call("y")

    assert started(cluster.call("r1", "d")) == []
    assert started(cluster.finish("y")) == [("r1", "b")]


def test_what_comes_later_goes_where_least_waits(cluster: Cluster) -> None:
    cluster.join("c")
    cluster.call("busy")
    diamond(cluster).call("r1", "d")

    assert cluster.places("busy") == ["a"]
    assert cluster.places("r1") == ["b", "b", "c", "b"]


def test_the_executor_that_ran_the_code_before_is_preferred(cluster: Cluster) -> None:
    cluster.register("g")
    cluster.call("hold a")
    cluster.call("warm b", "g")
    cluster.finish("hold a")
    cluster.finish("warm b")

    assert started(cluster.call("r1", "g")) == [("r1", "b")]
    assert started(cluster.call("r2", "f")) == [("r2", "a")]


def test_a_trifle_of_work_does_not_send_a_run_to_a_cold_executor(cluster: Cluster) -> None:
    cluster.learn("f", SHORT)
    cluster.call("r1")

    assert started(cluster.call("r2")) == [("r2", "a")]


def test_an_idle_executor_is_preferred_to_a_warm_one_that_is_busy(cluster: Cluster) -> None:
    cluster.learn("f", 500e-6)
    cluster.call("r1")

    assert started(cluster.call("r2")) == [("r2", "b")]


def test_placement_is_the_same_every_time() -> None:
    def play() -> list[tuple[str, str]]:
        cluster = Cluster()
        cluster.join("c", "a", "b")
        cluster.register("f")
        fan_out(diamond(cluster), 9)
        commands = []
        for number in range(12):
            commands += cluster.call(f"r{number}", ("f", "d", "fan")[number % 3])
            if number % 4 == 3:
                commands += cluster.finish(next(iter(cluster.runs)), 1e-4 * number)
        return started(commands)

    assert play() == play()


# classes: instances live on one executor, their home


@pytest.fixture
def counter(cluster: Cluster) -> Cluster:
    """A DAG of one class step, ``one``, and one of two sources of which one is of a class."""
    cluster.register("C", is_class=True)
    cluster.dag("one", ["C"])
    cluster.dag("two", [("x", "f"), ("y", "C"), ("z", "f")], [("x", "z"), ("y", "z")])
    return cluster


def test_a_class_step_comes_home(counter: Cluster) -> None:
    counter.call("busy")
    assert started(counter.call("r1", "one")) == [("r1", "b")]
    counter.finish("r1")
    counter.finish("busy")

    assert started(counter.call("r2", "one")) == [("r2", "b")]


def test_a_class_step_waits_for_its_home_though_others_are_idle(counter: Cluster) -> None:
    counter.call("r1", "one")

    assert started(counter.call("r2", "one")) == []
    assert started(counter.call("r3")) == [("r3", "b")]
    assert started(counter.finish("r3")) == []
    assert started(counter.finish("r1")) == [("r2", "a")]


def test_a_class_called_alone_has_no_home(counter: Cluster) -> None:
    counter.call("r1", "C")

    assert started(counter.call("r2", "C")) == [("r2", "b")]
    assert counter.homes == {}


def test_runs_for_a_home_do_not_block_others(counter: Cluster) -> None:
    for number in range(3):
        counter.call(f"home{number}", "one")

    for number in range(5):
        assert started(counter.call(f"r{number}")) == [(f"r{number}", "b")]
        counter.finish(f"r{number}")


def test_runs_for_a_home_are_not_overtaken_there(counter: Cluster) -> None:
    counter.call("home0", "one")
    counter.call("busy")
    counter.call("home1", "one")
    counter.call("younger")

    assert started(counter.finish("home0")) == [("home1", "a")]
    assert started(counter.finish("busy")) == [("younger", "b")]


def test_runs_for_a_home_do_not_overtake_elders_that_take_any_executor() -> None:
    cluster = Cluster()
    cluster.join("a")
    cluster.register("f")
    cluster.register("C", is_class=True)
    cluster.dag("one", ["C"])
    cluster.learn("one", SHORT)
    cluster.call("home0", "one")
    cluster.call("elder")

    assert started(cluster.call("home1", "one")) == []
    assert started(cluster.finish("home0", SHORT)) == [("elder", "a")]
    assert started(cluster.finish("elder")) == [("home1", "a")]


def test_a_source_that_is_pinned_makes_its_run_wait_for_that_executor(counter: Cluster) -> None:
    counter.call("r1", "two")
    assert counter.places("r1")[1] == "b"
    counter.report("a", "r1", 1, RunState.RUNNING)

    assert started(counter.call("r2", "two")) == []
    assert started(counter.call("r3")) == [("r3", "a")]
    assert ("r2", "b") in started(counter.finish("r1"))


def test_a_run_that_moves_to_another_queue_lets_the_next_one_start(counter: Cluster) -> None:
    """The eldest waits for any executor, then finds that its home is another than the free one."""
    counter.call("on a")
    counter.call("first", "one")
    counter.call("pinned", "one")
    counter.die("b")
    counter.join("b2")
    assert counter.places("first") == ["b2"]
    counter.call("other")
    assert counter.places("pinned") == []

    assert started(counter.finish("on a")) == [("other", "a")]
    assert started(counter.finish("first")) == [("pinned", "b2")]
