"""Options of runs: where they may be said, which of them counts, and what cannot be said."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gates import Gate, wait_at
from notes import note, noted
from records import open_runs, plain_client, record_of, store_of
from watching import wait_until

from cloudburst import (
    CloudburstConnection,
    InvocationTimedOutError,
    LocalCluster,
    RunError,
    UsageError,
)
from cloudburst.kvs import keys
from cloudburst.kvs.opening import ServedStore

SOON = 30.0
DAY = 24 * 3600


@pytest.fixture
def store(connection: CloudburstConnection) -> Iterator[ServedStore]:
    opened = store_of(connection)
    yield opened
    opened.close()


def fail(library: Any, *_: object) -> None:
    note(library, "tried")
    raise ValueError("as always")


class Attempts:
    """How often calls of a function and a DAG that always fail are tried."""

    def __init__(self, connection: CloudburstConnection) -> None:
        self._connection = connection

    def register(self, **options: Any) -> None:
        self._connection.register(fail, "fail", **options)

    def register_dag(self, **options: Any) -> None:
        assert self._connection.register_dag("dag", ["fail"], [], **options)

    def of_call(self, *several: dict[str, Any]) -> int:
        function = self._connection.get_function("fail")
        assert function is not None
        for options in several:
            function = function.options(**options)
        return self._count(function())

    def of_dag(self, **options: Any) -> int:
        return self._count(self._connection.call_dag("dag", {}, **options))

    def _count(self, run: Any) -> int:
        assert isinstance(run.exception(SOON), ValueError)
        return noted(self._connection, run, "tried")


@pytest.fixture
def attempts(connection: CloudburstConnection) -> Attempts:
    return Attempts(connection)


def test_the_call_counts_before_the_function(attempts: Attempts) -> None:
    attempts.register(max_retries=1)

    assert attempts.of_call() == 2
    assert attempts.of_call({"max_retries": 2}) == 3
    assert attempts.of_call({"max_retries": 0}) == 1
    assert attempts.of_call({"max_retries": None}) == 2
    assert attempts.of_call({"timeout": 60}) == 2


def test_what_was_said_last_counts_and_what_was_not_said_again_stays(attempts: Attempts) -> None:
    attempts.register()

    assert attempts.of_call({"max_retries": 1}, {"timeout": 60, "grace_period": 1}) == 2
    assert attempts.of_call({"max_retries": 1}, {"max_retries": 2}) == 3
    assert attempts.of_call({"max_retries": 2}, {"max_retries": None}) == 3


def test_of_a_dag_its_own_options_count_and_not_those_of_its_functions(attempts: Attempts) -> None:
    attempts.register(max_retries=3)
    attempts.register_dag()
    assert attempts.of_dag() == 1

    attempts.register_dag(max_retries=1)
    assert attempts.of_dag() == 2
    assert attempts.of_dag(max_retries=2) == 3
    assert attempts.of_dag(max_retries=0) == 1
    assert attempts.of_dag(max_retries=None) == 2


def test_to_register_again_is_to_say_anew(attempts: Attempts) -> None:
    attempts.register(max_retries=2)
    assert attempts.of_call() == 3

    attempts.register(max_retries=1)
    assert attempts.of_call() == 2
    attempts.register()
    assert attempts.of_call() == 1


def test_another_client_finds_the_options(cluster: LocalCluster, attempts: Attempts) -> None:
    attempts.register(max_retries=1)
    attempts.register_dag(max_retries=2)

    with cluster.connect() as other:
        assert Attempts(other).of_call() == 2
        assert Attempts(other).of_dag() == 3


def test_no_time_limit_can_be_said_too(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    hasty = connection.register(wait_at, "wait", timeout=0.2)
    gate = make_gate()
    with pytest.raises(InvocationTimedOutError):
        hasty(gate.path).get(SOON)

    patient = hasty.options(timeout=0)(gate.path)
    with pytest.raises(TimeoutError, match=r"has not ended within 0[.]5 seconds; it goes on"):
        patient.get(0.5)
    gate.open()
    assert patient.get(SOON) == "gate0"


BAD = [
    *({"timeout": value} for value in (-1, -0.1, math.nan, math.inf, "5", True, [], 10**10)),
    *({"max_retries": value} for value in (-1, 1.0, math.nan, "5", True, 10**10)),
    *({"grace_period": value} for value in (-1, math.nan, "5", False)),
    *({"result_ttl": value} for value in (-1, math.nan, "5", True)),
]


@pytest.mark.parametrize("bad", [*BAD, {"time_out": 5}], ids=str)
def test_bad_options_are_refused_wherever_they_are_said(
    connection: CloudburstConnection, bad: dict[str, Any]
) -> None:
    began = connection.register(lambda library: note(library, "began"), "f")
    assert connection.register_dag("d", ["f"], [])
    ((name, value),) = bad.items()
    if name == "time_out":
        said = "there is no option time_out; there are grace_period, max_retries, .*timeout"
    else:
        said = f"{name} is a number of .* not "

    for say in (
        lambda: connection.register(fail, "f", **bad),
        lambda: connection.register_dag("other", ["f"], [], **bad),
        lambda: connection.call_dag("d", {}, **bad),
        lambda: began.options(**bad),
    ):
        with pytest.raises(UsageError, match=said) as raised:
            say()
        assert name == "time_out" or repr(value) in str(raised.value)

    assert connection.list_dags() == ["d"]
    assert began().get(SOON) == 1


# results


def test_results_are_kept_for_a_day_or_as_long_as_is_said(
    connection: CloudburstConnection,
) -> None:
    same = connection.register(lambda _, n: n, "same")
    connection.register_dag("d", ["same"], [])
    kept = {
        DAY: same(1),
        60: same.options(result_ttl=60)(2),
        3600: connection.call_dag("d", {"same": 3}, result_ttl=3600),
        0: same.options(result_ttl=0)(4),
    }

    assert [run.get(SOON) for run in kept.values()] == [1, 2, 3, 4]
    for ttl, run in kept.items():
        for key in (keys.object_key(run.obj_id), keys.run_key(run.obj_id)):
            left = seconds_left(connection, key)
            assert left is None if ttl == 0 else ttl - SOON < (left or 0) <= ttl
        run.release()


def seconds_left(connection: CloudburstConnection, key: str) -> float | None:
    """The time to live of a key, or None if it stays for ever."""
    with plain_client(connection) as client:
        left: Any = client.pttl(key)
    return None if left == -1 else left / 1000


def test_a_result_expires_but_not_under_its_output_key(
    cluster: LocalCluster, connection: CloudburstConnection, store: ServedStore
) -> None:
    connection.register(lambda _, n: n, "same")
    connection.register_dag("d", ["same"], [])

    run = connection.call_dag("d", {"same": 5}, result_ttl=0.5, output_key="kept")

    assert run.get(SOON) == 5
    wait_until(lambda: connection.get_object(run.obj_id) is None, "the result expires")
    wait_until(lambda: not record_of(store, run.obj_id), "the record, too")
    assert run.get() == 5
    assert connection.get_object("kept") == 5
    with (
        cluster.connect() as other,
        pytest.raises(RunError, match="it was never called on this cluster, or its result has exp"),
    ):
        other.future(run.obj_id).get(SOON)
    connection.delete_object("kept")


def test_a_result_can_be_released(
    cluster: LocalCluster, connection: CloudburstConnection, store: ServedStore
) -> None:
    run = connection.register(lambda _, n: n, "same")(5)
    assert run.get(SOON) == 5
    with cluster.connect() as other:
        joined = other.future(run.obj_id)

        run.release()

        assert connection.get_object(run.obj_id) is None
        assert record_of(store, run.obj_id) == {}
        assert run.get() == 5
        with pytest.raises(RunError, match="or its result has expired or was released"):
            joined.get(SOON)
    run.release()


def test_what_has_not_ended_is_not_released(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate()
    run = connection.register(wait_at, "wait")(gate.path)
    gate.wait_for_arrival()

    with pytest.raises(UsageError, match="has not ended; wait for it, or cancel it first"):
        run.release()
    gate.open()
    assert run.get(SOON) == "gate0"


def test_after_a_flush_every_call_is_recorded(
    connection: CloudburstConnection, store: ServedStore, make_gate: Callable[[], Gate]
) -> None:
    connection.flush()
    wait = connection.register(wait_at, "wait")
    same = connection.register(lambda _, n: n, "same")
    gates = [make_gate(), make_gate()]
    runs = [wait(gate.path) for gate in gates]
    for gate in gates:
        gate.wait_for_arrival()
    runs += [same(n) for n in range(200)]

    connection.flush()

    assert set(open_runs(store)) == {run.obj_id for run in runs}
    for gate in gates:
        gate.open()
    assert [run.get(SOON) for run in runs] == ["gate0", "gate1", *range(200)]


def test_a_flush_has_nothing_to_wait_for_once_all_have_ended(
    connection: CloudburstConnection,
) -> None:
    same = connection.register(lambda _, n: n, "same")
    assert [run.get(SOON) for run in [same(n) for n in range(50)]] == list(range(50))

    connection.flush(timeout=0)

    with pytest.raises(UsageError, match="timeout is a number of seconds"):
        connection.flush(timeout="soon")  # type: ignore[arg-type]
