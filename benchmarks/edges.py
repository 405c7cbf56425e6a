"""An array that goes from one executor to another, beside one copy of it in memory.

    python -m benchmarks.edges [--rounds N] [--sizes BYTES ...]

In every round, in turns: the array is copied into fresh memory, in the function that then returns
it; and it goes over the edge, from that function's return to the beginning of the next one, in
another process. Shown beside it: what it takes to read all of it there, and to read the original.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any, NamedTuple

import numpy as np

from benchmarks.report import host, host_lines
from cloudburst import CloudburstConnection, LocalCluster

SIZES = (64 << 10, 256 << 10, 1 << 20, 8 << 20, 80_000_000)
WARM_UP = 5
LONG = 0.002
"""Seconds that a branch takes at least, so as not to be placed beside the other."""

_arrays: dict[int, Any] = {}


class Round(NamedTuple):
    """Seconds.

    Attributes:
        copy: of one copy.
        edge: from one function to the other.
        read: of the sum of the array as it came.
        here: of the sum of the original.
    """

    copy: float
    edge: float
    read: float
    here: float


def leave(_library: Any, size: int) -> tuple[int, float, float, float, Any]:
    """Copy the array, and return it: process, seconds of sum and copy, time, array."""
    if size not in _arrays:
        _arrays[size] = np.random.default_rng(1).random(size // 8)
    array = _arrays[size]
    began = time.perf_counter()
    array.sum()
    summed = time.perf_counter()
    array.copy()
    copied = time.perf_counter()
    return os.getpid(), summed - began, copied - summed, time.perf_counter(), array


def arrive(_library: Any, came: tuple[int, float, float, float, Any]) -> tuple[float, ...] | None:
    """What it took to come here; None in the process where it was."""
    arrived = time.perf_counter()
    pid, here, copied, left, array = came
    if pid == os.getpid():
        time.sleep(LONG)
        return None
    began = time.perf_counter()
    array.sum()
    read = time.perf_counter() - began
    time.sleep(LONG)
    return copied, arrived - left, read, here


def both(_library: Any, *found: tuple[float, ...] | None) -> list[tuple[float, ...]]:
    """Those that came from elsewhere."""
    return [seconds for seconds in found if seconds is not None]


def rounds_of(cloud: CloudburstConnection, size: int, count: int) -> list[Round]:
    """So many rounds, after some that do not count."""
    found: list[Round] = []
    while len(found) < WARM_UP + count:
        came = cloud.call_dag("edges", {"leave": size}, direct_response=True)
        found += [Round(*seconds) for seconds in came]
    return found[-count:]


HEAD = f"{'':>10}{'copy':>10}{'edge':>10}{'ratio':>8}{'| read here':>12}{'there':>10}   us, medians"


def line(size: int, rounds: list[Round]) -> str:
    """One size: the ratio is that of each round's own copy."""
    copy, edge, read, here = (
        1e6 * statistics.median(column) for column in zip(*rounds, strict=True)
    )
    ratio = statistics.median([r.edge / r.copy for r in rounds])
    return f"{size / 1e6:7.2f} MB{copy:10.0f}{edge:10.0f}{ratio:8.2f}{here:12.0f}{read:10.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edges")
    parser.add_argument("--rounds", type=int, default=51, help="of each size")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="bytes of the array")
    arguments = parser.parse_args()

    print(*host_lines(host()), HEAD, sep="\n")
    with LocalCluster(2) as cluster, cluster.connect() as cloud:
        for function in (leave, arrive, both):
            cloud.register(function, function.__name__)
        steps: list[str | tuple[str, str]] = [
            "leave",
            ("left", "arrive"),
            ("right", "arrive"),
            "both",
        ]
        edges = [("leave", "left"), ("leave", "right"), ("left", "both"), ("right", "both")]
        cloud.register_dag("edges", steps, edges)
        for size in arguments.sizes:
            print(line(size, rounds_of(cloud, size, arguments.rounds)))


if __name__ == "__main__":
    main()
