"""Ten arrays that a function reads: beside it in shared memory, or out of Redis.

    python -m benchmarks.locality [--rounds N] [--sizes BYTES ...]

Of each size in total, in turns within one run: the sum of ten arrays in plain NumPy, in this
process; the same in a function that has read them before on its machine (hot), that has not (cold),
and straight from the cluster's own store with redis-py, GET and unpickle. To add the numbers takes
its time, too: so the reading is shown by itself.
"""

from __future__ import annotations

import argparse
import pickle
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import redis

from benchmarks.report import host, host_lines
from cloudburst import CloudburstConnection, LocalCluster

SIZES = (80_000, 800_000, 8_000_000, 80_000_000)
ARRAYS = 10
WARM_UP = 10


class Seconds(NamedTuple):
    """What one contender took in one round.

    Attributes:
        read: to get the arrays.
        whole: to get them and to add them up.
        called: what the client of the function waited.
    """

    read: float
    whole: float
    called: float = 0.0


Round = dict[str, Seconds]
"""One round, by contender."""


def total(arrays: Iterable[Any]) -> float:
    """The work itself."""
    return float(sum([array.sum() for array in arrays]))


def reads(library: Any, names: list[str]) -> tuple[float, float, float]:
    """In the function: the sum, and the seconds to read, and in all."""
    began = time.perf_counter()
    found = library.get(names)
    read = time.perf_counter()
    result = float(sum([found[name].sum() for name in names]))
    return result, read - began, time.perf_counter() - began


class Size:
    """The contenders for one size.

    Args:
        cloud: where the functions are.
        raw: the same store, with redis-py.
        size: bytes of all arrays together.
    """

    def __init__(self, cloud: CloudburstConnection, raw: Any, size: int) -> None:
        self._cloud = cloud
        self._raw = raw
        self._arrays = [np.random.default_rng(n).random(size // ARRAYS // 8) for n in range(ARRAYS)]
        self._names = [f"{size}/{n}" for n in range(ARRAYS)]
        self._expected = total(self._arrays)
        for name, array in zip(self._names, self._arrays, strict=True):
            raw.set(f"raw/{name}", pickle.dumps(array, 5))
        self._write()
        for _ in range(WARM_UP):
            self.hot()

    def round(self, *, cold: bool) -> Round:
        """Every contender once."""
        found = {"plain": self._timed(lambda: self._arrays), "hot": self.hot()}
        found["straight"] = self._timed(self._straight)
        found["nothing"] = self._call([])
        if cold:
            self._write()
            found["cold"] = self.hot()
            for _ in range(WARM_UP):
                self.hot()
        return found

    def hot(self) -> Seconds:
        """A call of the function."""
        return self._call(self._names)

    def _call(self, names: list[str]) -> Seconds:
        began = time.perf_counter()
        found = self._cloud.call_dag("reads", {"reads": [names]}, direct_response=True)
        called = time.perf_counter() - began
        result, read, whole = found
        self._check(result, names)
        return Seconds(read, whole, called)

    def _write(self) -> None:
        for name, array in zip(self._names, self._arrays, strict=True):
            self._cloud.put_object(name, array)

    def _straight(self) -> list[Any]:
        return [pickle.loads(self._raw.get(f"raw/{name}")) for name in self._names]

    def _timed(self, get: Callable[[], list[Any]]) -> Seconds:
        began = time.perf_counter()
        arrays = get()
        read = time.perf_counter()
        result = total(arrays)
        seconds = Seconds(read - began, time.perf_counter() - began)
        self._check(result, self._names)
        return seconds

    def _check(self, result: float, names: list[str]) -> None:
        if names and result != self._expected:
            raise ValueError(f"a sum of {result}, not {self._expected}")


HEAD = (
    f"{'us':>9}{'plain':>9}{'hot':>9}{'over':>7}{'cold':>9}{'straight':>9}{'x':>6}"
    f"{'| read hot':>12}{'straight':>9}{'x':>6}{'| called':>10}{'nothing':>9}"
)


def line(size: int, rounds: list[Round]) -> str:
    """The medians of one size, in microseconds, and what is made of them."""

    def median(who: str, what: str = "whole") -> float:
        seconds: list[float] = [getattr(r[who], what) for r in rounds if who in r]
        return 1e6 * statistics.median(seconds)

    plain, hot, cold, straight = (median(who) for who in ("plain", "hot", "cold", "straight"))
    read, fetched = median("hot", "read"), median("straight", "read")
    over = 1e6 * statistics.median([r["hot"].whole - r["plain"].whole for r in rounds])
    return (
        f"{size // 1000:6} KB{plain:9.0f}{hot:9.0f}{over:7.0f}{cold:9.0f}{straight:9.0f}"
        f"{straight / hot:6.1f}{read:12.0f}{fetched:9.0f}{fetched / read:6.0f}"
        f"{median('hot', 'called'):10.0f}{median('nothing', 'called'):9.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.locality")
    parser.add_argument("--rounds", type=int, default=100, help="of every contender")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="bytes in total")
    arguments = parser.parse_args()

    print(*host_lines(host()), HEAD, sep="\n")
    with LocalCluster(1) as cluster, cluster.connect() as cloud:
        cloud.register(reads, "reads")
        cloud.register_dag("reads", ["reads"], [])
        raw = redis.from_url(cloud.kvs_url)
        for size in arguments.sizes:
            contenders = Size(cloud, raw, size)
            rounds = [contenders.round(cold=n % 10 == 0) for n in range(arguments.rounds)]
            print(line(size, rounds))
        raw.close()


if __name__ == "__main__":
    main()
