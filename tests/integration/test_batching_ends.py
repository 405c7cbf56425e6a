"""How batches end, and calls that leave them: cancelled, out of time, or with their executor."""

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from batch_calls import LONG, SOON, at_gate, results, sized
from gates import Gate
from notes import note, noted
from records import record_of, store_of
from watching import wait_until

from cloudburst import (
    CloudburstConnection,
    ExecutorDiedError,
    InvocationCancelledError,
    InvocationTimedOutError,
    LocalCluster,
    UserLibrary,
    batch,
)

EXECUTORS = 1
"""One: all calls come together there."""


def test_cancelling_one_call_of_a_running_batch_does_not_wait_for_the_others(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate()
    function = connection.register(at_gate, "at_gate", batching=batch(3, LONG))
    runs = [function(n, gate.path) for n in range(3)]
    gate.wait_for_arrival()

    assert runs[1].cancel()

    with pytest.raises(InvocationCancelledError):
        runs[1].get(SOON)  # the gate is closed
    assert [runs[0].done(), runs[2].done()] == [False, False]
    gate.open()
    assert (runs[0].get(SOON), runs[2].get(SOON)) == ((0, 3), (2, 3))
    assert noted(connection, runs[0], "InvocationCancelledError") == 0
    with pytest.raises(InvocationCancelledError):
        connection.get_object(runs[1].obj_id)


def test_a_batch_of_which_all_calls_are_cancelled_is_interrupted(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate()
    function = connection.register(at_gate, "at_gate", batching=batch(3, LONG))
    runs = [function(n, gate.path) for n in range(3)]
    gate.wait_for_arrival()

    assert all(run.cancel() for run in runs)

    for run in runs:
        with pytest.raises(InvocationCancelledError):
            run.get(SOON)
    wait_until(
        lambda: noted(connection, runs[0], "InvocationCancelledError"), "the code is interrupted"
    )
    assert connection.register(lambda _: "next", "next")().get(SOON) == "next"


def test_a_call_that_is_cancelled_while_its_batch_waits_is_left_out(
    connection: CloudburstConnection,
) -> None:
    function = connection.register(sized, "sized", batching=batch(3, LONG))
    one, two = function("one"), function("two")

    assert one.cancel()

    with pytest.raises(InvocationCancelledError):
        one.get(SOON)
    assert results([two, function("three"), function("four")]) == [
        ("two", 3),
        ("three", 3),
        ("four", 3),
    ]


def test_the_time_of_one_call_may_be_over_before_its_batch_ends(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate()
    function = connection.register(at_gate, "at_gate", batching=batch(2, LONG))
    hasty, patient = function.options(timeout=1.0)(1, gate.path), function(2, gate.path)
    gate.wait_for_arrival()

    with pytest.raises(InvocationTimedOutError):
        hasty.get(SOON)

    gate.open()
    assert patient.get(SOON) == (2, 2)


def test_code_of_a_batch_that_ignores_its_end_is_killed(run_dir: Path) -> None:
    def swallow(library: UserLibrary, items: list[int]) -> list[int]:
        library.put("pid", os.getpid())
        while True:
            try:
                time.sleep(60)
            except BaseException:
                note(library, "swallowed")

    with LocalCluster(1) as cluster, cluster.connect() as connection:
        function = connection.register(swallow, "swallow", batching=batch(2, LONG), grace_period=0)
        runs = [function(n) for n in range(2)]
        pid = wait_until(lambda: connection.get_object("pid"), "it runs")

        assert all(run.cancel() for run in runs)

        for run in runs:
            with pytest.raises(InvocationCancelledError):
                run.get(SOON)
        assert connection.register(lambda _: os.getpid(), "pid")().get(SOON) != pid


# executors that die

POISON = 3


def poisoned(library: UserLibrary, items: list[int]) -> list[int]:
    if POISON in items:
        library.put("sizes", [*library.get("sizes", []), len(items)])
        os._exit(5)
    return [item * item for item in items]


def test_of_a_batch_that_kills_its_executor_only_the_poisonous_call_is_given_up(
    fragile: CloudburstConnection,
) -> None:
    function = fragile.register(poisoned, "poisoned", batching=batch(6, 1000))

    runs = [function(n) for n in range(12)]

    with pytest.raises(ExecutorDiedError, match=r"'poisoned' was given up.*died 3 times.*code 5"):
        runs[POISON].get(SOON)
    innocent = [(n, run) for n, run in enumerate(runs) if n != POISON]
    assert [run.get(SOON) for _, run in innocent] == [n * n for n, _ in innocent]
    first, *alone = fragile.get_object("sizes")
    assert first > 1
    assert alone == [1, 1]


def test_calls_that_must_not_be_repeated_are_not_when_their_batch_dies(run_dir: Path) -> None:
    """Nobody can say which of them is to blame."""
    with LocalCluster(1) as cluster, cluster.connect() as connection:
        function = connection.register(poisoned, "poisoned", batching=batch(2, LONG), max_retries=0)

        runs = [function(POISON), function(1)]

        for run in runs:
            with pytest.raises(ExecutorDiedError, match=r"died 1 time.*exit code 5"):
                run.get(SOON)
        assert connection.get_object("sizes") == [2]
        works = connection.register(lambda _: "works", "works")
        assert works().get(SOON) == "works"


def test_a_model_whose_executor_dies_during_a_batch_is_made_anew(
    fragile: CloudburstConnection,
) -> None:
    class Fragile:
        def run(self, library: UserLibrary, items: list[int]) -> list[int]:
            if 5 in items and library.get("fell", 0) == 0:
                library.put("fell", len(items))
                os._exit(7)
            return [item + 1 for item in items]

    fragile.register(lambda _, n: n, "pre")
    fragile.register(Fragile, "model", batching=batch(4, 100))
    fragile.register(lambda _, n: n, "post")
    edges = [("pre", "model"), ("model", "post")]
    assert fragile.register_dag("serve", ["pre", "model", "post"], edges)

    runs = [fragile.call_dag("serve", {"pre": n}) for n in range(20)]

    assert results(runs) == list(range(1, 21))
    store = store_of(fragile)
    epochs = Counter(record_of(store, run.obj_id)["epoch"] for run in runs)
    store.close()
    assert fragile.get_object("fell") >= 1
    assert epochs[2] >= 1
    assert max(epochs) <= 3
