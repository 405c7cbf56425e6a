"""Class steps with one instance or several, and instances that are made ahead of the first call."""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from watching import wait_until

from cloudburst import (
    CloudburstConnection,
    LocalCluster,
    UnknownFunction,
    UsageError,
    UserLibrary,
    batch,
)

SOON = 30.0
"""Seconds within which every end has to come."""

EXECUTORS = 4
"""More executors than instances."""


class Seen(NamedTuple):
    """What an instance says of itself when it is called."""

    pid: int
    calls: int


class Model:
    """Notes in the store that it was made, and counts its calls."""

    def __init__(self, library: UserLibrary, seconds: float = 0.0) -> None:
        library.put(f"made in {os.getpid()}", library.get(f"made in {os.getpid()}", 0) + 1)
        self.seconds = seconds
        self.calls = 0

    def run(self, _: object = None) -> tuple[int, int]:
        time.sleep(self.seconds)
        self.calls += 1
        return os.getpid(), self.calls


@pytest.fixture
def pids(connection: CloudburstConnection) -> Iterator[list[int]]:
    """The processes of the executors; what instances noted there is forgotten after the test."""
    found: dict[int, None] = {}
    tell = connection.register(lambda _: time.sleep(0.05) or os.getpid(), "pid")

    def all_told() -> bool:
        found.update(dict.fromkeys(run.get(SOON) for run in [tell() for _ in range(4)]))
        return len(found) == 4

    wait_until(all_told, "all executors tell")
    yield list(found)
    for pid in found:
        connection.delete_object(f"made in {pid}")


def made(connection: CloudburstConnection, pids: list[int]) -> list[int]:
    """How many instances were made, by executor, the most first."""
    counts = [connection.get_object(f"made in {pid}", 0) for pid in pids]
    return sorted(counts, reverse=True)


def call(connection: CloudburstConnection, dag: str, times: int) -> list[Seen]:
    runs = [connection.call_dag(dag, {}) for _ in range(times)]
    return [Seen(*run.get(SOON)) for run in runs]


def register(connection: CloudburstConnection, seconds: float = 0.0, **how: Any) -> None:
    connection.register((Model, seconds), "model")
    assert connection.register_dag("d", ["model"], [], **how)


def calls_of_each(seen: list[Seen]) -> dict[int, list[int]]:
    counts = defaultdict(list)
    for pid, calls in seen:
        counts[pid].append(calls)
    return {pid: sorted(calls) for pid, calls in counts.items()}


# replicas


def test_there_is_one_instance_unless_more_are_asked_for(
    connection: CloudburstConnection, pids: list[int]
) -> None:
    register(connection, 0.02)

    seen = call(connection, "d", 120)

    ((_, counts),) = calls_of_each(seen).items()
    assert counts == list(range(1, 121))
    assert made(connection, pids) == [1, 0, 0, 0]


def test_under_load_there_are_as_many_as_there_may_be_and_never_more(
    connection: CloudburstConnection, pids: list[int]
) -> None:
    register(connection, 0.02, replicas=3)
    seen: list[Seen] = []

    def all_at_work() -> bool:
        seen.extend(call(connection, "d", 40))
        return len({pid for pid, _ in seen}) >= 3

    wait_until(all_at_work, "the third instance is made", 60.0)
    seen += call(connection, "d", 200)

    by_instance = calls_of_each(seen)
    assert len(by_instance) == 3
    # Each has a state of its own.
    assert all(counts == list(range(1, len(counts) + 1)) for counts in by_instance.values())
    assert made(connection, pids) == [1, 1, 1, 0]


def test_without_load_there_is_one(run_dir: Path) -> None:
    with LocalCluster(3) as three, three.connect() as connection:
        register(connection, replicas=3)
        seen = []

        for _ in range(10):
            seen += call(connection, "d", 1)
            wait_until(lambda: connection.status()[2:4] == (0, 0), "the run is over")

        assert [calls for _, calls in seen] == list(range(1, 11))


def test_the_number_may_change_while_the_dag_is_registered(
    connection: CloudburstConnection, pids: list[int]
) -> None:
    register(connection)
    assert call(connection, "d", 1)[0].calls == 1

    assert connection.register_dag("d", ["model"], [], replicas=2)

    assert connection.prewarm("d", 2) == 2
    assert made(connection, pids) == [1, 1, 0, 0]
    seen = calls_of_each(call(connection, "d", 60))
    # One of them had been called before, the other had not.
    assert sorted(counts[0] for counts in seen.values()) in ([1], [2], [1, 2])
    assert made(connection, pids) == [1, 1, 0, 0]


def test_a_new_version_has_instances_of_its_own(
    connection: CloudburstConnection, pids: list[int]
) -> None:
    register(connection, replicas=2)
    connection.prewarm("d", 2)
    call(connection, "d", 5)

    connection.register((Model, 0.001), "model")

    seen = calls_of_each(call(connection, "d", 20))
    assert all(counts == list(range(1, len(counts) + 1)) for counts in seen.values())
    assert len(seen) <= 2


