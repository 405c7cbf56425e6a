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
from typing import NamedTuple

from cloudburst.core.plan import Plan
from cloudburst.scheduler.homes import Homes
from cloudburst.scheduler.membership import Executor
from cloudburst.scheduler.policy import BUSY, Policy, Preference
from cloudburst.scheduler.pull import NO_PULLS, Pull, ahead, may_wait
from cloudburst.scheduler.queues import HOME, queue_for

TRIFLE = 500e-6
"""Seconds of work that do not make an executor busier than another: better a warm one."""

SPREAD_ABOVE = 300e-6
"""Seconds below which a branch stays beside its parent: about what crossing over costs."""

LONG = 0.01
"""Seconds above which work is worth another executor, and branches have one each."""


class Placement(NamedTuple):
    """The executor of each segment, or what has to happen first.

    ``blocked_on`` names the queue in which to wait for it.
    """

    executors: tuple[Executor, ...]
    blocked_on: str | None = None


LOCALITY = Preference()


def width(plan: Plan, expected: Sequence[float], needs: str = "") -> int:
    """How many executors, with a resource, a plan has long work for at a time; at least one."""
    long = Counter(
        plan.depths[number]
        for number, seconds in enumerate(expected)
        if seconds >= LONG and (not needs or plan.head(number).needs == needs)
    )
    # What takes the first of several results must not wait behind the others.
    return max(long.values(), default=1) + (bool(long) and plan.has_first_of)


def never() -> bool:
    """For where there cannot be more executors."""
    return False


class Scene(NamedTuple):
    """What there is to choose from.

    Attributes:
        executors: the executors that the run may be placed on, by name, the oldest first.
        homes: where class instances of the plan's DAG live already.
        replicas: how many instances of a class step there may be.
        now: for how long executors have been at what they have.
        more_may_come: whether there could be more executors soon. Then branches that are long, or
            may be, wait for them rather than for each other: they may have to say something to
            each other.
        preference: which of several with room.
        patient: whether the run has not waited for long.
        batches: whether the run may be put together with others.
        crowds: whether its segments have waited for each other in one place.
        pulls: which segments are drawn to certain hosts.
    """

    executors: Mapping[str, Executor]
    homes: Homes
    replicas: int = 1
    now: float = 0.0
    more_may_come: Callable[[], bool] = never
    preference: Preference = LOCALITY
    patient: bool = False
    batches: bool = True
    crowds: bool = False
    pulls: Mapping[int, Pull] = NO_PULLS

    def able(self, needs: str) -> Mapping[str, Executor]:
        """The executors that have a resource."""
        if not needs:
            return self.executors
        return {name: e for name, e in self.executors.items() if e.has(needs)}

    def homes_of(self, plan: Plan, segment: int) -> list[Executor]:
        """The executors that keep instances for a segment, and have what it needs by now."""
        names = self.homes.of(plan, segment)
        able = self.able(plan.head(segment).needs) if names else {}
        return [able[name] for name in names if name in able]

    def may_settle(self, plan: Plan, segment: int, homes: Collection[Executor]) -> bool:
        """Whether another instance may be made, because these have been busy for long."""
        there_are = len(self.homes.of(plan, segment))  # some of them not for this run
        return there_are < self.replicas and all(home.utilisation > BUSY for home in homes)

    def has_room(self, executor: Executor, plan: Plan, segment: int, expected: float) -> bool:
        """Whether a run may be sent to an executor now, rather than wait for a choice.

        What is run in batches may pile up there, unless it begins with something else that is
        worth an executor of its own.
        """
        if executor.has_room(expected, self.now):
            return True
        if not (plan.batch_size and self.batches):
            return False
        if not executor.has_batch_room(plan.id, plan.batch_size, self.now):
            return False
        return plan.head(segment).batch_size > 0 or expected < SPREAD_ABOVE


def place(plan: Plan, scene: Scene, expected: Sequence[float]) -> Placement:
    """Place every segment of a plan.

    Args:
        plan: what to place.
        scene: the executors, and all else that decides.
        expected: seconds each segment should take.
    """
    if len(plan.segments) > 1:
        return _GraphPlacer(plan, scene, expected).place()
    homes = scene.homes_of(plan, 0) if plan.has_classes else ()
    if homes:
        best = _with_room(plan, 0, scene, homes, expected[0])
        if best is not None or not scene.may_settle(plan, 0, homes):
            return Placement((best,)) if best else Placement((), HOME + plan.dag)
    needs = plan.head(0).needs if plan.needs else ""
    able = scene.able(needs).values()
    if scene.pulls:
        best = _drawn(plan, scene, able, expected[0])
    else:
        best = _with_room(plan, 0, scene, able, expected[0])
    return Placement((best,)) if best else Placement((), queue_for(needs))


