"""Graphs of many shapes, a thousand runs each: right values in the right order, none lost."""

import itertools
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from gates import Gate, wait_at

from cloudburst import CloudburstConnection

RUNS = 1_000
SPREAD_RUNS = int(os.environ.get("CLOUDBURST_TEST_SPREAD_RUNS", "100"))
WIDTH = 100
BRANCH_SECONDS = 0.0005
"""Long enough that branches are spread over executors."""

Arguments = Callable[[int], dict[str, Any]]


def results(
    connection: CloudburstConnection, dag: str, arguments: Arguments, runs: int = RUNS
) -> list[Any]:
    """What so many calls return that are all under way at once."""
    futures = [connection.call_dag(dag, arguments(number)) for number in range(runs)]
    assert len({future.obj_id for future in futures}) == runs
    return [future.get(300) for future in futures]


def spin(seconds: float = BRANCH_SECONDS) -> int:
    """Keep the executor busy. Returns its process."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return os.getpid()


@pytest.fixture
def graphs(connection: CloudburstConnection) -> CloudburstConnection:
    connection.register(lambda _, n: n, "same")
    connection.register(lambda _, n: n + 1, "incr")
    connection.register(lambda _, n: n * 2, "double")
    connection.register(lambda _, n: -n, "negative")
    connection.register(lambda _, *values: values, "join")
    return connection


@pytest.fixture
def diamond(graphs: CloudburstConnection) -> CloudburstConnection:
    steps = ["same", "double", "negative", "join"]
    edges = [("same", "double"), ("same", "negative"), ("negative", "join"), ("double", "join")]
    assert graphs.register_dag("diamond", steps, edges)
    return graphs


def test_diamond(diamond: CloudburstConnection) -> None:
    expected = [(-n, 2 * n) for n in range(RUNS)]

    assert results(diamond, "diamond", lambda n: {"same": n}) == expected


def test_diamond_without_the_store(diamond: CloudburstConnection) -> None:
    values = [
        diamond.call_dag("diamond", {"same": n}, direct_response=True) for n in range(RUNS // 5)
    ]

    assert values == [(-n, 2 * n) for n in range(RUNS // 5)]


def test_diamond_over_two_executors(graphs: CloudburstConnection) -> None:
    graphs.register(lambda _, n: (2 * n, spin()), "double")
    graphs.register(lambda _, n: (-n, spin()), "negative")
    steps = ["same", "double", "negative", "join"]
    edges = [("same", "double"), ("same", "negative"), ("negative", "join"), ("double", "join")]
    assert graphs.register_dag("diamond", steps, edges)

    found = results(graphs, "diamond", lambda n: {"same": n})

    assert [(left[0], right[0]) for left, right in found] == [(-n, 2 * n) for n in range(RUNS)]
    assert any(left[1] != right[1] for left, right in found)


def test_three_sources(graphs: CloudburstConnection) -> None:
    steps = ["same", "double", "negative", "join"]
    edges = [("double", "join"), ("same", "join"), ("negative", "join")]
    assert graphs.register_dag("sources", steps, edges)

    found = results(
        graphs, "sources", lambda n: {"same": n, "double": n, "negative": n, "join": ["own"]}
    )

    assert found == [("own", 2 * n, n, -n) for n in range(RUNS)]


def test_chain_of_a_hundred(graphs: CloudburstConnection) -> None:
    names = [f"s{number}" for number in range(100)]
    edges = list(itertools.pairwise(names))
    assert graphs.register_dag("chain", [(name, "incr") for name in names], edges)

    assert results(graphs, "chain", lambda n: {"s0": n}) == [n + 100 for n in range(RUNS)]


def register_fan_out(graphs: CloudburstConnection, branch: Callable[..., Any]) -> dict[str, int]:
    """A DAG ``wide`` of a hundred branches, joined in reverse. Returns each branch's argument."""
    names = [f"b{number}" for number in range(WIDTH)]
    graphs.register(branch, "branch")
    edges = [("same", name) for name in names] + [(name, "join") for name in reversed(names)]
    steps: list[Any] = ["same", *((name, "branch") for name in names), "join"]
    assert graphs.register_dag("wide", steps, edges)
    return dict(zip(names, range(WIDTH), strict=True))


