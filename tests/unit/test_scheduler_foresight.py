"""Hosts are told in time what is about to be read there."""

from __future__ import annotations

import pytest
from caching_hosts import MB, CachingCluster
from scheduling import sent

from cloudburst.core.hosts import Prefetch
from cloudburst.scheduler import foresight as module
from cloudburst.scheduler.events import Command


@pytest.fixture
def cluster() -> CachingCluster:
    """Two executors on two hosts, each with a run that takes its time."""
    cluster = CachingCluster()
    cluster.join("a", host="h1")
    cluster.join("b", host="h2")
    cluster.register("f")
    for number in (1, 2):
        cluster.call(f"busy {number}")
    return cluster


def orders(commands: list[Command]) -> list[tuple[str, tuple[str, ...]]]:
    return [(to, message.names) for to, message in sent(commands, Prefetch)]


def test_what_a_run_refers_to_comes_while_it_waits(cluster: CachingCluster) -> None:
    assert orders(cluster.call("r1", references=("k", "l", "k"))) == [("h1", ("k", "l"))]


def test_a_run_that_begins_at_once_reads_for_itself(cluster: CachingCluster) -> None:
    cluster.finish("busy 1")

    assert orders(cluster.call("r1", references=("k",))) == []


def test_a_call_without_references_asks_for_nothing(cluster: CachingCluster) -> None:
    assert orders(cluster.call("r1")) == []


def test_it_comes_to_the_host_that_has_the_rest(cluster: CachingCluster) -> None:
    cluster.cache("h2", k=MB)

    assert orders(cluster.call("r1", references=("k", "l"))) == [("h2", ("l",))]
    assert orders(cluster.call("r2", references=("k",))) == []


def test_it_comes_to_the_host_with_the_instance_that_it_waits_for(
    cluster: CachingCluster,
) -> None:
    cluster.finish("busy 2")
    cluster.register("C", is_class=True)
    cluster.dag("kept", ["C"])
    cluster.call("r1", "kept")
    assert cluster.places("r1") == ["b"]

    assert orders(cluster.call("r2", "kept", references=("k",), readers=("C",))) == [("h2", ("k",))]


def test_it_comes_to_a_host_that_has_what_is_needed(cluster: CachingCluster) -> None:
    cluster.join("g", host="gpus", resources=("gpu",))
    cluster.heartbeat("g", host="gpus", resources=("gpu",))
    cluster.register("h", needs="gpu")
    cluster.call("r1", "h")

    assert orders(cluster.call("r2", "h", references=("k",))) == [("gpus", ("k",))]


def test_nobody_is_told_the_same_again_too_soon(cluster: CachingCluster) -> None:
    cluster.call("r1", references=("k",))
    assert orders(cluster.call("r2", references=("k",))) == []

    cluster = CachingCluster()
    cluster.join("a", "b", "c", host="h1")
    cluster.register("f")
    for number in range(3):
        cluster.call(f"busy {number}")
    cluster.call("r1", references=("k",))
    cluster.now += module.RECENT
    assert orders(cluster.call("r2", references=("k",))) == [("h1", ("k",))]


def test_only_so_many_runs_are_prepared_as_may_begin_soon(cluster: CachingCluster) -> None:
    told = [orders(cluster.call(f"r{n}", references=(f"k{n}",))) for n in range(4)]
    assert told == [[("h1", ("k0",))], [("h1", ("k1",))], [], []]

    assert orders(cluster.finish("busy 1")) == [("h2", ("k2",))]
    assert orders(cluster.finish("r0")) == [("h2", ("k3",))]
    assert orders(cluster.finish("r1")) == []


def test_runs_that_do_not_wait_any_more_make_room_for_others(cluster: CachingCluster) -> None:
    for number in range(4):
        cluster.call(f"r{number}", references=(f"k{number}",))
    cluster.cancel("r1")
    cluster.cancel("r2")

    assert orders(cluster.finish("busy 1")) == [("h2", ("k3",))]


def test_no_more_wait_for_that_than_can_be_remembered(
    cluster: CachingCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_RECENT", 3)
    for number in range(9):
        cluster.call(f"r{number}", references=(f"k{number}",))
        cluster.finish(f"busy {number + 1}" if number < 2 else f"r{number - 2}")


def test_of_one_run_only_so_much_comes(cluster: CachingCluster) -> None:
    names = tuple(f"k{number}" for number in range(module.MOST_NAMES + 5))

    ((_, ordered),) = orders(cluster.call("r1", references=names))
    assert ordered == names[: module.MOST_NAMES]


# later steps


def test_what_later_steps_refer_to_comes_while_others_run(cluster: CachingCluster) -> None:
    cluster.finish("busy 1")
    cluster.dag("chain", [(name, "f") for name in "xyz"], [("x", "y"), ("y", "z")])

    commands = cluster.call("r1", "chain", references=("k", "l", "m"), readers=("x", "y", "z"))
    assert cluster.places("r1") == ["a"]
    assert orders(commands) == [("h1", ("l", "m"))]


def test_it_comes_to_the_host_where_it_is_to_be_read(cluster: CachingCluster) -> None:
    cluster.finish("busy 1")
    cluster.finish("busy 2")
    steps = [(name, "f") for name in ("x", "y", "end")]
    cluster.dag("d", steps, [("x", "end"), ("y", "end")])
    cluster.cache("h2", big=90 * MB)

    read = {"k": "x", "big": "end", "l": "end", "m": "y"}
    commands = cluster.call("r1", "d", references=tuple(read), readers=tuple(read.values()))
    assert cluster.places("r1") == ["a", "b", "b"]
    assert orders(commands) == [("h2", ("l",))]


def test_large_arguments_are_nobody_elses(cluster: CachingCluster) -> None:
    cluster.finish("busy 1")
    cluster.dag("chain", [(name, "f") for name in "xy"], [("x", "y")])

    assert orders(cluster.call("r1", "chain", references=("r1/1",), readers=("y",))) == []
    assert orders(cluster.call("r2", references=("r2/1",))) == []


def test_code_that_is_only_loaded_reads_nothing(cluster: CachingCluster) -> None:
    assert orders(cluster.call("r1", warm=2)) == []
