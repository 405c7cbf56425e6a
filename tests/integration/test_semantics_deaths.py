"""Executors that die: nothing is lost, and what kills them is named."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from records import store_of, wait_for_state
from watching import wait_until

from cloudburst import CloudburstConnection, ExecutorDiedError, UserLibrary


def fall(library: UserLibrary, *args: Any) -> list[Any]:
    """Wait to be killed the first time; return the arguments from then on."""
    if library.get("victim") is None:
        library.put("victim", os.getpid())
        signal.pause()
    return list(args)


def kill_victim(connection: CloudburstConnection, key: str = "victim") -> None:
    """Kill the executor whose function says that it is to be killed."""
    os.kill(wait_until(lambda: connection.get_object(key), "a function runs"), signal.SIGKILL)


def whole(connection: CloudburstConnection) -> bool:
    return len(connection.status().executors) == 2


def test_run_whose_executor_is_killed_is_run_again(fragile: CloudburstConnection) -> None:
    before = set(fragile.status().executors)
    future = fragile.register(fall, "fall")(1, "two")

    kill_victim(fragile)

    assert future.get(20) == [1, "two"]
    store = store_of(fragile)
    record = wait_for_state(store, future.obj_id, "SUCCEEDED")
    store.close()
    assert record["epoch"] == 2
    assert record["executor"] in fragile.status().executors
    assert record["accepted"] <= record["started"] <= record["finished"]
    wait_until(lambda: whole(fragile), "the pool is whole again")
    assert len(set(fragile.status().executors) - before) == 1


def test_direct_call_whose_executor_is_killed_is_run_again(fragile: CloudburstConnection) -> None:
    direct = fragile.register(fall, "fall").options(direct_response=True, timeout=20.0)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(direct, "x")
        kill_victim(fragile)
        assert waiting.result(30) == ["x"]


def test_diamond_whose_branch_dies(fragile: CloudburstConnection) -> None:
    fragile.register(fall, "fall")
    fragile.register(lambda _, n: n * 2, "double")
    fragile.register(lambda _, *values: values, "join")
    steps: list[Any] = [("top", "double"), "fall", "double", "join"]
    edges = [("top", "fall"), ("top", "double"), ("fall", "join"), ("double", "join")]
    assert fragile.register_dag("d", steps, edges)

    future = fragile.call_dag("d", {"top": 21, "fall": ["own"]})
    kill_victim(fragile)

    assert future.get(20) == (["own", 42], 84)


def test_instance_that_died_is_made_again(fragile: CloudburstConnection) -> None:
    class Counter:
        def __init__(self) -> None:
            self.calls = 0

        def run(self, library: UserLibrary) -> int:
            if self.calls == 3:
                fall(library)
            self.calls += 1
            return self.calls

    fragile.register(Counter, "counter")
    fragile.register_dag("d", ["counter"], [])
    assert [fragile.call_dag("d", {}).get(10) for _ in range(3)] == [1, 2, 3]
    # A run that has ended, but whose end the scheduler has not been told, is run again as well.
    wait_until(lambda: fragile.status()[2:4] == (0, 0), "the first runs end")

    future = fragile.call_dag("d", {})
    kill_victim(fragile)

    assert future.get(20) == 1
    assert fragile.call_dag("d", {}).get(10) == 2


def test_many_runs_while_executors_are_killed(fragile: CloudburstConnection) -> None:
    """What runs and waits on a dying executor is only delayed, whatever shape it has."""
    work = fragile.register(lambda _, n: sum(range(2_000)) * 0 + n, "work")
    fragile.register(lambda _, *values: values, "join")
    fragile.register(lambda library: library.put("pid", os.getpid()), "pid")
    steps: list[Any] = [("top", "work"), ("left", "work"), ("right", "work"), "join"]
    edges = [("top", "left"), ("top", "right"), ("left", "join"), ("right", "join")]
    assert fragile.register_dag("d", steps, edges)
    pid = fragile.get_function("pid")
    assert pid is not None

    lone, diamonds = [], []
    for n in range(600):
        lone.append(work(n))
        diamonds.append(fragile.call_dag("d", {"top": n}))
        if n in {150, 350}:
            fragile.delete_object("pid")
            pid().get(20)
            kill_victim(fragile, "pid")

    assert [future.get(30) for future in lone] == list(range(600))
    assert [future.get(30) for future in diamonds] == [(n, n) for n in range(600)]


DEADLY: list[tuple[Callable[..., Any], str]] = [
    (lambda _: os.kill(os.getpid(), signal.SIGKILL), r"SIGKILL \(signal 9\)"),
    (lambda _: os.abort(), r"SIGABRT \(signal 6\)"),
    (lambda _: os._exit(3), "exit code 3"),
]


@pytest.mark.parametrize(("function", "how"), DEADLY)
def test_function_that_always_kills_its_executor(
    fragile: CloudburstConnection, function: Callable[..., Any], how: str
) -> None:
    future = fragile.register(function, "deadly")()

    with pytest.raises(ExecutorDiedError, match=f"'deadly' was given up.*died 3 times.*{how}"):
        future.get(30)
    store = store_of(fragile)
    record = wait_for_state(store, future.obj_id, "FAILED")
    store.close()
    assert record["epoch"] == 3
    assert "died 3 times" in record["reason"]
    with pytest.raises(ExecutorDiedError, match="died 3 times"):
        fragile.get_object(future.obj_id)


def test_deadly_direct_call(fragile: CloudburstConnection) -> None:
    deadly = fragile.register(lambda _: os._exit(0), "deadly")

    with pytest.raises(ExecutorDiedError, match="exit code 0"):
        deadly.options(direct_response=True, timeout=30.0)()


def test_deadly_function_takes_nobody_else_with_it(fragile: CloudburstConnection) -> None:
    deadly = fragile.register(lambda _: os._exit(9), "deadly")
    incr = fragile.register(lambda _, n: n + 1, "incr")

    before = [incr(n) for n in range(100)]
    killer = deadly()
    after = [incr(n) for n in range(100)]

    assert isinstance(killer.exception(30), ExecutorDiedError)
    assert [future.get(30) for future in before + after] == list(range(1, 101)) * 2
