"""A no-op call while 1 to 10,000 functions are registered: the time of a call.

Beside it, in turns, a cluster with one function; both have two executors.
"""

from benchmarks.bench import Bench, Case
from benchmarks.ours.pairs import Full, compare_sizes
from benchmarks.system import WORKERS
from benchmarks.work import Noop

COUNTS = (1, 100, 1_000, 10_000)


def run(bench: Bench) -> None:
    for count in COUNTS[:2] if bench.quick else COUNTS:
        case = Case(f"{count:,} functions", Noop(), count)
        compare_sizes(bench, case, Full(WORKERS, count))
