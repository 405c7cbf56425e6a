"""How many executors there should be: more while long work waits, fewer when there is none.

A run waits because every executor is at something. If that is short, room will come by itself, and
another process would only take its share of the cores. If it is long, or nobody knows, a host is
asked for another executor; blocked ones, whose code waits for others, do not count as busy. No I/O,
no clock.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Container

from cloudburst.core.hosts import Resize, Retire
from cloudburst.scheduler.membership import NOTHING_KNOWN, Executor, Host, Membership
from cloudburst.scheduler.placement import LONG, width
from cloudburst.scheduler.queues import ANY, NEEDS, SOME, Queues, needed_in
from cloudburst.scheduler.times import ServiceTimes
from cloudburst.scheduler.turn import Turn

GROW_AFTER = 0.005
"""Seconds that a run waits before it is seen whether it needs another executor."""

GROW_EVERY = 0.05
"""Seconds between two looks while runs wait."""

START_PATIENCE = 2.0
"""Seconds that an executor may take to start before it is not counted on any more."""


LOOK_AT = 1000
"""Runs of a queue that are looked at, to see how many executors they need."""

STUCK_AFTER = 1.0
"""Seconds that all executors wait for others, and there cannot be more, until that is an error."""

KEEP_WARM = 600.0
"""Seconds without work after which an executor is let go although it keeps class instances."""


class Scaling:
    """Asks hosts for executors, and lets them go.

    Args:
        turn: where commands go.
        members: the hosts and their executors.
        queues: the runs that wait.
        times: how long segments take.

    Attributes:
        deadline: when to call `grow`; None if nothing waits.
    """

    def __init__(
        self, turn: Turn, members: Membership, queues: Queues, times: ServiceTimes
    ) -> None:
        self.deadline: float | None = None
        self._exhausted: float | None = None
        self._turn = turn
        self._members = members
        self._queues = queues
        self._times = times

    def waits(self) -> None:
        """A run waits for room on any executor."""
        if self.deadline is None:
            self.deadline = self._turn.now + GROW_AFTER

    def may_grow(self, resource: str = "") -> bool:
        """Whether there could be more executors soon, or some are being started."""
        return any(room + starting > 0 for _, room, starting in self._hosts(resource))

    def may_free(self, width: int) -> bool:
        """Whether so many executors could have room at a time, soon or some time."""
        if any(room + starting > 0 for _, room, starting in self._hosts(width=width)):
            return True
        return any(e.shares and not e.is_blocked for e in self._members.executors.values())

    def knows_all(self) -> bool:
        """Whether all hosts have said how many executors they may run; soon, they have."""
        return all(host.size is not NOTHING_KNOWN for host in self._members.hosts.values())

    def is_exhausted(self) -> bool:
        """Whether all executors are blocked, and there cannot be more."""
        executors = self._members.executors.values()
        return (
            bool(executors)
            and all(executor.is_blocked for executor in executors)
            and not self.may_grow()
        )

    def is_stuck(self) -> bool:
        """Whether all executors have waited for so long that it will not change by itself."""
        now = self._turn.now
        # Code that waits looks around now and then, and goes on waiting.
        lately, executors = now - STUCK_AFTER / 4, self._members.executors.values()
        if self.may_grow() or not all(executor.waited_since(lately) for executor in executors):
            self._exhausted = None
        elif self._exhausted is None:
            self._exhausted = now
        return self._exhausted is not None and now >= self._exhausted + STUCK_AFTER

    def grow(self) -> None:
        """Ask for as many executors as the runs that wait need. To be called at the deadline."""
        self.deadline = None
        for queue in self._queues_that_grow():
            self.deadline = self._turn.now + GROW_EVERY
            self._grow_for(queue)

    def _queues_that_grow(self) -> list[str]:
        """The queues in which runs wait that any executor, or any with a resource, could run."""
        queues = self._queues
        return [ANY] * queues.waiting(ANY) + queues.waits_in(NEEDS) + queues.waits_in(SOME)

    def _grow_for(self, queue: str) -> None:
        hosts = self._hosts(needed_in(queue), self._width_of_eldest(queue))
        most = sum(room for _, room, _ in hosts)
        starting = sum(starting for *_, starting in hosts)
        missing = min(most, self._missing(queue, most + starting) - starting)
        hosts = [host for host in hosts if host[1] > 0]
        while missing > 0 and hosts:
            host = name, room, starting = max(hosts, key=lambda host: host[1])
            more = min(room, -(-missing // len(hosts)))
            hosts.remove(host)
            missing -= more
            self._ask(name, starting + more)

    def retire(self, name: str, warm: Container[str]) -> list[Executor]:
        """Let go of a host's executors that are idle for long. To be called at its heartbeats.

        Args:
            name: the host's.
            warm: executors that keep class instances, which are given more time.

        Returns:
            Those that get no more work from now on.
        """
        size, now = self._members.hosts[name].size, self._turn.now
        mine = [e for e in self._members.executors.values() if e.host == name]
        patience = {executor: size.idle_timeout for executor in mine if not executor.shares}
        patience.update((e, max(KEEP_WARM, s)) for e, s in patience.items() if e.name in warm)
        idle = [e for e, seconds in patience.items() if now - e.since >= seconds]
        idle.sort(key=lambda executor: executor.since)
        # None while others wait: it may be wanted in a moment.
        spare = 0 if self._queues_that_grow() else max(0, len(mine) - size.least)
        for executor in idle[:spare]:
            self._members.retire(executor)
        for retiring in self._members.retiring(name):  # again, should it not have heard of it
            self._turn.send(name, Retire(retiring))
        return idle[:spare]

    def _width_of_eldest(self, queue: str) -> int:
        """How many executors it must have at a time; 0 if it can do with fewer."""
        for run in self._queues.first(queue, 1):
            if run.plan.id in self._times.crowding:
                return width(run.plan, self._times.of(run.plan))
        return 0

    def _hosts(self, resource: str = "", width: int = 0) -> list[tuple[str, int, int]]:
        """Of each host: its name, how many it may start, and how many it is starting.

        Where a single run needs so many at a time, there may be as many.
        """
        return [
            (name, *self._room(name, host, width))
            for name, host in self._members.hosts.items()
            if name not in self._members.draining and host.has(resource)
        ]

    def _room(self, name: str, host: Host, width: int) -> tuple[int, int]:
        mine = [e for e in self._members.executors.values() if e.host == name]
        patient = self._turn.now < host.asked_at + START_PATIENCE
        starting = max(0, host.asked - len(mine)) if patient else 0
        # Code that looks for something again and again is just as good as blocked.
        lately = self._turn.now - GROW_EVERY
        busy = sum(not executor.waited_since(lately) for executor in mine)
        room = min(max(host.size.most, width) - busy, host.size.ceiling - len(mine)) - starting
        return max(0, room), starting

    def _missing(self, queue: str, most: int) -> int:
        """How many executors the runs that wait could use, or the eldest of them."""
        resource, now = needed_in(queue), self._turn.now
        executors: Collection[Executor] = self._members.executors.values()
        if resource:
            executors = [executor for executor in executors if executor.has(resource)]
        idle = sum(not executor.shares for executor in executors)
        wanted, cold, short = 0.0, 0, False
        for run in self._queues.first(queue, LOOK_AT):
            if wanted + cold >= most + idle:
                break
            expected = self._times.of(run.plan)
            if run.call.warm:
                cold += 1  # what is idle may be warm
            elif run.deaths or max(expected) >= LONG:
                wanted += width(run.plan, expected, resource) / run.together
            else:
                short = True
        wanting = cold + max(0, math.ceil(wanted) - idle)
        if idle == len(executors):  # and yet the eldest waits: these are too few for it
            wanting = max(wanting, 1)
        if not short:
            return wanting
        # Short ones need no executors of their own, but some that are not held up.
        fluent = sum(e.load < LONG and not e.is_late(now) for e in executors)
        hosts = self._members.hosts.values()
        least = sum(h.size.least for h in hosts if h.has(resource))
        return max(wanting, least - fluent)

    def _ask(self, name: str, more: int) -> None:
        host = self._members.hosts[name]
        mine = sum(executor.host == name for executor in self._members.executors.values())
        host.asked, host.asked_at = mine + more, self._turn.now
        self._turn.send(name, Resize(host.asked))
