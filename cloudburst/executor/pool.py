"""Which executors a host runs, and when it starts another. Knows no process and no clock."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from cloudburst.core.hosts import Drained, Fence, Knock, Replace, Resize, Retire
from cloudburst.executor.pool_events import (
    Beat,
    Command,
    Dismiss,
    DrainAsked,
    DropZygote,
    End,
    Event,
    ExecutorGone,
    Fork,
    Forked,
    Kill,
    LeaseBack,
    LeaseLost,
    Leave,
    Nudge,
    Ping,
    Pong,
    ReportDeath,
    SayDraining,
    StartZygote,
    Tick,
    ZygoteGone,
    ZygoteReady,
)
from cloudburst.restarts import Restarts

HEARTBEAT = 0.5
"""Seconds between two heartbeats."""

ZYGOTE_SILENCE = 3.0
"""Seconds that a zygote may leave a ping unanswered."""

ZYGOTE_START = 60.0
"""Seconds that a zygote may take to import everything."""

RETIRED = "it was not needed any more"


class ZygoteState(enum.Enum):
    """Life of the one zygote."""

    DOWN = enum.auto()
    STARTING = enum.auto()
    READY = enum.auto()


@dataclass(slots=True)
class Slot:
    """Room for one executor; a new one in it inherits how the last ones died.

    Attributes:
        name: the executor's, or "" while there is none.
        pid: its process, or 0 while it is being forked.
        since: when it was asked for, and then when it started.
        due: when the next one may be started.
        condemned: it is to end for no fault of what it runs.
        retiring: it has nothing to do, and ends by itself.
        wanted: whether another one takes its place when it ends.
    """

    name: str = ""
    pid: int = 0
    since: float = 0.0
    due: float = 0.0
    condemned: bool = False
    retiring: bool = False
    wanted: bool = True
    restarts: Restarts = field(default_factory=Restarts)

    def vacate(self) -> None:
        """The executor is gone."""
        self.name, self.pid, self.condemned, self.retiring = "", 0, False, False


class Pool:
    """The executors of one host.

    Args:
        host: name of the host; executors are called ``<host>.<number>``, never the same twice.
        least: how many to keep running in any case.
        ceiling: how many there may ever be at a time; by default no more.
        drain_timeout: seconds that runs have to end once somebody wants the host to end.
    """

    def __init__(
        self, host: str, least: int, ceiling: int = 0, drain_timeout: float = 30.0
    ) -> None:
        self.host = host
        self.slots = [Slot() for _ in range(least)]
        self._least = least
        self._ceiling = max(least, ceiling)
        self.zygote = ZygoteState.DOWN
        self._drain_timeout = drain_timeout
        self._named = 0
        self._zygote_since = 0.0
        self._zygote_due = 0.0
        self._zygote_restarts = Restarts()
        self._pinged: float | None = None
        self._beat_due = 0.0
        self._leased = True
        self._leave_at: float | None = None

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
        return all(slot.pid for slot in self.slots if slot.wanted)

    @property
    def wanted(self) -> int:
        """How many are wanted."""
        return sum(slot.wanted for slot in self.slots)

    @property
    def draining(self) -> bool:
        """Whether the host is about to end."""
        return self._leave_at is not None

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take notice of an event. Returns what is to be done, in this order."""
        return [*self._answer(event, now), *self._due(now)]

    def _answer(self, event: Event, now: float) -> list[Command]:
        match event:
            case ZygoteReady():
                self.zygote, self._zygote_since = ZygoteState.READY, now
            case ZygoteGone(reason=reason):
                return self._lose_zygote(reason, now)
            case Pong():
                self._pinged = None
            case Forked(name=name, pid=pid):
                for slot in self._slots_of(name):
                    slot.pid, slot.since = pid, now
                    if slot.retiring:
                        return [Dismiss(pid)]
            case ExecutorGone():
                return self._bury(event, now)
            case Tick():
                return self._check_zygote(now)
            case DrainAsked():
                return self._drain(now)
            case LeaseLost(reason=reason):
                self._leased = False
                return self._condemn(self.names, reason)
            case LeaseBack():
                self._leased = True
            case _:
                return self._obey(event, now)
        return []

    def _obey(
        self, order: Resize | Retire | Knock | Replace | Fence | Drained, now: float
    ) -> list[Command]:
        """Do what the scheduler says."""
        match order:
            case Resize(executors=wanted):
                self._grow(min(wanted, self._ceiling), now)
                return []
            case Retire(executor=name):
                return self._retire(name)
            case Knock(executor=name):
                return [Nudge(slot.pid) for slot in self._slots_of(name) if slot.pid]
            case Replace(executor=name, run_id=run_id, reason=reason):
                return [End(name, run_id, reason) for _ in self._slots_of(name)]
            case Fence(executors=names):
                return self._condemn(names, "the scheduler had given it up")
            case Drained(host=host):
                return [Leave()] if self.draining and host == self.host else []
            case _:
                assert_never(order)

    def end(self, now: float) -> list[Command]:
        """Take notice that all executors have ended, and the host does. Returns what to report."""
        return self._bury_all("its host was told to end", now, blameless=True)

    def next_deadline(self) -> float:
        """When to send a `Tick`, at the latest."""
        deadlines = [self._beat_due]
        if self._leave_at is not None:
            deadlines.append(self._leave_at)
        if self.zygote is ZygoteState.DOWN and not self.draining:
            deadlines.append(self._zygote_due)
        elif self._may_fork:
            deadlines += [slot.due for slot in self.slots if slot.wanted and not slot.name]
        return min(deadlines)

    def validate(self) -> None:
        """Check what must be true between any two events."""
        names, pids = self.names, self.pids
        assert self._least <= self.wanted <= self._ceiling
        assert len(set(names)) == len(names), f"two executors of one name: {names}"
        assert len(set(pids)) == len(pids), f"two executors in one process: {pids}"
        for slot in self.slots:
            ghost = slot.pid or slot.condemned or slot.retiring
            assert slot.name or not ghost, "somebody without a name"
            assert self._leased or slot.condemned or not slot.name, f"{slot.name} without a lease"
        assert self.zygote is ZygoteState.READY or not names, f"{names} without a zygote"
        numbers = [int(name.rpartition(".")[2]) for name in names]
        assert all(number <= self._named for number in numbers), "a name from the future"

    @property
    def _may_fork(self) -> bool:
        return self.zygote is ZygoteState.READY and self._leased and not self.draining

    def _slots_of(self, name: str) -> list[Slot]:
        return [slot for slot in self.slots if slot.name == name]

    def _grow(self, wanted: int, now: float) -> None:
        """Want so many, in slots that were used before or in new ones."""
        missing = wanted - self.wanted
        for slot in self.slots:
            if missing > 0 and not (slot.wanted or slot.name):
                slot.wanted, slot.due = True, now
                missing -= 1
        room = self._ceiling - len(self.slots)
        self.slots += [Slot(due=now) for _ in range(min(missing, room))]

    def _retire(self, name: str) -> list[Command]:
        commands: list[Command] = []
        for slot in self._slots_of(name):
            if not slot.retiring:
                # If that is one too many, another takes its place.
                slot.wanted = self.wanted <= self._least
                slot.retiring = True
            if slot.pid:
                commands.append(Dismiss(slot.pid))
        return commands

    def _condemn(self, names: tuple[str, ...], reason: str) -> list[Command]:
        commands: list[Command] = []
        for slot in self.slots:
            if slot.name and slot.name in names:
                slot.condemned = True
                commands.append(End(slot.name, "", reason))
        return commands

    def _bury(self, gone: ExecutorGone, now: float) -> list[Command]:
        commands: list[Command] = []
        for number, slot in enumerate(self.slots):
            if slot.name == gone.name:
                innocent = slot.condemned or slot.retiring
                reason = RETIRED if slot.retiring else gone.reason
                commands.append(ReportDeath(gone.name, reason, number, innocent))
                # User code that kills processes must not keep others from running.
                at_once = gone.ordered or gone.at_work or innocent
                slot.due = now if at_once else now + slot.restarts.delay(now - slot.since)
                slot.vacate()
        return commands

    def _bury_all(self, reason: str, now: float, *, blameless: bool) -> list[Command]:
        commands: list[Command] = []
        for number, slot in enumerate(self.slots):
            if slot.name:
                innocent = blameless or slot.condemned or slot.retiring
                commands.append(ReportDeath(slot.name, reason, number, innocent))
                slot.vacate()
                slot.due = now
        return commands

    def _check_zygote(self, now: float) -> list[Command]:
        if self._pinged is not None and now - self._pinged >= ZYGOTE_SILENCE:
            return self._lose_zygote(f"it did not answer for {ZYGOTE_SILENCE:g} s", now)
        if self.zygote is ZygoteState.STARTING and now - self._zygote_since >= ZYGOTE_START:
            return self._lose_zygote(f"it was not ready after {ZYGOTE_START:g} s", now)
        return []

    def _lose_zygote(self, reason: str, now: float) -> list[Command]:
        lived = now - self._zygote_since if self.zygote is ZygoteState.READY else 0.0
        self.zygote, self._pinged = ZygoteState.DOWN, None
        self._zygote_due = now + self._zygote_restarts.delay(lived)
        return [
            *(Kill(pid) for pid in self.pids),
            *self._bury_all(f"its zygote died: {reason}", now, blameless=False),
            DropZygote(),
        ]

    def _drain(self, now: float) -> list[Command]:
        if self.draining:
            return [Leave()]
        self._leave_at = now + self._drain_timeout
        return [SayDraining()]

    def _due(self, now: float) -> list[Command]:
        commands: list[Command] = []
        if self.zygote is ZygoteState.DOWN and now >= self._zygote_due and not self.draining:
            self.zygote, self._zygote_since = ZygoteState.STARTING, now
            commands.append(StartZygote())
        if self._may_fork:
            commands += [
                self._fork(number, slot, now)
                for number, slot in enumerate(self.slots)
                if slot.wanted and not slot.name and now >= slot.due
            ]
        if now >= self._beat_due:
            self._beat_due = now + HEARTBEAT
            commands += self._beat(now)
        if self._leave_at is not None and (now >= self._leave_at or not self.names):
            commands.append(Leave())
        return commands

    def _beat(self, now: float) -> list[Command]:
        commands: list[Command] = [Beat(self.names)]
        if self.draining:  # again, as the scheduler may be another one by now
            commands.append(SayDraining())
        if self.zygote is ZygoteState.READY and self._pinged is None:
            self._pinged = now
            commands.append(Ping())
        return commands

    def _fork(self, number: int, slot: Slot, now: float) -> Fork:
        self._named += 1
        slot.name, slot.since = f"{self.host}.{self._named}", now
        return Fork(slot.name, number)


def judged(commands: list[Command], runs_on: Callable[[int], str]) -> list[Command]:
    """The same commands, in which nobody is to blame for what died together.

    Except if only one run was at work then: its code may have killed the zygote.

    Args:
        commands: what is to be done because of one event.
        runs_on: the run whose code the executor of a slot ran; "" for none.
    """
    slots = [command.slot for command in commands if isinstance(command, ReportDeath)]
    if len(slots) < 2:
        return commands
    at_work = [slot for slot in slots if runs_on(slot)]
    alone = at_work[0] if len({runs_on(slot) for slot in at_work}) == 1 else None
    return [
        command._replace(blameless=True)
        if isinstance(command, ReportDeath) and command.slot != alone
        else command
        for command in commands
    ]
