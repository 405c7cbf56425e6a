"""Which executor runs which segment. Pure functions of what is given to them.

A segment (a chain of steps) goes to one executor as a whole. Sources need an executor with room
now; what comes later is placed where little waits and most of its inputs are. Parallel branches
spread over executors, unless they are known to be so short that a message costs more than they
do.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import inf
from typing import NamedTuple, TypeAlias

from cloudburst.core.plan import Plan
from cloudburst.scheduler.membership import Executor
from cloudburst.scheduler.policy import Policy, Preference

UNKNOWN = 1.0
"""Seconds assumed of a segment that never ran: long enough not to be sent ahead."""

OVERHEAD = 50e-6
"""Seconds an executor needs for a run besides the user's code."""

TRIFLE = 500e-6
"""Seconds of work that do not make an executor busier than another: better a warm one."""

SPREAD_ABOVE = 300e-6
"""Seconds below which a branch stays beside its parent: about what crossing over costs."""

LONG = 0.01
"""Seconds above which work is worth another executor, and branches have one each."""

_SMOOTHING = 0.2

Home: TypeAlias = tuple[str, int]
"""A DAG's segment that keeps class instances: (DAG name, segment)."""


Homes: TypeAlias = dict[Home, str]
"""The executor that keeps the instances of each."""


def settle(homes: Homes, plan: Plan, placed_on: Sequence[Executor]) -> None:
    """Class steps of a DAG keep their instance: they come back to the same executor."""
    for number, segment in enumerate(plan.segments):
        if any(plan.steps[step].is_class for step in segment.steps):
            homes[plan.dag, number] = placed_on[number].name


class Placement(NamedTuple):
    """The executor of each segment, or what has to happen first.

    ``blocked_on`` names the executor that must have room first; "" stands for any.
    """

    executors: tuple[Executor, ...]
    blocked_on: str | None = None


class ServiceTimes:
    """Expected seconds per segment, as a moving average of what executors report."""

    def __init__(self) -> None:
        self._of_plan: dict[str, list[float]] = {}

    def of(self, plan: Plan) -> list[float]:
        """Expected seconds of each of the plan's segments."""
        times = self._of_plan.get(plan.id)
        if times is None:
            times = self._of_plan[plan.id] = [UNKNOWN] * len(plan.segments)
        return times

    def observe(self, plan_id: str, segment: int, seconds: float) -> None:
        """Take in one measurement. The first one counts fully."""
        times = self._of_plan.get(plan_id)
        if times is None or not 0 <= segment < len(times):
            return
        seconds += OVERHEAD
        old = times[segment]
        times[segment] = seconds if old == UNKNOWN else old + _SMOOTHING * (seconds - old)

    def forget(self, plan_ids: Collection[str]) -> None:
        """Drop all but these plans' measurements."""
        self._of_plan = {key: self._of_plan[key] for key in plan_ids if key in self._of_plan}


LOCALITY = Preference()


def width(plan: Plan, expected: Sequence[float]) -> int:
    """How many executors a plan has long work for at a time; at least one."""
    long = Counter([plan.depths[n] for n, seconds in enumerate(expected) if seconds >= LONG])
    return max(long.values(), default=1)


def never() -> bool:
    """For where there cannot be more executors."""
    return False


def place(  # noqa: PLR0917  all that decides
    plan: Plan,
    executors: Mapping[str, Executor],
    expected: Sequence[float],
    homes: Mapping[Home, str],
    now: float = 0.0,
    more_may_come: Callable[[], bool] = never,
    preference: Preference = LOCALITY,
) -> Placement:
    """Place every segment of a plan.

    Args:
        plan: what to place.
        executors: the executors alive, by name, the oldest first.
        expected: seconds each segment should take.
        homes: where class instances of the plan's DAG live already.
        now: for how long executors have been at what they have.
        more_may_come: whether there could be more executors soon. Then branches that are long, or
            may be, wait for them rather than for each other: they may have to say something to
            each other.
        preference: which of several with room.
    """
    if len(plan.segments) > 1:
        placer = _GraphPlacer(plan, executors, expected, homes, now, more_may_come, preference)
        return placer.place()
    home = homes.get((plan.dag, 0)) if plan.has_classes else None
    if home is not None:
        executor = executors[home]
        return (
            Placement((executor,)) if executor.has_room(expected[0], now) else Placement((), home)
        )
    best = _with_room(plan.id, executors.values(), expected[0], now, preference)
    return Placement((best,)) if best else Placement((), "")


def _with_room(
    plan_id: str,
    executors: Iterable[Executor],
    expected: float,
    now: float,
    preference: Preference,
) -> Executor | None:
    """The least loaded executor that has room; of equals the one that is preferred."""
    best, best_load, best_rank = None, inf, inf
    stops_at = 0.0 if preference.policy is Policy.LOCALITY else -inf
    for executor in executors:
        load = executor.load // TRIFLE
        if load > best_load or not executor.has_room(expected, now):
            continue
        rank = preference.rank(executor, plan_id)
        if not load and rank == stops_at:
            best = executor
            break
        if load < best_load or rank < best_rank:
            best, best_load, best_rank = executor, load, rank
    if best is not None:
        preference.chose(best)
    return best


