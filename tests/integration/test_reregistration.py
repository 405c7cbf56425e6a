"""A function registered again: the next call runs the new code, what runs keeps the old."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gates import Gate
from watching import script

from cloudburst import CloudburstConnection, UserLibrary


def versioned(version: int) -> Callable[..., Any]:
    return lambda _, *args: (version, *args)


@pytest.fixture
def chain(connection: CloudburstConnection) -> CloudburstConnection:
    """A function ``f``, alone and as the middle of a DAG."""
    connection.register(versioned(1), "f")
    connection.register(lambda _, n: n, "before")
    connection.register(lambda _, value: ["after", value], "after")
    edges = [("before", "f"), ("f", "after")]
    assert connection.register_dag("chain", ["before", "f", "after"], edges)
    return connection


def test_next_call_runs_the_new_code(chain: CloudburstConnection) -> None:
    function = chain.get_function("f")
    assert function is not None
    assert function().get(10) == (1,)

    for version in range(2, 30):
        assert chain.register(versioned(version), "f").name == "f"
        assert function().get(10) == (version,)
        assert function.options(direct_response=True)() == (version,)


def test_next_run_of_a_dag_runs_the_new_code(chain: CloudburstConnection) -> None:
    assert chain.call_dag("chain", {"before": 0}).get(10) == ["after", (1, 0)]

    for version in range(2, 20):
        chain.register(versioned(version), "f")
        assert chain.call_dag("chain", {"before": 0}).get(10) == ["after", (version, 0)]
    assert chain.list_dags() == ["chain"]


def test_calls_that_were_made_before_keep_their_version(chain: CloudburstConnection) -> None:
    function = chain.get_function("f")
    assert function is not None
    futures = []

    for version in range(2, 12):
        futures.append([function() for _ in range(50)])
        chain.register(versioned(version), "f")

    for version, batch in enumerate(futures, 1):
        assert [future.get(20) for future in batch] == [(version,)] * 50


def test_run_that_is_running_keeps_its_version(
    chain: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    def before(_: UserLibrary, path: str) -> str:
        Path(path).read_bytes()
        return "old"

    gate = make_gate()
    chain.register(before, "before")
    running = chain.call_dag("chain", {"before": gate.path})
    gate.wait_for_arrival()
    chain.register(lambda _, path: "new", "before")
    chain.register(versioned(2), "f")
    assert chain.call_dag("chain", {"before": 0}).get(10) == ["after", (2, "new")]
    gate.open()

    assert running.get(10) == ["after", (1, "old")]


def test_same_code_again_changes_nothing(chain: CloudburstConnection) -> None:
    def keep(_: object) -> Any:
        return None

    class Counter:
        def __init__(self) -> None:
            self.calls = 0

        def run(self) -> int:
            self.calls += 1
            return self.calls

    chain.register(keep, "keep")
    chain.register(Counter, "counter")
    chain.register_dag("count", ["counter"], [])

    for expected in range(1, 6):
        assert chain.call_dag("count", {}).get(10) == expected
        chain.register(keep, "keep")
        chain.register(Counter, "counter")


def test_function_may_become_a_class_and_back(chain: CloudburstConnection) -> None:
    class Counter:
        def __init__(self, start: int) -> None:
            self.calls = start

        def run(self, n: int) -> tuple[int, int]:
            self.calls += 1
            return self.calls, n

    def run() -> Any:
        return chain.call_dag("chain", {"before": 0}).get(10)

    assert run() == ["after", (1, 0)]
    chain.register((Counter, 10), "f")
    assert [run(), run()] == [["after", (11, 0)], ["after", (12, 0)]]
    chain.register((Counter, 20), "f")
    assert [run(), run()] == [["after", (21, 0)], ["after", (22, 0)]]
    chain.register(versioned(2), "f")
    assert run() == ["after", (2, 0)]


def test_helpers_that_a_function_uses_are_part_of_its_code(
    connection: CloudburstConnection,
) -> None:
    found = []
    for offset in (1, 2):

        def helper(n: int, offset: int = offset) -> int:
            return n + offset

        found.append(connection.register(lambda _, n: helper(n), "f")(10).get(10))

    assert found == [11, 12]


def test_dag_whose_function_was_deleted_and_made_again(connection: CloudburstConnection) -> None:
    connection.register(versioned(1), "f")
    assert connection.delete_function("f")
    connection.register(versioned(2), "f")
    connection.register_dag("d", ["f"], [])

    assert connection.call_dag("d", {}).get(10) == (2,)


def test_other_clients_see_the_new_code(chain: CloudburstConnection) -> None:
    code = """
import sys
from cloudburst import CloudburstConnection
with CloudburstConnection(sys.argv[1]) as connection:
    connection.register(lambda _, *args: ("theirs", *args), "f")
    print(connection.call_dag("chain", {"before": 1}).get(10))
"""
    assert chain.call_dag("chain", {"before": 1}).get(10) == ["after", (1, 1)]

    output, _ = script(code, chain.address).communicate(timeout=30)

    assert output == "['after', ('theirs', 1)]\n"
    assert chain.call_dag("chain", {"before": 1}).get(10) == ["after", ("theirs", 1)]
