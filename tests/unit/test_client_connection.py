"""What a connection says of a call, and how long it waits for it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from scripted import Scheduler, accepted, result_of

from cloudburst.client.client import CloudburstConnection
from cloudburst.core.messages import Call, Message
from cloudburst.core.options import RunOptions
from cloudburst.core.requests import DagFound, FunctionFound, GetDag, GetFunction
from cloudburst.errors import InvalidName, RunTimeoutError, UsageError
from cloudburst.serialization import CloudburstReference

KEY = CloudburstReference("key")


@pytest.fixture
def scheduler(scheduler: Scheduler) -> Scheduler:
    scheduler.script[Call] = result_of("done")
    scheduler.script[GetDag] = found_dag
    scheduler.script[GetFunction] = found_function
    return scheduler


def found_dag(message: Message) -> Iterable[Message]:
    assert isinstance(message, GetDag)
    return [DagFound(message.request, message.name, (("step", "f"),), ())]


def found_function(message: Message) -> Iterable[Message]:
    assert isinstance(message, GetFunction)
    return [FunctionFound(message.request, message.name, "version", is_class=False)]


@pytest.mark.parametrize(("timeout", "patience"), [(None, 5.0), (0, 5.0), (10, 9.0), (0.5, 0.45)])
def test_references_must_appear_before_the_time_limit_of_the_run(
    scheduler: Scheduler, connection: CloudburstConnection, timeout: float | None, patience: float
) -> None:
    connection.call_dag("dag", {"step": KEY}, timeout=timeout).get()
    call = scheduler.wait_for(Call)[0]

    assert call.patience == pytest.approx(patience)
    assert call.references == ("key",)
    assert call.options == RunOptions(timeout=-1 if timeout is None else timeout)


def test_options_of_a_function_are_said_with_every_call(
    scheduler: Scheduler, connection: CloudburstConnection
) -> None:
    function = connection.get_function("f")
    assert function is not None
    patient = function.options(timeout=60, max_retries=3, grace_period=1, result_ttl=0)
    patient().get()
    patient.options(direct_response=True)()

    stored, direct = scheduler.wait_for(Call, 2)
    assert stored.options == direct.options == RunOptions(60.0, 3, 1.0, 0.0)
    assert (stored.store, direct.store) == (True, False)


def test_a_direct_response_is_waited_for_as_long_as_the_cluster_may_take(
    scheduler: Scheduler,
) -> None:
    del scheduler.script[Call]
    with (
        CloudburstConnection(scheduler.address, timeout=0.1) as connection,
        pytest.raises(RunTimeoutError, match=r"'dag' gave no direct response within 0\.1 seconds"),
    ):
        connection.call_dag("dag", {}, direct_response=True)


def test_with_a_time_limit_it_is_the_cluster_that_ends_it(
    scheduler: Scheduler, connection: CloudburstConnection
) -> None:
    scheduler.script[Call] = result_of("late, and all the same")

    assert (
        connection.call_dag("dag", {}, direct_response=True, timeout=0.001)
        == "late, and all the same"
    )


@pytest.mark.parametrize("key", [[], {}, None, 5])
def test_what_is_no_key_is_refused_before_the_store_is_looked_for(
    connection: CloudburstConnection, key: str
) -> None:
    for use in (
        lambda: connection.put_object(key, 1),
        lambda: connection.get_object(key),
        lambda: connection.delete_object(key),
    ):
        with pytest.raises(InvalidName, match="a key is a string, not"):
            use()


def test_a_call_that_is_refused_is_not_sent(
    scheduler: Scheduler, connection: CloudburstConnection
) -> None:
    for wrong in ({"timeout": "x"}, {"consistency": "strong"}, {"retries": 1}):
        with pytest.raises(UsageError):
            connection.call_dag("dag", {}, **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="not stored, so it has no output_key"):
        connection.call_dag("dag", {}, direct_response=True, output_key="key")

    assert scheduler.count(Call) == 0


def test_closing_waits_until_calls_are_accepted(scheduler: Scheduler) -> None:
    heard: list[Message] = []

    def accept(message: Message) -> Iterable[Message]:
        heard.append(message)
        return accepted(message)

    scheduler.script[Call] = accept
    connection = CloudburstConnection(scheduler.address, timeout=5.0)
    connection.call_dag("dag", {})
    connection.close()

    assert len(heard) == 1


def test_closing_says_what_was_not_accepted(scheduler: Scheduler) -> None:
    del scheduler.script[Call]
    connection = CloudburstConnection(scheduler.address, timeout=0.1)
    connection.call_dag("dag", {})

    with pytest.warns(UserWarning, match=r"1 calls were not accepted within 0\.1 seconds"):
        connection.close()
