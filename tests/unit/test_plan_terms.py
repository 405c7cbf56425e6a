"""Plans of steps that are batched, need something, run together or take the first result."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from choosing import chain, plan_of, race

from cloudburst.core.dag import Dag, FirstOf, make_steps, with_needs
from cloudburst.core.plan import (
    Edge,
    FunctionInfo,
    Plan,
    PlanStep,
    compile_dag,
    compile_function,
    pack_plan,
    unpack_plan,
)

FULL = FunctionInfo("full", "v3", *(True, 50, 20, 16, 0.004, "gpu"))


def words(plan: Plan) -> list[str]:
    """The segments as the functions of their steps."""
    return ["".join(plan.steps[step].function for step in s.steps) for s in plan.segments]


# where segments end


@pytest.mark.parametrize(
    ("functions", "segments"),
    [
        ("fff", ["fff"]),
        ("fmf", ["f", "m", "f"]),
        ("mff", ["m", "ff"]),
        ("ffm", ["ff", "m"]),
        ("mm", ["m", "m"]),
        ("fkf", ["f", "k", "f"]),
        ("kk", ["kk"]),
        ("kkffk", ["kk", "ff", "k"]),
        ("CG", ["C", "G"]),
        ("kG", ["kG"]),
    ],
)
def test_batched_steps_are_by_themselves_and_others_with_those_that_need_the_same(
    functions: str, segments: list[str]
) -> None:
    assert words(chain(*functions)) == segments


def test_a_step_that_takes_the_first_result_begins_a_segment() -> None:
    plan = plan_of(("a", "f"), ("b", "f"), ("c", "f"), edges=[("a", "b"), ("b", "c")], first="b")

    assert [segment.steps for segment in plan.segments] == [(0,), (1, 2)]
    assert plan.segments[0].outputs == (Edge(1, 0),)


def test_steps_broken_apart_hang_together_as_others_do() -> None:
    plan = chain("f", "m", "f")

    assert [(s.inputs, s.parents, s.outputs) for s in plan.segments] == [
        (0, (), (Edge(1, 0),)),
        (1, (0,), (Edge(2, 0),)),
        (1, (1,), ()),
    ]
    assert plan.depths == (0, 1, 2)
    assert plan.sink == 2


def test_colocated_steps_stay_one_segment() -> None:
    steps = [("a", "f"), ("b", "f"), ("c", "f")]

    assert words(plan_of(*steps, edges=[("a", "b"), ("b", "c")], together=[["a", "c"]])) == ["fff"]


# what is said of segments and plans


def test_the_head_of_a_segment_is_its_first_step() -> None:
    plan = chain("f", "f", "k", "k")

    assert [plan.head(number).name for number in range(2)] == ["s0", "s2"]
    assert [plan.head(number).needs for number in range(2)] == ["", "gpu"]


def test_segments_of_a_group_know_it() -> None:
    names = ["top", "x", "y", "z", "end"]
    edges = [("top", n) for n in "xyz"] + [(n, "end") for n in "xyz"]
    plan = plan_of(*((n, "f") for n in names), edges=edges, together=[["z", "x"], ["y"]])

    assert [segment.group for segment in plan.segments] == [0, 1, 2, 1, 0]


def test_a_segment_is_in_the_group_of_any_of_its_steps() -> None:
    steps = [(name, "f") for name in "abc"]
    plan = plan_of(*steps, edges=[("a", "b"), ("b", "c")], together=[["b"]])

    assert [segment.group for segment in plan.segments] == [1]


def test_what_a_step_needs_goes_before_what_its_function_needs() -> None:
    functions = {"k": FunctionInfo("k", "v1", is_class=False, needs="gpu")}
    steps = with_needs(make_steps([("x", "k"), ("y", "k")]), "ssd", ["y"])
    plan = compile_dag(Dag("d", steps, (("x", "y"),)), functions)

    assert [step.needs for step in plan.steps] == ["gpu", "ssd"]
    assert plan.needs == {"gpu", "ssd"}
    assert len(plan.segments) == 2


def test_all_that_is_known_of_a_function_that_matters_there_is_in_its_step() -> None:
    step = PlanStep("full", "full", "v3", *(True, 16, 0.004, "gpu"))

    assert compile_function(FULL).steps == (step,)
    plan = compile_dag(Dag("d", make_steps([FirstOf("full", b"n")]), ()), {"full": FULL})
    assert plan.steps == (step._replace(invalid=b"n"),)


@pytest.mark.parametrize(
    ("concurrency", "per_host", "together"),
    [(0, 0, 16), (3, 0, 3), (0, 5, 5), (3, 5, 3), (20, 20, 16), (1, 0, 1)],
)
def test_no_more_calls_are_put_together_than_may_go_on(
    concurrency: int, per_host: int, together: int
) -> None:
    """The first of them would wait in vain for others."""
    limited = FULL._replace(max_concurrency=concurrency, max_per_host=per_host)

    assert compile_function(limited).batch_size == together
    assert compile_function(limited._replace(batch_size=0)).batch_size == 0


def test_plans_know_what_their_steps_are_like() -> None:
    plain, mixed = chain("f", "f"), chain("f", "m", "k", "C")

    assert (plain.needs, plain.batch_size, plain.has_first_of, plain.has_classes) == (
        frozenset(),
        0,
        False,
        False,
    )
    assert mixed.needs == {"gpu"}
    assert (mixed.batch_size, mixed.has_classes) == (4, True)
    assert race("f", "f").has_first_of


# ids, and the way to the store


def variants() -> dict[str, Plan]:
    """One DAG, and others that differ in one thing each."""
    functions = {"f": FunctionInfo("f", "v1", is_class=False)}
    dag = Dag("d", make_steps(["f", ("g", "f")]), (("f", "g"),))

    def compiled(**said: Any) -> Plan:
        known = {"f": functions["f"]._replace(**said)}
        return compile_dag(dag, known)

    def other(**changes: Any) -> Plan:
        return compile_dag(dag._replace(**changes), functions)

    return {
        "as it is": compiled(),
        "version": compiled(version="v2"),
        "batch": compiled(batch_size=4),
        "larger batch": compiled(batch_size=5),
        "waiting batch": compiled(batch_size=4, batch_wait=0.5),
        "needs": compiled(needs="gpu"),
        "needs another": compiled(needs="ssd"),
        "one step needs": other(steps=with_needs(dag.steps, "gpu", ["g"])),
        "first": other(steps=make_steps(["f", FirstOf(("g", "f"), b"x")])),
        "first of others": other(steps=make_steps(["f", FirstOf(("g", "f"), b"y")])),
        "together": other(colocated=(("f", "g"),)),
    }


def test_all_that_changes_how_it_runs_makes_another_plan() -> None:
    for (one, plan), (another, other) in combinations(variants().items(), 2):
        assert plan.id != other.id, (one, another)


def test_what_concerns_only_the_scheduler_does_not() -> None:
    functions = {"f": FunctionInfo("f", "v1", is_class=False)}
    dag = Dag("d", make_steps(["f"]), ())
    plan = compile_dag(dag, functions)

    assert compile_dag(dag._replace(replicas=5), functions).id == plan.id
    functions = {"f": functions["f"]._replace(max_concurrency=1, max_per_host=1)}
    assert compile_dag(dag, functions).id == plan.id


@pytest.mark.parametrize("name", variants())
def test_a_plan_comes_back_from_the_store_as_it_was(name: str) -> None:
    plan = variants()[name]

    assert unpack_plan(pack_plan(plan)) == plan
    assert unpack_plan(memoryview(pack_plan(plan))).id == plan.id


def test_everything_at_once_comes_back() -> None:
    steps = with_needs(make_steps([("a", "full"), FirstOf(("b", "full"), b"\x00n")]), "x", ["b"])
    dag = Dag("d", steps, (("a", "b"),), (("a", "b"),), 3)
    plan = compile_dag(dag, {"full": FULL})
    back = unpack_plan(pack_plan(plan))

    assert back == plan
    assert back.needs == {"gpu", "x"}
    assert (back.has_first_of, back.batch_size, back.segments[1].group) == (True, 16, 1)
