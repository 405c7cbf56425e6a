"""A host that is asked to end finishes what runs there; the rest runs elsewhere, once."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gates import Gate, wait_at
from hands import ByHand
from notes import note, noted
from watching import alive, member, wait_gone, wait_until

from cloudburst import CloudburstConnection, CloudburstFuture, LocalCluster

SOON = 30.0
"""Seconds within which every end has to come. Nothing here should take a tenth of it."""


def stand(library: Any, path: str, *upstream: object) -> list[object]:
    """Wait at a gate."""
    note(library, library.step)
    return [wait_at(library, path), *upstream]


@pytest.fixture
def connection(by_hand: ByHand) -> Iterator[CloudburstConnection]:
    """A connection to a scheduler without any host."""
    by_hand.scheduler("scheduler")
    with CloudburstConnection(by_hand.address("scheduler")) as connection:
        connection.register(stand, "stand")
        connection.register(lambda library, n: (note(library, "work"), n), "work")
        yield connection


def executors(connection: CloudburstConnection, count: int) -> None:
    wait_until(lambda: len(connection.status().executors) == count, f"there are {count} executors")


@pytest.fixture
def gates(run_dir: Path) -> Iterator[tuple[Gate, Gate]]:
    made = Gate(run_dir / "left"), Gate(run_dir / "right")
    yield made
    for gate in made:
        gate.remove()


def call(connection: CloudburstConnection, name: str, *arguments: object) -> CloudburstFuture:
    function = connection.get_function(name)
    assert function is not None
    future: CloudburstFuture = function(*arguments)
    return future


def all_work(connection: CloudburstConnection, runs: list[CloudburstFuture]) -> None:
    """Each has been carried out, and once."""
    assert [run.get(SOON) for run in runs] == [(1, n) for n in range(len(runs))]
    assert [noted(connection, run, "work") for run in runs] == [1] * len(runs)


def test_what_runs_there_ends_there_and_the_rest_goes_elsewhere(
    by_hand: ByHand, connection: CloudburstConnection, gates: tuple[Gate, Gate]
) -> None:
    leaving = by_hand.host("scheduler")
    executors(connection, 1)
    first = call(connection, "stand", gates[0].path)
    gates[0].wait_for_arrival()
    by_hand.host("scheduler")
    executors(connection, 2)
    second = call(connection, "stand", gates[1].path)
    gates[1].wait_for_arrival()
    waiting = [call(connection, "work", n) for n in range(30)]

    leaving.terminate()

    executors(connection, 1)
    gates[1].open()
    assert second.get(SOON) == ["right"]
    all_work(connection, waiting)
    assert leaving.poll() is None
    assert not first.done()
    gates[0].open()
    assert first.get(SOON) == ["left"]
    assert leaving.wait(SOON) == 0
    assert noted(connection, first, "stand") == 1


def test_without_another_host_the_rest_waits_for_one(
    by_hand: ByHand, connection: CloudburstConnection, gates: tuple[Gate, Gate]
) -> None:
    leaving = by_hand.host("scheduler")
    executors(connection, 1)
    first = call(connection, "stand", gates[0].path)
    gates[0].wait_for_arrival()
    waiting = [call(connection, "work", n) for n in range(30)]
    connection.flush()

    leaving.terminate()

    executors(connection, 0)
    gates[0].open()
    assert first.get(SOON) == ["left"]
    assert leaving.wait(SOON) == 0
    assert connection.status()[1:4] == ((), 0, 30)
    by_hand.host("scheduler")
    all_work(connection, waiting)


def test_a_run_that_is_on_both_hosts_is_carried_out_once(
    by_hand: ByHand, connection: CloudburstConnection, gates: tuple[Gate, Gate]
) -> None:
    """Steps that had not begun on the host that drains begin there all the same."""
    leaving = by_hand.host("scheduler")
    by_hand.host("scheduler")
    executors(connection, 2)
    connection.register(lambda library, *upstream: (note(library, library.step), *upstream), "step")
    steps = [("top", "step"), ("left", "stand"), ("right", "stand"), ("bottom", "step")]
    edges = [("top", "left"), ("top", "right"), ("left", "bottom"), ("right", "bottom")]
    assert connection.register_dag("diamond", steps, edges)
    run = connection.call_dag("diamond", {"left": gates[0].path, "right": gates[1].path})
    for gate in gates:
        gate.wait_for_arrival()

    leaving.terminate()

    executors(connection, 1)
    for gate in gates:
        gate.open()
    assert run.get(SOON) == (1, ["left", (1,)], ["right", (1,)])
    assert leaving.wait(SOON) == 0
    assert [noted(connection, run, step) for step, _ in steps] == [1, 1, 1, 1]


def test_short_calls_that_are_under_way_are_carried_out_once(
    by_hand: ByHand, connection: CloudburstConnection
) -> None:
    """Several of them wait on each executor at any time."""
    leaving = by_hand.host("scheduler")
    by_hand.host("scheduler")
    executors(connection, 2)
    warm = [call(connection, "work", n) for n in range(100)]
    all_work(connection, warm)
    runs = [call(connection, "work", n) for n in range(1000)]

    leaving.terminate()

    all_work(connection, runs)
    assert leaving.wait(SOON) == 0
    executors(connection, 1)


def test_who_asks_twice_does_not_want_to_wait(
    by_hand: ByHand, connection: CloudburstConnection, gates: tuple[Gate, Gate]
) -> None:
    leaving = by_hand.host("scheduler")
    executors(connection, 1)
    run = call(connection, "stand", gates[0].path)
    gates[0].wait_for_arrival()
    by_hand.host("scheduler")
    executors(connection, 2)
    leaving.terminate()
    executors(connection, 1)

    leaving.terminate()

    assert leaving.wait(SOON) == 0
    gates[0].stay_open()
    assert run.get(SOON) == ["left"]
    # It had begun on the host that could not wait.
    assert noted(connection, run, "stand") == 2


def test_the_host_of_a_local_cluster_is_started_again(make_gate: Callable[[], Gate]) -> None:
    with LocalCluster(2) as cluster, cluster.connect() as connection:
        executors(connection, 2)
        connection.register(stand, "stand")
        connection.register(lambda library, n: (note(library, "work"), n), "work")
        gates = make_gate(), make_gate()
        busy = [call(connection, "stand", gate.path) for gate in gates]
        for gate in gates:
            gate.wait_for_arrival()
        waiting = [call(connection, "work", n) for n in range(30)]
        host = member(os.getpid(), "host")

        host.send_signal(signal.SIGTERM)

        executors(connection, 0)
        assert alive(host)
        for gate in gates:
            gate.open()
        assert [run.get(SOON) for run in busy] == [["gate0"], ["gate1"]]
        wait_gone([host])
        all_work(connection, waiting)
        assert [noted(connection, run, "stand") for run in busy] == [1, 1]
        assert cluster.owned
