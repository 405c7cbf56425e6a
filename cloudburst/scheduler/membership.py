"""Which hosts and executors there are, and how much work each executor holds. No I/O, no clock."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from cloudburst.core.hosts import Heartbeat, PoolSize

AHEAD = 0.002
"""Seconds of known work an executor may hold besides what it runs (late binding)."""


LATE = 0.005
"""Seconds without an end of any of its runs after which what was expected of an executor is void.
"""

MAX_GONE = 1000
"""Names of dead executors remembered, against messages from them that are still on their way."""


NOTHING_KNOWN = PoolSize(0, 0, 0, 0.0)

SMOOTHING = 0.5
"""Weight of the time since the last heartbeat in an executor's utilisation."""

LONG_BLOCKED = 3600.0
"""Seconds that code which waits for others counts as: nobody knows for how long it does."""


@dataclass(slots=True, eq=False)
class Executor:
    """One executor as the scheduler sees it.

    Attributes:
        order: breaks ties in placement, so that it is deterministic.
        shares: of each run that has work here, its epoch and the seconds that work should take.
        load: the sum of those seconds.
        since: when it began, or last ended, a run; without one, since when it has none.
        bounced: whether it was asked, since then, to give way.
        blocked: the run and epoch whose code waits there for what others do.
        was_blocked: when code last went on that had waited.
        plans: ids of the plans it has executed: their code is loaded there.
        missed: heartbeats of its host in a row that did not name it.
        utilisation: the share of its time that it had work in, lately.
        resources: what its host has that not every host has.
        batch: the plan of all that it has, if that is run in batches.
        unreachable: whether a message to it could not be delivered.
        retired: whether it was let go, after a time without work.
        busy: seconds that it had work since it was measured, up to ``busy_since``.
        busy_since: if it has work, since when that is not counted in ``busy``.
        measured: when its utilisation was last brought up to date.
    """

    name: str
    host: str
    address: str
    order: int
    shares: dict[str, tuple[int, float]] = field(default_factory=dict)
    load: float = 0.0
    since: float = 0.0
    bounced: bool = False
    blocked: tuple[str, int] | None = None
    was_blocked: float = -math.inf
    plans: set[str] = field(default_factory=set)
    missed: int = 0
    utilisation: float = 0.0
    busy: float = 0.0
    busy_since: float = 0.0
    measured: float = 0.0
    resources: tuple[str, ...] = ()
    batch: str = ""
    unreachable: bool = False
    retired: bool = False

    def has(self, resource: str) -> bool:
        """Whether its host has a resource; everybody has "", which is none."""
        return not resource or resource in self.resources

    def has_batch_room(self, plan_id: str, size: int, now: float) -> bool:
        """Whether it puts runs of this plan together: one batch may wait behind another.

        Not if it was asked to give way: what waits there now is not taken back again.
        """
        if self.bounced or self.is_late(now):
            return False
        return self.batch == plan_id and len(self.shares) < 2 * size

    def has_room(self, expected: float, now: float = 0.0) -> bool:
        """Whether work of ``expected`` seconds may be sent now, rather than wait for a choice."""
        return not self.shares or (self.load + expected <= AHEAD and not self.is_late(now))

    @property
    def is_blocked(self) -> bool:
        """Whether its code waits for what others do: nothing else runs there till then."""
        return self.blocked is not None

    def waited_since(self, moment: float) -> bool:
        """Whether its code waits, or has waited since then: it may do so again and again."""
        return self.blocked is not None or self.was_blocked >= moment

    def block(self, run_id: str, epoch: int, now: float, *, waits: bool) -> bool:
        """Code of a run waits, or goes on. Returns whether that is news of what is counted here."""
        share, blocked = self.shares.get(run_id), (run_id, epoch) if waits else None
        if share is None or share[0] != epoch or self.blocked == blocked:
            return False
        self.blocked = blocked
        if blocked is None:
            self.was_blocked = now
        return True

    def is_late(self, now: float) -> bool:
        """Whether it takes longer than was expected."""
        return bool(self.shares) and (
            self.blocked is not None or now - self.since > max(LATE, self.load)
        )

    def load_at(self, now: float) -> float:
        """Its load; if it is late, at least as much as it has taken already."""
        if self.blocked is not None:
            return max(self.load, LONG_BLOCKED, now - self.since)
        return max(self.load, now - self.since) if self.is_late(now) else self.load

    def take(
        self, run_id: str, epoch: int, expected: float, now: float = 0.0, batch: str = ""
    ) -> None:
        """Count a run's work here. A later epoch replaces an earlier one.

        ``batch`` is its plan, if it may be put together with others of that.
        """
        self.release(run_id, epoch, now)
        if not self.shares:
            self.since, self.bounced = now, False
            self.busy_since = now
            self.batch = batch
        elif self.batch != batch:
            self.batch = ""
        self.shares[run_id] = (epoch, expected)
        self.load += expected

    def release(self, run_id: str, epoch: int, now: float = 0.0) -> bool:
        """The work of that run, up to that epoch, is done. Returns whether it was counted."""
        share = self.shares.get(run_id)
        if share is None or share[0] > epoch:
            return False
        del self.shares[run_id]
        if self.blocked is not None and self.blocked[0] == run_id:
            self.blocked = None
        if not self.shares:
            self.was_blocked = -math.inf
        if not self.shares:
            self.busy += now - self.busy_since
        # Exactly nothing again when idle: sums of floats drift.
        self.load = self.load - share[1] if self.shares else 0.0
        self.since, self.bounced = now, False
        return True

    def measure(self, now: float) -> None:
        """Take stock of how busy it was since the last time."""
        if self.shares:
            self.busy += now - self.busy_since
            self.busy_since = now
        passed = now - self.measured
        if passed > 0.0:
            share = min(1.0, max(0.0, self.busy / passed))
            self.utilisation += SMOOTHING * (share - self.utilisation)
            self.busy, self.measured = 0.0, now


