"""Ray Compiled Graphs: actors that wait for each other in shared memory, and spin."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, ClassVar

from benchmarks.counters import Family, Roles, this_process
from benchmarks.measure import Contender
from benchmarks.ours.calls import results_of
from benchmarks.peers.ray import LONGEST, Worker, start_ray
from benchmarks.system import PATIENCE, System
from benchmarks.tasks import composed, same
from benchmarks.work import Burst, Chain, Fan, Noop, TwoFunctions, Work

IN_FLIGHT = 10
"""Executions that a graph takes before the first is fetched."""


class RayGraph(System):
    """All steps in one actor, which hands values on in memory.

    There is one graph at a time: each keeps its actors' processors busy.
    """

    name: ClassVar[str] = "ray-graph"
    modules: ClassVar[tuple[str, ...]] = ("ray",)
    actors: ClassVar[int] = 1

    def __init__(self) -> None:
        self._family = Family()
        self._ray: Any = None
        self._actors: list[Any] = []
        self._pids: list[int] = []
        self._graph: Any = None

    def start(self) -> None:
        self._family = Family()
        self._ray = start_ray()
        actor = self._ray.remote(num_cpus=0)(Worker)
        self._actors = [actor.remote() for _ in range(self.actors)]
        self._pids = self._ray.get([each.process.remote() for each in self._actors])
        self._family.settle()

    def stop(self) -> None:
        if self._ray is not None:
            self._forget()
            self._ray.shutdown()
            self._ray = None

    def roles(self) -> Roles:
        return {**this_process(), "ray": self._family.pids()}

    def contenders(self, work: Work) -> list[Contender]:
        a, b = self._actors[0], self._actors[-1]
        match work:
            case Noop() if self.actors == 1:
                return [self._contender(a.same.bind, same)]
            case TwoFunctions():
                return [self._contender(lambda n: b.square.bind(a.increment.bind(n)), composed)]
            case Chain(steps) if steps <= LONGEST:
                found = self._contender(partial(self._chain, steps), lambda n: n + steps)
                return [found._replace(each=steps)]
            case Fan(branches) if branches <= LONGEST:
                return [self._contender(partial(self._fan, branches), lambda n: branches * (n + 2))]
            case Burst(jobs, 2):
                found = self._contender(lambda n: b.square.bind(a.increment.bind(n)), composed)
                expected = partial(results_of, composed, jobs)
                return [
                    found._replace(call=partial(self._burst, jobs), expected=expected, each=jobs)
                ]
            case _:
                return []

    def _contender(
        self, build: Callable[[Any], Any], expected: Callable[[int], object]
    ) -> Contender:
        from ray.dag import InputNode

        self._forget()
        with InputNode() as given:
            self._graph = build(given).experimental_compile()
        graph, name = self._graph, f"ray graph, {self.actors} actor{'s' * (self.actors > 1)}"

        def call(number: int) -> object:
            return self._ray.get(graph.execute(number), timeout=PATIENCE)

        self._signal(signal.SIGSTOP)
        return Contender(name, call, expected, self.roles, awake=self._awake)

    @contextmanager
    def _awake(self) -> Iterator[None]:
        """Let the actors run, which would use up a core each otherwise."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        for pid in self._pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _forget(self) -> None:
        if self._graph is not None:
            self._signal(signal.SIGCONT)
            self._graph.teardown()
            self._graph = None

    def _chain(self, steps: int, given: Any) -> Any:
        for number in range(steps):
            given = self._actors[number % self.actors].increment.bind(given)
        return given

    def _fan(self, branches: int, given: Any) -> Any:
        first = self._actors[0].increment.bind(given)
        found = [
            self._actors[number % self.actors].increment.bind(first) for number in range(branches)
        ]
        return self._actors[0].total.bind(*found)

    def _burst(self, jobs: int, number: int) -> list[Any]:
        found: list[Any] = []
        waiting: list[Any] = []
        for n in range(number, number + jobs):
            if len(waiting) == IN_FLIGHT:
                found.append(self._ray.get(waiting.pop(0), timeout=PATIENCE))
            waiting.append(self._graph.execute(n))
        return found + [self._ray.get(each, timeout=PATIENCE) for each in waiting]


class RayGraphOfTwo(RayGraph):
    """Each step in an actor of its own, in turns."""

    name: ClassVar[str] = "ray-graph-2"
    actors: ClassVar[int] = 2
