"""Futures: waited for in every way that Python knows."""

from __future__ import annotations

import asyncio
import concurrent.futures
import pickle
import time
from typing import Any

import pytest
from scripted import Client, Scheduler, fail, stands, start
from sockets import PATIENCE, wait_until

from cloudburst.calls import open_calls as calls
from cloudburst.core.messages import Accepted, Cancel, RunState, Watch
from cloudburst.errors import RunTimeoutError, SerializationError, UsageError
from cloudburst.serialization import CloudburstReference, pack, pack_function, unpack


@pytest.fixture
def scheduler(scheduler: Scheduler) -> Scheduler:
    scheduler.script[Watch] = stands(RunState.RUNNING)
    return scheduler


# by itself


def test_a_future_is_that_of_its_run(client: Client) -> None:
    (future,) = start(client, "r1")

    assert future.obj_id == "r1"
    assert repr(future) == "<CloudburstFuture r1 pending>"
    client.push("r1", None)
    assert future.result(PATIENCE) is None
    assert repr(future) == "<CloudburstFuture r1 done>"


def test_a_result_can_be_had_again_and_again(client: Client) -> None:
    (future,) = start(client, "r1")
    client.push("r1", [1])

    assert future.get(PATIENCE) is future.result() is future.get(0)
    assert future.exception() is None


def test_an_exception_is_raised_or_looked_at(client: Client) -> None:
    (future,) = start(client, "r1")
    fail(client, "r1", ValueError("mine"))

    error = future.exception(PATIENCE)
    assert isinstance(error, ValueError)
    for get in (future.get, future.result):
        with pytest.raises(ValueError, match="mine"):
            get()


def test_a_timeout_does_not_end_the_run(client: Client) -> None:
    (future,) = start(client, "r1")
    for wait in (future.get, future.result, future.exception):
        began = time.monotonic()
        with pytest.raises(RunTimeoutError, match=r"r1 has not ended within 0\.01 seconds"):
            wait(0.01)
        assert time.monotonic() - began >= 0.01
    with pytest.raises(TimeoutError):  # which is what Python's own futures raise
        future.get(timeout=0)

    client.push("r1", "later")
    assert future.get(PATIENCE) == "later"


def test_asking_without_waiting_sees_what_has_come(client: Client) -> None:
    (future,) = start(client, "r1")
    assert not future.done()
    with pytest.raises(RunTimeoutError):
        future.get(0)

    client.push("r1", 1)
    wait_until(future.done, "the result")
    assert future.get(0) == 1


def test_getting_without_waiting_sees_it_too(client: Client) -> None:
    (future,) = start(client, "r1")
    client.push("r1", 1)

    def got() -> list[object]:
        try:
            return [future.get(0)]
        except RunTimeoutError:
            return []

    assert wait_until(got, "the result") == [1]


def test_asking_looks_into_the_store_when_the_push_was_lost(
    scheduler: Scheduler, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "ASK_EVERY", 0.02)
    (future,) = start(client, "r1")
    client.keep("r1", "stored")

    wait_until(future.done, "the result")
    assert future.get() == "stored"


def test_asking_does_not_trouble_the_store_each_time(scheduler: Scheduler, client: Client) -> None:
    (future,) = start(client, "r1")
    scheduler.say(client.name, Accepted(("r1",)))
    for _ in range(100):
        assert not future.done()

    assert client.read == []


def test_the_store_is_asked_for_runs_of_others_each_time(client: Client) -> None:
    future = client.calls.join("elsewhere")
    assert not future.done()
    client.keep("elsewhere", 1)
    assert future.done()


def test_a_timeout_is_a_number(client: Client) -> None:
    pending, done = start(client, "r1", "r2")
    client.push("r2", 2)
    assert done.get(PATIENCE) == 2

    for future in (pending, done):
        for wait in (future.get, future.result, future.exception):
            for timeout in ("x", float("nan"), True, [1]):
                with pytest.raises(UsageError, match="timeout is a number of seconds, not"):
                    wait(timeout)  # type: ignore[arg-type]


def test_a_time_that_is_over_is_no_time(client: Client) -> None:
    """Deadlines are often subtracted from the clock."""
    (future,) = start(client, "r1")
    with pytest.raises(RunTimeoutError, match="within 0 seconds"):
        future.get(-1)

    client.push("r1", 1)
    assert future.get(float("inf")) == 1


# with what Python has for futures


