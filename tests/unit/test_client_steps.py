"""Steps, DAGs and chains of DAGs, as users write them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from cloudburst import first_of
from cloudburst.calls.chain import ChainLink, make_chain
from cloudburst.client.steps import make_dag
from cloudburst.core.dag import Dag, FirstOf, Step
from cloudburst.errors import DagError, SerializationError, UsageError
from cloudburst.serialization import split, unpack


def invalid_of(step: FirstOf) -> object:
    """The results that do not count."""
    return unpack(split(step.invalid))


def test_the_first_of_several_results_is_a_mark_on_a_step() -> None:
    assert first_of("f").step == "f"
    assert first_of(("step", "f")).step == ("step", "f")


@pytest.mark.parametrize("invalid", [[], [None], [0, "", {"a": 1}], (None,)])
def test_results_that_do_not_count_travel_as_a_list(invalid: Any) -> None:
    assert invalid_of(first_of("f", invalid)) == list(invalid)


def test_a_step_that_takes_the_first_does_so_whatever_counts() -> None:
    """An empty mark would be none."""
    assert first_of("f").invalid != b""


@pytest.mark.parametrize("invalid", [None, 5, "no", b"no", True, {1, 2}, {1: 2}, iter([1])])
def test_results_that_do_not_count_are_a_list(invalid: Any) -> None:
    """A set would make another DAG of it in every process."""
    with pytest.raises(UsageError, match="invalid is a list of results that do not count, not"):
        first_of("f", invalid)


def test_results_that_cannot_be_sent_are_refused() -> None:
    with pytest.raises(SerializationError, match="the invalid results of step 'f'"):
        first_of("f", [threading.Lock()])


# DAGs


def test_a_dag_is_all_that_was_said_of_it() -> None:
    end = first_of(("end", "f"), [None])
    dag = make_dag(
        "d",
        ["a", ("b", "f"), end],
        [("a", "end"), ("b", "end")],
        colocated=["a", "b"],
        gpu_functions=["b"],
        replicas=3,
    )

    steps = (Step("a", "a"), Step("b", "f", "gpu"), Step("end", "f", "", end.invalid))
    assert dag == Dag("d", steps, (("a", "end"), ("b", "end")), (("a", "b"),), 3)


def test_nothing_said_is_a_plain_dag() -> None:
    assert make_dag("d", ["a"], []) == Dag("d", (Step("a", "a"),), ())


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"colocated": ["x"]}, DagError),
        ({"colocated": "a"}, DagError),
        ({"gpu_functions": ["x"]}, DagError),
        ({"gpu_functions": "a"}, DagError),
        ({"replicas": 0}, UsageError),
        ({"replicas": 1.5}, UsageError),
        ({"replicas": True}, UsageError),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        make_dag("d", ["a"], [], **wrong)


# chains

ONE = {"s": [1, 2]}


@pytest.mark.parametrize(
    ("then", "links"),
    [
        (None, []),
        ([], []),
        ("b", [("b", {})]),
        (("b", ONE), [("b", ONE)]),
        (["b", "c"], [("b", {}), ("c", {})]),
        (("b", "c"), [("b", {}), ("c", {})]),
        ([("b", ONE), "c"], [("b", ONE), ("c", {})]),
        ((("b", ONE), ("c", {})), [("b", ONE), ("c", {})]),
        (["b", "b"], [("b", {}), ("b", {})]),
    ],
)
def test_a_chain_is_a_name_a_pair_or_a_list_of_these(
    then: Any, links: list[tuple[str, dict[str, Any]]]
) -> None:
    assert make_chain(then) == [ChainLink(*link) for link in links]


@pytest.mark.parametrize(
    "then", [5, b"b", {"b": {}}, [5], [None], ["b", 5], [["b"]], ("b", 5), ("b", None), [("b", 5)]]
)
def test_other_chains_are_refused(then: Any) -> None:
    with pytest.raises(UsageError, match=r"then is a DAG's name, a \(name, arg_map\) pair, or a l"):
        make_chain(then)
