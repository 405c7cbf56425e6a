"""Which executors a host runs, and when it starts another. Knows no process and no clock."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias, assert_never

HEARTBEAT = 0.5
"""Seconds between two heartbeats."""

QUICK = 1.0
"""Who dies within so many seconds of its start may do so again."""

FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0


class ZygoteReady(NamedTuple):
    """The zygote forks from now on."""


class ZygoteGone(NamedTuple):
    """The zygote has died, and nobody watches its executors any more."""

    reason: str


class Forked(NamedTuple):
    """An executor runs."""

    name: str
    pid: int


class ExecutorGone(NamedTuple):
    """An executor has died, or could not be forked."""

    name: str
    reason: str


class Tick(NamedTuple):
    """Time has passed."""


class StartZygote(NamedTuple):
    """Start a zygote."""


class Fork(NamedTuple):
    """Let the zygote start an executor."""

    name: str


class Kill(NamedTuple):
    """Kill an executor that nobody watches."""

    pid: int


class ReportDeath(NamedTuple):
    """Tell the scheduler."""

    name: str
    reason: str


class Beat(NamedTuple):
    """Tell the scheduler who is alive."""

    names: tuple[str, ...]


Event: TypeAlias = ZygoteReady | ZygoteGone | Forked | ExecutorGone | Tick
Command: TypeAlias = StartZygote | Fork | Kill | ReportDeath | Beat


class ZygoteState(enum.Enum):
    """Life of the one zygote."""

    DOWN = enum.auto()
    STARTING = enum.auto()
    READY = enum.auto()


@dataclass(slots=True)
class Restarts:
    """When something that died is started again: at once, later if it keeps dying young."""

    quick_deaths: int = 0

    def delay(self, lived: float) -> float:
        """Seconds to wait after a life of ``lived`` seconds."""
        self.quick_deaths = self.quick_deaths + 1 if lived < QUICK else 0
        if self.quick_deaths <= 1:
            return 0.0
        # A bounded exponent: a float has no 2 ** 2000.
        doublings = min(self.quick_deaths - 2, 10)
        return min(LONGEST_DELAY, FIRST_DELAY * 2.0**doublings)


@dataclass(slots=True)
class Slot:
    """Room for one executor; a new one in it inherits how the last ones died.

    Attributes:
        name: the executor's, or "" while there is none.
        pid: its process, or 0 while it is being forked.
        since: when it was asked for, and then when it started.
        due: when the next one may be started.
    """

    name: str = ""
    pid: int = 0
    since: float = 0.0
    due: float = 0.0
    restarts: Restarts = field(default_factory=Restarts)

    def vacate(self) -> None:
        """The executor is gone."""
        self.name, self.pid = "", 0


class Pool:
    """The executors of one host.

    Args:
        host: name of the host; executors are called ``<host>.<number>``, never the same twice.
        wanted: how many to keep running.
    """

    def __init__(self, host: str, wanted: int) -> None:
        self.host = host
        self.slots = [Slot() for _ in range(wanted)]
        self.zygote = ZygoteState.DOWN
        self._named = 0
        self._zygote_since = 0.0
        self._zygote_due = 0.0
        self._zygote_restarts = Restarts()
        self._beat_due = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """The executors that run or are being started."""
        return tuple(slot.name for slot in self.slots if slot.name)

    @property
    def pids(self) -> list[int]:
        """The processes of the executors that run."""
        return [slot.pid for slot in self.slots if slot.pid]

    @property
    def complete(self) -> bool:
        """Whether as many run as are wanted."""
        return all(slot.pid for slot in self.slots)

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take notice of an event. Returns what is to be done, in this order."""
        commands: list[Command] = []
        match event:
            case ZygoteReady():
                self.zygote, self._zygote_since = ZygoteState.READY, now
            case ZygoteGone(reason=reason):
                commands = self._lose_zygote(reason, now)
            case Forked(name=name, pid=pid):
                for slot in self._slots_of(name):
                    slot.pid, slot.since = pid, now
            case ExecutorGone(name=name, reason=reason):
                for slot in self._slots_of(name):
                    slot.vacate()
                    slot.due = now + slot.restarts.delay(now - slot.since)
                    commands.append(ReportDeath(name, reason))
            case Tick():
                pass
            case _:
                assert_never(event)
        return commands + self._due(now)

    def next_deadline(self) -> float:
        """When to send a `Tick`, at the latest."""
        deadlines = [self._beat_due]
        if self.zygote is ZygoteState.DOWN:
            deadlines.append(self._zygote_due)
        elif self.zygote is ZygoteState.READY:
            deadlines += [slot.due for slot in self.slots if not slot.name]
        return min(deadlines)

    def validate(self) -> None:
        """Check what must be true between any two events."""
        names, pids = self.names, self.pids
        assert len(set(names)) == len(names), f"two executors of one name: {names}"
        assert len(set(pids)) == len(pids), f"two executors in one process: {pids}"
        assert not any(slot.pid and not slot.name for slot in self.slots), "a nameless process"
        assert self.zygote is ZygoteState.READY or not names, f"{names} without a zygote"
        numbers = [int(name.rpartition(".")[2]) for name in names]
        assert all(number <= self._named for number in numbers), "a name from the future"

    def _slots_of(self, name: str) -> list[Slot]:
        return [slot for slot in self.slots if slot.name == name]

    def _lose_zygote(self, reason: str, now: float) -> list[Command]:
        lived = now - self._zygote_since if self.zygote is ZygoteState.READY else 0.0
        self.zygote = ZygoteState.DOWN
        self._zygote_due = now + self._zygote_restarts.delay(lived)
        commands: list[Command] = [Kill(pid) for pid in self.pids]
        for slot in self.slots:
            if slot.name:
                commands.append(ReportDeath(slot.name, f"its zygote died: {reason}"))
                slot.vacate()
                slot.due = now
        return commands

    def _due(self, now: float) -> list[Command]:
        commands: list[Command] = []
        if self.zygote is ZygoteState.DOWN and now >= self._zygote_due:
            self.zygote = ZygoteState.STARTING
            commands.append(StartZygote())
        if self.zygote is ZygoteState.READY:
            commands += [
                self._fork(slot, now) for slot in self.slots if not slot.name and now >= slot.due
            ]
        if now >= self._beat_due:
            self._beat_due = now + HEARTBEAT
            commands.append(Beat(self.names))
        return commands

    def _fork(self, slot: Slot, now: float) -> Fork:
        self._named += 1
        slot.name, slot.since = f"{self.host}.{self._named}", now
        return Fork(slot.name)