class _Level:
    """Segments of one depth: they may run at the same time, so they count against each other.

    Segments of different depths follow one another and do not.
    """

    def __init__(
        self, plan_id: str, executors: Iterable[Executor], now: float, preference: Preference
    ) -> None:
        self._plan_id = plan_id
        self._preference = preference
        self._now = now
        self._executors = executors
        self._waiting: dict[Executor, float] = {}
        self._heap: list[tuple[float, float, int, Executor]] = []

    def chose(self, executor: Executor, seconds: float) -> None:
        """Count one more segment on that executor."""
        self._waiting[executor] = self._load(executor) + seconds
        if self._heap:
            heapq.heappush(self._heap, self._rank(executor))

    def least(self, near: Mapping[Executor, int]) -> Executor:
        """The executor where least waits; of equals the one with most of the inputs."""
        if not self._heap:
            self._heap = [self._rank(executor) for executor in self._executors]
            heapq.heapify(self._heap)
        # An entry with another load is outdated: a newer one of the same executor follows.
        while self._heap[0][0] != self._load(self._heap[0][3]):
            heapq.heappop(self._heap)
        least, *_, best = self._heap[0]
        equals = [executor for executor in near if self._load(executor) == least]
        return min(equals, key=lambda e: (-near[e], self._rank(e))) if equals else best

    def source(self, expected: float) -> Executor | None:
        """The best one to begin on now: it has room, or begins the same run already."""
        best = self.least({})
        if self.may_begin(best, expected):
            return best
        return min(self._waiting, key=self._rank, default=None)

    def is_taken(self, executor: Executor) -> bool:
        """Whether one more segment would have to wait there, nobody knows for how long."""
        return executor in self._waiting or executor.is_blocked

    def may_begin(self, executor: Executor, expected: float) -> bool:
        return executor in self._waiting or executor.has_room(expected, self._now)

    def nearest(self, near: Mapping[Executor, int]) -> Executor:
        """The executor with most of the inputs; of equals the one where least waits."""
        return min(near, key=lambda e: (-near[e], self._rank(e)))

    def _load(self, executor: Executor) -> float:
        waiting = self._waiting.get(executor)
        return executor.load_at(self._now) if waiting is None else waiting

    def _rank(self, executor: Executor) -> tuple[float, float, int, Executor]:
        preferred = self._preference.rank(executor, self._plan_id)
        return self._load(executor), preferred, executor.order, executor


class _GraphPlacer:
    """Places the segments of one plan in topological order."""

    def __init__(  # noqa: PLR0917  all that decides
        self,
        plan: Plan,
        executors: Mapping[str, Executor],
        expected: Sequence[float],
        homes: Mapping[Home, str],
        now: float,
        more_may_come: Callable[[], bool],
        preference: Preference,
    ) -> None:
        self.plan = plan
        self.more_may_come = more_may_come
        self.preference = preference
        self.now = now
        self.executors = executors
        self.expected = expected
        self.homes = homes if plan.has_classes else {}
        self.chosen: list[Executor] = []
        self.levels = [
            _Level(plan.id, executors.values(), now, preference)
            for _ in range(max(plan.depths) + 1)
        ]

    def place(self) -> Placement:
        depths = self.plan.depths
        for number, segment in enumerate(self.plan.segments):
            home = self.homes.get((self.plan.dag, number)) if self.homes else None
            if segment.parents:
                executor = self._later(number, segment.parents, home)
            else:
                source = self._source(number, home)
                if source is None:
                    return Placement((), home or "")
                executor = source
            level = self.levels[depths[number]]
            crowded = home is None and self.expected[number] >= LONG and level.is_taken(executor)
            if crowded and self.more_may_come():
                return Placement((), "")
            self.chosen.append(executor)
            self.levels[depths[number]].chose(executor, self.expected[number])
        return Placement(tuple(self.chosen))

    def _source(self, number: int, home: str | None) -> Executor | None:
        level, expected = self.levels[0], self.expected[number]
        if home is not None:
            executor = self.executors[home]
            return executor if level.may_begin(executor, expected) else None
        if number == 0:
            return _with_room(
                self.plan.id, self.executors.values(), expected, self.now, self.preference
            )
        return level.source(expected)

    def _later(self, number: int, parents: tuple[int, ...], home: str | None) -> Executor:
        if home is not None:
            return self.executors[home]
        level = self.levels[self.plan.depths[number]]
        short = self.expected[number] < SPREAD_ABOVE
        if len(parents) == 1:
            parent = self.chosen[parents[0]]
            return parent if short else level.least({parent: 1})
        near = Counter([self.chosen[parent] for parent in parents])
        return level.nearest(near) if short else level.least(near)
