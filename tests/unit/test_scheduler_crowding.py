"""Runs whose steps wait for each other, and clusters that are full of code that waits."""

from __future__ import annotations

import pytest
from elastic import cluster_of, resized
from scheduling import SHORT, Cluster, context, ends, sent, started

from cloudburst.core.dag import FirstOf
from cloudburst.core.hosts import NOBODY, PoolSize
from cloudburst.core.messages import HandBack, Start
from cloudburst.errors import Overloaded
from cloudburst.scheduler.events import Command
from cloudburst.scheduler.run import CRAMPED
from cloudburst.scheduler.scaling import GROW_AFTER, GROW_EVERY, STUCK_AFTER

PAIR = [("one", "f"), ("two", "f"), ("end", "f")]
EDGES = [("one", "end"), ("two", "end")]


@pytest.fixture
def cluster() -> Cluster:
    """A run of two short branches that is in one place, and another executor since then."""
    cluster = paired(cluster_of("a"))
    cluster.call("r1", "pair")
    assert cluster.places("r1") == ["a", "a", "a"]
    cluster.join("b")
    return cluster


def paired(cluster: Cluster) -> Cluster:
    cluster.register("f")
    cluster.dag("pair", PAIR, EDGES)
    plan = cluster.state.registrar.registry.plan("pair", is_dag=True)
    for segment, _ in enumerate(cluster.times.of(plan)):
        cluster.times.observe(plan.id, segment, SHORT)
    return cluster


def crowd(cluster: Cluster, run_id: str, epoch: int = 1) -> list[Command]:
    """The first branch waits before the second."""
    (place,) = set(cluster.places(run_id))
    return cluster.tell(place, HandBack(run_id, epoch, raised=False, reason="", crowded=True))


def test_branches_that_waited_for_each_other_get_places_of_their_own(cluster: Cluster) -> None:
    assert {place for _, place in started(crowd(cluster, "r1"))} == {"a", "b"}

    assert len(set(cluster.places("r1")[:2])) == 2
    assert cluster.runs["r1"].deaths == 0


def test_so_do_those_of_later_runs_however_short_they_are(cluster: Cluster) -> None:
    crowd(cluster, "r1")
    cluster.finish("r1", SHORT)

    for number in range(3):
        cluster.call("behind")  # b, say, has much to do
        cluster.call(f"later{number}", "pair")
        cluster.finish("behind")
        assert len(set(cluster.places(f"later{number}")[:2])) == 2
        cluster.finish(f"later{number}", SHORT)


def test_a_run_that_finds_no_more_room_stays_in_the_end() -> None:
    """Its code may wait for something else, and go on."""
    cluster = paired(cluster_of("a", size=PoolSize(1, 1, 1, 30.0)))
    cluster.call("r1", "pair")
    said: list[Command] = []
    for epoch in range(1, CRAMPED + 1):
        said += crowd(cluster, "r1", epoch) + cluster.live(5.0)

    assert [context(start).cramped for _, start in sent(said, Start)] == [False, True]


def test_also_if_they_are_to_be_colocated(cluster: Cluster) -> None:
    cluster.finish("r1", SHORT)
    cluster.dag("close", PAIR, EDGES, colocated=(("one", "two"),))
    cluster.call("r2", "close")
    assert len(set(cluster.places("r2")[:2])) == 1

    place = cluster.places("r2")[0]
    cluster.tell(place, HandBack("r2", 1, raised=False, reason="", crowded=True))

    assert len(set(cluster.places("r2")[:2])) == 2


def test_there_may_be_as_many_executors_as_one_run_needs() -> None:
    cluster = paired(cluster_of("a", size=PoolSize(1, 1, 8, 30.0)))
    cluster.call("r1", "pair")
    crowd(cluster, "r1")
    assert cluster.places("r1") == []

    assert resized(cluster.live(GROW_AFTER)) == [("host", 2)]
    assert {place for _, place in started(cluster.join("b"))} == {"a", "b"}