def test_each_class_step_has_instances_of_its_own(
    connection: CloudburstConnection, pids: list[int]
) -> None:
    connection.register((Model, 0.0), "model")
    connection.register(lambda _, *found: found, "gather")
    steps = [("one", "model"), ("two", "model"), "gather"]
    assert connection.register_dag("d", steps, [("one", "gather"), ("two", "gather")])

    connection.prewarm("d")
    before = made(connection, pids)
    found = [connection.call_dag("d", {}).get(SOON) for _ in range(50)]

    assert sum(before) == 2
    assert made(connection, pids) == before
    for step in (0, 1):
        (counts,) = calls_of_each([Seen(*run[step]) for run in found]).values()
        assert counts == list(range(1, 51))


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2"])
def test_replicas_are_a_number(connection: CloudburstConnection, wrong: Any) -> None:
    connection.register(Model, "model")

    with pytest.raises(UsageError, match="replicas is a number"):
        connection.register_dag("d", ["model"], [], replicas=wrong)


# prewarming


def test_the_first_call_does_not_make_the_instance(
    connection: CloudburstConnection, pids: list[int]
) -> None:
    register(connection)

    assert connection.prewarm("d") == 1
    assert made(connection, pids) == [1, 0, 0, 0]

    ((_, calls),) = call(connection, "d", 1)
    assert calls == 1  # warming is no call
    assert made(connection, pids) == [1, 0, 0, 0]
    assert connection.prewarm("d") == 1
    assert made(connection, pids) == [1, 0, 0, 0]


def test_as_many_instances_are_made_as_are_asked_for(
    connection: CloudburstConnection, pids: list[int]
) -> None:
    register(connection, 0.005, replicas=3)

    assert connection.prewarm("d", 3) == 3
    assert made(connection, pids) == [1, 1, 1, 0]

    seen = calls_of_each(call(connection, "d", 150))
    assert len(seen) == 3
    assert made(connection, pids) == [1, 1, 1, 0]


def test_a_dag_is_warmed_to_its_end(connection: CloudburstConnection, pids: list[int]) -> None:
    def never(library: UserLibrary, *_: object) -> None:
        raise AssertionError(f"{library.step} was called")

    connection.register(never, "pre")
    connection.register((Model, 0.0), "model", batching=batch(8, 10))
    connection.register(never, "post")
    edges = [("pre", "model"), ("model", "post")]
    assert connection.register_dag("d", ["pre", "model", "post"], edges, replicas=2)

    assert connection.prewarm("d", 2) >= 2

    assert made(connection, pids) == [1, 1, 0, 0]


class Freight:
    """Goes with a function; a line in a file for every time that it arrives somewhere."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return unload, (self.path,)


def unload(path: str) -> str:
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return path


def shipped(path: Path) -> Callable[..., int]:
    """A function whose loading leaves a line in a file."""
    freight = Freight(str(path))
    return lambda _: (freight, time.sleep(0.01), os.getpid())[-1]


def test_the_first_calls_of_a_function_do_not_load_it(
    connection: CloudburstConnection, pids: list[int], tmp_path: Path
) -> None:
    loads = tmp_path / "loads"
    function = connection.register(shipped(loads), "shipped")
    loads.write_text("")

    assert connection.prewarm("shipped", 4) == 4
    assert Counter(map(int, loads.read_text().split())) == Counter(pids)

    ran = {run.get(SOON) for run in [function() for _ in range(40)]}
    assert len(ran) > 1
    assert Counter(map(int, loads.read_text().split())) == Counter(pids)


def test_executors_are_started_for_it(run_dir: Path, tmp_path: Path) -> None:
    loads = tmp_path / "loads"
    with LocalCluster(min=1, max=3) as small, small.connect() as connection:
        connection.register(shipped(loads), "shipped")
        loads.write_text("")

        assert connection.prewarm("shipped", 3) == 3

        assert len(connection.status().executors) == 3
        assert len(set(loads.read_text().split())) == 3
        assert connection.prewarm("shipped", 5) == 3  # there cannot be more


def test_more_instances_than_there_may_be_are_refused(connection: CloudburstConnection) -> None:
    register(connection, replicas=2)

    with pytest.raises(UsageError, match=r"keeps 2 instance\(s\).*with replicas=3"):
        connection.prewarm("d", 3)


def test_what_is_not_there_cannot_be_warmed(connection: CloudburstConnection) -> None:
    register(connection)

    with pytest.raises(UnknownFunction, match="did you mean 'model'"):
        connection.prewarm("modle")
    with pytest.raises(UsageError, match="n is a number"):
        connection.prewarm("model", 0)


def test_an_instance_that_cannot_be_made_says_so(connection: CloudburstConnection) -> None:
    class Broken:
        def __init__(self) -> None:
            raise OSError("the weights are lost")

        def run(self) -> None: ...

    connection.register(Broken, "broken")
    assert connection.register_dag("d", ["broken"], [])

    with pytest.raises(OSError, match="the weights are lost"):
        connection.prewarm("d")
