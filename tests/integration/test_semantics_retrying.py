"""Runs that fail and are tried again, as often as their options say."""

import itertools
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from gates import Gate, wait_at
from notes import note, noted
from records import store_of, wait_for_state

from cloudburst import (
    CloudburstConnection,
    CloudburstFuture,
    ExecutorDiedError,
    FunctionError,
    UserLibrary,
)

SOON = 30.0
"""Seconds within which every end has to come. Nothing here should take a tenth of it."""


def fail_until(library: Any, needed: int) -> str:
    """Fail, until it has been tried that often."""
    attempt = note(library, "tried")
    if attempt < needed:
        raise ValueError(f"attempt {attempt}")
    return f"done at attempt {attempt}"


def tried(connection: CloudburstConnection, run: CloudburstFuture) -> int:
    return noted(connection, run, "tried")


def test_the_attempt_that_succeeds_counts(connection: CloudburstConnection) -> None:
    flaky = connection.register(fail_until, "flaky", max_retries=5)

    runs = [flaky(needed) for needed in (1, 2, 4)]

    assert [run.get(SOON) for run in runs] == [f"done at attempt {n}" for n in (1, 2, 4)]
    assert [tried(connection, run) for run in runs] == [1, 2, 4]


def test_the_record_tells_of_the_attempts(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    def flaky(library: Any, path: str) -> str:
        if note(library, "arrived") == 1:
            wait_at(library, path)
        return fail_until(library, 3)

    gate, store = make_gate(), store_of(connection)
    run = connection.register(flaky, "flaky", max_retries=5)(gate.path)
    gate.wait_for_arrival()
    wait_for_state(store, run.obj_id, "RUNNING")
    gate.open()

    assert run.get(SOON) == "done at attempt 3"
    record = wait_for_state(store, run.obj_id, "SUCCEEDED")
    store.close()
    assert record["epoch"] == 3
    first, second = record["reasons"].splitlines()
    assert first.endswith("step 'flaky' raised ValueError: attempt 1")
    assert second.endswith("step 'flaky' raised ValueError: attempt 2")


@pytest.mark.parametrize("retries", [0, 1, 3])
@pytest.mark.parametrize("direct", [True, False])
def test_when_no_attempt_is_left_the_users_own_exception_is_raised(
    connection: CloudburstConnection, retries: int, direct: bool
) -> None:
    def fail(library: UserLibrary) -> None:
        library.put("attempts", library.get("attempts", 0) + 1)
        raise LookupError(f"attempt {library.get('attempts')}")

    connection.put_object("attempts", 0)
    hopeless = connection.register(fail, "fail").options(
        max_retries=retries, direct_response=direct
    )

    with pytest.raises(LookupError, match=f"attempt {retries + 1}") as raised:
        hopeless().get(SOON)
    assert isinstance(raised.value.__cause__, FunctionError)
    assert raised.value.__cause__.step == "fail"
    assert connection.get_object("attempts") == retries + 1


def test_what_raises_is_not_tried_again_unless_somebody_says_so(
    connection: CloudburstConnection,
) -> None:
    run = connection.register(fail_until, "flaky")(2)

    with pytest.raises(ValueError, match="attempt 1"):
        run.get(SOON)
    assert tried(connection, run) == 1


def test_the_pauses_between_attempts_grow(connection: CloudburstConnection) -> None:
    def fail(library: UserLibrary) -> None:
        library.put("when", [*library.get("when", []), time.monotonic()])
        raise ValueError

    connection.delete_object("when")
    run = connection.register(fail, "fail", max_retries=3)()

    assert isinstance(run.exception(SOON), ValueError)
    pauses = [b - a for a, b in itertools.pairwise(connection.get_object("when"))]
    # At least; how much more depends on the machine.
    assert [pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.4), strict=True)] == [
        *(True, True, True)
    ]


def test_others_run_meanwhile(connection: CloudburstConnection) -> None:
    flaky = connection.register(fail_until, "flaky", max_retries=10)
    incr = connection.register(lambda _, n: n + 1, "incr")

    slow = [flaky(4) for _ in range(20)]
    quick = [incr(n) for n in range(200)]

    assert [run.get(SOON) for run in quick] == list(range(1, 201))
    assert [run.get(SOON) for run in slow] == ["done at attempt 4"] * 20
    assert [tried(connection, run) for run in slow] == [4] * 20


def test_a_dag_starts_over_from_its_beginning(connection: CloudburstConnection) -> None:
    def step(library: Any, *upstream: int) -> int:
        note(library, library.step)
        return sum(upstream) + 1

    connection.register(step, "step")
    connection.register(fail_until, "flaky")
    connection.register(lambda _, *values: values, "join")
    steps = [("top", "step"), ("left", "step"), ("right", "flaky"), "join"]
    edges = [("top", "left"), ("left", "join"), ("right", "join")]
    assert connection.register_dag("d", steps, edges, max_retries=4)

    run = connection.call_dag("d", {"right": 3})

    assert run.get(SOON) == (2, "done at attempt 3")
    assert tried(connection, run) == 3
    # What is beside the step that fails may or may not have had its turn.
    assert 1 <= noted(connection, run, "top") <= 3
    assert 1 <= noted(connection, run, "left") <= noted(connection, run, "top")


def test_an_instance_of_a_class_is_tried_again(connection: CloudburstConnection) -> None:
    class Moody:
        def __init__(self, good_at: int) -> None:
            self.good_at = good_at

        def run(self, library: UserLibrary) -> str:
            return fail_until(library, self.good_at)

    assert (
        connection.register((Moody, 3), "moody", max_retries=2)().get(SOON) == "done at attempt 3"
    )


# executors that die


def die_until(library: Any, needed: int) -> str:
    attempt = note(library, "tried")
    if attempt < needed:
        os._exit(7)
    return f"done at attempt {attempt}"


@pytest.mark.parametrize(("retries", "needed"), [(1, 2), (2, 3), (None, 3), (100, 3)])
def test_a_run_may_survive_deaths(
    fragile: CloudburstConnection, retries: int | None, needed: int
) -> None:
    run = fragile.register(die_until, "die", max_retries=retries)(needed)

    assert run.get(SOON) == f"done at attempt {needed}"


@pytest.mark.parametrize(("retries", "deaths"), [(0, 1), (1, 2), (2, 3), (None, 3), (100, 3)])
def test_deaths_are_counted_too_and_three_are_enough(
    fragile: CloudburstConnection, retries: int | None, deaths: int
) -> None:
    run = fragile.register(die_until, "die").options(max_retries=retries)(10)

    times = "1 time" if deaths == 1 else f"{deaths} times"
    with pytest.raises(ExecutorDiedError, match=f"its executor died {times}, .*: exit code 7"):
        run.get(SOON)
    assert tried(fragile, run) == deaths


def test_exceptions_and_deaths_are_counted_apart(fragile: CloudburstConnection) -> None:
    def unlucky(library: Any) -> int:
        attempt = note(library, "tried")
        if attempt in {2, 4}:
            os._exit(7)
        if attempt < 6:
            raise ValueError
        return attempt

    assert fragile.register(unlucky, "unlucky", max_retries=3)().get(SOON) == 6
