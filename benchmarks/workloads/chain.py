"""A chain of `increment`, of 1 to 1,000 steps: the time of a step.

The chain is one DAG, whose steps follow each other in one executor. Peers chain their tasks,
methods or futures the way they do it best, up to 100 steps; a pool of processes is called again
for each.
"""

from benchmarks import peers
from benchmarks.bench import Bench, Case
from benchmarks.work import Chain

LENGTHS = (1, 10, 100, 1000)
QUICK_LENGTHS = (1, 10)


def cases(lengths: tuple[int, ...]) -> list[Case]:
    """One for each length."""
    return [Case(f"{length} steps", Chain(length), length) for length in lengths]


def run(bench: Bench) -> None:
    chosen = cases(QUICK_LENGTHS if bench.quick else LENGTHS)
    bench.count_messages(chosen[-1])
    bench.compare(chosen, peers.CALLS, effort=bench.effort_of_many)
