"""A large cluster beside a small one."""

from __future__ import annotations

from benchmarks.bench import Bench, Case
from benchmarks.ours.cluster import Cloudburst
from benchmarks.system import WORKERS

SMALL, LARGE = "cloudburst, small", "cloudburst, large"


class Full(Cloudburst):
    """A cluster with many functions.

    Args:
        executors: how many.
        functions: how many are registered, the one that is called included.
    """

    def __init__(self, executors: int, functions: int) -> None:
        super().__init__(executors)
        self._functions = functions

    def start(self) -> None:
        super().start()
        for number in range(self._functions - 1):
            self.cloud.register(lambda _, n=number: n, f"other-{number}")


def compare_sizes(bench: Bench, case: Case, large: Cloudburst) -> None:
    """Measure direct calls on a cluster of the usual size and on a larger one, in turns."""
    with Cloudburst(WORKERS) as small, large:
        contenders = [
            system.contenders(case.work)[0]._replace(name=name)
            for system, name in ((small, SMALL), (large, LARGE))
        ]
        bench.turns(case.name, case.at, SMALL, contenders)
