"""Ray on this machine: tasks, and actors."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from benchmarks.counters import Family, Roles, this_process
from benchmarks.measure import Clocked, Contender
from benchmarks.ours.calls import results_of
from benchmarks.system import PATIENCE, WORKERS, System
from benchmarks.tasks import (
    Array,
    added_up,
    arrays,
    composed,
    consume,
    image,
    increment,
    infer,
    postprocess,
    preprocess,
    produce,
    same,
    square,
    total,
    weights,
)
from benchmarks.work import (
    Arrays,
    Burst,
    Chain,
    Edge,
    Fan,
    Noop,
    Prediction,
    TwoFunctions,
    Work,
)

LONGEST = 100
"""Steps of a chain of tasks: longer ones take seconds."""

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_DEDUP_LOGS": "0"}


class Worker:
    """An actor: a process that has the functions as methods."""

    def process(self) -> int:
        return os.getpid()

    def same(self, number: int) -> int:
        return same(number)

    def increment(self, number: int) -> int:
        return increment(number)

    def square(self, number: int) -> int:
        return square(number)

    def total(self, *numbers: int) -> int:
        return total(numbers)


def reads(references: list[Any]) -> tuple[float, float]:
    """In a task: the sum of these arrays, and the seconds that reading and adding took."""
    import ray

    began = time.perf_counter()
    result = added_up(ray.get(references))
    return result, time.perf_counter() - began


def start_ray(object_store: int = 1 << 30) -> Any:
    """Start Ray with all that nobody needs here left out. Returns the module."""
    os.environ.update(_QUIET)
    import ray

    ray.init(
        num_cpus=WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=object_store,
    )
    return ray


class Ray(System):
    """Two CPUs, so that two tasks run at a time; and two actors."""

    name: ClassVar[str] = "ray"
    modules: ClassVar[tuple[str, ...]] = ("ray",)
    first_result: ClassVar[str] = """
