"""Contenders, the blocks of calls they take turns in, and what is computed of them.

One client, one call in flight. The argument differs from call to call, every result is checked,
and the contenders take turns in blocks (A B C A B C ...), so that whatever else the machine does
meets all of them alike. Figures of one run may be compared; figures of two runs may not.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from benchmarks.counters import Roles, Usage, difference, usage

RESAMPLES = 10_000
WARM_UP = 500
_ARGUMENTS = (2**24, 2**30)
"""Arguments vary in value, not in pickled size."""


class WrongResult(Exception):
    """A contender returned something else than it had to: its times mean nothing."""


class Contender(NamedTuple):
    """One way to do the work.

    Attributes:
        name: a few words, for tables.
        call: does the work for one argument; this is what is timed.
        expected: the result it must have.
        roles: every process that works for it.
    """

    name: str
    call: Callable[[int], object]
    expected: Callable[[int], object]
    roles: Roles


class Block(NamedTuple):
    """Consecutive calls of one contender: seconds of each, sorted, and what its roles used."""

    seconds: list[float]
    used: dict[str, Usage]

    @property
    def median(self) -> float:
        """Seconds that half of the calls did not exceed."""
        return percentile(self.seconds, 50)


class Summary(NamedTuple):
    """One contender's figures, each the median over its blocks; times in microseconds.

    ``cpu_of`` has the CPU time per call of each role, ``cpu`` their sum.
    """

    p50: float
    p99: float
    cpu: float
    switches: float
    cpu_of: dict[str, float]


class Ratio(NamedTuple):
    """A ratio of medians, and the interval that holds it with 95 % confidence."""

    value: float
    low: float
    high: float


def interleave(
    contenders: Sequence[Contender], calls: int, blocks: int, seed: int = 1
) -> dict[str, list[Block]]:
    """Let the contenders take turns.

    Args:
        contenders: in the order of their turns.
        calls: of each contender in each block.
        blocks: of each contender.
        seed: of the arguments, which are the same for all.

    Raises:
        WrongResult: a contender returned a wrong result.
    """
    source = random.Random(seed)
    for contender in contenders:
        _timed(contender, _arguments(source, WARM_UP))
    results: dict[str, list[Block]] = {contender.name: [] for contender in contenders}
    for _ in range(blocks):
        arguments = _arguments(source, calls)
        for contender in contenders:
            results[contender.name].append(_block(contender, arguments))
    return results


def summary(blocks: Sequence[Block]) -> Summary:
    """The figures of one contender."""

    def per_call(figure: Callable[[Block], float]) -> float:
        return statistics.median(figure(block) / len(block.seconds) for block in blocks)

    return Summary(
        p50=statistics.median(block.median for block in blocks) * 1e6,
        p99=statistics.median(percentile(block.seconds, 99) for block in blocks) * 1e6,
        cpu=per_call(lambda block: sum(used.cpu for used in block.used.values())) * 1e6,
        switches=per_call(lambda block: sum(used.switches for used in block.used.values())),
        cpu_of={role: per_call(partial(_cpu_of, role)) * 1e6 for role in blocks[0].used},
    )


def ratio(ours: Sequence[Block], theirs: Sequence[Block], seed: int = 1) -> Ratio:
    """How many times longer the median call of ``ours`` takes.

    Only blocks of the same turn are divided by each other. The value is the median of these
    ratios; the interval is that of 10,000 bootstrap samples of the turns.
    """
    source = random.Random(seed)
    pairs = [a.median / b.median for a, b in zip(ours, theirs, strict=True)]
    samples = sorted(
        statistics.median(source.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES)
    )
    return Ratio(statistics.median(pairs), percentile(samples, 2.5), percentile(samples, 97.5))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """A percentile of sorted values, interpolated between neighbours."""
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _cpu_of(role: str, block: Block) -> float:
    return block.used[role].cpu


def _arguments(source: random.Random, count: int) -> list[int]:
    return [source.randrange(*_ARGUMENTS) for _ in range(count)]


def _block(contender: Contender, arguments: Iterable[int]) -> Block:
    before = usage(contender.roles)
    seconds = _timed(contender, arguments)
    return Block(sorted(seconds), difference(before, usage(contender.roles)))


def _timed(contender: Contender, arguments: Iterable[int]) -> list[float]:
    call, expected, clock = contender.call, contender.expected, time.perf_counter
    seconds = []
    for argument in arguments:
        begin = clock()
        result = call(argument)
        seconds.append(clock() - begin)
        if result != expected(argument):
            raise WrongResult(
                f"{contender.name} made {result!r} of {argument}, not {expected(argument)!r}"
            )
    return seconds
