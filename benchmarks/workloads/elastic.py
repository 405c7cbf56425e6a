"""The pool of executors: how soon one more works, how it takes a burst, and who is held up.

The time from a call that finds every executor at long work to its result, which needs a new
executor (cold start), the few milliseconds included that a call waits before the pool grows; a
burst of 200 calls that sleep for half a second, on at most 64 executors, and how long it takes
until two are left; and what short calls notice of one that takes ten seconds beside them.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.bench import Bench
from benchmarks.measure import block_of
from benchmarks.ours.cluster import wait_for_executors
from benchmarks.record import Series, Session
from cloudburst import CloudburstConnection, LocalCluster

SOON = 30.0
LONG = 10.0


def nap(_: Any, seconds: float) -> None:
    """Be busy, or as good as busy."""
    time.sleep(seconds)


def same(_: Any, value: int) -> int:
    return value


def cold_starts(count: int) -> list[float]:
    """Seconds of calls each of which needs an executor that is not there yet."""
    seconds = []
    with LocalCluster(min=1, max=2 * count) as cluster, cluster.connect() as cloud:
        busy, quick = cloud.register(nap, "nap"), cloud.register(same, "same")
        quick(0).get(SOON)
        for number in range(count):
            long = busy(60.0)
            while cloud.status().running < number + 1:
                time.sleep(0.001)
            time.sleep(0.05)  # until the scheduler takes it for long
            began = time.perf_counter()
            assert quick(number).get(SOON) == number
            seconds.append(time.perf_counter() - began)
            assert not long.done()
    return seconds


def burst(naps: int, most: int) -> tuple[float, int, float]:
    """Seconds of so many naps of half a second, how many executors there were, seconds until two
    are left.
    """
    with LocalCluster(min=2, max=most, idle_timeout=1.0) as cluster, cluster.connect() as cloud:
        busy = cloud.register(nap, "nap")
        began = time.perf_counter()
        futures = [busy(0.5) for _ in range(naps)]
        for future in futures:
            future.get(SOON)
        took, there = time.perf_counter() - began, len(cloud.status().executors)
        began = time.perf_counter()
        wait_for_executors(cloud, 2)
        return took, there, time.perf_counter() - began


def beside(cloud: CloudburstConnection, calls: int, nap_for: float) -> list[float]:
    """Seconds of short calls, one after another, beside one that takes so long."""
    quick = cloud.register(same, "same")
    run = cloud.register(nap, "nap")(nap_for) if nap_for else None
    seconds = []
    for number in range(calls):
        began = time.perf_counter()
        assert quick(number).get(SOON) == number
        seconds.append(time.perf_counter() - began)
    if run is not None:
        assert not run.done(), "the long call ended before the short ones did"
        run.cancel()
    return seconds


def run(bench: Bench) -> None:
    cold = cold_starts(2 if bench.quick else 30)
    _add(bench, "cold start", {"cloudburst": [[each] for each in cold]})
    took, most, back = burst(8 if bench.quick else 200, 4 if bench.quick else 64)
    _add(bench, f"naps of 0.5 s on {most} executors", {"cloudburst": [[took]]})
    _add(bench, "... until two are left", {"cloudburst": [[back]]})
    calls, turns = (50, 1) if bench.quick else (1_000, 5)
    alone, with_long = [], []
    with LocalCluster(min=2) as cluster, cluster.connect() as cloud:
        beside(cloud, calls // 2, 0)
        for _ in range(turns):
            alone.append(beside(cloud, calls, 0))
            with_long.append(beside(cloud, calls, LONG))
    _add(bench, "short calls", {"cloudburst, alone": alone, "cloudburst, beside": with_long})


def _add(bench: Bench, case: str, found: dict[str, list[list[float]]]) -> None:
    """Note seconds that were measured: blocks by contender."""
    series = [Series(name, "s", 1, [*map(block_of, blocks)]) for name, blocks in found.items()]
    bench.add(Session(case, None, "alone", series))
