"""Finding runs that stand still because a message was lost. No I/O, no clock.

A message is lost only if a connection breaks at the wrong moment. Then nobody works on the run,
and nobody knows: so the executors of runs that take their time are asked now and then. A run is
lost if twice in a row all of them say that they have nothing to do for it (once could be while a
trigger is under way).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from cloudburst.core.hosts import Knock, Replace
from cloudburst.core.messages import Probe, RunState, Standing, Stop
from cloudburst.scheduler.events import Send
from cloudburst.scheduler.membership import Executor
from cloudburst.scheduler.run import Run

CHECK_EVERY = 1.0
"""Seconds between two questions."""

IDLE_ROUNDS = 2
"""Rounds of answers without any activity after which a run is lost."""

KNOCK_AFTER = 3
"""Rounds without an answer after which user code is interrupted, once, for it to be given."""

REMINDERS = 5
"""Times that an executor is told that a run is over, before its process is replaced."""


class Checks:
    """Asks after the runs that are under way for longer than `CHECK_EVERY`.

    Attributes:
        deadline: when to ask next; None while nothing runs.
    """

    def __init__(self) -> None:
        self.deadline: float | None = None
        self._asked: dict[str, _Round] = {}
        self._reminded: dict[tuple[str, str, int], int] = {}

    def begin(self, now: float) -> None:
        """Something runs now."""
        if self.deadline is None:
            self.deadline = now + CHECK_EVERY

    def questions(self, runs: Iterable[Run], now: float) -> Iterator[Send]:
        """Whom to ask. To be called at the deadline."""
        asked, self._asked = self._asked, {}
        self.deadline = None
        for run in runs:
            if run.state not in (RunState.RUNNING, RunState.CANCELLING):
                continue
            self.deadline = now + CHECK_EVERY
            if run.started > now - CHECK_EVERY:
                continue
            executors = _holders(run)
            this = _Round(run.epoch, {e.name for e in executors})
            before = asked.get(run.run_id)
            if before is not None and before.epoch == run.epoch:
                this.idle = before.idle
                this.unheard = before.unheard + bool(before.silent)
            self._asked[run.run_id] = this
            for executor in executors:
                yield Send(executor.name, Probe(run.run_id, run.epoch))
                if this.unheard == KNOCK_AFTER:
                    # Its code may be of a run that nobody here knows of, and never end.
                    yield Send(executor.host, Knock(executor.name))

    def reminders(
        self, executors: Iterable[Executor], runs: Mapping[str, Run], now: float
    ) -> Iterator[Send]:
        """Executors that hold what is over have not heard of it, or were not heard.

        Or their code does not listen.
        """
        before, self._reminded = self._reminded, {}
        for executor in executors:
            for run_id, (epoch, _) in executor.shares.items():
                run = runs.get(run_id)
                if run is None or run.epoch != epoch or not run.placed_on:
                    self.begin(now)
                    key = (executor.name, run_id, epoch)
                    times = self._reminded[key] = before.get(key, 0) + 1
                    state = run.state if run else RunState.UNKNOWN
                    yield Send(executor.name, Stop(run_id, epoch, state))
                    yield Send(executor.host, Knock(executor.name))
                    if times > REMINDERS:
                        reason = f"run {run_id}, which is over, did not stop"
                        yield Send(executor.host, Replace(executor.name, run_id, reason))

    def is_lost(self, sender: str, answer: Standing) -> bool:
        """Take in an answer. Returns whether the run stands still."""
        asked = self._asked.get(answer.run_id)
        if asked is None or asked.epoch != answer.epoch:
            return False
        if answer.active:
            asked.idle = 0
            asked.silent.clear()
            return False
        if sender not in asked.silent:
            return False
        asked.silent.discard(sender)
        if asked.silent:
            return False
        asked.idle += 1
        return asked.idle >= IDLE_ROUNDS


class _Round:
    """One round of questions about a run.

    Attributes:
        silent: those who have not answered.
        idle: rounds in a row in which nobody had anything to do, this one included.
        unheard: rounds before this one in which somebody did not answer.
    """

    __slots__ = ("epoch", "idle", "silent", "unheard")

    def __init__(self, epoch: int, silent: set[str]) -> None:
        self.epoch = epoch
        self.silent = silent
        self.idle = self.unheard = 0


def _holders(run: Run) -> list[Executor]:
    """The executors that have not said that their share is done."""
    return [executor for executor in run.shares() if run.run_id in executor.shares]
