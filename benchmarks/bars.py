"""The bars that Cloudburst is held against, and whether a record clears them.

Nothing here is a result: every figure that is shown is computed from a record.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.floors import COPY, RELAY
from benchmarks.measure import Block, Ratio, ratio, spread
from benchmarks.ours.cluster import DIRECT, FUTURE
from benchmarks.ours.data import HOT, HOT_IN, PLAIN
from benchmarks.ours.pairs import LARGE, SMALL
from benchmarks.record import Chapter, Record, Session

FUTURES, THREADS = "cloudburst, futures", "cloudburst, direct, threads"
FUSED, NOOP, ONE_CLIENT = "square(increment(x))", "no-op call", "DAG, 1 client"
LARGEST = "64 executors, 10,000 functions"


class Bar(NamedTuple):
    """One promise.

    Attributes:
        what: in words.
        workload: where it is measured.
        ours: the contender that is held against it.
        most: what the ratio, or the figure, may be.
        theirs: the beginning of the names of those it is compared with; of several the fastest
            counts. Empty if it is a figure of its own.
        case: in which of the workload's cases; empty: in all, and the worst counts.
        faster: show how many times faster we are, in place of how many times longer it takes.
        unit: of a figure of its own, and by how much that is greater than what was recorded.
        over: the figure is how much longer ours takes than theirs.
    """

    what: str
    workload: str
    ours: str
    most: float
    theirs: str = ""
    case: str = ""
    faster: bool = False
    unit: tuple[str, float] = ("", 1.0)
    over: bool = False


MICROSECONDS, SECONDS, MEGABYTES, PERCENT = ("µs", 1e6), ("s", 1.0), ("MB", 1.0), ("%", 1.0)

BARS = (
    Bar("two functions, direct / Ray tasks", "two_functions", DIRECT, 1 / 10, "ray task", FUSED),
    Bar("two functions, direct / Ray actors", "two_functions", DIRECT, 1 / 5, "ray actor", FUSED),
    Bar(
        "two functions, direct / Ray Compiled Graph",
        *("two_functions", DIRECT, 1.3, "ray graph", FUSED),
    ),
    Bar("two functions, direct / Dask", "two_functions", DIRECT, 1 / 50, "dask", FUSED),
    Bar("two functions, direct / pyzmq relay", "two_functions", DIRECT, 1.6, RELAY, FUSED),
    Bar("two functions, stored future / direct", "two_functions", FUTURE, 2.0, DIRECT, FUSED),
    Bar("no-op call, direct / ProcessPoolExecutor", "noop", DIRECT, 1.0, "processes", NOOP),
    Bar("a step of 1,000", "chain", DIRECT, 8.0, case="1000 steps", unit=MICROSECONDS),
    Bar("fan of 64, direct / Ray tasks", "fan", DIRECT, 1 / 3, "ray task", "64 branches"),
    Bar("fan of 64, direct / Ray actors", "fan", DIRECT, 1 / 3, "ray actor", "64 branches"),
    Bar(
        "DAGs with futures, 1 client, against Ray tasks",
        *("throughput", FUTURES, 8, "ray task", ONE_CLIENT),
        faster=True,
    ),
    Bar(
        "DAGs with futures, 1 client, against Dask",
        *("throughput", FUTURES, 25, "dask", ONE_CLIENT),
        faster=True,
    ),
    Bar(
        "DAGs with direct responses, 1 client, against Ray actors",
        *("throughput", THREADS, 8, "ray actor", ONE_CLIENT),
        faster=True,
    ),
    Bar("no-op jobs against Celery", "throughput", FUTURES, 5, "celery", "no-op", faster=True),
    Bar("no-op jobs against dramatiq", "throughput", FUTURES, 2, "dramatiq", "no-op", faster=True),
    Bar(
        "ten arrays, hot / Ray, in the function, at any size",
        *("locality", HOT_IN, 1.0, "ray task, in"),
    ),
    Bar("ten arrays, hot / Ray, the call, at any size", "locality", HOT, 1.0, "ray task, the"),
    Bar(
        "ten arrays, hot, above plain NumPy, at any size",
        *("locality", HOT_IN, 200.0, PLAIN),
        unit=MICROSECONDS,
        over=True,
    ),
    Bar(
        "an edge of 80 MB / a memory copy",
        *("edge", "cloudburst, 2 executors", 2.0, COPY, "80,000 KB"),
    ),
    Bar("import to first result", "first_result", "cloudburst", 0.8, unit=SECONDS),
    Bar(
        "resident memory at rest, shared pages once",
        *("rest", "cloudburst", 150.0, "", "resident memory, shared once"),
        unit=MEGABYTES,
    ),
    Bar("processor at rest", "rest", "cloudburst", 1.0, case="processor", unit=PERCENT),
    Bar("10,000 functions / 1 function", "functions", LARGE, 1.2, SMALL, "10,000 functions"),
    Bar("64 executors / 2 executors", "executors", LARGE, 1.2, SMALL, "64 executors"),
    Bar(f"{LARGEST} / 2 executors, 1 function", "executors", LARGE, 1.2, SMALL, LARGEST),
)


class Verdict(NamedTuple):
    """What became of a bar.

    Attributes:
        seen: with its interval; None if it was not measured.
        case: where that was, if the worst of several cases counts.
    """

    bar: Bar
    seen: Ratio | None = None
    case: str = ""

    @property
    def met(self) -> bool | None:
        """Whether it was; None if it was not measured."""
        if self.seen is None:
            return None
        return self.seen.value >= self.bar.most if self.bar.faster else self._low_enough

    @property
    def _low_enough(self) -> bool:
        return self.seen is not None and self.seen.value <= self.bar.most


def verdicts(record: Record) -> list[Verdict]:
    """Of all bars, in their order."""
    return [_verdict(bar, record.chapter(bar.workload)) for bar in BARS]


def _verdict(bar: Bar, chapter: Chapter | None) -> Verdict:
    if chapter is None:
        return Verdict(bar)
    found: dict[tuple[str, str], Ratio] = {}
    for session in chapter.sessions:
        if bar.case in ("", session.case):
            for name, seen in _seen(bar, session):
                # Ours take part in every session; the first has nobody else in it.
                found.setdefault((session.case, name), seen)
    if not found:
        return Verdict(bar)
    worst = min if bar.faster else max
    case, name = worst(found, key=lambda key: found[key].value)
    return Verdict(bar, found[case, name], "" if bar.case else case)


def _seen(bar: Bar, session: Session) -> Iterator[tuple[str, Ratio]]:
    """What one session says, against each of those that the bar names: its name, and the ratio."""
    ours = session.blocks_of(bar.ours)
    if ours is None:
        return
    if not bar.theirs:
        yield bar.ours, _times(spread(ours), bar.unit[1])
        return
    for series in session.series:
        if series.contender.startswith(bar.theirs):
            yield series.contender, _against(bar, ours, series.blocks)


def _against(bar: Bar, ours: list[Block], theirs: list[Block]) -> Ratio:
    if bar.over:
        pairs = zip(ours, theirs, strict=True)
        above = [mine._replace(p50=mine.p50 - other.p50) for mine, other in pairs]
        return _times(spread(above), bar.unit[1])
    seen = ratio(ours, theirs)
    return seen.inverted() if bar.faster else seen


def _times(seen: Ratio, factor: float) -> Ratio:
    return Ratio(seen.value * factor, seen.low * factor, seen.high * factor)
