"""How runs end: by an executor's word, or by the scheduler's own. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterator

from cloudburst.core.messages import DropDag, RunState, RunStatus
from cloudburst.errors import CloudburstError
from cloudburst.kvs import keys
from cloudburst.kvs.base import Commit, Delete, DropMember
from cloudburst.scheduler.admission import Admission
from cloudburst.scheduler.alarms import Alarm, Alarms, Due
from cloudburst.scheduler.endings import Endings, ending_of
from cloudburst.scheduler.placing import Placing
from cloudburst.scheduler.registry import Registry
from cloudburst.scheduler.run import Run
from cloudburst.scheduler.turn import Turn

COMMIT_AGAIN = 1.0
"""Seconds after which the store is told again how a run ended, if it refused."""


class Closing:
    """Ends runs, and lets go of what was kept for them.

    Args:
        turn: where commands go.
        registry: which DAGs there are; the instances of others are not kept.
        placing: lets what waited for the result start.
        alarms: the runs' own are cleared.
        admission: has the runs that have not ended, and who called whom.
        tokens: where the tokens of writes come from.

    Attributes:
        endings: the ends that are being written.
    """

    def __init__(  # noqa: PLR0917  the scheduler's parts, put together once
        self,
        turn: Turn,
        registry: Registry,
        placing: Placing,
        alarms: Alarms,
        admission: Admission,
        tokens: Iterator[int],
    ) -> None:
        self.endings = Endings(tokens)
        self._tokens = tokens
        self._unlisting: dict[int, str] = {}
        self._turn = turn
        self._registry = registry
        self._placing = placing
        self._alarms = alarms
        self._runs = admission.runs
        self._children = admission.children

    def conclude(self, run: Run, state: RunState, error: CloudburstError) -> None:
        """End a run that no executor will end. Of a stored run the KVS must say so first."""
        self._placing.stop(run, state)
        self._drop_instances(run)
        self._alarms.clear(run.run_id)
        run.become(state)
        run.placed_on = ()
        ending = ending_of(run, error)
        if run.call.store:
            self._turn.commands.append(self.endings.commit(ending))
        else:
            self._turn.send(run.client, ending.result())
            self._forget(run, state)

    def again(self, run: Run) -> None:
        """Write an end once more that the store had refused."""
        self._turn.commands.append(self.endings.again(run.run_id))

    def unlist(self, run_id: str) -> None:
        """A run is not open any more: the store's list of these must not grow for ever."""
        token = next(self._tokens)
        self._unlisting[token] = run_id
        self._turn.write(DropMember(keys.OPEN_RUNS, run_id), token=token)

    def _unlisted(self, token: int, outcome: object) -> bool:
        run_id = self._unlisting.pop(token, None)
        if run_id is None:
            return False
        if not isinstance(outcome, list):
            self._alarms.set(Alarm(Due.UNLIST, run_id), self._turn.now + COMMIT_AGAIN)
        return True

    def committed(self, token: int, outcome: object) -> bool:
        """A write has ended. Returns whether it was the end of a run."""
        if self._unlisted(token, outcome):
            return True
        written = self.endings.written(token, outcome)
        if written is None:
            return False
        ending, commit = written
        if commit is None:
            again = Alarm(Due.COMMIT, ending.run.run_id)
            self._alarms.set(again, self._turn.now + COMMIT_AGAIN)
            return True
        # Only now: had it been dropped without an end, nobody would ever start it again.
        self.unlist(ending.run.run_id)
        # Of those that were not the first, the one that was has told the client.
        run, stored = ending.run, commit is Commit.STORED
        if stored:
            self._turn.send(run.client, ending.result())
        self._forget(run, run.state if stored else RunState.UNKNOWN)
        return True

    def drop(self, run: Run) -> None:
        """The run is not this scheduler's: it was not accepted, or has ended before."""
        self._placing.stop(run, RunState.UNKNOWN)
        self._placing.dequeue(run)
        run.watchers.add(run.client)
        run.become(RunState.FAILED)
        self.unlist(run.run_id)
        self._forget(run, run.state)

    def end(self, run: Run, state: RunState) -> None:
        """An executor has ended a run."""
        run.become(state)
        if run.recorded:
            self.unlist(run.run_id)
        if state is not RunState.SUCCEEDED or run.plan.has_first_of:
            self._placing.stop(run, state)
        self._forget(run, state)

    def _forget(self, run: Run, told: RunState) -> None:
        del self._runs[run.run_id]
        self._forget_child(run)
        self._alarms.clear(run.run_id)
        self._drop_instances(run)
        for name in run.parked():
            self._turn.write(Delete(keys.object_key(name)), DropMember(keys.PARKED, name))
        self.tell_watchers(run, told)
        self._placing.ended(run)

    def _forget_child(self, run: Run) -> None:
        siblings = self._children.get(run.call.parent)
        if siblings is not None:
            siblings.discard(run.run_id)
            if not siblings:
                del self._children[run.call.parent]

    def tell_watchers(self, run: Run, state: RunState) -> None:
        """Tell those who asked how the run stands."""
        for watcher in sorted(run.watchers):
            self._turn.send(watcher, RunStatus(run.run_id, state))

    def _drop_instances(self, run: Run) -> None:
        """Of a DAG that was deleted meanwhile, the run may have made new ones."""
        if run.plan.has_classes and run.plan.dag not in self._registry.dags:
            for executor in run.shares():
                self._turn.send(executor.name, DropDag(run.plan.dag))
