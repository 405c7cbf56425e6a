"""Pools of processes with the interface of `concurrent.futures.Executor`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial

from benchmarks.counters import Family, Roles, this_process
from benchmarks.measure import Contender
from benchmarks.ours.calls import results_of
from benchmarks.system import PATIENCE, System
from benchmarks.tasks import composed, increment, same, square
from benchmarks.work import Burst, Chain, Fan, Noop, TwoFunctions, Work

LONGEST = 100
"""Steps of a chain: each is a call of its own."""


class Pool(System):
    """The work of several steps is put together here, by the caller."""

    def __init__(self) -> None:
        self._family = Family()
        self._executor: Executor | None = None

    @abstractmethod
    def make(self) -> Executor:
        """The pool."""

    def start(self) -> None:
        self._family = Family()
        self._executor = self.make()
        for _ in range(10):
            self.call(same, 1)
        self._family.settle()

    def stop(self) -> None:
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

    def roles(self) -> Roles:
        return {**this_process(), "workers": self._family.pids()}

    @property
    def executor(self) -> Executor:
        """The pool, which was started."""
        if self._executor is None:
            raise RuntimeError("it was not started")
        return self._executor

    def call(self, function: Callable[[int], int], number: int) -> int:
        """One call, and its result."""
        return self.executor.submit(function, number).result(PATIENCE)

    def contenders(self, work: Work) -> list[Contender]:
        match work:
            case Noop():
                return [self._contender(lambda number: self.call(same, number), same)]
            case TwoFunctions():
                return [self._contender(self._two, composed)]
            case Chain(steps) if steps <= LONGEST:
                found = self._contender(partial(self._chain, steps), lambda n: n + steps)
                return [found._replace(each=steps)]
            case Fan(branches):
                return [self._contender(partial(self._fan, branches), lambda n: branches * (n + 2))]
            case Burst(jobs, steps):
                call = partial(self._burst, steps, jobs)
                expected = partial(results_of, same if steps == 1 else composed, jobs)
                return [self._contender(call, expected)._replace(each=jobs)]
            case _:
                return []

    def _contender(
        self, call: Callable[[int], object], expected: Callable[[int], object]
    ) -> Contender:
        return Contender(self.name, call, expected, self.roles)

    def _two(self, number: int) -> int:
        return self.call(square, self.call(increment, number))

    def _chain(self, steps: int, number: int) -> int:
        for _ in range(steps):
            number = self.call(increment, number)
        return number

    def _fan(self, branches: int, number: int) -> int:
        first = self.call(increment, number)
        futures = [self.executor.submit(increment, first) for _ in range(branches)]
        return sum(future.result(PATIENCE) for future in futures)

    def _burst(self, steps: int, jobs: int, number: int) -> list[int]:
        submit, numbers = self.executor.submit, range(number, number + jobs)
        futures = [submit(same if steps == 1 else increment, n) for n in numbers]
        if steps == 2:
            futures = [submit(square, future.result(PATIENCE)) for future in futures]
        return [future.result(PATIENCE) for future in futures]
