"""Calls of functions and DAGs: with a direct response, and with a future whose result is stored."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeAlias

from benchmarks.counters import Roles
from benchmarks.measure import Contender
from benchmarks.system import PATIENCE
from benchmarks.tasks import composed, increment, same, square
from benchmarks.work import Burst, Chain, Fan, Noop, TwoFunctions, Work
from cloudburst import CloudburstConnection

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "same": lambda _, number: same(number),
    "increment": lambda _, number: increment(number),
    "square": lambda _, number: square(number),
    "total": lambda _, *numbers: sum(numbers),
}

CALLERS = 8
"""Threads of a client that makes many calls with direct responses, each of which blocks."""

Steps: TypeAlias = Sequence[str | tuple[str, str]]
Edges: TypeAlias = Sequence[tuple[str, str]]


def two_functions() -> tuple[str, Steps, Edges]:
    """``square(increment(x))``: name, steps and edges."""
    return "square_of_increment", ("increment", "square"), [("increment", "square")]


def chain(steps: int) -> tuple[str, Steps, Edges]:
    """``increment`` so many times."""
    names = [f"s{number}" for number in range(steps)]
    return f"chain-{steps}", [(name, "increment") for name in names], [*itertools.pairwise(names)]


def fan(branches: int) -> tuple[str, Steps, Edges]:
    """``increment``, then so many times ``increment``, and their sum."""
    names = [f"b{number}" for number in range(branches)]
    steps = [("source", "increment"), *((name, "increment") for name in names), ("sink", "total")]
    edges = [("source", name) for name in names] + [(name, "sink") for name in names]
    return f"fan-{branches}", steps, edges


class Calls:
    """The contenders of one connection.

    Args:
        cloud: the connection.
        roles: the processes behind it.
    """

    def __init__(self, cloud: CloudburstConnection, roles: Callable[[], Roles]) -> None:
        self._cloud = cloud
        self._roles = roles
        self._threads = ThreadPoolExecutor(CALLERS, "caller")

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    def contenders(self, work: Work) -> list[Contender]:
        """The ways in which calls do this work."""
        match work:
            case Noop():
                return self._function("same")
            case TwoFunctions():
                return self._dag(*two_functions(), composed)
            case Chain(steps):
                found = self._dag(*chain(steps), lambda number: number + steps)
                return [each._replace(each=steps) for each in found]
            case Fan(branches):
                return self._dag(*fan(branches), lambda number: branches * (number + 2))
            case Burst(jobs, steps):
                direct, _ = self.contenders(Noop() if steps == 1 else TwoFunctions())
                futures = _pipelined(self._calling(steps), jobs)
                return [futures, _in_threads(self._threads, direct, jobs)]
            case _:
                return []

    def _contender(
        self, way: str, call: Callable[[int], object], expected: Callable[[int], object]
    ) -> Contender:
        return Contender(f"cloudburst, {way}", call, expected, self._roles)

    def _function(self, name: str) -> list[Contender]:
        stored = self._cloud.register(FUNCTIONS[name], name)
        direct = stored.options(direct_response=True)
        return [
            self._contender("direct", direct, same),
            self._contender("future", lambda number: stored(number).get(PATIENCE), same),
        ]

    def _dag(
        self, name: str, steps: Steps, edges: Edges, expected: Callable[[int], object]
    ) -> list[Contender]:
        source = self._registered(name, steps, edges)
        call = self._cloud.call_dag
        return [
            self._contender(
                "direct",
                lambda number: call(name, {source: number}, direct_response=True),
                expected,
            ),
            self._contender(
                "future", lambda number: call(name, {source: number}).get(PATIENCE), expected
            ),
        ]

    def _registered(self, name: str, steps: Steps, edges: Edges) -> str:
        """Register a DAG. Returns the name of its source."""
        pairs = [(step, step) if isinstance(step, str) else step for step in steps]
        for function in {function for _, function in pairs}:
            self._cloud.register(FUNCTIONS[function], function)
        if not self._cloud.register_dag(name, pairs, edges):
            raise RuntimeError(f"{name} cannot be registered")
        return pairs[0][0]

    def _calling(self, steps: int) -> Contender:
        """Its call returns a future."""
        if steps == 1:
            return self._contender("futures", self._cloud.register(FUNCTIONS["same"], "same"), same)
        name, functions, edges = two_functions()
        source, call = self._registered(name, functions, edges), self._cloud.call_dag
        return self._contender("futures", lambda number: call(name, {source: number}), composed)


def _pipelined(one: Contender, jobs: int) -> Contender:
    """All calls at once, and then all results."""

    def call(number: int) -> object:
        futures: list[Any] = [one.call(n) for n in range(number, number + jobs)]
        return [future.get(PATIENCE) for future in futures]

    return one._replace(call=call, expected=partial(results_of, one.expected, jobs), each=jobs)


def _in_threads(threads: ThreadPoolExecutor, one: Contender, jobs: int) -> Contender:
    """Calls that block, out of several threads."""

    def call(number: int) -> object:
        return [*threads.map(one.call, range(number, number + jobs))]

    expected = partial(results_of, one.expected, jobs)
    return one._replace(name=f"{one.name}, threads", call=call, expected=expected, each=jobs)


def results_of(expected: Callable[[int], object], jobs: int, number: int) -> list[object]:
    """What a burst that begins with a number must make."""
    return [expected(n) for n in range(number, number + jobs)]