def test_futures_can_be_awaited(client: Client) -> None:
    first, second = start(client, "r1", "r2")

    async def both() -> tuple[Any, Any]:
        client.push("r1", 1)
        client.push("r2", 2)
        return await asyncio.wait_for(first, PATIENCE), await second

    assert asyncio.run(both()) == (1, 2)


def test_many_futures_can_be_gathered(client: Client) -> None:
    futures = start(client, *[f"r{n}" for n in range(50)])

    async def gather() -> list[Any]:
        waiting = asyncio.gather(*futures)
        for number in reversed(range(50)):
            client.push(f"r{number}", number)
        return await waiting

    assert asyncio.run(gather()) == list(range(50))


def test_a_failure_is_raised_where_it_is_awaited(client: Client) -> None:
    (future,) = start(client, "r1")

    async def wait() -> None:
        fail(client, "r1", KeyError("mine"))
        await future

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(wait())


def test_a_future_that_is_done_can_be_awaited(client: Client) -> None:
    (future,) = start(client, "r1")
    client.push("r1", 1)
    assert future.get(PATIENCE) == 1

    async def wait() -> Any:
        return await future

    assert asyncio.run(wait()) == 1


def test_who_stops_awaiting_does_not_end_the_run(scheduler: Scheduler, client: Client) -> None:
    (future,) = start(client, "r1")

    async def give_up() -> None:
        await asyncio.wait_for(future, 0.02)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    client.push("r1", 1)
    assert future.get(PATIENCE) == 1
    assert scheduler.count(Cancel) == 0


def test_a_future_may_become_done_after_the_loop_that_awaited_it(client: Client) -> None:
    (future,) = start(client, "r1")
    called: list[object] = []

    async def give_up() -> None:
        task = asyncio.ensure_future(future)
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(give_up())
    future.add_done_callback(called.append)
    client.push("r1", 1)
    wait_until(lambda: called, "the callback")
    assert future.get() == 1


def test_futures_can_be_waited_for_together(client: Client) -> None:
    futures = start(client, *[f"r{n}" for n in range(30)])
    for number in range(30):
        client.push(f"r{number}", number)

    done, pending = concurrent.futures.wait(futures, timeout=PATIENCE)
    assert (len(done), pending) == (30, set())


def test_the_first_to_end_can_be_waited_for(client: Client) -> None:
    slow, quick = start(client, "slow", "quick")
    client.push("quick", 1)

    done, pending = concurrent.futures.wait(
        [slow, quick], timeout=PATIENCE, return_when=concurrent.futures.FIRST_COMPLETED
    )
    assert (done, pending) == ({quick}, {slow})
    client.push("slow", 2)
    assert slow.get(PATIENCE) == 2


def test_futures_can_be_had_as_they_complete(client: Client) -> None:
    futures = start(client, *[f"r{n}" for n in range(10)])
    order = []
    client.push("r7", 7)
    for future in concurrent.futures.as_completed(futures, timeout=PATIENCE):
        order.append(future.result())
        if len(order) < 10:
            client.push(f"r{(7 + len(order)) % 10}", (7 + len(order)) % 10)

    assert order == [7, 8, 9, 0, 1, 2, 3, 4, 5, 6]


def test_futures_mix_with_those_of_others(client: Client) -> None:
    (ours,) = start(client, "r1")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        other = pool.submit(lambda: client.push("r1", 1))
        done, _ = concurrent.futures.wait([ours, other], timeout=PATIENCE)

    assert done == {ours, other}


# as arguments


def test_a_future_cannot_be_pickled(client: Client) -> None:
    (future,) = start(client, "r1")

    with pytest.raises(TypeError, match=r"use its obj_id 'r1'"):
        pickle.dumps(future)


def test_a_future_in_a_closure_is_told_from_an_argument(client: Client) -> None:
    (future,) = start(client, "r1")

    with pytest.raises(
        SerializationError, match=r"f' -> closure 'future' is a future\. Pass it as"
    ):
        pack_function(lambda _: future.get(), "f")


def test_as_an_argument_a_future_is_a_reference(client: Client) -> None:
    one, two = start(client, "r1", "r2")
    packed = pack([one, {"two": two}, one])

    assert packed.references == ("r1", "r2")
    assert unpack(packed.frames) == [
        CloudburstReference("r1"),
        {"two": CloudburstReference("r2")},
        CloudburstReference("r1"),
    ]