def test_and_not_more_for_many_of_them() -> None:
    cluster = paired(cluster_of("a", size=PoolSize(1, 1, 8, 30.0)))
    for number in range(5):
        cluster.call(f"r{number}", "pair")
    crowd(cluster, "r0")

    assert resized(cluster.live(1.0)) == [("host", 2)]


def test_a_run_for_which_all_are_too_few_though_they_are_idle_gets_another() -> None:
    """Races in a row need more executors than any of its depths has long work for."""
    cluster = cluster_of("a", "b", size=PoolSize(2, 8, 8, 30.0))
    cluster.register("f")
    first = [FirstOf((name, "f"), b"none") for name in ("second", "fourth", "last")]
    steps = [("first", "f"), first[0], ("third", "f"), first[1], ("fifth", "f"), first[2]]
    edges = [
        *(("first", "second"), ("second", "third")),
        *(("first", "fourth"), ("third", "fourth"), ("fourth", "fifth")),
        *(("fourth", "last"), ("fifth", "last")),
    ]
    cluster.dag("races", steps, edges)
    plan = cluster.state.registrar.registry.plan("races", is_dag=True)
    cluster.times.crowding.add(plan.id)
    cluster.call("r1", "races")

    for count, name in enumerate("cde", start=3):
        assert cluster.places("r1") == []
        assert resized(cluster.live(GROW_EVERY)) == [("host", count)]
        cluster.join(name)
    assert len(set(cluster.places("r1"))) == 5


# executors that are let go


def test_a_run_goes_on_when_one_that_had_done_its_part_is_let_go() -> None:
    """However long its later steps take: what it had to say was said long before."""
    cluster = cluster_of("a", "b", size=PoolSize(1, 4, 8, 1.0))
    cluster.dag("pair", PAIR, EDGES)
    cluster.call("r1", "pair")
    first, second, _ = cluster.places("r1")
    assert first != second
    last = cluster.places("r1")[2]
    idle = first if last == second else second
    cluster.let_go(idle, "r1")
    cluster.live(5.0)
    assert idle not in cluster.state.members.executors

    assert started(cluster.die(idle, "it was not needed any more", running=NOBODY)) == []
    assert cluster.epoch("r1") == 1


# nobody is left


def full() -> Cluster:
    """Both of at most two executors wait for calls of their own, one of which waits for room."""
    cluster = cluster_of("a", "b", size=PoolSize(2, 2, 2, 30.0))
    cluster.call("r1")
    cluster.call("r2", parent="r1")
    cluster.block("a", "r1")
    cluster.call("r3", parent="r2")
    cluster.block("b", "r2")
    return cluster


def test_if_all_wait_for_calls_that_wait_for_them_one_call_is_refused() -> None:
    cluster = full()
    assert ends(cluster.live(STUCK_AFTER / 2)) == []

    assert ends(cluster.live(STUCK_AFTER)) == [("r3", Overloaded)]
    assert {"r1", "r2"} <= cluster.runs.keys()


def test_code_that_looks_around_now_and_then_waits_all_the_same() -> None:
    cluster, commands = full(), list[Command]()
    for _ in range(30):
        cluster.block("b", "r2", waits=False)
        commands += cluster.live(0.01)
        cluster.block("b", "r2")
        commands += cluster.live(0.05)

    assert ends(commands) == [("r3", Overloaded)]


def test_who_works_may_make_room() -> None:
    cluster = full()
    cluster.block("b", "r2", waits=False)

    assert ends(cluster.live(10 * STUCK_AFTER)) == []


def test_calls_of_clients_wait_as_long_as_it_takes() -> None:
    cluster = full()
    cluster.call("mine")

    assert [run_id for run_id, _ in ends(cluster.live(10 * STUCK_AFTER))] == ["r3"]
    assert "mine" in cluster.runs
