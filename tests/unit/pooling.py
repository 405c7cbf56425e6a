"""A pool of executors, and a clock that is moved by hand."""

import itertools

from cloudburst.executor.pool import Pool
from cloudburst.executor.pool_events import (
    Beat,
    Command,
    Event,
    ExecutorGone,
    Fork,
    Forked,
    Ping,
    Pong,
    ReportDeath,
    StartZygote,
    Tick,
    ZygoteReady,
)


def gone(name: str, reason: str = "exit code 1") -> ExecutorGone:
    """It died by itself."""
    return ExecutorGone(name, reason, ordered=False)


def died(name: str, slot: int, reason: str = "exit code 1") -> ReportDeath:
    """A death that may be due to what the executor ran."""
    return ReportDeath(name, reason, slot, blameless=False)


class Commands(list[Command]):
    """Equal only to commands of the same kinds: as tuples, all that have no fields are equal."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, list)
        return [(type(item), item) for item in self] == [(type(item), item) for item in other]

    def __contains__(self, command: object) -> bool:
        return any(type(item) is type(command) and item == command for item in self)


class Story:
    """A pool, a clock that is moved by hand, and process numbers that are never used twice."""

    def __init__(self, wanted: int = 2, ceiling: int = 0) -> None:
        self.pool = Pool("h", wanted, ceiling)
        self.now = 0.0
        self.pids = itertools.count(100)

    def tell(self, event: Event) -> list[Command]:
        """What the pool wants done, heartbeats and pings left out."""
        commands = self.pool.handle(event, self.now)
        self.pool.validate()
        return Commands(c for c in commands if not isinstance(c, Beat | Ping))

    def run(self, commands: list[Command]) -> None:
        """Let what was forked start."""
        for command in commands:
            if isinstance(command, Fork):
                assert self.tell(Forked(command.name, next(self.pids))) == []

    def begin(self) -> None:
        """Until all executors run."""
        assert self.tell(Tick()) == [StartZygote()]
        self.run(self.tell(ZygoteReady()))
        assert self.pool.complete

    def next_forks(self, until: float) -> list[tuple[float, str]]:
        """When each executor is forked if the pool is woken just when it asks for it."""
        forks = []
        while self.pool.next_deadline() <= until:
            self.now = self.pool.next_deadline()
            for command in [*self.tell(Pong()), *self.tell(Tick())]:
                assert isinstance(command, Fork)
                forks.append((self.now, command.name))
        return forks
