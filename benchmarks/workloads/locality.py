"""The sum of ten arrays, 80 KB to 80 MB together, that are in the store.

Read by a function that has read them before on its machine (hot) or not (cold); straight from the
same store with redis-py, GET and unpickle; and in plain NumPy, in the process that measures. To add
the numbers takes its time, too, in all of them alike. Beside it a task of Ray that gets the same
arrays out of Ray's object store, and a task of Dask whose worker has them in its memory. What
happens in a function is timed there; "the call" is what its client waits.
"""

from benchmarks.bench import Bench, Case
from benchmarks.work import Arrays

SIZES = (80_000, 800_000, 8_000_000, 80_000_000)


def run(bench: Bench) -> None:
    chosen = SIZES[:2] if bench.quick else SIZES
    cases = [Case(f"{size // 1000:,} KB", Arrays(size), size) for size in chosen]
    bench.compare(cases, ["ray", "dask"], effort=bench.effort_of_many)
