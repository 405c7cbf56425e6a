"""Runs that are to end before they are done: cancelled, or out of time. No I/O, no clock.

A run that waits ends at once. One that is under way becomes CANCELLING, its executors are told,
and it has ended when none of them holds a share of it any more.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloudburst.core.messages import ENDED, RunState
from cloudburst.scheduler.admission import Admission
from cloudburst.scheduler.alarms import Alarm, Alarms, Due
from cloudburst.scheduler.closing import Closing
from cloudburst.scheduler.endings import stop_reason
from cloudburst.scheduler.placing import Placing
from cloudburst.scheduler.run import Run
from cloudburst.scheduler.turn import Turn

KILL_AGAIN = 1.0
"""Seconds after which a process that was to be killed, and may not have been, is again."""


class Stopping:
    """Stops runs.

    Args:
        turn: where commands go.
        placing: knows which executors have shares of them.
        closing: ends them.
        alarms: when code that does not listen is to be killed.
        admission: the runs, and which of them were called by others.
        tokens: where the tokens of writes come from.
    """

    def __init__(  # noqa: PLR0917  what it works with, put together once
        self,
        turn: Turn,
        placing: Placing,
        closing: Closing,
        alarms: Alarms,
        admission: Admission,
        tokens: Iterator[int],
    ) -> None:
        self._turn = turn
        self._placing = placing
        self._closing = closing
        self._alarms = alarms
        self._admission = admission
        self._tokens = tokens
        self._written: dict[int, Run] = {}

    def stop(self, run: Run, state: RunState) -> None:
        """Cancel a run, or end it because its time is over."""
        if run.state is RunState.CANCELLING or run.state in ENDED:
            return
        self.children_of(run)
        if run.state is RunState.PENDING:
            self._placing.dequeue(run)
            self._closing.conclude(run, state, run.stop_error(state))
            return
        run.become(RunState.CANCELLING)
        run.stopping = state
        if run.call.store:
            # From here on no executor can commit an end of it.
            if not run.recorded:
                self._admission.record(run)
            token = next(self._tokens)
            self._written[token] = run
            self._turn.write(run.record(reason=stop_reason(run, state)), token=token)
        else:
            run.stop_is_sure = True  # its client takes no other end any more
        self._placing.stop(run, state)
        kill_at = self._turn.now + run.options.grace_period
        self._alarms.set(Alarm(Due.KILL, run.run_id), kill_at)
        self.check(run)

    def children_of(self, run: Run) -> None:
        """Nobody waits any more for what its code has called."""
        for run_id in sorted(self._admission.children.pop(run.run_id, ())):
            child = self._admission.runs.get(run_id)
            if child is not None:
                child.caller_ended = True
                self.stop(child, RunState.CANCELLED)

    def written(self, token: int, outcome: object) -> bool:
        """A write has ended. Returns whether it said that a run is to be stopped."""
        run = self._written.pop(token, None)
        if run is None:
            return False
        # If it has ended before, an executor's word of it is on its way here.
        run.stop_is_sure = isinstance(outcome, list) and bool(outcome[0])
        if run.run_id in self._admission.runs and run.stop_is_sure:
            self._closing.tell_watchers(run, run.sure_end)
        return True

    def check(self, run: Run) -> None:
        """If no executor holds a share any more, a CANCELLING run has ended."""
        if run.stopping is not None and not self._placing.holders(run):
            self._closing.conclude(run, run.stopping, run.stop_error(run.stopping))

    def kill(self, run: Run) -> None:
        """The grace period is over."""
        self._placing.replace(run)
        self._alarms.set(Alarm(Due.KILL, run.run_id), self._turn.now + KILL_AGAIN)
