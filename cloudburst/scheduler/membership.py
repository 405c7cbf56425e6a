"""Which hosts and executors there are, and how much work each executor holds. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

AHEAD = 0.002
"""Seconds of known work an executor may hold besides what it runs (late binding)."""


LATE = 0.005
"""Seconds without an end of any of its runs after which what was expected of an executor is void.
"""

MAX_GONE = 1000
"""Names of dead executors remembered, against messages from them that are still on their way."""


@dataclass(slots=True, eq=False)
class Executor:
    """One executor as the scheduler sees it.

    Attributes:
        order: breaks ties in placement, so that it is deterministic.
        shares: of each run that has work here, its epoch and the seconds that work should take.
        load: the sum of those seconds.
        since: when it began, or last ended, a run, while it has any.
        bounced: whether it was asked, since then, to give way.
        plans: ids of the plans it has executed: their code is loaded there.
        missed: heartbeats of its host in a row that did not name it.
    """

    name: str
    host: str
    address: str
    order: int
    shares: dict[str, tuple[int, float]] = field(default_factory=dict)
    load: float = 0.0
    since: float = 0.0
    bounced: bool = False
    plans: set[str] = field(default_factory=set)
    missed: int = 0

    def has_room(self, expected: float, now: float = 0.0) -> bool:
        """Whether work of ``expected`` seconds may be sent now, rather than wait for a choice."""
        return not self.shares or (self.load + expected <= AHEAD and not self.is_late(now))

    def is_late(self, now: float) -> bool:
        """Whether it takes longer than was expected."""
        return bool(self.shares) and now - self.since > max(LATE, self.load)

    def load_at(self, now: float) -> float:
        """Its load; if it is late, at least as much as it has taken already."""
        return max(self.load, now - self.since) if self.is_late(now) else self.load

    def take(self, run_id: str, epoch: int, expected: float, now: float = 0.0) -> None:
        """Count a run's work here. A later epoch replaces an earlier one."""
        self.release(run_id, epoch, now)
        if not self.shares:
            self.since, self.bounced = now, False
        self.shares[run_id] = (epoch, expected)
        self.load += expected

    def release(self, run_id: str, epoch: int, now: float = 0.0) -> bool:
        """The work of that run, up to that epoch, is done. Returns whether it was counted."""
        share = self.shares.get(run_id)
        if share is None or share[0] > epoch:
            return False
        del self.shares[run_id]
        # Exactly nothing again when idle: sums of floats drift.
        self.load = self.load - share[1] if self.shares else 0.0
        self.since, self.bounced = now, False
        return True


@dataclass(slots=True)
class Membership:
    """The cluster's hosts and executors.

    Args:
        timeout: seconds without a heartbeat after which a host, with its executors, is lost.

    Attributes:
        executors: those that may be given work, by name.
        leaving: those that finish what they have.
        draining: hosts that are about to end.
        fenced: names whose runs were given to others: their hosts must replace them.
        gone: names of the dead.
    """

    timeout: float
    executors: dict[str, Executor] = field(default_factory=dict)
    leaving: dict[str, Executor] = field(default_factory=dict)
    draining: set[str] = field(default_factory=set)
    fenced: dict[str, None] = field(default_factory=dict)
    last_seen: dict[str, float] = field(default_factory=dict)
    gone: dict[str, None] = field(default_factory=dict)
    counter: int = 0

    def ready(self, name: str, host: str, address: str, now: float) -> Executor | None:
        """An executor introduced itself. None if it is known, or reported dead already."""
        if self.find(name) or name in self.gone or name in self.fenced:
            return None
        self.counter += 1
        self.last_seen.setdefault(host, now)
        executor = Executor(name, host, address, self.counter)
        if host in self.draining:
            self.leaving[name] = executor
            return None
        self.executors[name] = executor
        return executor

    def find(self, name: str) -> Executor | None:
        """An executor that is alive, whether or not it may be given work."""
        return self.executors.get(name) or self.leaving.get(name)

    def all(self) -> list[Executor]:
        """The executors that are alive."""
        return [*self.executors.values(), *self.leaving.values()]

    def drain(self, host: str, now: float) -> list[Executor]:
        """Give the executors of a host no more work. Returns those that might have been given."""
        self.draining.add(host)
        self.last_seen.setdefault(host, now)
        leaving = [executor for executor in self.executors.values() if executor.host == host]
        for executor in leaving:
            self.leaving[executor.name] = self.executors.pop(executor.name)
        return leaving

    def drained(self) -> list[str]:
        """The draining hosts whose executors have nothing left to do.

        These executors are let go: no run is lost with them, whatever it had done there.
        """
        busy = {executor.host for executor in self.leaving.values() if executor.shares}
        drained = self.draining - busy
        for name in [name for name, executor in self.leaving.items() if executor.host in drained]:
            self.remove(name, dead=True)
        return sorted(drained)

    def heartbeat(self, host: str, names: Iterable[str], now: float) -> tuple[list[str], list[str]]:
        """A host says it is alive.

        Returns:
            Its executors that are not known here, and those known here that it no longer has.
        """
        self.last_seen[host] = now
        named = set(names)
        mine = [executor for executor in self.all() if executor.host == host]
        for executor in mine:
            executor.missed = 0 if executor.name in named else executor.missed + 1
        # The first that does not name it may have been sent before the executor was forked.
        missing = [executor.name for executor in mine if executor.missed > 1]
        known = {executor.name for executor in mine}
        return sorted(named - known - self.gone.keys() - self.fenced.keys()), missing

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
        lost = {host for host, seen in self.last_seen.items() if now >= seen + self.timeout}
        for host in lost:
            del self.last_seen[host]
            self.draining.discard(host)
        return [executor.name for executor in self.all() if executor.host in lost]

    def next_deadline(self) -> float | None:
        """When the next host would be lost if it stays silent."""
        return min(self.last_seen.values()) + self.timeout if self.last_seen else None

    def validate(self) -> None:
        """Check that nobody is both here and gone, and that loads are what was taken."""
        assert self.executors.keys().isdisjoint(self.leaving)
        assert self.gone.keys().isdisjoint({*self.executors, *self.leaving, *self.fenced})
        assert self.fenced.keys().isdisjoint({*self.executors, *self.leaving})
        assert len(self.gone) <= MAX_GONE
        for name, executor in (*self.executors.items(), *self.leaving.items()):
            assert name == executor.name
            assert (name in self.leaving) == (executor.host in self.draining)
            assert executor.host in self.last_seen
            total = sum(seconds for _, seconds in executor.shares.values())
            assert abs(total - executor.load) < 1e-6


def _remember(names: dict[str, None], name: str) -> None:
    names[name] = None
    if len(names) > MAX_GONE:
        del names[next(iter(names))]
