"""Which hosts and executors there are, and how much work each executor holds. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

AHEAD = 0.002
"""Seconds of known work an executor may hold besides what it runs (late binding)."""


MAX_GONE = 1000
"""Names of dead executors remembered, against messages from them that are still on their way."""


@dataclass(slots=True, eq=False)
class Executor:
    """One executor as the scheduler sees it.

    Attributes:
        order: breaks ties in placement, so that it is deterministic.
        shares: of each run that has work here, its epoch and the seconds that work should take.
        load: the sum of those seconds.
        plans: ids of the plans it has executed: their code is loaded there.
        missed: heartbeats of its host in a row that did not name it.
    """

    name: str
    host: str
    address: str
    order: int
    shares: dict[str, tuple[int, float]] = field(default_factory=dict)
    load: float = 0.0
    plans: set[str] = field(default_factory=set)
    missed: int = 0

    def has_room(self, expected: float) -> bool:
        """Whether work of ``expected`` seconds may be sent now, rather than wait for a choice."""
        return not self.shares or self.load + expected <= AHEAD

    def take(self, run_id: str, epoch: int, expected: float) -> None:
        """Count a run's work here. A later epoch replaces an earlier one."""
        self.release(run_id, epoch)
        self.shares[run_id] = (epoch, expected)
        self.load += expected

    def release(self, run_id: str, epoch: int) -> bool:
        """The work of that run, up to that epoch, is done. Returns whether it was counted."""
        share = self.shares.get(run_id)
        if share is None or share[0] > epoch:
            return False
        del self.shares[run_id]
        # Exactly nothing again when idle: sums of floats drift.
        self.load = self.load - share[1] if self.shares else 0.0
        return True


@dataclass(slots=True)
class Membership:
    """The cluster's hosts and executors.

    Args:
        timeout: seconds without a heartbeat after which a host, with its executors, is lost.
    """

    timeout: float
    executors: dict[str, Executor] = field(default_factory=dict)
    last_seen: dict[str, float] = field(default_factory=dict)
    gone: dict[str, None] = field(default_factory=dict)
    counter: int = 0

    def ready(self, name: str, host: str, address: str, now: float) -> Executor | None:
        """An executor introduced itself. None if it is known, or reported dead already."""
        if name in self.executors or name in self.gone:
            return None
        self.counter += 1
        self.last_seen.setdefault(host, now)
        self.executors[name] = Executor(name, host, address, self.counter)
        return self.executors[name]

    def heartbeat(self, host: str, names: Iterable[str], now: float) -> tuple[list[str], list[str]]:
        """A host says it is alive.

        Returns:
            Its executors that are not known here, and those known here that it no longer has.
        """
        self.last_seen[host] = now
        named = set(names)
        mine = [executor for executor in self.executors.values() if executor.host == host]
        for executor in mine:
            executor.missed = 0 if executor.name in named else executor.missed + 1
        # The first that does not name it may have been sent before the executor was forked.
        missing = [executor.name for executor in mine if executor.missed > 1]
        return sorted(named - self.executors.keys() - self.gone.keys()), missing

    def remove(self, name: str, *, dead: bool) -> Executor | None:
        """Forget an executor. If it is known to be dead, its name is not accepted again.

        One that merely cannot be reached may come back: its host will go on naming it.
        """
        if dead:
            self.gone[name] = None
            if len(self.gone) > MAX_GONE:
                del self.gone[next(iter(self.gone))]
        return self.executors.pop(name, None)

    def silent(self, now: float) -> list[str]:
        """Forget the hosts whose heartbeats stopped; returns the names of their executors."""
        lost = {host for host, seen in self.last_seen.items() if now >= seen + self.timeout}
        for host in lost:
            del self.last_seen[host]
        return [e.name for e in self.executors.values() if e.host in lost]

    def next_deadline(self) -> float | None:
        """When the next host would be lost if it stays silent."""
        return min(self.last_seen.values()) + self.timeout if self.last_seen else None

    def validate(self) -> None:
        """Check that nobody is both here and gone, and that loads are what was taken."""
        assert self.gone.keys().isdisjoint(self.executors)
        assert len(self.gone) <= MAX_GONE
        for name, executor in self.executors.items():
            assert name == executor.name
            assert executor.host in self.last_seen
            total = sum(seconds for _, seconds in executor.shares.values())
            assert abs(total - executor.load) < 1e-6
