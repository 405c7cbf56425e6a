"""What the store says of a run, from its acceptance to its end."""

from collections.abc import Callable, Iterator

import pytest
from gates import Gate, wait_at
from records import open_runs, record_of, store_of, wait_for_state
from watching import wait_until

from cloudburst import CloudburstConnection
from cloudburst.kvs.opening import ServedStore


@pytest.fixture
def store(connection: CloudburstConnection) -> Iterator[ServedStore]:
    store = store_of(connection)
    yield store
    wait_until(lambda: not open_runs(store), "no run is open any more")
    store.close()


@pytest.fixture
def gates(connection: CloudburstConnection, make_gate: Callable[[], Gate]) -> tuple[Gate, Gate]:
    """Two gates, for the two executors to wait at."""
    connection.register(wait_at, "wait_at")
    return make_gate(), make_gate()


def test_pending_running_succeeded(
    connection: CloudburstConnection, store: ServedStore, gates: tuple[Gate, Gate]
) -> None:
    wait = connection.get_function("wait_at")
    assert wait is not None
    busy = [wait(gate.path) for gate in gates]
    for gate in gates:
        gate.wait_for_arrival()
    waiting = connection.register(lambda _: "done", "quick")()

    pending = wait_for_state(store, waiting.obj_id, "PENDING")
    assert (pending["epoch"], pending["executor"], pending["target"]) == (0, "", "quick")
    assert "started" not in pending
    running = wait_for_state(store, busy[0].obj_id, "RUNNING")
    assert running["epoch"] == 1
    assert running["executor"] in connection.status().executors
    assert running["started"] >= running["accepted"]
    assert "finished" not in running
    assert set(open_runs(store)) == {future.obj_id for future in (*busy, waiting)}

    for gate in gates:
        gate.open()
    assert waiting.get(10) == "done"
    for future in (*busy, waiting):
        future.get(10)
        record = wait_for_state(store, future.obj_id, "SUCCEEDED")
        assert record["accepted"] <= record["started"] <= record["finished"]
        assert record["epoch"] == 1
        assert record["executor"] in connection.status().executors
        assert record["reason"] == ""


def test_failed(connection: CloudburstConnection, store: ServedStore) -> None:
    connection.register(lambda _: 1 // 0, "divide")
    connection.register(lambda _, n: n, "same")
    connection.register_dag("d", ["divide", "same"], [("divide", "same")])
    failed = connection.get_function("divide")
    assert failed is not None

    for future in (failed(), connection.call_dag("d", {})):
        assert isinstance(future.exception(10), ZeroDivisionError)
        record = wait_for_state(store, future.obj_id, "FAILED")
        assert record["accepted"] <= record["started"] <= record["finished"]
        assert record["epoch"] == 1
        assert record["executor"] in connection.status().executors


def test_target_is_the_function_or_dag(
    connection: CloudburstConnection, store: ServedStore
) -> None:
    connection.register(lambda _: 0, "f")
    connection.register_dag("d", [("s", "f")], [])
    function = connection.get_function("f")
    assert function is not None

    for future, target in ((function(), "f"), (connection.call_dag("d", {}), "d")):
        future.get(10)
        assert wait_for_state(store, future.obj_id, "SUCCEEDED")["target"] == target


def test_direct_responses_leave_no_record(
    connection: CloudburstConnection, store: ServedStore
) -> None:
    run_id = connection.register(lambda library: library.run_id, "run_id")
    failing = connection.register(lambda _: dict[str, int]()["k"], "fail")

    direct = run_id.options(direct_response=True)()
    with pytest.raises(KeyError):
        failing.options(direct_response=True)()

    assert record_of(store, direct) == {}
    assert open_runs(store) == []
    assert connection.get_object(direct) is None
    stored = run_id().get(10)
    assert record_of(store, stored)["state"] == "SUCCEEDED"


def test_run_that_waits_for_another_is_pending(
    connection: CloudburstConnection, store: ServedStore, gates: tuple[Gate, Gate]
) -> None:
    wait = connection.get_function("wait_at")
    assert wait is not None
    first = wait(gates[0].path)
    second = connection.register(lambda _, value: [value], "wrap")(first)

    gates[0].wait_for_arrival()
    assert wait_for_state(store, second.obj_id, "PENDING")["epoch"] == 0
    gates[0].open()

    assert second.get(10) == ["gate0"]
    one, two = (wait_for_state(store, f.obj_id, "SUCCEEDED") for f in (first, second))
    assert one["finished"] <= two["started"]


def test_no_run_stays_open(connection: CloudburstConnection, store: ServedStore) -> None:
    """Records and commits of short runs race each other; none may be left behind."""
    incr = connection.register(lambda _, n: n + 1, "incr")
    connection.register(lambda _, n: [n][n % 2], "odd_fails")
    connection.register_dag("d", ["incr", "odd_fails"], [("incr", "odd_fails")])

    futures = [f for n in range(300) for f in (incr(n), connection.call_dag("d", {"incr": n}))]
    ended = {future.obj_id: future.exception(20) for future in futures}

    wait_until(lambda: not open_runs(store), "no run is open any more")
    for obj_id, error in ended.items():
        assert record_of(store, obj_id)["state"] == ("FAILED" if error else "SUCCEEDED")
    assert sum(error is not None for error in ended.values()) == 150
