"""A value of 1 KB to 100 MB that one step passes to the next, in another process.

The time from the end of the first step until the second has read a number of every page. The steps
are on two executors of two hosts of this machine; on two tasks of Ray and of Dask. The floor is a
copy of as many bytes, read in the same way: into memory that was used before, and into new memory.
"""

from benchmarks.bench import Bench, Case
from benchmarks.ours.hosts import TwoHosts
from benchmarks.work import Edge

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 80_000_000, 100_000_000)


def run(bench: Bench) -> None:
    chosen = SIZES[:4:3] if bench.quick else SIZES
    cases = [Case(f"{size // 1000:,} KB", Edge(size), size) for size in chosen]
    bench.compare(cases, ["ray", "dask"], TwoHosts, bench.effort_of_many)
