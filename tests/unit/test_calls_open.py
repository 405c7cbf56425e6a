"""Runs that somebody waits for: what comes by itself, and what is done if it does not."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable

import pytest
from failing import raised
from scripted import SOON, Client, Scheduler, client_of, fail, result_of, stands
from sockets import PATIENCE, wait_until

from cloudburst.calls import open_calls as calls
from cloudburst.core.messages import (
    Accepted,
    Call,
    Cancel,
    Message,
    Rejected,
    Result,
    RunState,
    RunStatus,
    Watch,
)
from cloudburst.errors import (
    FunctionError,
    KVSUnavailable,
    Overloaded,
    RunError,
    RunTimeoutError,
    SchedulerUnavailable,
    SerializationError,
)
from cloudburst.serialization import pack

pytestmark = pytest.mark.usefixtures("asks_soon")


# what comes by itself


def test_a_result_is_pushed_to_the_client(scheduler: Scheduler, client: Client) -> None:
    call = client.call("r1")
    future = client.calls.start(call)
    assert scheduler.wait_for(Call) == [call]
    client.push("r1", [1, 2])

    assert future.get(PATIENCE) == [1, 2]
    assert client.waiting_for() == set()
    assert client.read == []


def test_a_result_may_come_through_the_scheduler(scheduler: Scheduler) -> None:
    scheduler.script[Call] = result_of("relayed")
    with client_of(scheduler.address, "") as client:
        assert client.call("r1").reply_to == ""
        assert client.calls.start(client.call("r1")).get(PATIENCE) == "relayed"


def test_results_come_in_any_order(client: Client) -> None:
    futures = [client.calls.start(client.call(f"r{n}")) for n in range(5)]
    for number in (3, 0, 4, 1, 2):
        client.push(f"r{number}", number)

    assert [future.get(PATIENCE) for future in futures] == [0, 1, 2, 3, 4]


def test_a_failure_is_raised(client: Client) -> None:
    future = client.calls.start(client.call("r1"))
    fail(client, "r1", ValueError("mine"))

    with pytest.raises(ValueError, match="mine") as caught:
        future.get(PATIENCE)
    assert isinstance(caught.value.__cause__, FunctionError)


def test_a_result_that_is_no_value(client: Client) -> None:
    future = client.calls.start(client.call("r1"))
    client.push_frames("r1", [b"garbage"])

    with pytest.raises(SerializationError):
        future.get(PATIENCE)


def test_a_rejected_call_raises_its_reason(scheduler: Scheduler, client: Client) -> None:
    scheduler.script[Call] = lambda m: [Rejected("r1", "Overloaded", "try again later")]

    with pytest.raises(Overloaded, match="try again later"):
        client.calls.start(client.call("r1")).get(PATIENCE)
    assert client.waiting_for() == set()


def test_results_of_nobodys_runs_are_dropped(scheduler: Scheduler, client: Client) -> None:
    future = client.calls.start(client.call("r1"))
    client.push("never called", 0)
    client.push("r1", 1)
    assert future.get(PATIENCE) == 1
    client.push("r1", 2)
    for message in (Accepted(("r1",)), Rejected("x", "RunError", ""), RunStatus("x", "RUNNING")):
        scheduler.say(client.name, message)

    last = client.calls.start(client.call("last"))
    client.push("last", 3)
    assert (last.get(PATIENCE), future.get()) == (3, 1)
    assert client.waiting_for() == set()


def test_other_messages_are_not_about_runs(client: Client) -> None:
    assert client.calls.receive(Accepted(("r1",)))
    assert not client.calls.receive(Watch("r1"))


def test_calls_without_waiting_do_not_pile_up_results(scheduler: Scheduler, client: Client) -> None:
    scheduler.script[Call] = result_of("done")
    for number in range(63):
        client.calls.start(client.call(f"r{number}"))
    scheduler.wait_for(Call, 63)
    assert len(client.waiting_for()) == 63

    client.calls.start(client.call("r63"))
    wait_until(client.has_heard_all, "the results")


# what is done if nothing comes


def test_a_result_whose_push_was_lost_is_read_from_the_store(
    scheduler: Scheduler, client: Client
) -> None:
    future = client.calls.start(client.call("r1"))
    client.keep("r1", "found")
    began = time.monotonic()

    assert future.get(PATIENCE) == "found"
    assert time.monotonic() - began >= SOON
    assert scheduler.count(Watch) == 0


def test_a_run_under_way_is_waited_for(scheduler: Scheduler, client: Client) -> None:
    scheduler.script[Call] = lambda m: [Accepted(("r1",))]
    scheduler.script[Watch] = stands(RunState.RUNNING)
    future = client.calls.start(client.call("r1"))
    pushing = threading.Thread(target=client.push_after, args=(scheduler, Watch, 3, "r1"))
    pushing.start()

    assert future.get(PATIENCE) == "r1"
    pushing.join()
    assert scheduler.count(Call) == 1


def test_news_of_the_end_lead_to_the_store_at_once(
    scheduler: Scheduler, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(message: Message) -> Iterable[Message]:
        monkeypatch.setattr(calls, "ASK_EVERY", 1000.0)
        client.keep("r1", "stored")
        return [RunStatus("r1", RunState.RUNNING), RunStatus("r1", RunState.SUCCEEDED)]

    future = client.calls.start(client.call("r1"))
    scheduler.script[Watch] = answer
    assert future.get(PATIENCE) == "stored"


def test_a_call_that_the_scheduler_never_heard_of_is_sent_again(
    scheduler: Scheduler, client: Client
) -> None:
    scheduler.script[Watch] = stands(RunState.UNKNOWN)
    call = client.call("r1")
    future = client.calls.start(call)

    def second_time(_: Message) -> Iterable[Message]:
        return [Result("r1", 1, failed=False, frames=pack("again").frames)]

    scheduler.wait_for(Call)
    scheduler.script[Call] = second_time
    assert future.get(PATIENCE) == "again"
    assert scheduler.wait_for(Call, 2) == [call, call]


@pytest.mark.parametrize(
    ("end", "cancelled"), [(RunState.CANCELLING, True), (RunState.TIMED_OUT, False)]
)
def test_the_late_answer_to_an_earlier_question_is_none_to_a_cancel(
    scheduler: Scheduler, client: Client, end: RunState, cancelled: bool
) -> None:
    scheduler.script[Cancel] = lambda m: [
        RunStatus("r1", RunState.RUNNING),
        RunStatus("r1", RunState.PENDING),
        RunStatus("r1", end),
    ]
    future = client.calls.start(client.call("r1"))

    assert future.cancel() == cancelled


def test_a_cancelled_call_that_the_scheduler_never_heard_of_is_cancelled_there(
    scheduler: Scheduler, client: Client
) -> None:
    """An executor may have it, of a scheduler that died: the caller alone cannot end it."""
    answers = iter([RunState.UNKNOWN, RunState.CANCELLING])
    scheduler.script[Cancel] = lambda message: [RunStatus("r1", next(answers))]
    call = client.call("r1")
    future = client.calls.start(call)

    assert future.cancel()
    scheduler.wait_for(Cancel, 2)
    assert [message for _, message in scheduler.said[-4:]] == [call, Cancel("r1")] * 2
    assert not future.is_settled()
    client.push("r1", "faster")
    assert future.get(PATIENCE) == "faster"


def test_an_accepted_call_is_not_sent_again(scheduler: Scheduler, client: Client) -> None:
    scheduler.script[Call] = lambda m: [Accepted(("r1",))]
    scheduler.script[Watch] = stands(RunState.UNKNOWN)
    future = client.calls.start(client.call("r1"))

    with pytest.raises(RunError, match="nothing is known of run r1"):
        future.get(PATIENCE)
    assert scheduler.count(Call) == 1
    assert not future.is_settled()  # it may be asked again


def test_a_direct_call_is_not_looked_for_in_the_store(scheduler: Scheduler, client: Client) -> None:
    scheduler.script[Watch] = stands(RunState.UNKNOWN)
    future = client.calls.start(client.call("r1", store=False))

    def answer() -> None:
        again = scheduler.wait_for(Call, 2)[1]
        client.push(again.run_id, "v")

    answering = threading.Thread(target=answer)
    answering.start()
    assert future.get(PATIENCE) == "v"
    answering.join()
    assert client.read == []
    assert scheduler.count(Watch) >= calls.LOST_AFTER  # its result might be on its way


def test_the_first_answer_to_a_direct_call_that_was_sent_again_counts(
    scheduler: Scheduler, client: Client
) -> None:
    scheduler.script[Watch] = stands(RunState.UNKNOWN)
    future = client.calls.start(client.call("r1", store=False))
    pushing = threading.Thread(target=client.push_after, args=(scheduler, Call, 2, "r1"))
    pushing.start()

    assert future.get(PATIENCE) == "r1"
    pushing.join()
    again = scheduler.wait_for(Call, 2)[1].run_id
    client.push(again, "an echo")
    wait_until(client.has_heard_all, "the echo")
    assert future.get() == "r1"


def test_a_question_that_died_with_a_scheduler_is_asked_again(
    scheduler: Scheduler, client: Client
) -> None:
    """The first has been read by nobody: it was in the socket of a process that was killed."""
    asked = itertools.count(1)
    scheduler.script[Watch] = lambda watch: (
        [RunStatus(watch.run_id, "RUNNING")] if next(asked) > 1 else []
    )
    future = client.calls.start(client.call("r1"))

    waiting = threading.Thread(target=future.get, args=(PATIENCE,))
    waiting.start()
    scheduler.wait_for(Watch, 2)

    client.push("r1", 1)
    waiting.join()


def test_a_scheduler_that_is_gone_is_given_up(scheduler: Scheduler) -> None:
    with client_of(scheduler.address, "", timeout=0.2) as client:
        future = client.calls.start(client.call("r1"))
        began = time.monotonic()
        with pytest.raises(
            SchedulerUnavailable, match=r"has not answered for 0\.2 seconds; run r1"
        ):
            future.get()
        assert 0.2 <= time.monotonic() - began < PATIENCE

        client.keep("r1", "it went on")
        assert future.get(PATIENCE) == "it went on"


def test_polling_with_short_timeouts_notices_that_too(scheduler: Scheduler) -> None:
    with client_of(scheduler.address, "", timeout=0.2) as client:
        future = client.calls.start(client.call("r1"))
        deadline = time.monotonic() + PATIENCE
        errors: list[BaseException | None] = [RunTimeoutError()]
        while isinstance(errors[-1], RunTimeoutError) and time.monotonic() < deadline:
            errors.append(raised(lambda: future.get(timeout=0.01)))
        assert isinstance(errors[-1], SchedulerUnavailable)


def test_a_store_that_does_not_answer(scheduler: Scheduler, client: Client) -> None:
    client.has_store = False
    future = client.calls.start(client.call("r1"))
    with pytest.raises(KVSUnavailable):
        future.get(PATIENCE)
    client.push("r1", "by itself")
    wait_until(future.done, "the result")
    assert future.get() == "by itself"
