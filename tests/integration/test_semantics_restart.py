"""A cluster that is started again on its data goes on where it was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gates import Gate, wait_at
from records import open_runs, record_of, store_of, wait_for_state
from watching import wait_until

from cloudburst import CloudburstConnection, ClusterError, LocalCluster
from cloudburst.kvs import keys
from cloudburst.kvs.base import GetFields, SetFields

Start = Callable[[], Any]


@pytest.fixture
def start(run_dir: Path, tmp_path: Path) -> Start:
    """Starts a cluster of two executors on the same data each time."""

    @contextmanager
    def started() -> Iterator[CloudburstConnection]:
        with (
            LocalCluster(2, data_dir=tmp_path / "data") as cluster,
            cluster.connect() as connection,
        ):
            wait_until(lambda: len(connection.status().executors) == 2, "both are ready")
            yield connection

    return started


class Counter:
    def __init__(self, start: int) -> None:
        self.calls = start

    def run(self) -> int:
        self.calls += 1
        return self.calls


def test_functions_dags_objects_and_results_are_still_there(start: Start) -> None:
    with start() as connection:
        connection.register(lambda _, n: n + 1, "incr")
        connection.register((Counter, 10), "counter")
        connection.register(lambda _, n: n, "gone")
        connection.register_dag("twice", ["incr", ("again", "incr")], [("incr", "again")])
        connection.register_dag("count", ["counter"], [])
        connection.register_dag("gone", ["incr"], [])
        assert connection.delete_dag("gone")
        assert connection.delete_function("gone")
        connection.put_object("k", {"v": 1})
        done = connection.call_dag("twice", {"incr": 1})
        assert done.get(10) == 3
        failed = connection.register(lambda _: 1 // 0, "fail")()
        assert isinstance(failed.exception(10), ZeroDivisionError)
        assert connection.call_dag("count", {}).get(10) == 11

    with start() as connection:
        assert connection.list() == ["counter", "fail", "incr"]
        assert connection.list_dags() == ["count", "twice"]
        assert connection.get_object("k") == {"v": 1}
        assert connection.future(done.obj_id).get(10) == 3
        with pytest.raises(ZeroDivisionError):
            connection.future(failed.obj_id).get(10)
        assert connection.call_dag("twice", {"incr": 5}).get(10) == 7
        incr = connection.get_function("incr")
        assert incr is not None
        assert incr.options(direct_response=True)(1) == 2
        # Instances are state of executors, and begin anew.
        assert connection.call_dag("count", {}).get(10) == 11
        steps, edges = ["incr", ("again", "incr")], [("incr", "again")]
        assert connection.register_dag("twice", steps, edges)
        with pytest.warns(UserWarning, match="another DAG"):
            assert not connection.register_dag("twice", ["incr"], [])
        connection.register(lambda _, n: n + 100, "incr")
        assert connection.call_dag("twice", {"incr": 0}).get(10) == 200


def test_accepted_runs_are_finished(start: Start, make_gate: Callable[[], Gate]) -> None:
    gates = make_gate(), make_gate()
    with start() as connection:
        wait = connection.register(wait_at, "wait_at")
        wrap = connection.register(lambda _, *values: list(values), "wrap")
        connection.register_dag("d", ["wait_at", "wrap"], [("wait_at", "wrap")])
        running = [wait(gates[0].path), connection.call_dag("d", {"wait_at": gates[1].path})]
        for gate in gates:
            gate.wait_for_arrival()
        waiting = [wrap(n) for n in range(30)]
        dependants = [wrap(running[0], future) for future in waiting[::-1]]
        last = wrap(*dependants)
        store = store_of(connection)
        ids = {future.obj_id for future in (*running, *waiting, *dependants, last)}
        wait_until(lambda: set(open_runs(store)) == ids, "all runs are accepted")
        wait_for_state(store, last.obj_id, "PENDING")
        store.close()

    for gate in gates:
        gate.close()
    with start() as connection:
        for gate in gates:
            gate.open()
        found = connection.future(last.obj_id).get(20)
        assert found == [["gate0", [n]] for n in range(29, -1, -1)]
        assert [connection.future(f.obj_id).get(20) for f in running] == ["gate0", ["gate1"]]
        store = store_of(connection)
        wait_until(lambda: not open_runs(store), "no run is open any more")
        first, second = (record_of(store, future.obj_id) for future in (running[0], waiting[0]))
        store.close()

    # What had begun is in its second epoch, what had waited in its first.
    assert (first["state"], first["epoch"]) == ("SUCCEEDED", 2)
    assert (second["state"], second["epoch"]) == ("SUCCEEDED", 1)
    assert first["accepted"] <= first["started"] <= first["finished"]


def test_accepted_run_whose_function_is_gone_is_answered(
    start: Start, make_gate: Callable[[], Gate]
) -> None:
    """Deleted while it waited: the run keeps its plan only as long as its scheduler lives."""
    gates = make_gate(), make_gate()
    with start() as connection:
        wait = connection.register(wait_at, "wait_at")
        busy = [wait(gate.path) for gate in gates]
        for gate in gates:
            gate.wait_for_arrival()
        lost = connection.register(lambda _: 1, "deleted")()
        store = store_of(connection)
        wait_until(lambda: len(open_runs(store)) == 3, "all runs are accepted")
        store.close()
        assert connection.delete_function("deleted")

    for gate in gates:
        gate.close()
    with start() as connection:
        with pytest.raises(Exception, match="no function 'deleted' is registered"):
            connection.future(lost.obj_id).get(10)
        for gate in gates:
            gate.open()
        assert [connection.future(f.obj_id).get(10) for f in busy] == ["gate0", "gate1"]
        wait_until(lambda: connection.status()[2:4] == (0, 0), "all runs end")


@pytest.mark.parametrize("damage", [{"call": b"of another version"}, {"accepted": b"long ago"}])
def test_accepted_run_that_cannot_be_read_is_answered_and_holds_up_nobody(
    start: Start, make_gate: Callable[[], Gate], damage: dict[str, bytes]
) -> None:
    gates = make_gate(), make_gate()
    with start() as connection:
        wait = connection.register(wait_at, "wait_at")
        lost, kept = (wait(gate.path) for gate in gates)
        for gate in gates:
            gate.wait_for_arrival()
        connection.flush()
        store = store_of(connection)
        store.execute([SetFields(keys.run_key(lost.obj_id), damage)])
        store.close()

    gates[1].close()
    with start() as connection:
        with pytest.raises(ClusterError, match=f"run {lost.obj_id} cannot be carried on, as its"):
            connection.future(lost.obj_id).get(10)
        gates[1].open()
        assert connection.future(kept.obj_id).get(10) == "gate1"
        store = store_of(connection)
        wait_until(lambda: not open_runs(store), "no run is open any more")
        (fields,) = store.execute([GetFields(keys.run_key(lost.obj_id))])
        store.close()
        assert fields["state"] == b"FAILED"