def _with_room(
    plan: Plan, segment: int, scene: Scene, executors: Iterable[Executor], expected: float
) -> Executor | None:
    """The least loaded executor that has room; of equals the one that is preferred."""
    best, best_load, best_rank = None, inf, inf
    preference = scene.preference
    stops_at = 0.0 if preference.policy is Policy.LOCALITY else -inf
    for executor in executors:
        load = executor.load // TRIFLE
        if load > best_load or not scene.has_room(executor, plan, segment, expected):
            continue
        rank = preference.rank(executor, plan.id)
        if not load and rank == stops_at:
            best = executor
            break
        if load < best_load or rank < best_rank:
            best, best_load, best_rank = executor, load, rank
    if best is not None:
        preference.chose(best)
    return best


def _drawn(
    plan: Plan, scene: Scene, executors: Iterable[Executor], expected: float
) -> Executor | None:
    """Where a lone segment begins soonest, with what it refers to; if anybody has room at all.

    That may be behind another that is about to end, where the data is.
    """
    (pull,), now = scene.pulls.values(), scene.now
    with_room: list[tuple[float, int, float, int, Executor]] = []
    others: list[tuple[float, int, float, int, Executor]] = []
    for executor in executors:
        has_room = scene.has_room(executor, plan, 0, expected)
        if not (has_room or may_wait(executor, now)):
            continue
        delay = ahead(executor, now) + pull.seconds(executor)
        rank = scene.preference.rank(executor, plan.id)
        place = (delay // TRIFLE, pull.missing(executor), rank, executor.order, executor)
        (with_room if has_room else others).append(place)
    if not with_room:
        return None
    best = min((*with_room, *others))[-1]
    scene.preference.chose(best)
    return best


class _Level:
    """Segments of one depth: they may run at the same time, so they count against each other.

    Segments of different depths follow one another and do not.
    """

    def __init__(self, plan: Plan, scene: Scene) -> None:
        self._plan = plan
        self._scene = scene
        self._waiting: dict[Executor, float] = {}
        self._heap: list[tuple[float, float, int, Executor]] = []

    def chose(self, executor: Executor, seconds: float) -> None:
        """Count one more segment on that executor."""
        self._waiting[executor] = self.load(executor) + seconds
        if self._heap:
            heapq.heappush(self._heap, self._rank(executor))

    def least_of(self, executors: Iterable[Executor]) -> Executor:
        """The one of these where least waits."""
        return min(executors, key=self._rank)

    def least(self, near: Mapping[Executor, int]) -> Executor:
        """The executor where least waits; of equals the one with most of the inputs."""
        if not self._heap:
            self._heap = [self._rank(executor) for executor in self._scene.executors.values()]
            heapq.heapify(self._heap)
        # An entry with another load is outdated: a newer one of the same executor follows.
        while self._heap[0][0] != self.load(self._heap[0][3]):
            heapq.heappop(self._heap)
        least, *_, best = self._heap[0]
        equals = [executor for executor in near if self.load(executor) == least]
        return min(equals, key=lambda e: (-near[e], self._rank(e))) if equals else best

    def source(
        self, segment: int, expected: float, among: Collection[Executor] | None = None
    ) -> Executor | None:
        """The best one, of all or of some, to begin on now: it has room, or begins the same run."""
        if among is not None:
            fit = [executor for executor in among if self.may_begin(executor, segment, expected)]
            return self.least_of(fit) if fit else None
        best = self.least({})
        if self.may_begin(best, segment, expected):
            return best
        return min(self._waiting, key=self._rank, default=None)

    def is_taken(self, executor: Executor) -> bool:
        """Whether one more segment would have to wait there, nobody knows for how long."""
        return executor in self._waiting or executor.is_blocked

    def may_begin(self, executor: Executor, segment: int, expected: float) -> bool:
        if executor in self._waiting:
            return True
        return self._scene.has_room(executor, self._plan, segment, expected)

    def nearest(self, near: Mapping[Executor, int]) -> Executor:
        """The executor with most of the inputs; of equals the one where least waits."""
        return min(near, key=lambda e: (-near[e], self._rank(e)))

    def drawn(
        self, executors: Iterable[Executor], pull: Pull, near: Collection[Executor] = ()
    ) -> Executor:
        """Where a segment begins soonest, with what it refers to and its inputs."""

        def place(executor: Executor) -> tuple[float, int, tuple[float, float, int, Executor]]:
            delay = self.load(executor) + pull.seconds(executor)
            if near and executor not in near:
                delay += SPREAD_ABOVE
            return delay // SPREAD_ABOVE, pull.missing(executor), self._rank(executor)

        return min(executors, key=place)

    def load(self, executor: Executor) -> float:
        """Seconds of work that an executor has, with what was chosen."""
        waiting = self._waiting.get(executor)
        return executor.load_at(self._scene.now) if waiting is None else waiting

    def _rank(self, executor: Executor) -> tuple[float, float, int, Executor]:
        preferred = self._scene.preference.rank(executor, self._plan.id)
        return self.load(executor), preferred, executor.order, executor


class _GraphPlacer:
    """Places the segments of one plan in topological order."""

    def __init__(self, plan: Plan, scene: Scene, expected: Sequence[float]) -> None:
        self.plan = plan
        self.scene = scene
        self.expected = expected
        self.chosen: list[Executor] = []
        self.groups: dict[int, Executor] = {}
        self.racers: dict[Executor, float] = {}
        self.levels = [_Level(plan, scene) for _ in range(max(plan.depths) + 1)]

    def place(self) -> Placement:
        plan, scene, depths = self.plan, self.scene, self.plan.depths
        for number, segment in enumerate(plan.segments):
            homes = scene.homes_of(plan, number) if plan.has_classes else []
            needs = plan.head(number).needs if plan.needs else ""
            choose = self._later if segment.parents else self._source
            executor = choose(number, homes, needs)
            if executor is None:
                settled = homes and not scene.may_settle(plan, number, homes)
                return Placement((), HOME + plan.dag if settled else queue_for(needs))
            level = self.levels[depths[number]]
            group = 0 if scene.crowds else segment.group
            free = not homes and not (group and group in self.groups)
            races = self._races(number)
            alone = self.expected[number] >= LONG or races
            if free and alone and level.is_taken(executor) and self._more_may_come():
                return Placement((), queue_for(needs))
            if group:
                self.groups.setdefault(group, executor)
            if races:
                self.racers[executor] = self.racers.get(executor, 0.0) + self.expected[number]
            self.chosen.append(executor)
            level.chose(executor, self.expected[number])
        return Placement(tuple(self.chosen))

    def _source(self, number: int, homes: list[Executor], needs: str) -> Executor | None:
        level, expected = self.levels[0], self.expected[number]
        if homes:
            best = level.source(number, expected, homes)
            if best is not None or not self.scene.may_settle(self.plan, number, homes):
                return best
        beside = self.groups.get(self.plan.segments[number].group)
        if beside is not None and level.may_begin(beside, number, expected) and beside.has(needs):
            return beside
        pull = self.scene.pulls.get(number)
        if pull is not None:
            able = self.scene.able(needs).values()
            fit = [e for e in able if level.may_begin(e, number, expected)]
            return level.drawn(fit, pull) if fit else None
        if number == 0:
            able = self.scene.able(needs).values()
            return _with_room(self.plan, number, self.scene, able, expected)
        if needs:
            return level.source(number, expected, self.scene.able(needs).values())
        return level.source(number, expected)

    def _later(self, number: int, homes: list[Executor], needs: str) -> Executor | None:
        segment = self.plan.segments[number]
        level = self.levels[self.plan.depths[number]]
        if homes:
            has_room = any(level.may_begin(home, number, self.expected[number]) for home in homes)
            if has_room or not self.scene.may_settle(self.plan, number, homes):
                return level.least_of(homes)
        beside = self.groups.get(segment.group)
        if beside is not None and beside.has(needs):
            return beside
        able = self.scene.able(needs).values()
        if self.racers:
            return self._apart(number, level, able)
        near = _counted([self.chosen[parent] for parent in segment.parents])
        pull = self.scene.pulls.get(number)
        if pull is not None and able:
            return level.drawn(able, pull, near)
        if needs:
            return level.least_of(able) if able else None
        if self.expected[number] < SPREAD_ABOVE:
            return level.nearest(near)
        return level.least(near)

    def _races(self, segment: int) -> bool:
        """Whether only the first of its result and others is wanted: it must not wait for them."""
        plan = self.plan
        return plan.has_first_of and any(
            plan.head(edge.segment).invalid for edge in plan.segments[segment].outputs
        )

    def _more_may_come(self) -> bool:
        """Whether another executor may have room soon, that is new, or one that others race on."""
        scene = self.scene
        if self.plan.has_first_of and scene.patient:
            return len(set(self.chosen)) < len(scene.executors) or scene.more_may_come()
        return scene.more_may_come()

    def _apart(self, number: int, level: _Level, able: Collection[Executor]) -> Executor | None:
        """Where to go on with the first of several results: not behind one that comes later."""
        expected, racers = self.expected[number], self.racers
        free = [e for e in able if e not in racers and level.may_begin(e, number, expected)]
        if free:
            return level.least_of(free)
        # Nobody grows for what is short, however long it may turn out to be this time.
        if not able or (max(racers.values()) >= LONG and self._more_may_come()):
            return None
        return min(able, key=lambda e: (racers.get(e, level.load(e)), e.order))


def _counted(parents: list[Executor]) -> Mapping[Executor, int]:
    return {parents[0]: 1} if len(parents) == 1 else Counter(parents)
