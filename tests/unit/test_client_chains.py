"""DAGs called one after another, and code loaded ahead: what a connection says to the scheduler."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import pytest
from scripted import Scheduler, accepted, result_of
from sockets import wait_until

from cloudburst.client.client import CloudburstConnection
from cloudburst.core.messages import (
    SOURCES,
    Call,
    Cancel,
    Message,
    Result,
    RunState,
    RunStatus,
)
from cloudburst.core.options import RunOptions
from cloudburst.core.requests import DagFound, FunctionFound, GetDag, GetFunction, Refused
from cloudburst.errors import (
    InvocationCancelledError,
    SerializationError,
    UnknownDag,
    UnknownFunction,
    UnknownStep,
    UsageError,
)
from cloudburst.serialization import pack_failure

DAGS = {
    "a": (("x",), ()),
    "b": (("p", "q", "r"), (("p", "r"), ("q", "r"))),
    "c": (("only",), ()),
}
"""Steps and edges: ``b`` has the sources ``p`` and ``q``."""


def found_dag(message: Message) -> Iterable[Message]:
    assert isinstance(message, GetDag)
    if message.name not in DAGS:
        return [Refused(message.request, "UnknownDag", (f"no DAG {message.name!r}",))]
    steps, edges = DAGS[message.name]
    return [DagFound(message.request, message.name, tuple((s, "f") for s in steps), edges)]


def found_function(message: Message) -> Iterable[Message]:
    assert isinstance(message, GetFunction)
    if message.name != "f":
        return [Refused(message.request, "UnknownFunction", (f"no function {message.name!r}",))]
    return [FunctionFound(message.request, message.name, "version", is_class=False)]


@pytest.fixture
def scheduler(scheduler: Scheduler) -> Scheduler:
    scheduler.script[Call] = result_of("done")
    scheduler.script[GetDag] = found_dag
    scheduler.script[GetFunction] = found_function
    return scheduler


def steps(call: Call) -> list[str]:
    """For which steps a call has arguments."""
    return [step for step, _, _ in call.arguments]


def calls_in(scheduler: Scheduler) -> list[Call]:
    return [message for _, message in list(scheduler.said) if isinstance(message, Call)]


def called(scheduler: Scheduler, connection: CloudburstConnection) -> list[str]:
    """The runs that were called so far."""
    last = connection.call_dag("c", {}).obj_id
    wait_until(lambda: last in [call.run_id for call in calls_in(scheduler)], "the last")
    return [call.run_id for call in calls_in(scheduler) if call.run_id != last]


def test_all_dags_of_a_chain_are_called_at_once(
    scheduler: Scheduler, connection: CloudburstConnection
) -> None:
    scheduler.script[Call] = accepted
    future = connection.call_dag("a", {"x": 1}, then=["b", "c"])

    first, second, third = scheduler.wait_for(Call, 3)
    assert [call.target for call in (first, second, third)] == ["a", "b", "c"]
    assert future.obj_id == third.run_id
    assert all(call.is_dag and call.store for call in (first, second, third))


def test_each_gets_the_result_of_the_one_before_in_every_source(
    scheduler: Scheduler, connection: CloudburstConnection
) -> None:
    connection.call_dag("a", {"x": 1}, then=["b", "c"]).get()

    first, second, third = scheduler.wait_for(Call, 3)
    assert (first.references, steps(first)) == ((), ["x"])
    assert (second.references, steps(second)) == ((first.run_id,), [SOURCES])
    assert (third.references, steps(third)) == ((second.run_id,), [SOURCES])


def test_own_arguments_come_first(scheduler: Scheduler, connection: CloudburstConnection) -> None:
    connection.call_dag("a", {}, then=("b", {"r": 0, "p": [1, 2]})).get()

    _, second = scheduler.wait_for(Call, 2)
    assert steps(second) == ["r", "p", "p", SOURCES]


def test_a_dag_may_follow_itself(scheduler: Scheduler, connection: CloudburstConnection) -> None:
    connection.call_dag("a", {"x": 1}, then=["a", "a"]).get()

    calls = scheduler.wait_for(Call, 3)
    assert [call.references for call in calls[1:]] == [(call.run_id,) for call in calls[:2]]


def test_a_chain_of_one_is_a_call(scheduler: Scheduler, connection: CloudburstConnection) -> None:
    future = connection.call_dag("a", {"x": 1}, then=[])

    assert future.get() == "done"
    assert called(scheduler, connection) == [future.obj_id]


def test_options_are_those_of_all_and_the_key_is_the_last_ones(
    scheduler: Scheduler, connection: CloudburstConnection
) -> None:
    connection.call_dag("a", {}, output_key="key", then="c", timeout=10, max_retries=2).get()

    first, last = scheduler.wait_for(Call, 2)
    assert first.options == last.options == RunOptions(timeout=10.0, max_retries=2)
    assert first.patience == last.patience == 9.0
    assert (first.output_key, last.output_key) == ("", "key")


def test_only_the_last_responds_directly(
    scheduler: Scheduler, connection: CloudburstConnection
) -> None:
    assert connection.call_dag("a", {}, direct_response=True, then="c") == "done"

    first, last = scheduler.wait_for(Call, 2)
    assert (first.store, last.store) == (True, False)


def test_cancelling_the_last_cancels_all(
    scheduler: Scheduler, connection: CloudburstConnection
) -> None:
    scheduler.script[Call] = accepted
    scheduler.script[Cancel] = lambda m: [RunStatus(m.run_id, RunState.CANCELLING)]  # type: ignore[union-attr]
    future = connection.call_dag("a", {}, then=["b", "c"])
    calls = scheduler.wait_for(Call, 3)

    assert future.cancel()
    told = [cancel.run_id for cancel in scheduler.wait_for(Cancel, 3)]
    assert told == [call.run_id for call in reversed(calls)]


def test_cancelling_does_not_stop_at_one_that_has_ended(
    scheduler: Scheduler, connection: CloudburstConnection
) -> None:
    def answer(message: Message) -> Iterable[Message]:
        assert isinstance(message, Call)
        return result_of(1)(message) if message.target == "a" else accepted(message)

    scheduler.script[Call] = answer
    scheduler.script[Cancel] = lambda m: [RunStatus(m.run_id, RunState.CANCELLING)]  # type: ignore[union-attr]
    future = connection.call_dag("a", {}, then=["b", "c"])
    _, second, third = scheduler.wait_for(Call, 3)

    assert future.cancel()
    assert [c.run_id for c in scheduler.wait_for(Cancel, 2)] == [third.run_id, second.run_id]


@pytest.mark.parametrize(
    ("name", "arg_map", "then", "error"),
    [
        ("z", {}, "b", UnknownDag),
        ("a", {}, ["b", "z"], UnknownDag),
        ("a", {}, ["z", "b"], UnknownDag),
        ("a", {}, ("b", {"nothing": 1}), UnknownStep),
        ("a", {"p": 1}, "b", UnknownStep),
        ("a", {}, 5, UsageError),
        ("a", {}, [("b", 5)], UsageError),
    ],
)
def test_a_chain_that_cannot_be_called_is_refused_before_any_of_it_is(
    scheduler: Scheduler,
    connection: CloudburstConnection,
    name: str,
    arg_map: dict[str, Any],
    then: Any,
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        connection.call_dag(name, arg_map, then=then)

    assert called(scheduler, connection) == []


def test_so_is_one_whose_arguments_cannot_be_sent(
    scheduler: Scheduler, connection: CloudburstConnection
) -> None:
    with pytest.raises(SerializationError, match="argument 1 of 'p'"):
        connection.call_dag("a", {}, then=("b", {"p": threading.Lock()}))

    assert called(scheduler, connection) == []


# code that is loaded ahead


def loaded_on(*executors: str) -> Any:
    """The runs that load code say on which executors they did, one after another."""
    names = iter(executors)
    return lambda message: result_of([next(names)])(message)


def test_as_many_runs_load_code_as_executors_are_to_have_it(
    scheduler: Scheduler, connection: CloudburstConnection
) -> None:
    scheduler.script[Call] = loaded_on("e1", "e2", "e3")

    assert connection.prewarm("b", 3) == 3
    calls = scheduler.wait_for(Call, 3)
    assert {(c.target, c.is_dag, c.warm, c.store, c.arguments) for c in calls} == {
        ("b", True, 3, False, ())
    }
    assert {call.options for call in calls} == {RunOptions(timeout=5.0)}


def test_executors_are_counted_once(scheduler: Scheduler, connection: CloudburstConnection) -> None:
    scheduler.script[Call] = loaded_on("e1", "e2", "e1")

    assert connection.prewarm("f", 3, timeout=60) == 2
    call = scheduler.wait_for(Call)[0]
    assert (call.target, call.is_dag, call.options) == ("f", False, RunOptions(timeout=60.0))


def test_a_step_may_have_been_loaded_on_several(
    scheduler: Scheduler, connection: CloudburstConnection
) -> None:
    scheduler.script[Call] = result_of(["e1", "e2"])

    assert connection.prewarm("b") == 2


def test_other_calls_load_nothing_ahead(
    scheduler: Scheduler, connection: CloudburstConnection
) -> None:
    connection.call_dag("a", {}).get()

    assert scheduler.wait_for(Call)[0].warm == 0


@pytest.mark.parametrize("count", [0, -1, 1001, 1.5, "2", True, None, [1]])
def test_executors_are_a_number(
    scheduler: Scheduler, connection: CloudburstConnection, count: Any
) -> None:
    with pytest.raises(UsageError, match="n is a number of executors, 1 to 1,000, not"):
        connection.prewarm("f", count)

    assert called(scheduler, connection) == []


def test_what_is_not_registered_cannot_be_loaded(
    scheduler: Scheduler, connection: CloudburstConnection
) -> None:
    with pytest.raises(UnknownFunction):
        connection.prewarm("z")

    assert called(scheduler, connection) == []


def test_code_that_cannot_be_loaded_raises(
    scheduler: Scheduler, connection: CloudburstConnection
) -> None:
    frames = pack_failure(InvocationCancelledError("no"), step="f", run_id="r", executor="e")

    def fail(message: Message) -> Iterable[Message]:
        assert isinstance(message, Call)
        return [Result(message.run_id, 1, failed=True, frames=frames)]

    scheduler.script[Call] = fail
    with pytest.raises(InvocationCancelledError):
        connection.prewarm("f", 2)
