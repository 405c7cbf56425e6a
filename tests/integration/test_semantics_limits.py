"""Runs that take longer than their time limit are ended, whatever their code does."""

import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from gates import Gate, wait_at
from notes import note, noted
from records import store_of, wait_for_state
from stubborn import never_return_to_python, swallow
from watching import wait_until

from cloudburst import CloudburstConnection, InvocationTimedOutError

SOON = 30.0
"""Seconds within which every end has to come. Nothing here should take a tenth of it."""


def sleep(_: object) -> None:
    time.sleep(60)


def loop(_: object) -> None:
    while True:
        pass


def wait_for_a_lock(_: object) -> None:
    lock = threading.Lock()
    with lock:
        lock.acquire()


def wait_for_a_thread(_: object) -> None:
    helper = threading.Thread(target=time.sleep, args=(20,), daemon=True)
    helper.start()
    helper.join()


def receive(library: Any) -> None:
    library.recv(timeout=60)


def match_for_ever(_: object) -> None:
    re.match("(a+)+$", 60 * "a" + "b")


def use_the_store(library: Any) -> None:
    while True:
        library.put("used", library.get("used"))


@pytest.mark.parametrize(
    "code",
    [sleep, loop, wait_for_a_lock, wait_for_a_thread, receive, match_for_ever, use_the_store],
)
@pytest.mark.parametrize("direct", [True, False])
def test_code_is_interrupted_wherever_it_is(
    connection: CloudburstConnection, code: Callable[..., None], direct: bool
) -> None:
    endless = connection.register(code, "endless").options(timeout=0.3, direct_response=direct)

    with pytest.raises(InvocationTimedOutError, match=r"of 'endless' took longer than its 0.3 s"):
        endless().get(SOON)


def test_the_error_is_raised_in_the_code_which_may_tidy_up(
    connection: CloudburstConnection,
) -> None:
    def careful(library: Any) -> None:
        try:
            time.sleep(60)
        except TimeoutError as error:
            note(library, type(error).__name__)
            raise
        finally:
            note(library, "finally")

    run = connection.register(careful, "careful", timeout=0.3)()

    error = run.exception(SOON)
    assert type(error) is InvocationTimedOutError
    assert run.obj_id in str(error)
    # Whoever was told of the end can count on it that nothing of the run goes on.
    assert noted(connection, run, "InvocationTimedOutError") == 1
    assert noted(connection, run, "finally") == 1


def test_everybody_learns_that_a_run_has_timed_out(connection: CloudburstConnection) -> None:
    run = connection.register(sleep, "sleep", timeout=0.3)()
    with pytest.raises(InvocationTimedOutError):
        run.get(SOON)

    with pytest.raises(InvocationTimedOutError):
        connection.get_object(run.obj_id)
    with pytest.raises(TimeoutError):
        connection.future(run.obj_id).get(SOON)
    assert not run.cancelled()
    assert not run.cancel()
    store = store_of(connection)
    record = wait_for_state(store, run.obj_id, "TIMED_OUT")
    store.close()
    assert "took longer than its 0.3 seconds" in record["reason"]
    assert record["accepted"] <= record["started"] <= record["finished"]


def test_time_in_the_queue_counts(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    wait = connection.register(wait_at, "wait")
    gates = [make_gate(), make_gate()]
    busy = [wait(gate.path) for gate in gates]
    for gate in gates:
        gate.wait_for_arrival()
    late = connection.register(lambda library: note(library, "began"), "late")

    patient, hasty = late(), late.options(timeout=0.3)()

    with pytest.raises(InvocationTimedOutError):
        hasty.get(SOON)
    for gate in gates:
        gate.open()
    assert [run.get(SOON) for run in busy] == ["gate0", "gate1"]
    assert patient.get(SOON) == 1
    assert noted(connection, hasty, "began") == 0


def test_time_between_two_attempts_counts(connection: CloudburstConnection) -> None:
    def fail(library: Any) -> None:
        note(library, "tried")
        raise ValueError("again")

    run = connection.register(fail, "fail", timeout=0.5, max_retries=1000)()

    with pytest.raises(InvocationTimedOutError):
        run.get(SOON)
    # Pauses of 0.1, 0.2, 0.4 seconds.
    assert 1 <= noted(connection, run, "tried") <= 3


def test_a_limit_that_is_not_reached_is_not_felt(connection: CloudburstConnection) -> None:
    quick = connection.register(lambda _, n: n * n, "square", timeout=30.0)

    assert [run.get(SOON) for run in [quick(n) for n in range(100)]] == [n * n for n in range(100)]


def test_no_step_begins_after_the_end_and_those_side_by_side_are_interrupted(
    connection: CloudburstConnection,
) -> None:
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
    assert connection.register_dag("diamond", steps, edges, timeout=2.0)

    run = connection.call_dag("diamond", {})

    with pytest.raises(InvocationTimedOutError):
        run.get(SOON)
    wait_until(lambda: connection.status()[2:4] == (0, 0), "all runs end")
    began = [noted(connection, run, f"{side} began") for side in ("left", "right")]
    ended = [noted(connection, run, f"{side} ended") for side in ("left", "right")]
    assert noted(connection, run, "top") == 1
    assert began == ended
    assert 1 in began
    assert noted(connection, run, "bottom") == 0


# code that does not end


def return_all_the_same(_: object) -> str:
    try:
        time.sleep(60)
    except InvocationTimedOutError:
        return "late"
    return "in time"


def replaced(connection: CloudburstConnection, before: Sequence[str]) -> int:
    """How many of the executors there were are gone."""
    return len(set(before) - set(connection.status().executors))


@pytest.mark.parametrize("code", [swallow, never_return_to_python])
def test_code_that_does_not_end_is_killed_after_its_grace_period(
    fragile: CloudburstConnection, code: Callable[..., None]
) -> None:
    before = fragile.status().executors
    stubborn = fragile.register(code, "stubborn", timeout=1.5, grace_period=0.5)
    incr = fragile.register(lambda _, n: n + 1, "incr")

    run = stubborn()
    others = [incr(n) for n in range(50)]

    assert [other.get(SOON) for other in others] == list(range(1, 51))
    with pytest.raises(InvocationTimedOutError):
        run.get(SOON)
    assert noted(fragile, run, "began") == 1
    # Only once: whoever swallows the error is not disturbed again.
    assert noted(fragile, run, "swallowed") == (1 if code is swallow else 0)
    assert replaced(fragile, before) == 1


def test_every_executor_may_have_to_be_replaced(
    fragile: CloudburstConnection,
) -> None:
    before = fragile.status().executors
    stubborn = fragile.register(swallow, "stubborn", timeout=1.5, grace_period=0.1)

    runs = [stubborn() for _ in range(4)]

    for run in runs:
        with pytest.raises(InvocationTimedOutError):
            run.get(SOON)
        assert noted(fragile, run, "began") <= 1
    assert replaced(fragile, before) == 2


def test_code_that_goes_on_to_return_has_timed_out_all_the_same(
    connection: CloudburstConnection,
) -> None:
    for direct in (False, True):
        late = connection.register(return_all_the_same, "late", timeout=0.3)
        with pytest.raises(InvocationTimedOutError):
            late.options(direct_response=direct)().get(SOON)
