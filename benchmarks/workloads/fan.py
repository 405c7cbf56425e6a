"""Fan out and in: `increment`, the same again in 2 to 256 branches, and the sum of these.

One DAG, one call at a time. Ray passes references to tasks and actors, Dask futures to tasks,
Celery runs a chord; of a pool of processes, and of dramatiq, the caller does the sum.
"""

from benchmarks import peers
from benchmarks.bench import Bench, Case
from benchmarks.work import Fan

BRANCHES = (2, 8, 64, 256)
QUICK_BRANCHES = (2, 8)


def run(bench: Bench) -> None:
    chosen = QUICK_BRANCHES if bench.quick else BRANCHES
    cases = [Case(f"{branches} branches", Fan(branches), branches) for branches in chosen]
    bench.count_messages(cases[-1])
    bench.compare(cases, peers.CALLS, effort=bench.effort_of_many)
