"""dask.distributed: a scheduler and two workers of one thread each, in processes of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from benchmarks.counters import Family, Roles, this_process
from benchmarks.measure import Clocked, Contender
from benchmarks.ours.calls import results_of
from benchmarks.system import PATIENCE, WORKERS, System
from benchmarks.tasks import (
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
"""Steps of a chain: longer ones take seconds."""


def adds(found: list[Any]) -> tuple[float, float]:
    """In a task: the sum of these arrays, and the seconds that it took."""
    began = time.perf_counter()
    return added_up(found), time.perf_counter() - began


class Dask(System):
    """Without dashboard. Every task is one of its own (``pure=False``)."""

    name: ClassVar[str] = "dask"
    modules: ClassVar[tuple[str, ...]] = ("dask", "distributed")
    first_result: ClassVar[str] = """
import time; began = time.perf_counter()
from operator import index
from dask.distributed import Client
if __name__ == "__main__":
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        assert client.submit(index, 2).result() == 2
        print(time.perf_counter() - began)
"""

    def __init__(self) -> None:
        self._family = Family()
        self._cluster: Any = None
        self._client: Any = None
        self._workers: list[str] = []

    @property
    def address(self) -> str:
        address: str = self._cluster.scheduler_address
        return address

    def start(self) -> None:
        self._family = Family()
        from distributed import LocalCluster

        self._cluster = LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, dashboard_address=None, silence_logs=50
        )
        self.attach(self.address)
        self._family.settle()

    def attach(self, address: str) -> None:
        from distributed import Client

        self._client = Client(address)
        self._client.wait_for_workers(WORKERS, timeout=PATIENCE)
        self._workers = [*self._client.scheduler_info()["workers"]]

    def stop(self) -> None:
        for part in (self._client, self._cluster):
            if part is not None:
                part.close()
        self._client = self._cluster = None

    def roles(self) -> Roles:
        # The scheduler runs in this process.
        return {**this_process(), "workers": self._family.pids()}

    def contenders(self, work: Work) -> list[Contender]:
        match work:
            case Noop():
                return [self._contender(lambda n: self._result(self._submit(same, n)), same)]
            case TwoFunctions():
                return [self._contender(lambda n: self._result(self._two(n)), composed)]
            case Chain(steps) if steps <= LONGEST:
                found = self._contender(partial(self._chain, steps), lambda n: n + steps)
                return [found._replace(each=steps)]
            case Fan(branches):
                return [self._contender(partial(self._fan, branches), lambda n: branches * (n + 2))]
            case Burst(jobs, steps):
                expected = partial(results_of, same if steps == 1 else composed, jobs)
                call = partial(self._burst, steps, jobs)
                return [self._contender(call, expected)._replace(each=jobs)]
            case Arrays(size):
                return [self._arrays(size)]
            case Edge(size):
                return [self._contender(partial(self._edge, size), float)]
            case Prediction():
                return [self._prediction()]
            case _:
                return []

    def _contender(
        self, call: Callable[[int], object], expected: Callable[[int], object]
    ) -> Contender:
        return Contender("dask", call, expected, self.roles)

    def _submit(self, function: Callable[..., Any], *arguments: Any, **how: Any) -> Any:
        return self._client.submit(function, *arguments, pure=False, **how)

    def _result(self, future: Any) -> Any:
        return future.result(timeout=PATIENCE)

    def _two(self, number: int) -> Any:
        return self._submit(square, self._submit(increment, number))

    def _chain(self, steps: int, number: int) -> object:
        future: Any = number
        for _ in range(steps):
            future = self._submit(increment, future)
        return self._result(future)

    def _fan(self, branches: int, number: int) -> object:
        first = self._submit(increment, number)
        found = [self._submit(increment, first) for _ in range(branches)]
        return self._result(self._submit(total, found))

    def _burst(self, steps: int, jobs: int, number: int) -> object:
        numbers = range(number, number + jobs)
        futures = [self._submit(same, n) if steps == 1 else self._two(n) for n in numbers]
        return self._client.gather(futures)

    def _arrays(self, size: int) -> Contender:
        here = arrays(size)
        result = added_up(here)
        kept = self._client.scatter(here, broadcast=True, hash=False)
        found = self._contender(
            lambda _: Clocked(*self._result(self._submit(adds, kept))), lambda _: result
        )
        return found._replace(name="dask, in the function")

    def _edge(self, size: int, number: int) -> Clocked:
        first, second = self._workers
        produced = self._submit(produce, number, size, workers=[first])
        return Clocked(*self._result(self._submit(consume, produced, workers=[second])))

    def _prediction(self) -> Contender:
        model = weights()
        kept = self._client.scatter(model, broadcast=True, hash=False)

        def call(number: int) -> object:
            inputs = self._submit(preprocess, image(number))
            return self._result(self._submit(postprocess, self._submit(infer, inputs, kept)))

        def expected(number: int) -> int:
            return postprocess(infer(preprocess(image(number)), model))

        return self._contender(call, expected)
