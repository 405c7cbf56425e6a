"""The life of runs: admitted, started, given back, stopped, ended. No I/O, no clock.

`SchedulerState` says what happened; here is what follows for runs. How a run ends is decided in
one place: by the first commit in the KVS, or for runs that are not stored by the executor that
was there first. So a run that is to be cancelled may still succeed; once it is recorded as
CANCELLING, it cannot.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from cloudburst.core.messages import (
    ENDED,
    Finished,
    HandBack,
    Rejected,
    RunState,
    Standing,
    Start,
    Stop,
    Yield,
)
from cloudburst.kvs import keys
from cloudburst.kvs.base import AddMember
from cloudburst.scheduler.admission import Admission, too_deep
from cloudburst.scheduler.alarms import Alarm, Alarms, Due
from cloudburst.scheduler.closing import Closing
from cloudburst.scheduler.endings import stopping_of
from cloudburst.scheduler.events import Restored
from cloudburst.scheduler.membership import Executor, Membership
from cloudburst.scheduler.placing import Placing
from cloudburst.scheduler.policy import Preference
from cloudburst.scheduler.queues import ANY
from cloudburst.scheduler.registry import Registry
from cloudburst.scheduler.run import Run, first_epoch
from cloudburst.scheduler.stopping import Stopping
from cloudburst.scheduler.times import UNKNOWN
from cloudburst.scheduler.turn import Turn

REFUSED_TTL = 60.0
"""Seconds that the record of a run is kept that was not accepted."""


class Lifecycle:
    """The runs that have not ended.

    Args:
        turn: where commands go.
        members: the executors.
        registry: what can be called.
        tokens: where the tokens of writes come from.
        ttl: seconds that results and records are kept, if a call does not say otherwise.
        preference: which of several executors with room a run begins on.

    Attributes:
        runs: by id.
        admission: lets them in.
        placing: brings them to executors.
        closing: ends them.
        stopping: ends them before they are done.
    """

    def __init__(  # noqa: PLR0917  the scheduler's parts, put together once
        self,
        turn: Turn,
        members: Membership,
        registry: Registry,
        tokens: Iterator[int],
        ttl: float,
        preference: Preference,
    ) -> None:
        self.turn = turn
        self.members = members
        self.placing = Placing(turn, members, registry, preference)
        self.alarms = Alarms()
        self.admission = Admission(turn, registry, self.placing, self.alarms, tokens, ttl)
        self.runs = self.admission.runs
        self.closing = Closing(turn, registry, self.placing, self.alarms, self.admission, tokens)
        self.stopping = Stopping(
            turn, self.placing, self.closing, self.alarms, self.admission, tokens
        )

    # the beginning

    def accepted(self, token: int, outcome: object) -> bool:
        """A write has ended. Returns whether it was the record of a call."""
        succeeded = isinstance(outcome, list)
        written = self.admission.acceptance.written(token, self.turn.now, succeeded=succeeded)
        if written is None:
            return False
        run = self.runs.get(written)
        if run is None or run.state in ENDED:
            return True
        if not isinstance(outcome, list):
            refused = Rejected(run.run_id, type(outcome).__name__, f"not accepted: {outcome}")
            self.turn.send(run.client, refused)
            # It may have been written all the same, and only the answer was lost.
            self.turn.write(run.record()._replace(ttl=REFUSED_TTL))
            self.closing.drop(run)
        elif outcome[1] is False and run.state is RunState.PENDING:
            # It was sent again by a client that had not heard of its end. (Of one that is under
            # way, the executor was faster with the result, and its word is on the way here.)
            self.closing.drop(run)
        elif parked := run.parked():
            # Only now: what is listed, and of no recorded run, is deleted by a later scheduler.
            self.turn.write(*[AddMember(keys.PARKED, name) for name in parked])
        return True

    def restore(self, event: Restored) -> None:
        """Admit a run that an earlier scheduler accepted.

        Raises:
            CloudburstError: as `Admission.call`.
        """
        run = self.admission.new_run(event.client, event.call, event.age)
        run.epoch, run.recorded = first_epoch(self.admission.term, event.epoch), True
        run.hosts.add("")
        if event.state == RunState.CANCELLING:
            run.epoch += 1
            stopped = stopping_of(event, run.options)
            # Whoever called it starts again, too.
            run.caller_ended = bool(event.call.parent) and stopped is RunState.CANCELLED
            self.closing.conclude(run, stopped, run.stop_error(stopped))
        else:
            self.placing.admit(run, self.runs)
        self.hold_back(run.run_id)

    def hold_back(self, awaited: str) -> None:
        """Runs that refer to this one, but came before it, must not take all executors from it."""
        for run in self.placing.hoping_for(self.runs[awaited], self.runs):
            if run.state is RunState.RUNNING:
                self._take_back(run, f"run {awaited}, to which it refers, has not ended")
            elif not self.placing.dequeue(run):
                continue  # it is resting, and will look for itself
            run.waits_for.add(awaited)
            self.placing.queues.park(run)

    # what executors say

    def joined(self, executor: Executor, holds: Collection[tuple[str, int]]) -> None:
        """An executor is there. What an earlier scheduler gave it, this one has not."""
        for run_id, epoch in holds:
            self._end_there(executor, run_id, epoch)
        self.placing.checks.begin(self.turn.now)
        self.placing.serve(executor)

    def _end_there(self, executor: Executor, run_id: str, epoch: int) -> None:
        """An executor has what this scheduler has not given to it, or not any more."""
        if run_id not in executor.shares:
            executor.take(run_id, epoch, UNKNOWN, self.turn.now)
            self.placing.checks.begin(self.turn.now)
        run = self.runs.get(run_id)
        # One of which nothing is known may be near its end; it has until the next reminder.
        if run is not None:
            self.placing.stop_there(executor, Stop(run_id, epoch, run.state))

    def finished(self, executor: Executor, message: Finished) -> None:
        """An executor has done its share of a run, or dropped it."""
        executor.release(message.run_id, message.epoch, self.turn.now)
        run = self._current(message.run_id, message.epoch)
        if run is not None:
            for segment, seconds in message.times:
                self.placing.times.observe(run.plan.id, segment, seconds)
            if message.state in ENDED:
                self.closing.end(run, RunState(message.state))
                if message.state != RunState.SUCCEEDED:
                    self.stopping.children_of(run)
            elif run.state is RunState.CANCELLING:
                self.stopping.check(run)
            elif not self.placing.holders(run):
                # An executor took it for an echo of what has ended there. Perhaps it is one: the
                # KVS will say so before the pause is over.
                run.returned += 2
                self.start_again(run, "no executor had anything to do for it")
        self.placing.serve(executor)

    def handed_back(self, executor: Executor, message: HandBack) -> None:
        """An executor cannot do its share: the run starts again, after a pause."""
        run = self._current(message.run_id, message.epoch)
        if run is not None:
            run.raised += message.raised
            run.returned += not message.raised
            run.crowded += message.crowded
            if message.crowded:
                self.placing.times.crowding.add(run.plan.id)
        self._gives_back(executor, message.run_id, message.epoch, message.reason)
        self.placing.serve(executor)

    def undelivered(self, executor: Executor, start: Start) -> None:
        """A run did not get where it was sent to: it has not begun there."""
        self._gives_back(executor, start.run_id, start.epoch, "its executor was out of reach")

    def _gives_back(self, executor: Executor, run_id: str, epoch: int, reason: str) -> None:
        """An executor is done with a run, which is not done."""
        executor.release(run_id, epoch, self.turn.now)
        run = self._current(run_id, epoch)
        if run is not None and run.state is RunState.CANCELLING:
            self.stopping.check(run)
        elif run is not None:
            self.start_again(run, reason)

    def gave_way(self, executor: Executor, message: Yield) -> None:
        """A run has not begun where it was sent to: it is placed anew."""
        executor.release(message.run_id, message.epoch, executor.since)
        executor.bounced = True
        run = self._current(message.run_id, message.epoch)
        if run is not None and run.state is RunState.CANCELLING:
            self.stopping.check(run)
        elif run is not None:
            run.become(RunState.PENDING)
            run.placed_on = ()
            self.placing.enqueue(run)
        self.placing.serve(executor)

    def start_again(self, run: Run, reason: str) -> None:
        """Take a run back from its executors, and start it under the next epoch."""
        self._take_back(run, reason)
        if run.pause:
            self.alarms.set(Alarm(Due.AGAIN, run.run_id), self.turn.now + run.pause)
        else:
            self.placing.admit(run, self.runs)

    def _take_back(self, run: Run, reason: str) -> None:
        self.stopping.children_of(run)
        self.placing.stop(run, RunState.PENDING)
        run.become(RunState.PENDING)
        run.placed_on = ()
        if run.recorded:
            self.turn.write(run.record(reason=reason))

    def _current(self, run_id: str, epoch: int) -> Run | None:
        """The run, if that is the epoch that is under way."""
        run = self.runs.get(run_id)
        under_way = run is not None and run.epoch == epoch and bool(run.placed_on)
        return run if under_way else None

    # executors that are gone

    def lost(self, gone: Collection[Executor], reason: str, blamed: str | None) -> None:
        """Executors are gone: the runs that they had a share of start again.

        Args:
            gone: which.
            reason: why, in words.
            blamed: the run whose code ran at that time, if that is known; "" for none.
        """
        names = {executor.name for executor in gone}
        # Also runs whose share there is done: its triggers may have died with the process.
        hit = [r for r in self.runs.values() if any(e.name in names for e in r.placed_on)]
        waiting = self.placing.withdraw(names)
        for run in sorted([*hit, *waiting], key=lambda run: run.order):
            if run.state in ENDED:
                continue  # with its caller, a moment ago
            if not run.placed_on:
                self.placing.enqueue(run)
            elif run.state is RunState.CANCELLING:
                self.stopping.check(run)
            else:
                if blamed in (None, run.run_id):
                    run.deaths += 1
                self._survive(run, gone, reason)
        self.placing.serve_limited()

    def blame(self, run_id: str) -> None:
        """An executor that was taken from its runs before has died of this one."""
        run = self.runs.get(run_id)
        if run is not None:
            run.deaths += 1

    def leave(self, leaving: Collection[Executor]) -> None:
        """Executors finish what they have, and get no more."""
        for run in self.placing.withdraw({executor.name for executor in leaving}):
            self.placing.enqueue(run)

    def _survive(self, run: Run, gone: Collection[Executor], reason: str) -> None:
        """Start over, unless that was once too often."""
        if run.deaths < run.options.deaths_allowed:
            self.start_again(run, reason)
            return
        self.stopping.children_of(run)
        name = next(executor.name for executor in run.placed_on if executor in gone)
        self.closing.conclude(run, RunState.FAILED, run.death_error(name, reason))

    # time

    def ring(self) -> None:
        """Do what is due."""
        for alarm in self.alarms.take(self.turn.now):
            if alarm.due is Due.UNLIST:
                self.closing.unlist(alarm.run_id)
            else:
                self._ring(self.runs[alarm.run_id], alarm.due)
        checks, now = self.placing.checks, self.turn.now
        record_at = self.admission.acceptance.record_at
        if record_at is not None and now >= record_at:
            self.admission.record_late()
        if self.placing.deadline is not None and now >= self.placing.deadline:
            self.placing.take_back()
        grow_at = self.placing.scaling.deadline
        if grow_at is not None and now >= grow_at:
            self.placing.look_again()
            self._relieve()
        if checks.deadline is not None and now >= checks.deadline:
            self.turn.commands += checks.questions(self.runs.values(), now)
            self.turn.commands += checks.reminders(self.members.all(), self.runs, now)

    def _relieve(self) -> None:
        """If executors wait only for calls that wait for executors, one of these has to fail."""
        if not self.placing.scaling.is_stuck():
            return
        waiting = self.placing.queues.first(ANY, len(self.placing.queues))
        nested = [run for run in waiting if run.depth]
        if nested:
            run = min(nested, key=lambda run: run.rank)
            self.placing.dequeue(run)
            self.closing.conclude(run, RunState.FAILED, too_deep())

    def _ring(self, run: Run, due: Due) -> None:
        match due:
            case Due.LIMIT:
                self.stopping.stop(run, RunState.TIMED_OUT)
            case Due.KILL:
                self.stopping.kill(run)
            case Due.AGAIN:
                self.placing.admit(run, self.runs)
            case Due.COMMIT:
                self.closing.again(run)

    def standing(self, executor: Executor, answer: Standing) -> None:
        """An executor was asked after a run: one that stands still starts again.

        Or it speaks of another: because nothing has come for its share of that for long, or
        because that keeps it from what it was asked after. A message that was under way when an
        earlier scheduler died may have made it hold what is over.
        """
        run = self.runs.get(answer.run_id)
        if run is None or run.epoch > answer.epoch:
            if answer.active:
                self._end_there(executor, answer.run_id, answer.epoch)
            else:
                state = run.state if run else RunState.UNKNOWN
                self.placing.stop_there(executor, Stop(answer.run_id, answer.epoch, state))
            return
        if run is None or not self.placing.checks.is_lost(executor.name, answer):
            return
        if run.state is RunState.CANCELLING:
            self.placing.stop(run, run.stopping or run.state)
        elif run.state is RunState.RUNNING:
            run.returned += 1
            self.start_again(run, "a message of it was lost")

    def validate(self) -> None:
        """Check the invariants; raises AssertionError if one does not hold."""
        self.placing.validate(self.runs)
        for run_id, run in self.runs.items():
            assert run_id == run.run_id
            under_way = run.state in (RunState.RUNNING, RunState.CANCELLING)
            assert bool(run.placed_on) == under_way
            assert (run.state is RunState.CANCELLING) <= (run.stopping is not None)
            assert run.state is not RunState.CANCELLING or self.placing.holders(run)
            if run.state is RunState.RUNNING:
                present = [self.members.find(e.name) is e for e in run.placed_on]
                assert all(present[n] or not e.shares for n, e in enumerate(run.placed_on))
        called = [child for children in self.admission.children.values() for child in children]
        assert self.runs.keys() >= set(called)
        pending = [run for run in self.runs.values() if run.state is RunState.PENDING]
        resting = [run for run in pending if Alarm(Due.AGAIN, run.run_id) in self.alarms]
        assert len(self.placing.queues) == len(pending) - len(resting)
        assert len(self.closing.endings) == sum(run.state in ENDED for run in self.runs.values())
