"""Cancelling: what waits never begins, what runs is interrupted, and cancelled it stays."""

import asyncio
import concurrent.futures
import time
from collections.abc import Callable
from typing import Any

import pytest
from gates import Gate, wait_at
from notes import note, noted
from records import record_of, store_of, wait_for_state
from stubborn import never_return_to_python, swallow
from watching import wait_until

from cloudburst import (
    CloudburstConnection,
    CloudburstFuture,
    InvocationCancelledError,
    LocalCluster,
    RunError,
)

SOON = 30.0
"""Seconds within which every end has to come. Nothing here should take a tenth of it."""


def sleep(library: Any) -> None:
    """Until it is interrupted."""
    note(library, "began")
    try:
        time.sleep(60)
    except InvocationCancelledError:
        note(library, "saw it")
        raise
    finally:
        note(library, "finally")


def started(connection: CloudburstConnection, run: CloudburstFuture) -> CloudburstFuture:
    wait_until(lambda: noted(connection, run, "began"), f"{run} has begun")
    return run


@pytest.fixture
def full(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> tuple[list[Gate], list[CloudburstFuture]]:
    """Both executors stand at gates: what is called now waits in the queue."""
    wait = connection.register(wait_at, "wait")
    gates = [make_gate(), make_gate()]
    runs = [wait(gate.path) for gate in gates]
    for gate in gates:
        gate.wait_for_arrival()
    return gates, runs


def test_a_run_that_waits_never_begins(
    connection: CloudburstConnection, full: tuple[list[Gate], list[CloudburstFuture]]
) -> None:
    gates, busy = full
    begin = connection.register(lambda library: note(library, "began"), "begin")
    first, second, third = begin(), begin(), begin()

    assert second.cancel()

    with pytest.raises(InvocationCancelledError, match=f"run {second.obj_id} of 'begin' was cance"):
        second.result(SOON)
    assert second.cancelled()
    assert not first.done()
    for gate in gates:
        gate.open()
    assert [run.get(SOON) for run in (*busy, first, third)] == ["gate0", "gate1", 1, 1]
    assert [noted(connection, run, "began") for run in (first, second, third)] == [1, 0, 1]


def test_a_run_that_runs_is_interrupted(connection: CloudburstConnection) -> None:
    run = started(connection, connection.register(sleep, "sleep")())
    assert not run.cancelled()

    assert run.cancel()

    with pytest.raises(InvocationCancelledError):
        run.result(timeout=SOON)
    # Whoever was told of the end can count on it that nothing of the run goes on.
    assert [noted(connection, run, what) for what in ("began", "saw it", "finally")] == [1, 1, 1]
    assert (run.done(), run.cancelled(), run.cancel()) == (True, True, True)
    assert isinstance(run.exception(SOON), InvocationCancelledError)


def test_everybody_learns_that_a_run_was_cancelled(
    cluster: LocalCluster, connection: CloudburstConnection
) -> None:
    run = started(connection, connection.register(sleep, "sleep")())
    store = store_of(connection)

    with cluster.connect() as other:
        joined = other.future(run.obj_id)
        assert joined.cancel()
        with pytest.raises(InvocationCancelledError):
            joined.get(SOON)
        with pytest.raises(InvocationCancelledError):
            other.get_object(run.obj_id)
    with pytest.raises(InvocationCancelledError):
        run.get(SOON)
    record = wait_for_state(store, run.obj_id, "CANCELLED")
    store.close()
    assert "of 'sleep' was cancelled" in record["reason"]
    assert record["accepted"] <= record["started"] <= record["finished"]


def test_a_run_that_has_ended_cannot_be_cancelled(
    cluster: LocalCluster, connection: CloudburstConnection
) -> None:
    done = connection.register(lambda _, n: n, "same")(5)
    failed = connection.register(lambda _: 1 // 0, "fail")()
    assert done.get(SOON) == 5
    assert isinstance(failed.exception(SOON), ZeroDivisionError)

    with cluster.connect() as other:
        for run in (done, failed, other.future(done.obj_id), other.future(failed.obj_id)):
            assert not run.cancel()
            assert not run.cancelled()
        assert other.future(done.obj_id).get(SOON) == 5
        with pytest.raises(ZeroDivisionError):
            other.future(failed.obj_id).get(SOON)


def test_a_run_that_nobody_knows_cannot_be_cancelled(connection: CloudburstConnection) -> None:
    nothing = connection.future("never-called")

    assert not nothing.cancel()
    assert not nothing.cancelled()
    with pytest.raises(RunError, match="nothing is known of run never-called"):
        nothing.get(SOON)


def test_of_a_diamond_no_step_begins_any_more(connection: CloudburstConnection) -> None:
    def branch(library: Any, upstream: int) -> int:
        note(library, f"{library.step} began")
        try:
            time.sleep(60)
        finally:
            note(library, f"{library.step} ended")
        return upstream

    connection.register(lambda library: note(library, "top"), "top")
    connection.register(branch, "branch")
    connection.register(lambda library, *_: note(library, "bottom"), "bottom")
    steps = ["top", ("left", "branch"), ("right", "branch"), "bottom"]
    edges = [("top", "left"), ("top", "right"), ("left", "bottom"), ("right", "bottom")]
    assert connection.register_dag("diamond", steps, edges)
    run = connection.call_dag("diamond", {})
    for side in ("left", "right"):
        wait_until(lambda side=side: noted(connection, run, f"{side} began"), f"{side} runs")

    assert run.cancel()

    with pytest.raises(InvocationCancelledError):
        run.get(SOON)
    assert [noted(connection, run, f"{side} ended") for side in ("left", "right")] == [1, 1]
    wait_until(lambda: connection.status()[2:4] == (0, 0), "all runs end")
    assert noted(connection, run, "bottom") == 0


@pytest.mark.parametrize("how", ["returns", "raises"])
def test_a_cancelled_run_stays_so_whatever_its_code_does_then(
    connection: CloudburstConnection, how: str
) -> None:
    def carry_on(library: Any, how: str) -> str:
        note(library, "began")
        try:
            time.sleep(60)
        except BaseException:
            note(library, "carried on")
            if how == "raises":
                raise ValueError("another error") from None
        return "a value"

    run = started(connection, connection.register(carry_on, "carry_on", max_retries=3)(how))

    assert run.cancel()

    with pytest.raises(InvocationCancelledError):
        run.get(SOON)
    wait_until(lambda: connection.status()[2:4] == (0, 0), "all runs end")
    with pytest.raises(InvocationCancelledError):
        connection.get_object(run.obj_id)
    assert (noted(connection, run, "began"), noted(connection, run, "carried on")) == (1, 1)


def test_a_run_that_rests_between_two_attempts_is_not_tried_again(
    connection: CloudburstConnection,
) -> None:
    def fail(library: Any) -> None:
        note(library, "tried")
        raise ValueError("again")

    run = connection.register(fail, "fail", max_retries=1000)()
    wait_until(lambda: noted(connection, run, "tried") >= 2, "it is tried again")

    assert run.cancel()

    with pytest.raises(InvocationCancelledError):
        run.get(SOON)
    tried = noted(connection, run, "tried")
    wait_until(lambda: connection.status()[2:4] == (0, 0), "all runs end")
    assert noted(connection, run, "tried") == tried


def test_what_waits_for_a_cancelled_run_fails_with_it(
    connection: CloudburstConnection, full: tuple[list[Gate], list[CloudburstFuture]]
) -> None:
    gates, busy = full
    begin = connection.register(lambda library, *_: note(library, "began"), "begin")
    dependant, unrelated = begin(busy[0]), begin(busy[1])
    given_up = begin(busy[0])

    assert given_up.cancel()
    assert busy[0].cancel()

    with pytest.raises(InvocationCancelledError, match=busy[0].obj_id):
        dependant.get(SOON)
    gates[1].open()
    assert (busy[1].get(SOON), unrelated.get(SOON)) == ("gate1", 1)
    assert noted(connection, dependant, "began") == 0
    assert noted(connection, given_up, "began") == 0


def test_many_are_cancelled_among_many(
    connection: CloudburstConnection, full: tuple[list[Gate], list[CloudburstFuture]]
) -> None:
    gates, busy = full
    work = connection.register(lambda library, n: (note(library, "began"), n), "work")
    runs = [work(n) for n in range(300)]
    chosen = set(runs[1::3])

    assert all(run.cancel() for run in chosen)

    for gate in gates:
        gate.open()
    assert [run.get(SOON) for run in busy] == ["gate0", "gate1"]
    for n, run in enumerate(runs):
        if run in chosen:
            assert isinstance(run.exception(SOON), InvocationCancelledError)
        else:
            assert run.get(SOON) == (1, n)
        assert noted(connection, run, "began") == (run not in chosen)


@pytest.mark.parametrize("seconds", [0.0, 0.0005, 0.0015])
def test_a_run_ends_one_way_for_everybody_whenever_it_is_cancelled(
    connection: CloudburstConnection, seconds: float
) -> None:
    def work(_: object, n: int, seconds: float) -> int:
        time.sleep(seconds)
        return n

    function = connection.register(work, "work")
    store = store_of(connection)
    for n in range(200):
        run = function(n, seconds)
        said = run.cancel()
        error = run.exception(SOON)

        if error is None:
            assert connection.get_object(run.obj_id) == n
            assert record_of(store, run.obj_id)["state"] == "SUCCEEDED"
        else:
            assert said
            with pytest.raises(InvocationCancelledError):
                connection.get_object(run.obj_id)
            assert record_of(store, run.obj_id)["state"] == "CANCELLED"
    store.close()


def test_the_ways_to_wait_for_several_futures_see_it(connection: CloudburstConnection) -> None:
    endless = connection.register(sleep, "sleep")
    runs = [started(connection, endless()) for _ in range(2)]

    async def wait() -> BaseException | None:
        (error,) = await asyncio.gather(runs[1], return_exceptions=True)
        return error if isinstance(error, BaseException) else None

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: list(concurrent.futures.as_completed(runs, SOON)))
        assert [run.cancel() for run in runs] == [True, True]
        assert set(waiting.result(SOON)) == set(runs)
    assert isinstance(asyncio.run(wait()), InvocationCancelledError)


# code that does not end


@pytest.mark.parametrize("code", [swallow, never_return_to_python])
@pytest.mark.parametrize("grace_period", [0, 0.5])
def test_code_that_does_not_end_is_killed_after_its_grace_period(
    fragile: CloudburstConnection, code: Callable[..., None], grace_period: float
) -> None:
    before = set(fragile.status().executors)
    stubborn = fragile.register(code, "stubborn").options(grace_period=grace_period)
    run = started(fragile, stubborn())

    assert run.cancel()

    with pytest.raises(InvocationCancelledError):
        run.get(SOON)
    assert len(before - set(fragile.status().executors)) == 1
    assert noted(fragile, run, "began") == 1