import time; began = time.perf_counter()
import ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
assert ray.get(ray.remote(lambda x: x + 1).remote(1)) == 2
print(time.perf_counter() - began)
"""

    def __init__(self) -> None:
        self._family = Family()
        self._ray: Any = None
        self._tasks: dict[str, Any] = {}
        self._actors: list[Any] = []

    @property
    def address(self) -> str:
        address: str = self._ray.get_runtime_context().gcs_address
        return address

    def start(self) -> None:
        self._family = Family()
        self._ray = start_ray(4 << 30)
        self._define()
        self._family.settle()

    def attach(self, address: str) -> None:
        os.environ.update(_QUIET)
        import ray

        ray.init(address=address, log_to_driver=False, logging_level="error")
        self._ray = ray
        self._define()

    def stop(self) -> None:
        if self._ray is not None:
            self._ray.shutdown()
            self._ray = None

    def roles(self) -> Roles:
        return {**this_process(), "ray": self._family.pids()}

    def _define(self) -> None:
        functions = (same, increment, square, total, produce, consume, reads)
        self._tasks = {each.__name__: self._ray.remote(each) for each in functions}
        self._tasks["total"] = self._ray.remote(lambda *numbers: sum(numbers))
        # Without a CPU of their own, so that tasks still have both.
        actor = self._ray.remote(num_cpus=0)(Worker)
        self._actors = [actor.remote() for _ in range(WORKERS)]
        self._ray.get([each.same.remote(1) for each in self._actors])

    def contenders(self, work: Work) -> list[Contender]:
        tasks, (a, b) = self._tasks, self._actors
        match work:
            case Noop():
                return self._both(tasks["same"], a.same, same)
            case TwoFunctions():
                return [
                    self._contender("task", self._two(tasks["increment"], tasks["square"])),
                    self._contender("actor", self._two(a.increment, b.square)),
                ]
            case Chain(steps) if steps <= LONGEST:
                return self._chains(steps)
            case Fan(branches):
                return self._fans(branches)
            case Burst(jobs, 1):
                return [
                    self._burst("task", tasks["same"].remote, jobs, same),
                    self._burst("actor", a.same.remote, jobs, same),
                ]
            case Burst(jobs, 2):
                task = lambda n: tasks["square"].remote(tasks["increment"].remote(n))  # noqa: E731
                actor = lambda n: b.square.remote(a.increment.remote(n))  # noqa: E731
                return [
                    self._burst("task", task, jobs, composed),
                    self._burst("actor", actor, jobs, composed),
                ]
            case Arrays(size):
                return self._arrays(size)
            case Edge(size):
                return [self._edge(size)]
            case Prediction():
                return [self._prediction()]
            case _:
                return []

    def _get(self, reference: Any) -> Any:
        return self._ray.get(reference, timeout=PATIENCE)

    def _contender(
        self,
        way: str,
        call: Callable[[int], object],
        expected: Callable[[int], object] = composed,
    ) -> Contender:
        return Contender(f"ray {way}", call, expected, self.roles)

    def _both(self, task: Any, method: Any, expected: Callable[[int], object]) -> list[Contender]:
        return [
            self._contender("task", lambda n: self._get(task.remote(n)), expected),
            self._contender("actor", lambda n: self._get(method.remote(n)), expected),
        ]

    def _two(self, first: Any, second: Any) -> Callable[[int], object]:
        return lambda number: self._get(second.remote(first.remote(number)))

    def _chains(self, steps: int) -> list[Contender]:
        task, method = self._tasks["increment"], self._actors[0].increment

        def call(step: Any, number: int) -> object:
            reference: Any = number
            for _ in range(steps):
                reference = step.remote(reference)
            return self._get(reference)

        return [
            self._contender(way, partial(call, step), lambda n: n + steps)._replace(each=steps)
            for way, step in (("task", task), ("actor", method))
        ]

    def _fans(self, branches: int) -> list[Contender]:
        tasks, (a, b) = self._tasks, self._actors

        def with_tasks(number: int) -> object:
            first = tasks["increment"].remote(number)
            found = [tasks["increment"].remote(first) for _ in range(branches)]
            return self._get(tasks["total"].remote(*found))

        def with_actors(number: int) -> object:
            first = a.increment.remote(number)
            found = [(a, b)[n % 2].increment.remote(first) for n in range(branches)]
            return self._get(a.total.remote(*found))

        return [
            self._contender(way, call, lambda n: branches * (n + 2))
            for way, call in (("task", with_tasks), ("actor", with_actors))
        ]

    def _burst(
        self, way: str, send: Callable[[int], Any], jobs: int, expected: Callable[[int], object]
    ) -> Contender:
        def call(number: int) -> object:
            return self._get([send(n) for n in range(number, number + jobs)])

        found = self._contender(f"{way}s", call, partial(results_of, expected, jobs))
        return found._replace(each=jobs)

    def _arrays(self, size: int) -> list[Contender]:
        here: list[Array] = arrays(size)
        result, references = added_up(here), [self._ray.put(array) for array in here]
        task = self._tasks["reads"]
        return [
            self._contender(
                "task, in the function",
                lambda _: Clocked(*self._get(task.remote(references))),
                lambda _: result,
            ),
            self._contender(
                "task, the call", lambda _: self._get(task.remote(references))[0], lambda _: result
            ),
        ]

    def _edge(self, size: int) -> Contender:
        first, second = self._tasks["produce"], self._tasks["consume"]

        def call(number: int) -> Clocked:
            return Clocked(*self._get(second.remote(first.remote(number, size))))

        return self._contender("task", call, float)

    def _prediction(self) -> Contender:
        model = weights()
        kept = self._ray.put(model)
        first, second, third = (self._ray.remote(each) for each in (preprocess, infer, postprocess))

        def call(number: int) -> object:
            return self._get(third.remote(second.remote(first.remote(image(number)), kept)))

        def expected(number: int) -> int:
            return postprocess(infer(preprocess(image(number)), model))

        return self._contender("task", call, expected)
