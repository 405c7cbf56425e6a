"""Runs that were called elsewhere, and runs that several threads wait for."""

from __future__ import annotations

import threading

import pytest
from scripted import Client, Scheduler, stands
from sockets import PATIENCE, in_threads, wait_until

from cloudburst.calls import open_calls as calls
from cloudburst.core.messages import (
    RunState,
    RunStatus,
    Watch,
)
from cloudburst.errors import (
    ClusterError,
    RunError,
)

pytestmark = pytest.mark.usefixtures("asks_soon")


# runs that were called elsewhere


def test_a_foreign_run_that_has_ended_is_read_at_once(
    scheduler: Scheduler, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "ASK_EVERY", 1000.0)
    client.keep("elsewhere", 42)

    assert client.calls.join("elsewhere").get(PATIENCE) == 42
    assert scheduler.count(Watch) == 0
    assert client.waiting_for() == set()


def test_a_foreign_run_that_is_under_way_is_watched(
    scheduler: Scheduler, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "ASK_EVERY", 1000.0)
    scheduler.script[Watch] = stands(RunState.RUNNING)
    future = client.calls.join("elsewhere")

    def end() -> None:
        scheduler.wait_for(Watch)
        client.keep("elsewhere", "ended")
        scheduler.say(client.name, RunStatus("elsewhere", RunState.SUCCEEDED))

    ending = threading.Thread(target=end)
    ending.start()
    assert future.get(PATIENCE) == "ended"
    ending.join()


def test_a_foreign_run_that_nobody_knows(scheduler: Scheduler, client: Client) -> None:
    scheduler.script[Watch] = stands(RunState.UNKNOWN)

    with pytest.raises(RunError, match="never called on this cluster"):
        client.calls.join("nonsense").get(PATIENCE)
    assert client.waiting_for() == set()


def test_a_foreign_run_has_one_future(client: Client) -> None:
    mine = client.calls.start(client.call("r1"))

    assert client.calls.join("r1") is mine
    assert client.calls.join("r2") is client.calls.join("r2")
    client.push("r1", 1)
    assert mine.get(PATIENCE) == 1
    client.keep("r1", 1)
    assert client.calls.join("r1").get(PATIENCE) == 1


def test_a_run_may_be_asked_for_again_after_it_was_unknown(
    scheduler: Scheduler, client: Client
) -> None:
    scheduler.script[Watch] = stands(RunState.UNKNOWN)
    future = client.calls.join("later")
    with pytest.raises(RunError):
        future.get(PATIENCE)

    client.keep("later", 1)
    assert future.get(PATIENCE) == 1


# several threads, and the end


def test_a_result_is_seen_by_all_threads_that_wait_for_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "ASK_EVERY", 1000.0)
    future = client.calls.start(client.call("r1"))

    def push() -> None:
        wait_until(lambda: client.link._waiters == 3, "all to wait")
        client.push("r1", "value")

    assert in_threads(*[future.get] * 4, push) == ["value"] * 4 + [None]


def test_a_result_that_one_thread_reads_wakes_the_others(
    scheduler: Scheduler, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "ASK_EVERY", 1000.0)
    scheduler.script[Watch] = stands(RunState.RUNNING)
    future = client.calls.join("r1")
    waiting = threading.Thread(target=future.get)
    waiting.start()
    scheduler.wait_for(Watch)
    wait_until(client.link._turn.locked, "the thread to wait")

    client.keep("r1", 1)
    assert future.done()  # reads it
    waiting.join(PATIENCE)
    assert not waiting.is_alive()


def test_a_result_may_be_received_and_read_at_the_same_time(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "ASK_EVERY", 0.0)  # every look reads the store, too
    for number in range(60):
        run_id = f"r{number}"
        future = client.calls.start(client.call(run_id))
        client.keep(run_id, number)
        client.push(run_id, number)
        assert in_threads(*[future.get] * 4) == [number] * 4
    wait_until(client.has_heard_all, "the last push")


MEETING = threading.Barrier(2, timeout=PATIENCE)


def meet() -> str:
    MEETING.wait()
    return "met"


class Meeting:
    """Unpickled in two threads at once, or not at all."""

    def __reduce__(self) -> tuple[object, ...]:
        # By a name in this process: pickled by value, the function would have a copy of its own.
        return eval, (f"__import__('sys').modules[{__name__!r}].meet()",)


def test_a_result_that_two_threads_learn_of_in_two_ways_is_set_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "ASK_EVERY", 0.0)
    future = client.calls.start(client.call("r1"))
    client.keep("r1", Meeting())
    has_read = threading.Event()

    def push() -> None:
        client.push("r1", Meeting())
        has_read.set()
        wait_until(lambda: not client.waiting_for(), "the other thread to receive it")

    def receive() -> None:
        assert has_read.wait(PATIENCE)
        wait_until(client.has_heard_all, "the push")

    client.when_read = push
    assert in_threads(future.done, receive) == [True, None]
    assert future.get() == "met"


def test_the_end_of_the_connection_is_that_of_all_futures(client: Client) -> None:
    futures = [client.calls.start(client.call("r1")), client.calls.join("r2")]
    done = client.calls.start(client.call("r3"))
    client.push("r3", 3)
    assert done.get(PATIENCE) == 3
    client.link.close()
    client.calls.fail_all(ClusterError("closed"))

    for future in futures:
        assert future.done()
        with pytest.raises(ClusterError, match="closed"):
            future.get()
    assert done.get() == 3