def test_fan_out_of_a_hundred(graphs: CloudburstConnection) -> None:
    own = register_fan_out(graphs, lambda _, own, n: n * 1000 + own)

    found = results(graphs, "wide", lambda n: {"same": n, **own})

    assert found == [tuple(n * 1000 + b for b in reversed(range(WIDTH))) for n in range(RUNS)]


@pytest.mark.timeout(600)
def test_fan_out_over_two_executors(graphs: CloudburstConnection) -> None:
    own = register_fan_out(graphs, lambda _, own, n: (n * 1000 + own, spin()))

    found = results(graphs, "wide", lambda n: {"same": n, **own}, SPREAD_RUNS)

    for n, branches in enumerate(found):
        assert [value for value, _ in branches] == [n * 1000 + b for b in reversed(range(WIDTH))]
    assert any(len({process for _, process in branches}) == 2 for branches in found)


def test_class_step_counts_its_calls(graphs: CloudburstConnection) -> None:
    class Counter:
        def __init__(self, start: int) -> None:
            self.calls = start

        def run(self, n: int) -> tuple[int, int]:
            self.calls += 1
            return n, self.calls

    graphs.register((Counter, 100), "counter")
    edges = [("same", "counter"), ("counter", "join")]
    assert graphs.register_dag("counting", ["same", "counter", "join"], edges)

    found = [value for (value,) in results(graphs, "counting", lambda n: {"same": n})]

    assert [n for n, _ in found] == list(range(RUNS))
    assert sorted(calls for _, calls in found) == list(range(101, 101 + RUNS))


def test_class_step_in_a_branch_counts_its_calls(graphs: CloudburstConnection) -> None:
    class Counter:
        calls = 0

        def run(self, n: int) -> int:
            self.calls += 1
            return self.calls

    graphs.register(Counter, "counter")
    steps = ["same", "double", "counter", "join"]
    edges = [("same", "counter"), ("same", "double"), ("double", "join"), ("counter", "join")]
    assert graphs.register_dag("branch", steps, edges)

    found = results(graphs, "branch", lambda n: {"same": n})

    assert [double for double, _ in found] == [2 * n for n in range(RUNS)]
    assert sorted(calls for _, calls in found) == list(range(1, 1 + RUNS))


def test_join_whose_slow_parent_is_the_first(graphs: CloudburstConnection) -> None:
    def slow(_: object, n: int) -> str:
        return str(sum(range(5_000)) - sum(range(5_000)) + n)

    graphs.register(slow, "slow")
    edges = [("same", "double"), ("same", "slow"), ("slow", "join"), ("double", "join")]
    assert graphs.register_dag("uneven", ["same", "double", "slow", "join"], edges)

    found = results(graphs, "uneven", lambda n: {"same": n})

    assert found == [(str(n), 2 * n) for n in range(RUNS)]


def test_join_waits_for_its_first_parent_however_late_it_is(
    graphs: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate()
    graphs.register(wait_at, "wait_at")
    edges = [("same", "double"), ("same", "wait_at"), ("wait_at", "join"), ("double", "join")]
    assert graphs.register_dag("late", ["same", "double", "wait_at", "join"], edges)

    graphs.register(lambda _, path: len(path), "double")
    future = graphs.call_dag("late", {"same": gate.path})
    gate.wait_for_arrival()
    assert not future.done()
    gate.open()

    assert future.get(10) == ("gate0", len(gate.path))


def test_graphs_of_all_shapes_at_once(diamond: CloudburstConnection) -> None:
    names = [f"s{number}" for number in range(10)]
    edges = list(itertools.pairwise(names))
    assert diamond.register_dag("chain", [(name, "incr") for name in names], edges)
    incr = diamond.get_function("incr")
    assert incr is not None

    diamonds, chains, calls = [], [], []
    for n in range(300):
        diamonds.append(diamond.call_dag("diamond", {"same": n}))
        chains.append(diamond.call_dag("chain", {"s0": n}))
        calls.append(incr(n))

    assert [future.get(30) for future in calls] == [n + 1 for n in range(300)]
    assert [future.get(30) for future in chains] == [n + 10 for n in range(300)]
    assert [future.get(30) for future in diamonds] == [(-n, 2 * n) for n in range(300)]
