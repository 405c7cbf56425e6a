"""A no-op call on 2 to 64 executors: the time of a call.

Beside it, in turns, a cluster of two executors. The last case has 64 executors and 10,000
functions.
"""

from benchmarks.bench import Bench, Case
from benchmarks.ours.pairs import Full, compare_sizes
from benchmarks.work import Noop

COUNTS = (2, 4, 8, 16, 32, 64)
FUNCTIONS = 10_000


def run(bench: Bench) -> None:
    counts = COUNTS[1:2] if bench.quick else COUNTS
    for count in counts:
        case = Case(f"{count} executors", Noop(), count)
        compare_sizes(bench, case, Full(count, 1))
    functions = 100 if bench.quick else FUNCTIONS
    case = Case(f"{counts[-1]} executors, {functions:,} functions", Noop())
    compare_sizes(bench, case, Full(counts[-1], functions))
