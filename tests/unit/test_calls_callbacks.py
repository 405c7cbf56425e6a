"""Callbacks of futures: called though nobody waits, on a thread that may use the connection."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from typing import Any

import pytest
from scripted import Client, Scheduler, client_of, stands, start
from sockets import PATIENCE, wait_until

from cloudburst.calls import listener
from cloudburst.calls import open_calls as calls
from cloudburst.core.messages import RunState, Watch
from cloudburst.errors import ClusterError, SchedulerUnavailable


@pytest.fixture
def scheduler(scheduler: Scheduler) -> Scheduler:
    scheduler.script[Watch] = stands(RunState.RUNNING)
    return scheduler


def listeners() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "cloudburst-listener"]


def test_a_callback_is_called_with_the_future_though_nobody_waits(client: Client) -> None:
    (future,) = start(client, "r1")
    seen: list[tuple[object, str]] = []
    called = threading.Event()

    def note(done: concurrent.futures.Future[Any]) -> None:
        seen.append((done, threading.current_thread().name))
        called.set()

    future.add_done_callback(note)
    client.push("r1", 1)
    assert called.wait(PATIENCE)
    assert seen == [(future, "cloudburst-listener")]
    wait_until(lambda: not listeners(), "the listener to end")


def test_a_callback_of_a_future_that_is_done_is_called_at_once(client: Client) -> None:
    (future,) = start(client, "r1")
    client.push("r1", 1)
    future.get(PATIENCE)
    seen: list[object] = []
    future.add_done_callback(seen.append)

    assert seen == [future]
    assert not listeners()


def test_callbacks_are_called_in_order_and_one_that_raises_stops_no_other(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    (future,) = start(client, "r1")
    seen: list[int] = []
    over = threading.Event()
    future.add_done_callback(lambda _: seen.append(1))
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(lambda _: seen.append(2))
    future.add_done_callback(lambda _: over.set())
    client.push("r1", 1)

    assert over.wait(PATIENCE)
    assert seen == [1, 2]
    assert "exception calling callback" in caplog.text


def test_a_callback_may_use_the_connection(client: Client) -> None:
    first, second = start(client, "r1", "r2")
    got: list[object] = []
    over = threading.Event()

    def go_on(done: concurrent.futures.Future[Any]) -> None:
        client.push("r2", done.result() + 1)
        got.append(second.get(PATIENCE))
        over.set()

    first.add_done_callback(go_on)
    client.push("r1", 1)
    assert over.wait(PATIENCE)
    assert got == [2]


def test_a_callback_may_use_it_while_others_wait(client: Client) -> None:
    first, second, third = start(client, "r1", "r2", "r3")
    first.add_done_callback(lambda _: client.push("r3", second.get(PATIENCE)))
    client.push("r1", 1)
    client.push("r2", 2)

    assert third.get(PATIENCE) == 2


def test_a_callback_is_not_held_up_by_runs_that_take_long(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "ROUND", 1000.0)
    futures = start(client, *[f"r{n}" for n in range(20)])
    called = [threading.Event() for _ in futures]
    for future, event in zip(futures, called, strict=True):
        future.add_done_callback(lambda _, event=event: event.set())  # type: ignore[misc]

    for number in reversed(range(20)):
        client.push(f"r{number}", number)
        assert called[number].wait(PATIENCE)
    wait_until(lambda: not listeners(), "the listener to end")


def test_one_thread_listens_and_only_while_there_is_something(client: Client) -> None:
    for number in range(3):
        futures = start(client, f"a{number}", f"b{number}")
        for future in futures:
            future.add_done_callback(lambda _: None)
        assert len(listeners()) == 1
        client.push(f"a{number}", 1)
        client.push(f"b{number}", 1)
        wait_until(lambda: not listeners(), "the listener to end")
        assert all(future.is_settled() for future in futures)


def test_callbacks_learn_of_results_whose_push_was_lost(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "ASK_EVERY", 0.02)
    monkeypatch.setattr(listener, "ROUND", 0.02)
    futures = start(client, *[f"r{n}" for n in range(5)])
    called = threading.Semaphore(0)
    for future in futures:
        future.add_done_callback(lambda _: called.release())
    for number in (4, 2, 0, 1, 3):
        client.keep(f"r{number}", number)

    for _ in futures:
        assert called.acquire(timeout=PATIENCE)
    assert [future.get(0) for future in futures] == [0, 1, 2, 3, 4]


def test_callbacks_learn_of_the_end_of_the_connection(client: Client) -> None:
    futures = start(client, "r1", "r2")
    called = threading.Semaphore(0)
    for future in futures:
        future.add_done_callback(lambda _: called.release())
    client.link.close()
    client.calls.fail_all(ClusterError("closed"))

    for future in futures:
        assert called.acquire(timeout=PATIENCE)
        assert isinstance(future.exception(), ClusterError)
    wait_until(lambda: not listeners(), "the listener to end")


def test_callbacks_learn_that_the_scheduler_is_gone(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "ASK_EVERY", 0.02)
    scheduler.script.clear()
    with client_of(scheduler.address, "", timeout=0.2) as client:
        futures = start(client, *[f"r{n}" for n in range(20)])
        called = threading.Semaphore(0)
        began = time.monotonic()
        for future in futures:
            future.add_done_callback(lambda _: called.release())
        for _ in futures:
            assert called.acquire(timeout=PATIENCE)
        # All at once, not one after the other.
        assert time.monotonic() - began < 20 * 0.2
        assert {type(future.exception()) for future in futures} == {SchedulerUnavailable}
