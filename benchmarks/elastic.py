"""The pool of executors: how soon one more works, how it takes a burst, and who is held up.

    python -m benchmarks.elastic [--quick]

Printed: the time from a call that finds every executor at long work to its result, which needs a
new executor; a burst of 200 calls that sleep for half a second, on at most 64 executors, and the
number of executors afterwards; and short calls with and without a long one beside them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from benchmarks.measure import percentile
from cloudburst import CloudburstConnection, LocalCluster
from cloudburst.scheduler.scaling import GROW_AFTER

SOON = 30.0


def nap(_: Any, seconds: float) -> None:
    """Be busy, or as good as busy."""
    time.sleep(seconds)


def same(_: Any, value: int) -> int:
    return value


def wait_until(cloud: CloudburstConnection, executors: int) -> None:
    """Wait until there are so many executors."""
    while len(cloud.status().executors) != executors:
        time.sleep(0.01)


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


def burst() -> tuple[float, int, float]:
    """Seconds of 200 naps of half a second, the most executors, seconds until two are left."""
    with LocalCluster(min=2, max=64, idle_timeout=1.0) as cluster, cluster.connect() as cloud:
        busy = cloud.register(nap, "nap")
        began = time.perf_counter()
        futures = [busy(0.5) for _ in range(200)]
        for future in futures:
            future.get(SOON)
        took, most = time.perf_counter() - began, len(cloud.status().executors)
        began = time.perf_counter()
        wait_until(cloud, 2)
        return took, most, time.perf_counter() - began


def beside(cloud: CloudburstConnection, calls: int, *, long: bool) -> list[float]:
    """Seconds of short calls, one after another, sorted."""
    quick = cloud.register(same, "same")
    run = cloud.register(nap, "nap")(10.0) if long else None
    seconds = []
    for number in range(calls):
        began = time.perf_counter()
        assert quick(number).get(SOON) == number
        seconds.append(time.perf_counter() - began)
    if run is not None:
        assert not run.done(), "the long call ended before the short ones did"
        run.get(SOON)
    return sorted(seconds)


def main() -> None:
    """Run what the command line says, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.elastic", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer calls")
    quick = parser.parse_args().quick
    cold = sorted(second * 1e3 for second in cold_starts(8 if quick else 30))
    p50, waits = statistics.median(cold), GROW_AFTER * 1e3
    print(f"cold start, ms from call to result: p50 {p50:.1f}, max {cold[-1]:.1f}")
    print(f"the scheduler decides {waits:g} ms after the call: p50 {p50 - waits:.1f} from then on")
    took, most, back = burst()
    print(f"200 naps of 0.5 s: {took:.2f} s on {most} executors; two are left after {back:.2f} s")
    calls = 1_000 if quick else 10_000
    with LocalCluster(min=2) as cluster, cluster.connect() as cloud:
        beside(cloud, 500, long=False)
        without, with_long = (beside(cloud, calls, long=long) for long in (False, True))
    p99 = [percentile(seconds, 99) * 1e6 for seconds in (without, with_long)]
    print(
        f"{calls:,} short calls, p99 in us: alone {p99[0]:.0f}, beside one of 10 s {p99[1]:.0f}; "
        f"ratio {p99[1] / p99[0]:.2f}"
    )


if __name__ == "__main__":
    main()
