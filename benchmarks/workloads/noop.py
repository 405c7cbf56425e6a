"""A call of a function that returns its argument, one at a time.

With a direct response, and with a future whose result is stored; beside the same floors and peers
as two functions.
"""

from benchmarks import peers
from benchmarks.bench import Bench, Case
from benchmarks.work import Noop

NOOP = Case("no-op call", Noop())


def run(bench: Bench) -> None:
    bench.count_messages(NOOP)
    bench.compare([NOOP], peers.CALLS)
