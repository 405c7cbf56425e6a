"""Functions that call functions: values, errors, depth, and what becomes of calls at the end."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gates import Gate, wait_at
from records import store_of
from watching import wait_until

from cloudburst import (
    CloudburstConnection,
    CloudburstError,
    CloudburstFuture,
    FunctionError,
    InvocationCancelledError,
    InvocationTimedOutError,
    LocalCluster,
    UnknownDag,
    UnknownFunction,
)
from cloudburst.kvs.base import GetFields
from cloudburst.kvs.keys import run_key

SOON = 30.0


@pytest.fixture
def cloud(run_dir: Path) -> Iterator[CloudburstConnection]:
    """Two executors, and as many more as there are callers that wait."""
    with LocalCluster(2, idle_timeout=0.2) as cluster, cluster.connect() as connection:
        yield connection
        wait_until(lambda: connection.status()[2:4] == (0, 0), "nothing runs any more")
        wait_until(lambda: len(connection.status().executors) == 2, "the pool is as it was")


def test_functions_call_chains_of_dags(cloud: CloudburstConnection) -> None:
    cloud.register(lambda _, a, b: a + b, "add")
    cloud.register(lambda _, n: n * n, "square")
    for name in ("add", "square"):
        assert cloud.register_dag(name, [name], [])
    steps = [("left", "square"), ("right", "square"), ("join", "add")]
    assert cloud.register_dag("wide", steps, [("left", "join"), ("right", "join")])

    def calls(library: Any, n: int) -> tuple[int, int]:
        chain = [("add", {"add": [1]}), "wide"]
        future = library.call_dag("square", {"square": n}, then=chain, output_key="sum")
        return future.get(), library.get("sum")

    assert cloud.register(calls, "calls")(2).get(SOON) == (50, 50)
    assert cloud.get_object("sum") == 50


def test_a_chain_that_functions_call_may_end_in_an_unknown_dag(
    cloud: CloudburstConnection,
) -> None:
    cloud.register(lambda _, n: n * n, "square")
    assert cloud.register_dag("square", ["square"], [])

    def calls(library: Any) -> Any:
        return library.call_dag("square", {"square": 2}, then="nowhere").get()

    with pytest.raises(UnknownDag, match="nowhere"):
        cloud.register(calls, "calls")().get(SOON)


def test_calls_of_functions_may_have_limits(cloud: CloudburstConnection) -> None:
    cloud.register(lambda _: time.sleep(60), "sleeps")
    assert cloud.register_dag("sleeps", ["sleeps"], [])

    def calls(library: Any) -> Any:
        return library.call_dag("sleeps", {}, timeout=0.2).get()

    with pytest.raises(InvocationTimedOutError, match=r"0\.2"):
        cloud.register(calls, "calls")().get(SOON)


def test_what_functions_say_of_a_call_is_checked_at_once(cloud: CloudburstConnection) -> None:
    def calls(library: Any, said: dict[str, Any]) -> str:
        try:
            library.call_dag("any", {}, **said)
        except CloudburstError as error:
            return f"{type(error).__name__}: {error}"
        return "it was called"

    function = cloud.register(calls, "calls")

    assert function({"then": 5}).get(SOON).startswith("UsageError: then is a DAG's name")
    assert function({"then": "no/name"}).get(SOON).startswith("InvalidName")
    assert function({"output_key": ""}).get(SOON).startswith("InvalidName")
    assert function({"timeout": -1}).get(SOON).startswith("UsageError: timeout is")
    assert function({"direct_response": True}).get(SOON).startswith("UsageError")


def fib(library: Any, n: int) -> int:
    if n < 2:
        return n
    first, second = library.call("fib", n - 1), library.call("fib", n - 2)
    result: int = first.get() + second.get()
    return result


def deep(library: Any, n: int) -> int:
    return 0 if n == 0 else 1 + library.call("deep", n - 1).get()


def test_a_function_calls_itself_on_a_pool_of_two(cloud: CloudburstConnection) -> None:
    assert cloud.register(fib, "fib")(12).get(SOON) == 144


def test_a_hundred_callers_wait_for_each_other(cloud: CloudburstConnection) -> None:
    assert cloud.register(deep, "deep")(100).get(SOON) == 100


def test_arguments_keywords_and_futures_are_passed_on(cloud: CloudburstConnection) -> None:
    cloud.register(lambda _, a, b=0: (a, b), "pair")

    def caller(library: Any) -> Any:
        first = library.call("pair", 1)
        second = library.call("pair", first, b=[first])
        return second.get()

    assert cloud.register(caller, "caller")().get(SOON) == ((1, 0), [(1, 0)])


def test_a_dag_is_called(cloud: CloudburstConnection) -> None:
    cloud.register(lambda _, x: x + 1, "incr")
    cloud.register(lambda _, x: x * x, "square")
    assert cloud.register_dag("chain", ["incr", "square"], [("incr", "square")])

    def caller(library: Any, n: int) -> Any:
        return [library.call_dag("chain", {"incr": k}) for k in range(n)][n - 1].get()

    assert cloud.register(caller, "caller")(4).get(SOON) == 16


def test_the_store_knows_who_called_whom(cloud: CloudburstConnection) -> None:
    cloud.register(lambda library: library.run_id, "below")

    def caller(library: Any) -> tuple[str, str]:
        future = library.call("below")
        return library.run_id, future.get()

    caller_id, below = cloud.register(caller, "caller")().get(SOON)

    store = store_of(cloud)
    (record,) = store.execute([GetFields(run_key(below))])
    store.close()
    assert record["parent"].decode() == caller_id


def test_large_arguments_and_results_are_passed(cloud: CloudburstConnection) -> None:
    cloud.register(lambda _, data: data[::-1], "turn")

    def caller(library: Any) -> bool:
        data = bytes(range(256)) * 20_000
        return bool(library.call("turn", data).get() == data[::-1])

    assert cloud.register(caller, "caller")().get(SOON)


def test_an_error_comes_up_through_all_callers(cloud: CloudburstConnection) -> None:
    def fail(_: Any) -> None:
        raise KeyError("at the bottom")

    cloud.register(fail, "fail")
    cloud.register(lambda library: library.call("fail").get(), "middle")
    top = cloud.register(lambda library: library.call("middle").get(), "top")

    with pytest.raises(KeyError, match="at the bottom") as raised:
        top().get(SOON)
    assert isinstance(raised.value.__cause__, FunctionError)


def test_a_caller_may_catch_the_error_and_go_on(cloud: CloudburstConnection) -> None:
    def careful(library: Any) -> str:
        try:
            library.call("nobody").get()
        except UnknownFunction as error:
            return str(error)
        return "no error"

    assert "nobody" in cloud.register(careful, "careful")().get(SOON)


def test_what_is_not_registered_is_said(cloud: CloudburstConnection) -> None:
    asks = cloud.register(lambda library: library.call_dag("nothing", {}).get(), "asks")

    with pytest.raises(UnknownDag, match="nothing"):
        asks().get(SOON)


def test_what_was_called_and_not_waited_for_goes_on(cloud: CloudburstConnection) -> None:
    cloud.register(lambda library, key: library.put(key, "done"), "later")
    starts = cloud.register(lambda library: library.call("later", "mark").obj_id, "starts")

    run_id = starts().get(SOON)

    assert cloud.future(run_id).get(SOON) is None
    assert cloud.get_object("mark") == "done"


def test_threads_of_a_function_call_as_well(cloud: CloudburstConnection) -> None:
    cloud.register(lambda _, x: 10 * x, "tens")

    def caller(library: Any) -> list[int]:
        found: list[int] = [0] * 4

        def ask(n: int) -> None:
            found[n] = library.call("tens", n).get()

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    assert cloud.register(caller, "caller")().get(SOON) == [0, 10, 20, 30]


def test_callbacks_and_the_standard_library_take_these_futures(
    cloud: CloudburstConnection,
) -> None:
    cloud.register(lambda _, x: -x, "negative")

    def caller(library: Any) -> list[int]:
        from concurrent.futures import as_completed

        futures = [library.call("negative", n) for n in range(5)]
        return sorted(future.result() for future in as_completed(futures))

    assert cloud.register(caller, "caller")().get(SOON) == [-4, -3, -2, -1, 0]


def states(cloud: CloudburstConnection) -> tuple[int, int]:
    running, waiting = cloud.status()[2:4]
    return running, waiting


def hold(library: Any, gate: str) -> None:
    library.put("child", library.run_id)
    wait_at(library, gate)


def hold_by_call(library: Any, gate: str) -> None:
    library.call("hold", gate).get()


def test_who_is_cancelled_takes_its_calls_along(
    cloud: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate().path
    cloud.register(hold, "hold")
    middle = lambda library, gate: library.call("by_call", gate).get()
    cloud.register(hold_by_call, "by_call")
    run = cloud.register(middle, "top")(gate)
    child = wait_until(lambda: cloud.get_object("child"), "the innermost call runs")

    assert run.cancel()

    with pytest.raises(InvocationCancelledError):
        run.get(SOON)
    with pytest.raises(InvocationCancelledError):
        cloud.future(child).get(SOON)
    wait_until(lambda: states(cloud) == (0, 0), "nothing runs any more")


def test_who_takes_too_long_takes_its_calls_along(
    cloud: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate().path
    cloud.register(hold, "hold")
    run = cloud.register(hold_by_call, "caller", timeout=1.0)(gate)
    child = wait_until(lambda: cloud.get_object("child"), "the call runs")

    with pytest.raises(InvocationTimedOutError):
        run.get(SOON)
    with pytest.raises(InvocationCancelledError):
        cloud.future(child).get(SOON)


def test_a_call_is_cancelled_by_its_caller(
    cloud: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate().path
    cloud.register(hold, "hold")

    def impatient(library: Any, gate: str) -> bool:
        future: CloudburstFuture = library.call("hold", gate)
        while library.get("child") is None:
            pass
        return future.cancel()

    assert cloud.register(impatient, "impatient")(gate).get(SOON) is True


def test_who_dies_starts_again_and_its_old_calls_do_not_stay(
    cloud: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate().path

    def dies_once(library: Any, gate: str) -> Any:
        if library.get("attempts") is None:
            library.put("attempts", 1)
            library.call("hold", gate)
            while library.get("child") is None:
                pass
            import os

            os._exit(3)
        return library.call("quick").get()

    cloud.register(hold, "hold")
    cloud.register(lambda _: "quick", "quick")

    assert cloud.register(dies_once, "dies_once")(gate).get(SOON) == "quick"
    with pytest.raises(InvocationCancelledError):
        cloud.future(cloud.get_object("child")).get(SOON)
