"""What a DAG is: named steps, edges, many sources, exactly one sink."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

from cloudburst.core.ids import check_name, check_text
from cloudburst.errors import DagError, InvalidName, UsageError

MAX_STEPS = 10_000
MAX_PROBLEMS = 20
"""Problems reported of one kind: looking for a suggestion for each of thousands takes minutes."""

_COLOCATED = "colocated"


class Step(NamedTuple):
    """One vertex: a function under a step name.

    Attributes:
        needs: the resource that its executor must have; "" for none, or that of the function.
        invalid: what does not count as a result of the steps before it, packed, if the first that
            counts fires it; empty for a step that waits for all of them.
    """

    name: str
    function: str
    needs: str = ""
    invalid: bytes = b""


class FirstOf(NamedTuple):
    """A step that is fired by the first result that counts; see `Step.invalid`."""

    step: object
    invalid: bytes


class Dag(NamedTuple):
    """A validated DAG.

    The order of ``edges`` is the caller's: a step receives its upstream results in it.

    Attributes:
        colocated: groups of steps that should run on the same executor.
        replicas: how many instances of each class step there may be.
    """

    name: str
    steps: tuple[Step, ...]
    edges: tuple[tuple[str, str], ...]
    colocated: tuple[tuple[str, ...], ...] = ()
    replicas: int = 1

    @property
    def shape(self) -> Dag:
        """What may not change while it is registered."""
        return self._replace(replicas=1)


def make_steps(functions: Iterable[object]) -> tuple[Step, ...]:
    """Steps from names, ``(step, function)`` pairs where one function is used several times, and
    `FirstOf` either.

    Raises:
        DagError: an item is none of these.
    """
    if isinstance(functions, str) or not isinstance(functions, Iterable):
        raise DagError(f"functions is a list of names, not {functions!r:.80}.")
    return tuple(_make_step(item) for item in functions)


def _make_step(item: object) -> Step:
    try:
        match item:
            case FirstOf(step=FirstOf()):
                raise DagError("a step takes the first of its results once: first_of(step).")
            case FirstOf(step=step, invalid=invalid):
                return _make_step(step)._replace(invalid=invalid)
            case str():
                return Step(check_name(item, "step"), item)
            case (str() as step, str() as function):
                return Step(check_name(step, "step"), check_name(function, "function"))
    except InvalidName as error:
        raise DagError(f"{error}.") from None
    raise DagError(f"a step is a function's name or a (step, function) pair, not {item!r}.")


def with_needs(
    steps: tuple[Step, ...], resource: str, names: Iterable[str], said: str = "names"
) -> tuple[Step, ...]:
    """The same steps, of which the named ones need a resource; ``said`` is what users call them.

    Raises:
        DagError: a name is not one of theirs.
    """
    wanted = _listed(names, said, [step.name for step in steps])
    return tuple(s._replace(needs=resource) if s.name in wanted else s for s in steps)


def make_groups(
    colocated: Iterable[str | Iterable[str]], steps: tuple[Step, ...]
) -> tuple[tuple[str, ...], ...]:
    """Groups of steps that should run together: one list of names, or several.

    Raises:
        DagError: a name is not one of the steps', or in two groups.
    """
    if isinstance(colocated, str) or not isinstance(colocated, Iterable):
        raise DagError(f"colocated is a list of step names, not {colocated!r:.80}.")
    items = list(colocated)
    strings = sum(isinstance(item, str) for item in items)
    if 0 < strings < len(items):
        raise DagError(f"colocated is a list of step names, or of such lists, not {items!r:.80}.")
    names = [step.name for step in steps]
    groups = [_listed(group, _COLOCATED, names) for group in ([items] if strings else items)]
    made = tuple(group for group in groups if group)
    counts = Counter(name for group in made for name in group)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise DagError(f"step {twice[0]!r} is in colocated twice; it can run in one place only.")
    return made


def _listed(names: object, what: str, steps: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise DagError(f"{what} is a list of step names, not {names!r:.80}.")
    listed = tuple(names)
    for problem in _strangers(listed, what, steps):
        raise DagError(problem)
    return listed


def _strangers(names: Iterable[object], what: str, steps: Collection[str]) -> Iterator[str]:
    for name in names:
        if name not in steps:
            yield f"{name!r:.80}, in {what}, is not a step{did_you_mean(str(name), steps)}"


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
    reached = {target for _, target in dag.edges}
    problems += [
        f"step {step.name!r} takes the first of its results, but no connection leads to it."
        for step in dag.steps
        if step.invalid and step.name not in reached
    ]
    together = _strangers(chain.from_iterable(dag.colocated), _COLOCATED, names)
    return [*problems, *islice(together, MAX_PROBLEMS)]


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
