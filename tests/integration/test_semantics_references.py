"""Keys and futures in place of values."""

from collections.abc import Callable
from typing import Any

import pytest
from clusters import call
from gates import Gate, wait_at

from cloudburst import (
    CloudburstConnection,
    CloudburstReference,
    FunctionError,
    InvocationTimedOutError,
    KeyNotFound,
    LocalCluster,
)

X = CloudburstReference("x")
Y = CloudburstReference("y")


@pytest.fixture
def stored(connection: CloudburstConnection) -> CloudburstConnection:
    """Objects under ``x`` and ``y``, and functions that give back what they receive."""
    connection.put_object("x", [1, 2])
    connection.put_object("y", "why")
    connection.register(lambda _, value: value, "same")
    connection.register(lambda _, *args: args, "args")
    connection.register_dag("same_dag", ["same", "args"], [("same", "args")])
    return connection


@pytest.mark.parametrize(
    ("argument", "received"),
    [
        (X, [1, 2]),
        ([X, 0, Y], [[1, 2], 0, "why"]),
        ((X, Y), ([1, 2], "why")),
        ({"a": X, "b": {"c": [Y]}}, {"a": [1, 2], "b": {"c": ["why"]}}),
        ([([{"k": (X,)}],)], [([{"k": ([1, 2],)}],)]),
        ([X, X], [[1, 2], [1, 2]]),
    ],
)
def test_references_are_resolved_wherever_they_are(
    stored: CloudburstConnection, argument: Any, received: Any
) -> None:
    assert call(stored, "same", argument).get() == received
    assert call(stored, "same", argument, direct_response=True) == received
    assert stored.call_dag("same_dag", {"same": [argument]}).get() == (received,)
    assert stored.call_dag("same_dag", {"args": [argument], "same": 0}).get() == (received, 0)


def test_reference_may_stand_beside_values_and_keywords(stored: CloudburstConnection) -> None:
    stored.register(lambda _, a, b, c=None: (a, b, c), "three")

    three = stored.get_function("three")
    assert three is not None
    assert three(0, Y, c=X).get() == (0, "why", [1, 2])


def test_reference_inside_an_object_of_another_kind_stays_a_reference(
    stored: CloudburstConnection,
) -> None:
    assert call(stored, "same", {X}).get() == {X}
    assert call(stored, "same", {X: 1}).get() == {X: 1}


def test_reference_that_is_not_deserialized_is_bytes(stored: CloudburstConnection) -> None:
    stored.register(lambda _, raw: (isinstance(raw, bytes), b"why" in raw), "look")

    raw = CloudburstReference("y", deserialize=False)
    assert call(stored, "look", raw).get() == (True, True)


@pytest.mark.parametrize(
    "argument", [CloudburstReference("gone"), [X, CloudburstReference("gone")]]
)
@pytest.mark.parametrize("direct", [True, False])
def test_missing_key_is_an_error_after_the_timeout_of_the_connection(
    cluster: LocalCluster, stored: CloudburstConnection, argument: Any, direct: bool
) -> None:
    # The client waits a little longer than the executor, or it could only say "not in time".
    missing = pytest.raises(KeyNotFound, match=r"nothing was stored under 'gone' within 1 seconds")
    with CloudburstConnection(cluster.address, timeout=1.0) as impatient, missing:
        call(impatient, "same", argument, direct_response=direct).get(5)

    assert call(stored, "same", "next").get() == "next"


@pytest.mark.parametrize("direct", [True, False])
def test_waiting_for_a_missing_key_counts_as_time_of_the_run(
    stored: CloudburstConnection, direct: bool
) -> None:
    # Both are over at the same time, and either may be noticed first.
    with pytest.raises((KeyNotFound, InvocationTimedOutError)):
        call(stored, "same", CloudburstReference("gone"), timeout=0.3, direct_response=direct).get(
            5
        )
    assert call(stored, "same", "next").get() == "next"


def test_key_may_appear_while_the_call_waits(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate()

    def announce(_: object, path: str, late: Any) -> Any:
        return late

    connection.register(announce, "announce")
    connection.register(wait_at, "wait_at")
    connection.register(lambda _, a, b: (a, b), "both")
    edges = [("wait_at", "both"), ("announce", "both")]
    connection.register_dag("d", ["wait_at", "announce", "both"], edges)

    future = connection.call_dag(
        "d", {"wait_at": gate.path, "announce": ["p", CloudburstReference("late")]}
    )
    gate.wait_for_arrival()
    assert not future.done()
    connection.put_object("late", "better")
    gate.open()

    assert future.get(10) == ("gate0", "better")


def test_future_is_a_reference(stored: CloudburstConnection) -> None:
    first = call(stored, "same", [1])

    assert call(stored, "same", first).get() == [1]
    assert call(stored, "args", [first], {"k": first}, (first,)).get() == (
        [[1]],
        {"k": [1]},
        ([1],),
    )
    assert call(stored, "same", stored.future(first.obj_id)).get() == [1]
    assert stored.call_dag("same_dag", {"same": first}).get() == ([1],)


def test_chain_of_futures_that_nobody_waits_for(connection: CloudburstConnection) -> None:
    incr = connection.register(lambda _, n: n + 1, "incr")

    future = incr(0)
    for _ in range(50):
        future = incr(future)

    assert future.get(20) == 51


def test_future_of_an_unfinished_run_on_a_busy_pool(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    wait = connection.register(wait_at, "wait_at")
    join = connection.register(lambda _, *names: list(names), "join")
    gates = make_gate(), make_gate()

    slow = [wait(gate.path) for gate in gates]
    for gate in gates:
        gate.wait_for_arrival()
    dependants = [join(*slow) for _ in range(10)]
    last = join(*dependants)
    assert connection.status()[2:4] == (2, 11)
    for gate in gates[::-1]:
        gate.open()

    assert last.get(10) == [["gate0", "gate1"]] * 10


def test_dependants_do_not_keep_what_they_depend_on_from_running(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    wait = connection.register(wait_at, "wait_at")
    same = connection.register(lambda _, value: value, "same")
    gates = [make_gate() for _ in range(4)]

    slow = [wait(gate.path) for gate in gates]
    dependants = [same(future) for future in slow for _ in range(3)]
    for gate in gates:
        gate.open()

    assert [f.get(10) for f in dependants] == [f"gate{n}" for n in range(4) for _ in range(3)]


def test_failure_behind_a_reference_is_the_failure_of_the_call(
    connection: CloudburstConnection,
) -> None:
    def fail(_: object) -> None:
        raise LookupError("not today")

    failed = connection.register(fail, "fail")()
    same = connection.register(lambda _, value: value, "same")

    with pytest.raises(LookupError, match="not today") as raised:
        same([failed]).get(10)
    assert isinstance(raised.value.__cause__, FunctionError)
    assert raised.value.__cause__.step == "fail"
    with pytest.raises(LookupError, match="not today"):
        same(CloudburstReference(failed.obj_id)).get(10)
    assert same(1).get(10) == 1
