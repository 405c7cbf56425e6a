"""What a DAG is: named steps, edges, many sources, exactly one sink."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from cloudburst.core.ids import check_name, check_text
from cloudburst.errors import DagError, InvalidName, UsageError

MAX_STEPS = 10_000
MAX_PROBLEMS = 20
"""Problems reported of one kind: looking for a suggestion for each of thousands takes minutes."""


class Step(NamedTuple):
    """One vertex: a function under a step name."""

    name: str
    function: str


class Dag(NamedTuple):
    """A validated DAG.

    The order of ``edges`` is the caller's: a step receives its upstream results in it.
    """

    name: str
    steps: tuple[Step, ...]
    edges: tuple[tuple[str, str], ...]


def make_steps(functions: Iterable[str | tuple[str, str]]) -> tuple[Step, ...]:
    """Steps from names, or ``(step, function)`` pairs where one function is used several times.

    Raises:
        DagError: an item is neither.
    """
    if isinstance(functions, str) or not isinstance(functions, Iterable):
        raise DagError(f"functions is a list of names, not {functions!r:.80}.")
    return tuple(_make_step(item) for item in functions)


def _make_step(item: object) -> Step:
    try:
        match item:
            case str():
                return Step(check_name(item, "step"), item)
            case (str() as step, str() as function):
                return Step(check_name(step, "step"), check_name(function, "function"))
    except InvalidName as error:
        raise DagError(f"{error}.") from None
    raise DagError(f"a step is a function's name or a (step, function) pair, not {item!r}.")


def make_edges(connections: Iterable[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """Edges from pairs of step names.

    Raises:
        DagError: an item is not a pair of strings.
    """
    if not isinstance(connections, Iterable):
        raise DagError(f"connections is a list of pairs of step names, not {connections!r:.80}.")
    edges = []
    for item in connections:
        match item:
            case (str() as source, str() as target):
                edges.append((_check_end(source), _check_end(target)))
            case _:
                raise DagError(f"a connection is a pair of step names, not {item!r}.")
    return tuple(edges)


def _check_end(name: str) -> str:
    try:
        return check_text(name, "step name")
    except UsageError as error:
        raise DagError(f"{error}.") from None


def problems_of(dag: Dag, known_functions: Collection[str]) -> list[str]:
    """Why ``dag`` cannot be registered, one sentence for each reason; empty if it can.

    Of one kind of reason the first 20 are given.
    """
    if not dag.steps:
        return ["a DAG needs at least one step."]
    if len(dag.steps) > MAX_STEPS:
        return [f"a DAG has at most {MAX_STEPS} steps, not {len(dag.steps)}."]
    problems = [*_step_problems(dag, known_functions), *_edge_problems(dag)]
    return problems or _shape_problems(dag)


def _step_problems(dag: Dag, known_functions: Collection[str]) -> list[str]:
    twice = [name for name, count in Counter(step.name for step in dag.steps).items() if count > 1]
    problems = [
        f"step {name!r} is listed twice; use ('other_name', {name!r}) to run a function "
        "in several steps."
        for name in twice[:MAX_PROBLEMS]
    ]
    missing = dict.fromkeys(s.function for s in dag.steps if s.function not in known_functions)
    problems += [
        f"function {name!r} is not registered{did_you_mean(name, known_functions)}"
        for name in islice(missing, MAX_PROBLEMS)
    ]
    return problems


def _edge_problems(dag: Dag) -> list[str]:
    names = {step.name for step in dag.steps}
    astray = ((edge, end) for edge in dag.edges for end in dict.fromkeys(edge) if end not in names)
    problems = [
        f"connection {edge!r} names {end!r}, which is not a step{did_you_mean(end, names)}"
        for edge, end in islice(astray, MAX_PROBLEMS)
    ]
    repeated = ((edge, count) for edge, count in Counter(dag.edges).items() if count > 1)
    problems += [
        f"connection {edge!r} is listed {count} times."
        for edge, count in islice(repeated, MAX_PROBLEMS)
    ]
    return problems


def _shape_problems(dag: Dag) -> list[str]:
    import networkx  # 130 ms to import, and only registration needs it

    graph = networkx.DiGraph()
    graph.add_nodes_from(step.name for step in dag.steps)
    graph.add_edges_from(dag.edges)
    if not networkx.is_directed_acyclic_graph(graph):
        path = [source for source, _ in networkx.find_cycle(graph)]
        return [f"the steps form a cycle: {' -> '.join([*path, path[0]])}. Remove an edge of it."]
    sinks = [name for name in graph.nodes if graph.out_degree(name) == 0]
    if len(sinks) > 1:
        listed = ", ".join(repr(name) for name in sinks)
        return [f"{listed} have no step after them; a DAG returns one value: join them in one."]
    return []


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: a suggestion if one is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else "."
