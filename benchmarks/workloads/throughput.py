"""Many calls at once: the time of a job, from the first call to the last result.

One client with 1,000 calls in flight of the DAG `square(increment(x))`, and of a function that
returns its argument: with futures, whose results are stored, and with direct responses, for each
of which one of eight threads waits. Beside it the same bursts in the peers; those of a compiled
graph of Ray are 10 in flight. Then 2 and 4 clients, each a process of its own, beside as many of
Ray and of Dask.
"""

from benchmarks import peers
from benchmarks.bench import Bench, Case
from benchmarks.work import Burst

JOBS, QUICK_JOBS = 1_000, 50
CLIENTS = (1, 2, 4)


def run(bench: Bench) -> None:
    jobs = QUICK_JOBS if bench.quick else JOBS
    clients = CLIENTS[:2] if bench.quick else CLIENTS
    cases = [Case("no-op", Burst(jobs, steps=1))]
    cases += [
        Case(f"DAG, {many} client{'s' * (many > 1)}", Burst(jobs, 2, many), many)
        for many in clients
    ]
    bench.compare(cases, peers.ALL, effort=bench.effort_of_many._replace(warm_up=3, least=1))
