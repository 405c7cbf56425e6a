"""Contenders, the blocks of calls they take turns in, and what is computed of them.

The argument differs from call to call, every result is checked, and the contenders take turns in
blocks (A B C A B C ...), so that whatever else the machine does meets all of them alike. Figures
of one session may be compared; figures of two may not.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from benchmarks.counters import Reading, Roles, Usage, difference, reading

RESAMPLES = 10_000
_ARGUMENTS = (2**24, 2**30)
"""Arguments vary in value, not in pickled size."""


_LEAST_WARM_UP = 3


class WrongResult(Exception):
    """A contender returned something else than it had to: its times mean nothing."""


class Clocked(NamedTuple):
    """What a call returns that measured itself: inside a function, say.

    Attributes:
        value: the result, to be checked.
        figure: what counts in place of the seconds that the call took.
    """

    value: object
    figure: float


class Contender(NamedTuple):
    """One way to do the work.

    Attributes:
        name: a few words, for tables; that of its system comes first.
        call: does the work for one argument; this is what is timed.
        expected: the result it must have.
        roles: every process that works for it, as of now.
        each: into how many parts a call's time is divided: jobs, or steps.
        prepare: what is done before each call, and not timed.
        commands: how many commands its store has carried out up to now.
        unit: of what is measured.
        awake: within it, its processes run; otherwise they are stopped. By default they always run.
    """

    name: str
    call: Callable[[int], object]
    expected: Callable[[int], object]
    roles: Callable[[], Roles]
    each: int = 1
    prepare: Callable[[int], None] | None = None
    commands: Callable[[], int] | None = None
    unit: str = "s"
    awake: Callable[[], AbstractContextManager[None]] = nullcontext


class Effort(NamedTuple):
    """How much is measured.

    Attributes:
        calls: of each contender in a block; fewer of one that would take longer than `seconds`.
        blocks: of each contender.
        seconds: that a block may take.
        warm_up: calls before the first block; fewer of one that takes longer than `seconds`.
        least: calls in a block, however long they take.
    """

    calls: int = 1_000
    blocks: int = 7
    seconds: float = 2.0
    warm_up: int = 500
    least: int = 3


QUICK = Effort(calls=20, blocks=2, seconds=0.2, warm_up=5, least=1)
"""To see that everything works. The figures mean nothing."""


class Block(NamedTuple):
    """Consecutive calls of one contender.

    Attributes:
        calls: how many.
        p50, p99, worst: of what was measured, for each part.
        used: CPU seconds and context switches of each role, in all.
        commands: that the store carried out, in all; None if nobody counted.
    """

    calls: int
    p50: float
    p99: float
    worst: float
    used: dict[str, Usage]
    commands: int | None = None


class Ratio(NamedTuple):
    """A ratio of medians, and the interval that holds it with 95 % confidence."""

    value: float
    low: float
    high: float

    def inverted(self) -> Ratio:
        """The same the other way round."""
        return Ratio(1 / self.value, 1 / self.high, 1 / self.low)


def interleave(
    contenders: Sequence[Contender], effort: Effort, seed: int = 1
) -> dict[str, list[Block]]:
    """Let the contenders take turns.

    Args:
        contenders: in the order of their turns.
        effort: how much is measured.
        seed: of the arguments, which are the same for all.

    Raises:
        WrongResult: a contender returned a wrong result.
    """
    source = random.Random(seed)
    counts = {}
    for contender in contenders:
        with contender.awake():
            counts[contender.name] = _warm(contender, effort, source)
    results: dict[str, list[Block]] = {contender.name: [] for contender in contenders}
    for _ in range(effort.blocks):
        arguments = _arguments(source, max(counts.values()))
        for contender in contenders:
            with contender.awake():
                block = _block(contender, arguments[: counts[contender.name]])
            results[contender.name].append(block)
    return results


def block_of(values: Sequence[float], used: Mapping[str, Usage] | None = None) -> Block:
    """A block of what was measured otherwise."""
    ordered = sorted(values)
    return Block(
        calls=len(ordered),
        p50=percentile(ordered, 50),
        p99=percentile(ordered, 99),
        worst=ordered[-1],
        used=dict(used or {}),
    )


def ratio(ours: Sequence[Block], theirs: Sequence[Block], seed: int = 1) -> Ratio:
    """How many times longer the median call of ``ours`` takes.

    Only blocks of the same turn are divided by each other. The value is the median of these
    ratios; the interval is that of 10,000 bootstrap samples of the turns.
    """
    pairs = [a.p50 / b.p50 for a, b in zip(ours, theirs, strict=True)]
    return _bootstrapped(pairs, seed)


def spread(blocks: Sequence[Block], seed: int = 1) -> Ratio:
    """The median of the blocks' medians, with its interval: a ratio to one."""
    return _bootstrapped([block.p50 for block in blocks], seed)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """A percentile of sorted values, interpolated between neighbours."""
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _bootstrapped(values: Sequence[float], seed: int) -> Ratio:
    source = random.Random(seed)
    samples = sorted(
        statistics.median(source.choices(values, k=len(values))) for _ in range(RESAMPLES)
    )
    return Ratio(statistics.median(values), percentile(samples, 2.5), percentile(samples, 97.5))


def _warm(contender: Contender, effort: Effort, source: random.Random) -> int:
    """Warm up a contender. Returns how many calls of it make a block."""
    deadline = time.perf_counter() + effort.seconds
    took: list[float] = []
    for argument in _arguments(source, effort.warm_up):
        began = time.perf_counter()
        _timed(contender, [argument])
        took.append(time.perf_counter() - began)
        # The first may take long by itself, and says nothing about the others.
        if len(took) >= _LEAST_WARM_UP and time.perf_counter() > deadline:
            break
    possible = int(effort.seconds / statistics.median(took[len(took) // 2 :]))
    return max(effort.least, min(effort.calls, possible))


def _arguments(source: random.Random, count: int) -> list[int]:
    return [source.randrange(*_ARGUMENTS) for _ in range(count)]


def _block(contender: Contender, arguments: Sequence[int]) -> Block:
    roles, count = contender.roles(), contender.commands
    commands = count() if count is not None else 0
    before: Reading = reading(roles)
    figures = _timed(contender, arguments)
    used = difference(before, reading(roles))
    carried_out = count() - commands if count is not None else None
    return block_of(figures, used)._replace(commands=carried_out)


def _timed(contender: Contender, arguments: Sequence[int]) -> list[float]:
    call, expected, prepare, clock = (
        contender.call,
        contender.expected,
        contender.prepare,
        time.perf_counter,
    )
    figures = []
    for argument in arguments:
        if prepare is not None:
            prepare(argument)
        begin = clock()
        result = call(argument)
        figure = clock() - begin
        if isinstance(result, Clocked):
            result, figure = result
        figures.append(figure / contender.each)
        if result != expected(argument):
            raise WrongResult(
                f"{contender.name} made {result!r:.200} of {argument}, "
                f"not {expected(argument)!r:.200}"
            )
    return figures
