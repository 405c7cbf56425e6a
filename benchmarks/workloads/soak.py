"""Half of the peak rate for minutes: whether latency or memory drift.

First a burst says what the peak is of DAGs with direct responses out of eight threads. Then calls
of `square(increment(x))` are begun at half that rate, each at its time whether or not others have
ended; the time is that from when a call was due to its result. Ten windows: the 99th percentile of
each, and the resident memory of the cluster's processes and of its client.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bench import Bench
from benchmarks.counters import memory
from benchmarks.measure import WrongResult, block_of, percentile
from benchmarks.ours.calls import CALLERS
from benchmarks.ours.cluster import Cloudburst
from benchmarks.record import Series, Session
from benchmarks.tasks import composed
from benchmarks.work import Burst, TwoFunctions

WINDOWS = 10
QUICK_SECONDS = 3.0
LATENCY, MEMORY = "99th percentile", "resident memory"


def peak(cluster: Cloudburst, jobs: int) -> float:
    """Calls per second with direct responses, the best of three bursts."""
    _, burst, *_ = cluster.contenders(Burst(jobs, 2))
    seconds = []
    for number in range(3):
        began = time.perf_counter()
        burst.call(number)
        seconds.append(time.perf_counter() - began)
    return jobs / min(seconds)


def window(call: Callable[[int], object], rate: float, seconds: float) -> list[float]:
    """Calls at a rate for some time. Returns the seconds that each was late with its result."""
    count, lock, late = int(rate * seconds), threading.Lock(), []
    began, numbers = time.perf_counter(), iter(range(int(rate * seconds)))

    def caller() -> None:
        while True:
            with lock:
                number = next(numbers, count)
            if number == count:
                return
            due = began + number / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            if call(number) != composed(number):
                raise WrongResult(f"of {number}")
            late.append(time.perf_counter() - due)

    with ThreadPoolExecutor(2 * CALLERS) as threads:
        for done in [threads.submit(caller) for _ in range(2 * CALLERS)]:
            done.result()
    return late


def run(bench: Bench) -> None:
    seconds = QUICK_SECONDS if bench.quick else 60 * bench.minutes
    with Cloudburst() as cluster:
        call = cluster.contenders(TwoFunctions())[0].call
        rate = peak(cluster, 200 if bench.quick else 2_000) / 2
        bench.note(f"soak: {rate:.0f} calls a second for {seconds:g} seconds")
        for number in range(1, WINDOWS + 1):
            late = sorted(window(call, rate, seconds / WINDOWS))
            at = number * seconds / WINDOWS / 60
            minute = f"minute {at:.3g}"
            latency = Series("cloudburst, p50", "s", 1, [block_of(late)])
            tail = Series("cloudburst, p99", "s", 1, [block_of([percentile(late, 99)])])
            bench.add(Session(f"{LATENCY}, {minute}", at, LATENCY, [latency, tail]))
            taken = memory(cluster.roles()).resident
            series = Series("cloudburst, all processes", "MB", 1, [block_of([taken])])
            bench.add(Session(f"{MEMORY}, {minute}", at, MEMORY, [series]))