@dataclass(slots=True)
class Host:
    """One host as the scheduler sees it.

    Attributes:
        seen: when it was last heard of.
        size: how many executors it may run; nothing is known before its first heartbeat.
        resources: what it has that not every host has.
        asked: how many it was asked to run, in all.
        asked_at: when.
    """

    seen: float
    size: PoolSize = NOTHING_KNOWN
    resources: tuple[str, ...] = ()
    asked: int = 0
    asked_at: float = 0.0

    def has(self, resource: str) -> bool:
        """As `Executor.has`."""
        return not resource or resource in self.resources


class Heard(NamedTuple):
    """What a heartbeat says of executors, by name.

    Attributes:
        unknown: the host has them, and they are not known here.
        missing: they are known here, and the host has them no more.
        cut_off: it has them, but they have been out of reach for some time.
    """

    unknown: list[str]
    missing: list[str]
    cut_off: list[str]


@dataclass(slots=True)
class Membership:
    """The cluster's hosts and executors.

    Args:
        timeout: seconds without a heartbeat after which a host, with its executors, is lost.
        promised: what hosts are known to have before they are heard of.

    Attributes:
        hosts: those that are heard of, by name.
        executors: those that may be given work, by name.
        leaving: those that get no more: of draining hosts, retiring, or out of reach.
        draining: hosts that are about to end.
        fenced: names whose runs were given to others: their hosts must replace them.
        gone: names of the dead.
    """

    timeout: float
    promised: tuple[str, ...] = ()
    hosts: dict[str, Host] = field(default_factory=dict)
    executors: dict[str, Executor] = field(default_factory=dict)
    leaving: dict[str, Executor] = field(default_factory=dict)
    draining: set[str] = field(default_factory=set)
    fenced: dict[str, None] = field(default_factory=dict)
    gone: dict[str, None] = field(default_factory=dict)
    counter: int = 0

    def ready(
        self, name: str, host: str, address: str, now: float, resources: tuple[str, ...] = ()
    ) -> Executor | None:
        """An executor introduced itself. None if it is known, or reported dead already."""
        if self.find(name) or name in self.gone or name in self.fenced:
            return None
        self.counter += 1
        self.hosts.setdefault(host, Host(now))
        executor = Executor(
            name, host, address, self.counter, since=now, measured=now, resources=resources
        )
        if host in self.draining:
            self.leaving[name] = executor
            return None
        self.executors[name] = executor
        return executor

    def resources(self) -> set[str]:
        """What hosts, or some of them, have, or are about to."""
        found = {resource for host in self.hosts.values() for resource in host.resources}
        # An executor may be heard of before its host is.
        found |= {resource for e in self.executors.values() for resource in e.resources}
        return found.union(self.promised)

    def find(self, name: str) -> Executor | None:
        """An executor that is alive, whether or not it may be given work."""
        return self.executors.get(name) or self.leaving.get(name)

    def all(self) -> list[Executor]:
        """The executors that are alive."""
        return [*self.executors.values(), *self.leaving.values()]

    def drain(self, host: str, now: float) -> list[Executor]:
        """Give the executors of a host no more work. Returns those that might have been given."""
        self.draining.add(host)
        self.hosts.setdefault(host, Host(now))
        leaving = [executor for executor in self.executors.values() if executor.host == host]
        for executor in leaving:
            self.leaving[executor.name] = self.executors.pop(executor.name)
        return leaving

    def retire(self, executor: Executor) -> None:
        """Give an executor that has had nothing to do for long no more work."""
        executor.retired = True
        self.leaving[executor.name] = self.executors.pop(executor.name)

    def lose_touch(self, executor: Executor) -> None:
        """An executor cannot be reached: it is given up unless its host says first what it is."""
        executor.unreachable = True
        if self.executors.pop(executor.name, None):
            self.leaving[executor.name] = executor

    def retiring(self, host: str) -> list[str]:
        """The executors of a host that are not needed any more, and have not ended."""
        if host in self.draining:
            return []
        mine = [executor for executor in self.leaving.values() if executor.host == host]
        return [executor.name for executor in mine if not executor.unreachable]

    def drained(self) -> list[str]:
        """The draining hosts whose executors have nothing left to do.

        These executors are let go: no run is lost with them, whatever it had done there.
        """
        busy = {executor.host for executor in self.leaving.values() if executor.shares}
        drained = self.draining - busy
        for name in [name for name, executor in self.leaving.items() if executor.host in drained]:
            self.remove(name, dead=True)
        return sorted(drained)

    def heartbeat(self, beat: Heartbeat, now: float) -> Heard:
        """A host says it is alive, and who is there."""
        host = self.hosts.setdefault(beat.host, Host(now))
        host.seen, host.size, host.resources = now, beat.size, beat.resources
        named = set(beat.executors)
        mine = [executor for executor in self.all() if executor.host == beat.host]
        for executor in mine:
            is_well = executor.name in named and not executor.unreachable
            executor.missed = 0 if is_well else executor.missed + 1
            executor.measure(now)
            executor.measure(now)
        # The first that does not name it may have been sent before the executor was forked.
        lost = {executor.name for executor in mine if executor.missed > 1}
        known = {executor.name for executor in mine}
        unknown = named - known - self.gone.keys() - self.fenced.keys()
        return Heard(sorted(unknown), sorted(lost - named), sorted(lost & named))

    def to_replace(self, names: Iterable[str]) -> tuple[str, ...]:
        """Which of these have had their runs given to others."""
        return tuple(name for name in names if name in self.fenced)

    def remove(self, name: str, *, dead: bool) -> Executor | None:
        """Stop an executor. If it is known to be dead, its name is not accepted again.

        Nor is it if it had runs, because others get these now. Otherwise it may come back: its
        host will go on naming it.
        """
        executor = self.executors.pop(name, None) or self.leaving.pop(name, None)
        if dead:
            self.fenced.pop(name, None)
            _remember(self.gone, name)
        elif executor is not None and executor.shares:
            _remember(self.fenced, name)
        return executor

    def silent(self, now: float) -> list[str]:
        """Stop the hosts whose heartbeats stopped; returns the names of their executors."""
        lost = {name for name, host in self.hosts.items() if now >= host.seen + self.timeout}
        for name in lost:
            del self.hosts[name]
            self.draining.discard(name)
        return [executor.name for executor in self.all() if executor.host in lost]

    def next_deadline(self) -> float | None:
        """When the next host would be lost if it stays silent."""
        seen = [host.seen for host in self.hosts.values()]
        return min(seen) + self.timeout if seen else None

    def validate(self) -> None:
        """Check that nobody is both here and gone, and that loads are what was taken."""
        assert self.executors.keys().isdisjoint(self.leaving)
        assert self.gone.keys().isdisjoint({*self.executors, *self.leaving, *self.fenced})
        assert self.fenced.keys().isdisjoint({*self.executors, *self.leaving})
        assert len(self.gone) <= MAX_GONE
        for name, executor in (*self.executors.items(), *self.leaving.items()):
            assert name == executor.name
            assert name in self.leaving or executor.host not in self.draining
            assert executor.host in self.hosts
            assert executor.blocked is None or executor.blocked[0] in executor.shares
            total = sum(seconds for _, seconds in executor.shares.values())
            assert abs(total - executor.load) < 1e-6


def _remember(names: dict[str, None], name: str) -> None:
    names[name] = None
    if len(names) > MAX_GONE:
        del names[next(iter(names))]
