"""DAGs compiled to plans: which steps become one segment, and how segments hang together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudburst.core.dag import Dag, make_steps, problems_of
from cloudburst.core.plan import (
    Edge,
    FunctionInfo,
    Plan,
    Segment,
    compile_dag,
    compile_function,
    pack_plan,
    unpack_plan,
)

Pairs = list[tuple[str, str]]


def functions(version: str = "v1") -> dict[str, FunctionInfo]:
    return {
        "f": FunctionInfo("f", version, is_class=False),
        "g": FunctionInfo("g", "v1", is_class=False),
        "C": FunctionInfo("C", "v1", is_class=True),
    }


def plan_of(edges: Pairs, names: str = "", *, version: str = "v1", dag: str = "d") -> Plan:
    """The plan of a DAG whose steps all run ``f``, in order of appearance unless named."""
    found = names.split() or dict.fromkeys(name for edge in edges for name in edge)
    steps = make_steps([(name, "f") for name in found])
    return compile_dag(Dag(dag, steps, tuple(edges)), functions(version))


def words(plan: Plan) -> list[str]:
    """The segments as the names of their steps."""
    return ["".join(plan.steps[step].name for step in s.steps) for s in plan.segments]


def test_a_lone_function_is_one_segment_of_one_step() -> None:
    plan = compile_function(functions()["f"])

    assert plan.segments == (Segment((0,), 0, (), ()),)
    assert (plan.dag, plan.sink, plan.depths) == ("", 0, (0,))
    assert plan.step_index == {"f": 0}


def test_a_chain_is_one_segment() -> None:
    plan = plan_of([("a", "b"), ("b", "c"), ("c", "d")])

    assert plan.segments == (Segment((0, 1, 2, 3), 0, (), ()),)
    assert plan.segment_of == (0, 0, 0, 0)


def test_a_chain_listed_backwards_runs_forwards() -> None:
    plan = plan_of([("b", "c"), ("a", "b")], "c b a")

    assert words(plan) == ["abc"]


def test_a_diamond_is_four_segments() -> None:
    plan = plan_of([("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])

    assert words(plan) == ["a", "b", "c", "d"]
    assert plan.segments[0].outputs == (Edge(1, 0), Edge(2, 0))
    assert plan.segments[1].outputs == (Edge(3, 0),)
    assert plan.segments[2].outputs == (Edge(3, 1),)
    assert plan.segments[3] == Segment((3,), 2, (1, 2), ())
    assert plan.depths == (0, 1, 1, 2)


def test_linear_branches_are_fused() -> None:
    plan = plan_of(
        [("a", "b"), ("b", "c"), ("b", "e"), ("c", "d"), ("e", "f"), ("d", "g"), ("f", "g")]
    )

    assert words(plan) == ["ab", "cd", "ef", "g"]


def test_a_fan_out_of_a_hundred() -> None:
    names = [f"s{number}" for number in range(100)]
    plan = plan_of([("top", name) for name in names] + [(name, "end") for name in names])

    assert len(plan.segments) == 102
    assert len(plan.segments[0].outputs) == 100
    assert plan.segments[-1].inputs == 100
    assert [edge.position for s in plan.segments[1:-1] for edge in s.outputs] == list(range(100))


def test_three_sources() -> None:
    plan = plan_of([("a", "d"), ("b", "d"), ("c", "d")])

    assert words(plan) == ["a", "b", "c", "d"]
    assert [segment.parents for segment in plan.segments] == [(), (), (), (0, 1, 2)]


def test_inputs_come_in_the_order_of_the_connections() -> None:
    plan = plan_of([("c", "d"), ("a", "d"), ("b", "d")], "a b c d")

    position = {
        plan.steps[segment.steps[-1]].name: edge.position
        for segment in plan.segments
        for edge in segment.outputs
    }
    assert position == {"c": 0, "a": 1, "b": 2}


def test_diamonds_within_diamonds() -> None:
    inner = [("b", "p"), ("b", "q"), ("p", "r"), ("q", "r")]
    plan = plan_of([("a", "b"), ("a", "c"), *inner, ("r", "z"), ("c", "z")])

    assert sorted(words(plan)) == ["a", "b", "c", "p", "q", "r", "z"]
    assert plan.depths[plan.sink] == 4
    assert plan.segments[plan.sink].inputs == 2


def test_a_shortcut_past_a_chain_is_an_edge_of_its_own() -> None:
    plan = plan_of([("a", "b"), ("b", "c"), ("a", "c")])

    assert words(plan) == ["a", "b", "c"]
    assert plan.segments[0].outputs == (Edge(1, 0), Edge(2, 1))


def test_one_function_in_several_steps() -> None:
    plan = plan_of([("a", "b"), ("b", "c")])

    assert [step.function for step in plan.steps] == ["f", "f", "f"]
    assert plan.step_index == {"a": 0, "b": 1, "c": 2}


def test_a_plan_knows_whether_instances_outlive_a_run() -> None:
    dag = Dag("d", make_steps(["f", "C"]), (("f", "C"),))

    assert compile_dag(dag, functions()).has_classes
    assert not plan_of([("a", "b")]).has_classes
    assert not compile_function(functions()["C"]).has_classes


def test_the_same_dag_has_the_same_id() -> None:
    assert plan_of([("a", "b")]) == plan_of([("a", "b")])


def test_another_version_of_a_function_makes_another_plan() -> None:
    assert plan_of([("a", "b")], version="v2").id != plan_of([("a", "b")]).id


def test_another_version_of_a_function_it_does_not_use_makes_no_other_plan() -> None:
    dag = Dag("d", make_steps(["g"]), ())

    assert compile_dag(dag, functions("v1")) == compile_dag(dag, functions("v2"))


@pytest.mark.parametrize(
    "other",
    [
        plan_of([("a", "b")], dag="e"),
        plan_of([("a", "c")]),
        plan_of([("b", "a")], "a b"),
        plan_of([], "a"),
        compile_function(functions()["f"]),
    ],
)
def test_whatever_differs_makes_another_plan(other: Plan) -> None:
    assert other.id != plan_of([("a", "b")]).id


def test_steps_and_edges_in_another_order_are_another_plan_but_fit_together() -> None:
    one = plan_of([("a", "c"), ("b", "c")], "a b c")
    two = plan_of([("b", "c"), ("a", "c")], "a b c")

    assert one.id != two.id
    assert one.segments[2].parents == (0, 1)
    assert two.segments[2].parents == (1, 0)


@st.composite
def dags(draw: st.DrawFn) -> Dag:
    """Random DAGs with one sink, their steps listed in any order."""
    count = draw(st.integers(1, 12))
    edges = []
    for source in range(count - 1):
        rest = st.integers(source + 1, count - 1)
        edges += [(source, target) for target in draw(st.sets(rest, min_size=1, max_size=3))]
    edges = draw(st.permutations(edges))
    order = draw(st.permutations(range(count)))
    steps = [(f"s{number}", draw(st.sampled_from("fgC"))) for number in order]
    named = [(f"s{source}", f"s{target}") for source, target in edges]
    return Dag("d", make_steps(steps), tuple(named))


@given(dags())
def test_random_dags_are_good(dag: Dag) -> None:
    assert problems_of(dag, functions()) == []


@given(dags())
def test_every_step_is_in_exactly_one_segment(dag: Dag) -> None:
    plan = compile_dag(dag, functions())

    steps = [step for segment in plan.segments for step in segment.steps]
    assert sorted(steps) == list(range(len(dag.steps)))
    for number, segment in enumerate(plan.segments):
        assert all(plan.segment_of[step] == number for step in segment.steps)


@given(dags())
def test_parents_come_before_children_and_the_sink_last(dag: Dag) -> None:
    plan = compile_dag(dag, functions())

    for number, segment in enumerate(plan.segments):
        assert all(parent < number for parent in segment.parents)
        assert all(edge.segment > number for edge in segment.outputs)
        assert all(plan.depths[parent] < plan.depths[number] for parent in segment.parents)
        assert bool(segment.outputs) == (number != plan.sink)


@given(dags())
def test_every_input_of_a_segment_is_filled_exactly_once(dag: Dag) -> None:
    plan = compile_dag(dag, functions())

    for number, segment in enumerate(plan.segments):
        edges = [
            (edge.position, parent)
            for parent, other in enumerate(plan.segments)
            for edge in other.outputs
            if edge.segment == number
        ]
        assert [position for position, _ in sorted(edges)] == list(range(segment.inputs))
        assert tuple(parent for _, parent in sorted(edges)) == segment.parents


@given(dags())
def test_no_edge_is_lost_or_made_up(dag: Dag) -> None:
    plan = compile_dag(dag, functions())
    name = [step.name for step in plan.steps]

    inside = [
        (name[one], name[two])
        for segment in plan.segments
        for one, two in zip(segment.steps, segment.steps[1:], strict=False)
    ]
    between = [
        (name[segment.steps[-1]], name[plan.segments[edge.segment].steps[0]])
        for segment in plan.segments
        for edge in segment.outputs
    ]
    assert sorted(inside + between) == sorted(dag.edges)


@given(dags())
def test_the_inputs_of_a_join_follow_the_connections(dag: Dag) -> None:
    plan = compile_dag(dag, functions())

    for segment in plan.segments:
        head = plan.steps[segment.steps[0]].name
        senders = [plan.steps[plan.segments[p].steps[-1]].name for p in segment.parents]
        assert senders == [source for source, target in dag.edges if target == head]


@given(dags())
def test_segments_could_not_be_longer(dag: Dag) -> None:
    plan = compile_dag(dag, functions())

    for segment in plan.segments:
        if len(segment.outputs) == 1:
            assert plan.segments[segment.outputs[0].segment].inputs > 1


@given(dags())
def test_a_plan_survives_the_store(dag: Dag) -> None:
    plan = compile_dag(dag, functions())

    assert unpack_plan(pack_plan(plan)) == plan
