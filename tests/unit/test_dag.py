"""What makes a DAG, and the sentence for each thing that does not."""

from __future__ import annotations

import time

import pytest

from cloudburst.core.dag import (
    MAX_PROBLEMS,
    MAX_STEPS,
    Dag,
    Step,
    did_you_mean,
    make_edges,
    make_steps,
    problems_of,
)
from cloudburst.errors import DagError

KNOWN = ("load", "clean", "train", "report")
LISTED_TWICE = (
    "step 'load' is listed twice; use ('other_name', 'load') to run a function in several steps."
)


def problems(functions: object, connections: object = ()) -> list[str]:
    dag = Dag("d", make_steps(functions), make_edges(connections))  # type: ignore[arg-type]
    return problems_of(dag, KNOWN)


def test_a_name_is_a_step_of_that_function() -> None:
    assert make_steps(["load", "clean"]) == (Step("load", "load"), Step("clean", "clean"))


def test_a_pair_names_a_step_and_its_function() -> None:
    steps = make_steps([("first", "load"), ["second", "load"], "clean"])  # type: ignore[list-item]

    assert steps == (Step("first", "load"), Step("second", "load"), Step("clean", "clean"))


def test_steps_may_come_from_any_iterable() -> None:
    assert make_steps(name for name in KNOWN) == tuple(Step(name, name) for name in KNOWN)


@pytest.mark.parametrize("item", [7, None, ("a",), ("a", "b", "c"), ("a", 1), (1, "a"), b"load"])
def test_what_is_neither_name_nor_pair_is_no_step(item: object) -> None:
    with pytest.raises(DagError, match=r"is a function's name or a .step, function. pair") as error:
        make_steps(["load", item])  # type: ignore[list-item]

    assert repr(item) in str(error.value)


def test_a_string_is_not_taken_for_a_list_of_steps() -> None:
    with pytest.raises(DagError, match="is a list of names, not 'load'"):
        make_steps("load")


@pytest.mark.parametrize("item", ["two words", ("two words", "load"), ("load", "a/b"), ""])
def test_a_step_with_a_name_that_cannot_be_used_is_a_problem(item: str | tuple[str, str]) -> None:
    with pytest.raises(DagError, match="name"):
        make_steps([item])


@pytest.mark.parametrize("item", ["ab", ("a",), ("a", "b", "c"), 7, None, ("a", 1), {"a", "b"}])
def test_what_is_not_a_pair_is_no_connection(item: object) -> None:
    with pytest.raises(DagError, match="is a pair of step names, not") as error:
        make_edges([item])  # type: ignore[list-item]

    assert repr(item) in str(error.value)


def test_a_string_is_not_taken_for_a_list_of_connections() -> None:
    with pytest.raises(DagError, match="is a pair of step names, not 'a'"):
        make_edges("ab")


def test_connections_keep_their_order() -> None:
    assert make_edges([["b", "c"], ("a", "c")]) == (("b", "c"), ("a", "c"))


@pytest.mark.parametrize(
    ("functions", "connections"),
    [
        (["load"], []),
        (["load", "clean"], [("load", "clean")]),
        (["load", "clean", "train"], [("load", "train"), ("clean", "train")]),
        ([("a", "load"), ("b", "load"), ("c", "load")], [("a", "c"), ("b", "c")]),
        (KNOWN, [("load", "clean"), ("load", "train"), ("clean", "report"), ("train", "report")]),
        (["clean", "load"], [("load", "clean")]),
    ],
)
def test_good_dags_have_no_problems(functions: object, connections: object) -> None:
    assert problems(functions, connections) == []


def test_a_dag_without_steps() -> None:
    assert problems([]) == ["a DAG needs at least one step."]


def test_a_dag_with_too_many_steps() -> None:
    steps = [(f"s{number}", "load") for number in range(MAX_STEPS + 1)]

    assert problems(steps) == ["a DAG has at most 10000 steps, not 10001."]


def test_a_function_that_is_not_registered() -> None:
    assert problems(["laod"]) == ["function 'laod' is not registered; did you mean 'load'?"]
    assert problems(["xyz"]) == ["function 'xyz' is not registered."]


def test_a_function_that_is_missing_in_several_steps_is_one_problem() -> None:
    edges = [("a", "b")]

    assert problems([("a", "xyz"), ("b", "xyz")], edges) == ["function 'xyz' is not registered."]


def test_a_connection_to_what_is_no_step() -> None:
    assert problems(["load", "clean"], [("load", "claen")]) == [
        "connection ('load', 'claen') names 'claen', which is not a step; did you mean 'clean'?"
    ]


def test_a_connection_names_steps_not_functions() -> None:
    (problem,) = problems([("first", "load")], [("load", "first")])

    assert problem == "connection ('load', 'first') names 'load', which is not a step."


def test_a_step_listed_twice() -> None:
    assert problems(["load", "load"]) == [LISTED_TWICE]


def test_a_connection_listed_twice() -> None:
    edges = [("load", "clean"), ("load", "clean"), ("load", "clean")]

    assert problems(["load", "clean"], edges) == ["connection ('load', 'clean') is listed 3 times."]


def test_a_step_connected_to_itself() -> None:
    assert problems(["load"], [("load", "load")]) == [
        "the steps form a cycle: load -> load. Remove an edge of it."
    ]


def test_a_cycle_is_shown_step_by_step_and_without_what_leads_to_it() -> None:
    edges = [("load", "clean"), ("clean", "train"), ("train", "clean"), ("train", "report")]

    (problem,) = problems(KNOWN, edges)

    assert problem in (
        "the steps form a cycle: clean -> train -> clean. Remove an edge of it.",
        "the steps form a cycle: train -> clean -> train. Remove an edge of it.",
    )


def test_two_sinks() -> None:
    assert problems(["load", "clean", "train"], [("load", "clean"), ("load", "train")]) == [
        "'clean', 'train' have no step after them; a DAG returns one value: join them in one."
    ]


def test_a_step_that_nothing_is_connected_to_is_a_sink_too() -> None:
    (problem,) = problems(["load", "clean", "train"], [("load", "clean")])

    assert problem.startswith("'clean', 'train' have no step after them")


def test_all_problems_are_told_at_once() -> None:
    functions = ["load", "load", "tarin"]
    edges = [("load", "tarin"), ("load", "tarin"), ("load", "nowhere")]

    assert problems(functions, edges) == [
        LISTED_TWICE,
        "function 'tarin' is not registered; did you mean 'train'?",
        "connection ('load', 'nowhere') names 'nowhere', which is not a step.",
        "connection ('load', 'tarin') is listed 2 times.",
    ]


def test_thousands_of_problems_are_not_all_told_and_do_not_take_long() -> None:
    """The scheduler looks for them between two calls."""
    count = 3000
    dag = Dag(
        "d",
        tuple(Step(f"step{number}", f"function{number}") for number in range(count)),
        tuple((f"x{number}", f"y{number}") for number in range(count)),
    )
    began = time.process_time()

    found = problems_of(dag, [f"known{number}" for number in range(300)])

    assert len(found) == 2 * MAX_PROBLEMS
    assert time.process_time() - began < 2.0


def test_a_suggestion_is_made_only_if_it_is_close() -> None:
    assert did_you_mean("sqare", ["square", "cube"]) == "; did you mean 'square'?"
    assert did_you_mean("zzz", ["square", "cube"]) == "."
    assert did_you_mean("square", []) == "."
