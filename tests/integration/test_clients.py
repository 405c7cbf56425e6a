"""Several clients, threads and processes, and the ways to wait for a result."""

import asyncio
import concurrent.futures
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from gates import Gate, wait_at
from watching import members, next_line, script, wait_until

from cloudburst import (
    CloudburstConnection,
    CloudburstReference,
    ClusterError,
    FunctionError,
    LocalCluster,
)

CALLER = """
import sys
from cloudburst import CloudburstConnection
with CloudburstConnection(sys.argv[1]) as connection:
    square = connection.register(lambda _, n: n * n, sys.argv[2])
    futures = [square(n) for n in range(100)]
    print(*(future.obj_id for future in futures))
    assert [future.get(20) for future in futures] == [n * n for n in range(100)]
    sys.stdin.readline()
"""

READER = """
import sys
from cloudburst import CloudburstConnection
with CloudburstConnection(sys.argv[1]) as connection:
    print([connection.future(obj_id).get(20) for obj_id in sys.argv[2:]])
"""


def test_results_that_nobody_reads_do_not_pile_up_in_executors(
    connection: CloudburstConnection, cluster: LocalCluster
) -> None:
    big, count = 4 << 20, 60
    make = connection.register(lambda _, n: bytes([n]) * big, "make")
    assert len(make(0).get(20)) == big
    executors = members(os.getpid(), "executor")
    memory = lambda: sum(process.memory_full_info().uss for process in executors)
    before = memory()

    futures = [make(n) for n in range(count)]
    with CloudburstConnection(cluster.address) as other:  # this one reads nothing meanwhile
        for future in futures:
            assert len(other.future(future.obj_id).get(20)) == big

    assert memory() - before < count * big / 2
    for n, future in enumerate(futures):
        assert future.get(20) == bytes([n]) * big


def test_two_clients_and_a_third_that_only_knows_ids(
    connection: CloudburstConnection, cluster: LocalCluster
) -> None:
    callers = [script(CALLER, cluster.address, name) for name in ("first", "second")]
    ids = [next_line(caller).split() for caller in callers]
    for caller in callers:
        caller.communicate(timeout=30)
        assert caller.returncode == 0
    wanted = [*ids[0][:50], *ids[1][50:]]
    squares = [n * n for n in range(100)]

    read = subprocess.run(
        [sys.executable, "-c", READER, cluster.address, *wanted],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )

    assert read.stdout == f"{squares}\n"
    assert [connection.future(i).get(10) for i in ids[0] + ids[1]] == squares + squares
    assert len(set(ids[0] + ids[1])) == 200


def test_future_of_a_run_that_is_still_running(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate()
    future = connection.register(wait_at, "wait_at")(gate.path)
    gate.wait_for_arrival()

    with CloudburstConnection(connection.address) as other:
        same = other.future(future.obj_id)
        assert not same.done()
        gate.open()
        assert same.get(10) == "gate0"
    assert future.get(10) == "gate0"
    assert connection.future(future.obj_id).get(10) == "gate0"


def test_result_outlives_its_client(connection: CloudburstConnection) -> None:
    with CloudburstConnection(connection.address) as other:
        future = other.register(lambda _: "legacy", "legacy")()
        assert future.get(10) == "legacy"

    assert connection.get_object(future.obj_id) == "legacy"


@pytest.mark.timeout(60)
def test_runs_of_a_killed_client_go_on_and_hold_up_nobody(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    code = """
import os, sys
from cloudburst import CloudburstConnection
connection = CloudburstConnection(sys.argv[1])
wait_at = connection.get_function("wait_at")
incr = connection.get_function("incr")
wait = [wait_at(path) for path in sys.argv[2:]]
futures = [incr(n) for n in range(200)]
print(*(future.obj_id for future in futures))
# Accepted by now: answers come in the order of the questions.
print(connection.status().waiting)
os.kill(os.getpid(), 9)
"""
    connection.register(wait_at, "wait_at")
    incr = connection.register(lambda _, n: n + 1, "incr")
    gates = make_gate(), make_gate()
    client = script(code, connection.address, *(gate.path for gate in gates))
    ids = next_line(client).split()
    assert next_line(client) == "200"
    client.communicate(timeout=10)
    for gate in gates:
        gate.open()

    assert incr(1).get(10) == 2
    assert [connection.future(obj_id).get(20) for obj_id in ids] == list(range(1, 201))


def test_threads_share_a_connection(connection: CloudburstConnection) -> None:
    incr = connection.register(lambda _, n: n + 1, "incr")
    connection.register_dag("d", ["incr"], [])
    ready = threading.Barrier(8)

    def work(number: int) -> list[int]:
        ready.wait(10)
        found = []
        for n in range(number * 1000, number * 1000 + 100):
            match n % 4:
                case 0:
                    found.append(incr(n).get(20))
                case 1:
                    found.append(connection.call_dag("d", {"incr": n}, direct_response=True))
                case 2:
                    connection.put_object(f"k{n}", n + 1)
                    found.append(connection.get_object(f"k{n}"))
                case _:
                    assert "incr" in connection.list()
                    found.append(incr(incr(n - 1)).get(20))
        return found

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))

    assert results == [[n + 1 for n in range(t * 1000, t * 1000 + 100)] for t in range(8)]


def test_threads_that_wait_for_one_future(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate()
    future = connection.register(wait_at, "wait_at")(gate.path)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(future.get, 20) for _ in range(8)]
        gate.open()
        assert [one.result(20) for one in waiting] == ["gate0"] * 8


