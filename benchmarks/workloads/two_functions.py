"""The smallest DAG, `square(increment(x))`, one call at a time.

With a direct response, and with a future whose result is stored; fused in one executor, and forced
onto two executors by resources that the steps need. Beside it: three processes that pass messages
of the same sizes on with nothing but pyzmq, which no system built on it can beat; one SET and one
GET of the same store with redis-py; the two functions called in Python; and the same two steps in
every peer: tasks, actors and compiled graphs of Ray, with the steps in one actor or in two, futures
of Dask, two submissions to a pool of processes, a chain of Celery and a pipeline of dramatiq.
"""

from benchmarks import peers
from benchmarks.bench import Bench, Case
from benchmarks.ours.hosts import TwoHosts
from benchmarks.work import TwoFunctions

FUSED = Case("square(increment(x))", TwoFunctions())
APART = Case("on two executors", TwoFunctions())


def run(bench: Bench) -> None:
    bench.count_messages(FUSED)
    bench.compare([FUSED], peers.CALLS)
    bench.compare([APART], ["ray-graph-2"], TwoHosts)
