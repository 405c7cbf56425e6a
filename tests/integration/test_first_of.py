"""Steps that are fired by the first of several results: which one, and what becomes of the rest."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gates import Gate, wait_at
from notes import note, noted
from records import record_of, store_of
from watching import wait_until

from cloudburst import (
    CloudburstConnection,
    DagError,
    LocalCluster,
    NoValidResult,
    RunError,
    SerializationError,
    UsageError,
    UserLibrary,
    first_of,
)

SOON = 30.0
"""Seconds within which every end has to come."""

EXECUTORS = 3
"""Room for two branches, and for what takes the first of them."""

Branches = list[tuple[str, Callable[..., Any]]]


def slow(library: UserLibrary, *_: object) -> str:
    """Until it is interrupted."""
    note(library, "slow began")
    try:
        time.sleep(60)
    except BaseException as error:
        note(library, f"slow saw {type(error).__name__}")
        raise
    finally:
        note(library, "slow ended")
    return "slow"


def pick(library: UserLibrary, *values: Any) -> Any:
    """What it was fired with."""
    note(library, "picked")
    return values[0] if len(values) == 1 else values


def race(
    connection: CloudburstConnection,
    branches: Branches,
    last: Callable[..., Any] = pick,
    invalid: list[Any] | None = None,
) -> None:
    """Register a DAG ``race`` of these branches, whose sink takes the first of them."""
    for name, function in branches:
        connection.register(function, name)
    connection.register(last, "pick")
    names = [name for name, _ in branches]
    steps = [*names, first_of("pick", invalid or [])]
    assert connection.register_dag("race", steps, [(name, "pick") for name in names])


# which one


def test_the_fast_one_wins_and_the_slow_one_is_interrupted(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    race(connection, [("slow", slow), ("fast", wait_at)])
    gate = make_gate()
    run = connection.call_dag("race", {"fast": gate.path})
    wait_until(lambda: noted(connection, run, "slow began"), "the slow one has begun")

    gate.open()

    assert run.get(SOON) == "gate0"
    wait_until(lambda: noted(connection, run, "slow ended"), "the slow one ends")
    assert noted(connection, run, "slow saw InvocationCancelledError") == 1
    assert noted(connection, run, "picked") == 1
    wait_until(lambda: connection.status()[2:4] == (0, 0), "nothing of it goes on", 5.0)
    assert connection.get_object(run.obj_id) == "gate0"


@pytest.mark.parametrize("winner", [0, 1])
def test_whichever_is_first(
    connection: CloudburstConnection, make_gate: Callable[[], Gate], winner: int
) -> None:
    race(connection, [("left", wait_at), ("right", wait_at)])
    gates = [make_gate(), make_gate()]
    run = connection.call_dag("race", {"left": gates[0].path, "right": gates[1].path})
    for gate in gates:
        gate.wait_for_arrival()

    gates[winner].open()

    assert run.get(SOON) == f"gate{winner}"


def test_what_comes_second_is_not_taken_as_well(connection: CloudburstConnection) -> None:
    race(connection, [("one", lambda _: "one"), ("two", lambda _: "two")])

    runs = [connection.call_dag("race", {}) for _ in range(50)]

    assert {run.get(SOON) for run in runs} <= {"one", "two"}
    wait_until(lambda: connection.status()[2:4] == (0, 0), "all is over")
    assert [noted(connection, run, "picked") for run in runs] == [1] * 50


def test_a_direct_response_does_not_wait_for_the_slow_one(connection: CloudburstConnection) -> None:
    race(connection, [("slow", slow), ("fast", lambda _: "fast")])

    assert connection.call_dag("race", {}, direct_response=True, timeout=SOON) == "fast"


def test_in_the_middle_of_a_dag(connection: CloudburstConnection) -> None:
    connection.register(lambda _, n: n + 1, "top")
    connection.register(slow, "slow")
    connection.register(lambda _, n: n * 10, "fast")
    connection.register(pick, "pick")
    connection.register(lambda _, n, own: (n, own), "after")
    steps = ["top", "slow", "fast", first_of("pick"), "after"]
    edges = [("top", "slow"), ("top", "fast"), ("slow", "pick"), ("fast", "pick")]
    assert connection.register_dag("d", steps, [*edges, ("pick", "after")])

    run = connection.call_dag("d", {"top": 1, "pick": ["own"], "after": "last"})

    assert run.get(SOON) == ("last", ("own", 20))


def test_the_step_may_have_a_name_of_its_own(connection: CloudburstConnection) -> None:
    connection.register(lambda library, *values: (library.step, *values), "tell")
    steps = [("a", "tell"), ("b", "tell"), first_of(("c", "tell"))]
    assert connection.register_dag("d", steps, [("a", "c"), ("b", "c")])

    assert connection.call_dag("d", {}).get(SOON) in (("c", ("a",)), ("c", ("b",)))


def test_with_no_executor_to_spare_it_ends_all_the_same(run_dir: Path) -> None:
    with LocalCluster(1) as one, one.connect() as connection:
        race(connection, [("left", lambda _: "left"), ("right", lambda _: "right")])

        assert connection.call_dag("race", {}).get(SOON) in {"left", "right"}


# what does not count


def test_values_that_do_not_count_do_not_fire_it(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    race(connection, [("none", lambda _: None), ("late", wait_at)], invalid=[None, ""])
    gate = make_gate()
    run = connection.call_dag("race", {"late": gate.path})
    gate.wait_for_arrival()

    assert noted(connection, run, "picked") == 0
    gate.open()

    assert run.get(SOON) == "gate0"
    assert noted(connection, run, "picked") == 1


@pytest.mark.parametrize(
    ("value", "invalid", "counts"),
    [
        (None, [], True),
        (None, [None], False),
        (0, [None, ""], True),
        (0, [False], True),
        (False, [0], True),
        ([1, 2], [[1, 2]], False),
        ((1, 2), [[1, 2]], True),
        ({"a": []}, [{"a": []}], False),
        (float("nan"), [None], True),
    ],
)
def test_what_counts_is_what_equals_none_of_them(
    connection: CloudburstConnection, value: Any, invalid: list[Any], counts: bool
) -> None:
    race(connection, [("only", lambda _: value)], lambda _, given: ("got", given), invalid)

    run = connection.call_dag("race", {})

    if counts:
        assert repr(run.get(SOON)) == repr(("got", value))
    else:
        with pytest.raises(NoValidResult):
            run.get(SOON)


def test_arrays_count(connection: CloudburstConnection) -> None:
    import numpy as np

    race(connection, [("zeros", lambda _: np.zeros(3))], invalid=[None, np.ones(3)])

    assert connection.call_dag("race", {}).get(SOON).tolist() == [0, 0, 0]


def test_a_branch_that_raises_does_not_count(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    race(connection, [("bad", lambda _: 1 // 0), ("late", wait_at)])
    gate = make_gate()
    run = connection.call_dag("race", {"late": gate.path})
    gate.wait_for_arrival()

    gate.open()

    assert run.get(SOON) == "gate0"


def test_a_branch_may_have_several_steps_of_which_any_may_raise(
    connection: CloudburstConnection,
) -> None:
    for name, function in [("bad", lambda _: 1 // 0), ("good", lambda _: "good"), ("pick", pick)]:
        connection.register(function, name)
    connection.register(lambda library, value: note(library, "passed") and value, "pass")
    steps = ["bad", ("pass1", "pass"), "good", ("pass2", "pass"), first_of("pick")]
    edges = [("bad", "pass1"), ("good", "pass2"), ("pass1", "pick"), ("pass2", "pick")]
    assert connection.register_dag("d", steps, edges)

    run = connection.call_dag("d", {})

    assert run.get(SOON) == "good"
    assert noted(connection, run, "passed") == 1


def test_a_step_that_others_need_as_well_ends_the_run_if_it_raises(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    connection.register(lambda _: 1 // 0, "bad")
    connection.register(wait_at, "late")
    connection.register(pick, "pick")
    steps = ["bad", ("x", "pick"), ("y", "pick"), "late", first_of("pick")]
    edges = [("bad", "x"), ("bad", "y"), ("x", "pick"), ("y", "pick"), ("late", "pick")]
    assert connection.register_dag("d", steps, edges)

    run = connection.call_dag("d", {"late": make_gate().path})

    with pytest.raises(ZeroDivisionError):
        run.get(SOON)


def test_when_none_counts_the_run_fails_and_says_so(connection: CloudburstConnection) -> None:
    branches: Branches = [("one", lambda _: None), ("two", lambda _: None)]
    race(connection, branches, invalid=[None])

    run = connection.call_dag("race", {})

    with pytest.raises(
        NoValidResult, match="no result counts of those that lead to step 'pick'; the last was: No"
    ) as raised:
        run.get(SOON)
    assert isinstance(raised.value, RunError)
    assert noted(connection, run, "picked") == 0
    with pytest.raises(NoValidResult):
        connection.get_object(run.obj_id)


def test_when_all_raise_the_last_error_is_named(connection: CloudburstConnection) -> None:
    race(connection, [("one", lambda _: {}["lost"]), ("two", lambda _: {}["lost"])])

    with pytest.raises(NoValidResult, match="the last was: KeyError: 'lost'"):
        connection.call_dag("race", {}).get(SOON)


def test_what_takes_the_first_may_raise_itself(connection: CloudburstConnection) -> None:
    def refuse(library: UserLibrary, value: Any) -> None:
        note(library, "picked")
        raise ValueError(f"not {value}")

    race(connection, [("one", lambda _: "one"), ("two", lambda _: "one")], refuse)

    run = connection.call_dag("race", {})

    with pytest.raises(ValueError, match="not one"):
        run.get(SOON)
    assert noted(connection, run, "picked") == 1


# what dies


def test_a_run_one_of_whose_branches_dies_starts_again(
    run_dir: Path, make_gate: Callable[[], Gate]
) -> None:
    def fall(library: UserLibrary) -> str:
        if note(library, "fell") == 1:
            os._exit(3)
        time.sleep(60)
        return "too late"

    gate = make_gate()
    with LocalCluster(3) as three, three.connect() as connection:
        race(connection, [("fall", fall), ("other", wait_at)])
        run = connection.call_dag("race", {"other": gate.path})
        wait_until(lambda: noted(connection, run, "fell") == 2, "it runs again")

        gate.stay_open()

        assert run.get(SOON) == "gate0"
        wait_until(lambda: connection.status()[2:4] == (0, 0), "nothing of it goes on")
        store = store_of(connection)
        assert record_of(store, run.obj_id)["epoch"] == 2
        store.close()


def test_a_branch_that_always_dies_loses_against_one_that_does_not(run_dir: Path) -> None:
    """If it does so after the other has won, nobody notices."""

    def die_late(library: UserLibrary) -> None:
        wait_until(lambda: library.get(f"{library.run_id} picked"), "the other has won")
        os._exit(3)

    with LocalCluster(3) as three, three.connect() as connection:
        race(connection, [("die", die_late), ("other", lambda _: "other")])

        assert connection.call_dag("race", {}).get(SOON) == "other"


# saying it


def test_a_step_that_nothing_leads_to_cannot_take_the_first(
    connection: CloudburstConnection,
) -> None:
    connection.register(pick, "pick")

    with pytest.raises(DagError, match="'pick' takes the first of its results, but no connection"):
        connection.check_dag([first_of("pick")], [])


@pytest.mark.parametrize("wrong", [None, 5, "none", b"none"])
def test_what_does_not_count_is_a_list(wrong: Any) -> None:
    with pytest.raises(UsageError, match="invalid is a list of results that do not count"):
        first_of("pick", invalid=wrong)


def test_what_does_not_count_can_be_pickled() -> None:
    with pytest.raises(SerializationError, match="the invalid results of step 'pick'"):
        first_of("pick", invalid=[(x for x in "abc")])