def test_thread_is_not_held_up_by_another_that_waits(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate()
    slow = connection.register(wait_at, "wait_at")(gate.path)
    incr = connection.register(lambda _, n: n + 1, "incr")

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(slow.get, 20)
        gate.wait_for_arrival()
        assert [incr(n).get(10) for n in range(100)] == list(range(1, 101))
        assert not waiting.done()
        gate.open()
        assert waiting.result(20) == "gate0"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_process_needs_a_connection_of_its_own(connection: CloudburstConnection) -> None:
    incr = connection.register(lambda _, n: n + 1, "incr")
    pending = incr(1)
    connection.put_object("k", "v")
    uses: list[Callable[[], Any]] = [
        lambda: incr(1),
        connection.list,
        lambda: connection.get_object("k"),
        lambda: connection.put_object("k", "w"),
        lambda: pending.get(5),
    ]

    for use in uses:
        child = os.fork()
        if child == 0:
            try:
                use()
                os._exit(1)
            except ClusterError as error:
                os._exit(0 if "forked" in str(error) else 2)
            except BaseException:
                os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    child = os.fork()
    if child == 0:
        connection.close()
        with CloudburstConnection(connection.address) as own:
            function = own.get_function("incr")
            os._exit(function(1).get(5) if function else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert pending.get(10) == 2
    assert connection.get_object("k") == "v"
    assert incr(2).get(10) == 3


def test_closed_connection_says_so(cluster: LocalCluster) -> None:
    connection = cluster.connect()
    incr = connection.register(lambda _, n: n + 1, "incr")
    pending = connection.register(lambda library: library.recv(timeout=0.3), "slow")()
    connection.close()
    connection.close()

    for use in (lambda: incr(1), connection.list, lambda: pending.get(5)):
        with pytest.raises(ClusterError, match="closed"):
            use()
    with cluster.connect() as other:
        assert other.future(pending.obj_id).get(10) == []
        assert other.delete_function("incr")
        assert other.delete_function("slow")


def test_callback_is_called_though_nobody_waits(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate()
    future = connection.register(wait_at, "wait_at")(gate.path)
    called: list[Any] = []
    done = threading.Event()

    def note(done_future: Any) -> None:
        called.append(done_future)
        done.set()

    future.add_done_callback(note)
    gate.wait_for_arrival()
    assert called == []
    gate.open()

    assert done.wait(10)
    assert called == [future]
    assert called[0].result(0) == "gate0"
    future.add_done_callback(called.append)
    assert called == [future, future]


def test_callback_of_a_failed_run(connection: CloudburstConnection) -> None:
    future = connection.register(lambda _: 1 // 0, "fail")()
    errors: list[Any] = []

    future.add_done_callback(lambda f: errors.append(f.exception()))
    wait_until(lambda: errors, "the callback is called")

    assert isinstance(errors[0], ZeroDivisionError)
    assert isinstance(errors[0].__cause__, FunctionError)


def test_futures_can_be_awaited(connection: CloudburstConnection) -> None:
    incr = connection.register(lambda _, n: n + 1, "incr")
    fail = connection.register(lambda _: dict[str, int]()["k"], "fail")

    async def gather() -> list[Any]:
        assert await incr(1) == 2
        with pytest.raises(KeyError):
            await fail()
        return await asyncio.gather(*(incr(n) for n in range(100)))

    assert asyncio.run(gather()) == list(range(1, 101))


def test_event_loop_goes_on_while_a_future_is_awaited(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate()
    wait = connection.register(wait_at, "wait_at")

    async def both() -> Any:
        future = wait(gate.path)
        waiting = asyncio.ensure_future(future)
        await asyncio.to_thread(gate.open)
        return await waiting

    assert asyncio.run(both()) == "gate0"


def test_futures_work_with_the_standard_library(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate()
    wait, incr = (
        connection.register(wait_at, "wait_at"),
        connection.register(lambda _, n: n + 1, "incr"),
    )
    slow, fast = wait(gate.path), incr(1)

    done, pending = concurrent.futures.wait(
        [slow, fast], timeout=10, return_when=concurrent.futures.FIRST_COMPLETED
    )
    assert (done, pending) == ({fast}, {slow})
    gate.open()
    assert {f.result() for f in concurrent.futures.as_completed([slow, fast], 10)} == {"gate0", 2}


def test_done_becomes_true_without_waiting(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate()
    future = connection.register(wait_at, "wait_at")(gate.path)
    gate.wait_for_arrival()
    assert not future.done()
    gate.open()

    wait_until(future.done, "the run ends")
    assert future.get(0) == "gate0"


def test_exec_func_returns_the_key_of_the_result(connection: CloudburstConnection) -> None:
    connection.register(lambda _, *args: list(args), "args")
    obj_id = connection.exec_func("args", [1, (2,)])

    assert connection.future(obj_id).get(10) == [1, (2,)]
    assert connection.get_object(obj_id) == [1, (2,)]
    assert connection.exec_func("args", ()) != obj_id


def test_direct_call_that_takes_long_runs_once(connection: CloudburstConnection) -> None:
    def count(library: Any, key: str, seconds: float) -> Any:
        library.put(key, library.get(key, 0) + 1)
        library.recv(timeout=seconds)
        return library.get(key)

    direct = connection.register(count, "count").options(direct_response=True)

    # Long enough that the client begins to ask, so that status and result race each other.
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert list(pool.map(direct, ("one", "two"), (1.2, 1.3))) == [1, 1]
    assert [connection.get_object(key) for key in ("one", "two")] == [1, 1]
    assert connection.register(lambda _, v: v, "same")(CloudburstReference("one")).get(10) == 1
