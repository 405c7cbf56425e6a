"""What may be registered as a DAG, and how its steps receive their arguments."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from gates import Gate, wait_at

from cloudburst import CloudburstConnection, DagError, UnknownStep, UsageError

Steps = list[Any]
Edges = list[tuple[str, str]]

BAD_DAGS = [
    ([], [], "a DAG needs at least one step"),
    (["one", "nowhere"], [("one", "nowhere")], "function 'nowhere' is not registered"),
    (["one", "tow"], [("one", "tow")], "did you mean 'two'?"),
    (["one", "two"], [("one", "three")], "'three', which is not a step"),
    (["one", "two"], [("one", "two"), ("one", "two")], "is listed 2 times"),
    (["one", "two"], [("one", "two"), ("two", "one")], "cycle: one -> two -> one"),
    (["one"], [("one", "one")], "cycle: one -> one"),
    (["one", "two", "three"], [("one", "two"), ("one", "three")], "'two', 'three' have no step"),
    (["one", "two"], [], "'one', 'two' have no step after them"),
    (["one", "one"], [("one", "one")], "step 'one' is listed twice"),
    ("one", [], "is a list of names, not 'one'"),
    ([1], [], "a step is a function's name or a (step, function) pair, not 1"),
    ([("s", "one", "x")], [], "a step is a function's name or a (step, function) pair"),
    (["one", "two"], ["one"], "a connection is a pair of step names, not 'one'"),
    (["one", "two"], [("one", 2)], "a connection is a pair of step names"),
    ([("a b", "one")], [], "characters other than letters"),
]


@pytest.fixture
def numbers(connection: CloudburstConnection) -> CloudburstConnection:
    """Functions that show what they were called with."""
    for name in ("one", "two", "three"):
        connection.register(lambda library, *args: [library.step, *args], name)
    return connection


@pytest.mark.parametrize(("steps", "edges", "reason"), BAD_DAGS)
def test_what_is_not_a_dag_is_not_registered(
    numbers: CloudburstConnection, steps: Steps, edges: Edges, reason: str
) -> None:
    with pytest.warns(UserWarning, match=re.escape(reason)) as warned:
        assert numbers.register_dag("bad", steps, edges) is False
    with pytest.raises(DagError, match=re.escape(reason)) as raised:
        numbers.check_dag(steps, edges)

    assert str(raised.value) in str(warned[0].message)
    assert warned[0].filename == __file__
    assert numbers.list_dags() == []


def test_every_problem_is_named_at_once(numbers: CloudburstConnection) -> None:
    with pytest.raises(DagError) as raised:
        numbers.check_dag(["one", "x", "y"], [("one", "z"), ("one", "z")])

    assert len(raised.value.problems) >= 4


def test_check_dag_registers_nothing(numbers: CloudburstConnection) -> None:
    numbers.check_dag(["one", "two"], [("one", "two")])

    assert numbers.list_dags() == []


def test_identical_registration_is_true_and_a_different_one_false(
    numbers: CloudburstConnection,
) -> None:
    steps, edges = ["one", "two", "three"], [("one", "three"), ("two", "three")]
    assert numbers.register_dag("d", steps, edges) is True
    assert numbers.register_dag("d", steps, edges) is True

    with pytest.warns(UserWarning, match="another DAG is registered as 'd'"):
        assert numbers.register_dag("d", steps, edges[::-1]) is False
    with pytest.warns(UserWarning, match="another DAG"):
        assert numbers.register_dag("d", ["one"], []) is False

    assert numbers.call_dag("d", {}).get() == ["three", ["one"], ["two"]]
    assert numbers.list_dags() == ["d"]


def test_name_is_free_again_after_deletion(numbers: CloudburstConnection) -> None:
    assert numbers.register_dag("d", ["one"], [])
    assert numbers.delete_dag("d") is True
    assert numbers.delete_dag("d") is False

    assert numbers.register_dag("d", ["two"], [])
    assert numbers.call_dag("d", {"two": 2}).get() == ["two", 2]
    with pytest.raises(UnknownStep, match="has no step 'one'"):
        numbers.call_dag("d", {"one": 1})


def test_function_and_dag_may_share_a_name(numbers: CloudburstConnection) -> None:
    function = numbers.get_function("one")
    assert function is not None
    assert numbers.register_dag("one", ["two"], [])

    assert function(1).get() == ["one", 1]
    assert numbers.call_dag("one", {"two": 1}).get() == ["two", 1]


def test_one_function_in_several_steps(numbers: CloudburstConnection) -> None:
    steps: Steps = [("first", "one"), ("second", "one"), "one"]
    assert numbers.register_dag("d", steps, [("first", "one"), ("second", "one")])

    result = numbers.call_dag("d", {"first": 1, "second": 2, "one": 3}).get()

    assert result == ["one", 3, ["first", 1], ["second", 2]]


def test_function_of_a_dag_cannot_be_deleted(numbers: CloudburstConnection) -> None:
    numbers.register_dag("user", ["one", "two"], [("one", "two")])

    with pytest.raises(UsageError, match="'two' is used by DAG 'user'"):
        numbers.delete_function("two")
    assert numbers.delete_function("three") is True
    assert numbers.list() == ["one", "two"]


@pytest.mark.parametrize(
    ("given", "received"),
    [
        (1, [1]),
        ([1, 2], [1, 2]),
        ([[1, 2]], [[1, 2]]),
        ([[1, 2], 3], [[1, 2], 3]),
        ([], []),
        ([[]], [[]]),
        ((1, 2), [(1, 2)]),
        ([(1, 2)], [(1, 2)]),
        ((), [()]),
        (None, [None]),
        ("text", ["text"]),
        ({"k": 1}, [{"k": 1}]),
        ({1, 2}, [{1, 2}]),
    ],
)
def test_a_list_is_the_list_of_arguments_and_anything_else_is_one(
    numbers: CloudburstConnection, given: Any, received: list[Any]
) -> None:
    numbers.register_dag("d", ["one"], [])

    assert numbers.call_dag("d", {"one": given}).get() == ["one", *received]
    assert numbers.call_dag("d", {"one": given}, direct_response=True) == ["one", *received]


def test_steps_that_are_not_in_arg_map_receive_no_arguments(
    numbers: CloudburstConnection,
) -> None:
    numbers.register_dag("d", ["one", "two"], [("one", "two")])

    assert numbers.call_dag("d", {}).get() == ["two", ["one"]]


def test_own_arguments_come_before_upstream_results(numbers: CloudburstConnection) -> None:
    steps = ["one", "two", "three"]
    numbers.register_dag("d", steps, [("two", "three"), ("one", "three")])

    result = numbers.call_dag("d", {"three": ["own", 2], "one": 10}).get()

    assert result == ["three", "own", 2, ["two"], ["one", 10]]


def test_upstream_results_come_in_the_order_of_the_edges_not_of_arrival(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate()
    connection.register(wait_at, "slow")
    connection.register(lambda _: "fast", "quick")
    connection.register(lambda _, *args: args, "join")
    edges = [("slow", "join"), ("quick", "join")]
    connection.register_dag("d", ["quick", "slow", "join"], edges)

    future = connection.call_dag("d", {"slow": gate.path})
    gate.wait_for_arrival()
    assert not future.done()
    gate.open()

    assert future.get(10) == ("gate0", "fast")


@pytest.mark.parametrize("value", [(1, 2), (), ((1,), 2), [1, 2], [(1, 2)]])
def test_results_are_never_spread(numbers: CloudburstConnection, value: Any) -> None:
    numbers.register(lambda _, value: value, "same")
    numbers.register(lambda _: None, "wait")
    numbers.register_dag("chain", ["same", "one"], [("same", "one")])
    steps = ["same", "wait", "one"]
    numbers.register_dag("join", steps, [("same", "one"), ("wait", "one")])

    assert numbers.call_dag("chain", {"same": [value]}).get() == ["one", value]
    assert numbers.call_dag("join", {"same": [value]}).get() == ["one", value, None]


def test_output_key_holds_the_result_too(numbers: CloudburstConnection) -> None:
    numbers.register_dag("d", ["one"], [])

    future = numbers.call_dag("d", {"one": 7}, output_key="answer")

    assert future.get() == ["one", 7]
    assert numbers.get_object("answer") == ["one", 7]
    assert numbers.get_object(future.obj_id) == ["one", 7]


def test_direct_response_stores_nothing(numbers: CloudburstConnection) -> None:
    numbers.register(lambda library: library.run_id, "run_id")
    numbers.register_dag("d", ["run_id"], [])

    run_id = numbers.call_dag("d", {}, direct_response=True)

    assert numbers.get_object(run_id, "nothing") == "nothing"
