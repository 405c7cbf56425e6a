"""What is said of the steps of a DAG besides their names: what fires them, and where they run."""

from __future__ import annotations

from typing import Any

import pytest

from cloudburst.core.dag import (
    MAX_PROBLEMS,
    Dag,
    FirstOf,
    Step,
    make_edges,
    make_groups,
    make_steps,
    problems_of,
    with_needs,
)
from cloudburst.errors import DagError

STEPS = make_steps(["a", "b", "c"])


def problems(
    *steps: object, edges: tuple[tuple[str, str], ...] = (), colocated: Any = ()
) -> list[str]:
    return problems_of(Dag("d", make_steps(steps), edges, colocated), {"f", "a", "b", "c"})


# the first of several results


def test_a_step_may_be_the_first_of_what_leads_to_it() -> None:
    steps = make_steps([FirstOf("a", b"none"), FirstOf(("b", "f"), b"0"), "c", ("d", "f")])

    assert steps == (
        Step("a", "a", invalid=b"none"),
        Step("b", "f", invalid=b"0"),
        Step("c", "c"),
        Step("d", "f"),
    )


@pytest.mark.parametrize("item", [FirstOf(5, b"x"), FirstOf(None, b"x"), FirstOf(("a",), b"x")])
def test_the_first_of_what_is_no_step_is_refused(item: FirstOf) -> None:
    with pytest.raises(DagError, match=r"a step is a function's name or a \(step, function\) pair"):
        make_steps([item])


def test_the_first_of_what_cannot_be_a_name_is_refused() -> None:
    with pytest.raises(DagError, match="two words"):
        make_steps([FirstOf("two words", b"x")])


def test_the_first_of_nothing_is_a_problem() -> None:
    edges = (("a", "c"), ("b", "c"))

    assert problems("a", "b", FirstOf("c", b"x"), edges=edges) == []
    assert problems(FirstOf("a", b"x"), "b", "c", edges=edges) == [
        "step 'a' takes the first of its results, but no connection leads to it."
    ]


def test_the_first_of_nothing_is_told_with_all_other_problems() -> None:
    found = problems(FirstOf("a", b"x"), "b", "h", edges=(("b", "q"),), colocated=(("b", "z"),))

    assert [problem.split(";")[0].rstrip(".") for problem in found] == [
        "function 'h' is not registered",
        "connection ('b', 'q') names 'q', which is not a step",
        "step 'a' takes the first of its results, but no connection leads to it",
        "'z', in colocated, is not a step",
    ]


# resources


def test_the_named_steps_need_a_resource_and_the_others_do_not() -> None:
    assert with_needs(STEPS, "gpu", ["c", "a"]) == (
        Step("a", "a", "gpu"),
        Step("b", "b"),
        Step("c", "c", "gpu"),
    )
    assert with_needs(STEPS, "gpu", []) == STEPS
    assert with_needs(STEPS, "gpu", (name for name in "b"))[1].needs == "gpu"


def test_a_step_takes_the_first_once() -> None:
    with pytest.raises(DagError, match="takes the first of its results once"):
        make_steps([FirstOf(FirstOf("a", b"x"), b"y")])


@pytest.mark.parametrize("names", ["a", 5, None])
def test_steps_that_need_a_resource_are_given_as_a_list(names: Any) -> None:
    with pytest.raises(DagError, match="names is a list of step names, not"):
        with_needs(STEPS, "gpu", names)


def test_a_step_that_needs_a_resource_and_is_none_is_named_with_a_hint() -> None:
    steps = make_steps(["train", "test"])

    with pytest.raises(DagError, match="'trian', in names, is not a step; did you mean 'train'"):
        with_needs(steps, "gpu", ["test", "trian"])


# steps that run together


def test_steps_that_run_together_are_one_list_or_several() -> None:
    assert make_groups(["a", "b"], STEPS) == (("a", "b"),)
    assert make_groups([["a", "b"], ["c"]], STEPS) == (("a", "b"), ("c",))
    assert make_groups((("a",), ("b", "c")), STEPS) == (("a",), ("b", "c"))
    assert make_groups(iter(["a"]), STEPS) == (("a",),)


def test_no_steps_run_together_unless_it_is_said() -> None:
    assert make_groups([], STEPS) == make_groups([[], []], STEPS) == ()


@pytest.mark.parametrize("colocated", ["ab", 5, None, [None], [0], [["a"], None]])
def test_groups_are_lists(colocated: Any) -> None:
    with pytest.raises(DagError, match="colocated is a list of step names, not"):
        make_groups(colocated, STEPS)


@pytest.mark.parametrize("mixed", [["b", "c"], None])
def test_names_and_groups_are_not_mixed(mixed: Any) -> None:
    with pytest.raises(DagError, match="colocated is a list of step names, or of such lists, not"):
        make_groups(["a", mixed], STEPS)


@pytest.mark.parametrize("colocated", [["a", "b", "a"], [["a", "b"], ["b", "c"]]])
def test_a_step_runs_in_one_place_only(colocated: Any) -> None:
    with pytest.raises(
        DagError, match=r"step '[ab]' is in colocated twice; it can run in one place"
    ):
        make_groups(colocated, STEPS)


def test_a_group_of_what_is_no_step_is_refused() -> None:
    with pytest.raises(DagError, match="'d', in colocated, is not a step"):
        make_groups(["a", "d"], STEPS)


def test_a_group_of_what_is_no_step_is_a_problem_whoever_has_made_it() -> None:
    """A scheduler is told of groups by clients, that may be anybody."""
    unknown = tuple(f"x{number}" for number in range(MAX_PROBLEMS + 5))

    assert problems("a", colocated=(("a", "q"),)) == ["'q', in colocated, is not a step."]
    assert len(problems("a", colocated=(unknown,))) == MAX_PROBLEMS


def test_other_replicas_are_not_another_dag() -> None:
    dag = Dag("d", STEPS, make_edges([("a", "b")]), (("a", "b"),), 3)

    assert dag.shape == dag._replace(replicas=7).shape
    for other in (
        dag._replace(colocated=()),
        dag._replace(steps=with_needs(STEPS, "gpu", ["a"])),
        dag._replace(steps=make_steps(["a", FirstOf("b", b"x"), "c"])),
        dag._replace(edges=()),
    ):
        assert dag.shape != other.shape
