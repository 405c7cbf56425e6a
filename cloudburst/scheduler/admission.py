"""How runs begin: made of calls, recorded, and queued. No I/O, no clock."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator

from cloudburst.core.messages import Accepted, Call, Rejected, RunState
from cloudburst.core.options import GRACE, RunOptions
from cloudburst.core.wire import pack_call
from cloudburst.errors import CallerEnded, CloudburstError, Overloaded, UsageError
from cloudburst.kvs import keys
from cloudburst.kvs.base import AddMember, Delete
from cloudburst.scheduler.acceptance import Acceptance
from cloudburst.scheduler.alarms import Alarm, Alarms, Due
from cloudburst.scheduler.placing import Placing
from cloudburst.scheduler.registry import Registry
from cloudburst.scheduler.run import Run, first_epoch, new_run, parked_of
from cloudburst.scheduler.turn import Turn


class Admission:
    """Lets calls in.

    Args:
        turn: where commands go.
        registry: what can be called.
        placing: brings runs to executors.
        alarms: for the limits of their time.
        tokens: where the tokens of writes come from.
        ttl: seconds that results and records are kept, if a call does not say otherwise.

    Attributes:
        runs: those that have not ended, by id.
        children: of each run, those that its code has called and that have not ended.
        acceptance: which of them clients are to be told of.
        defaults: options that nobody said anything of.
        term: that of this scheduler, see `cloudburst.scheduler.lease`.
    """

    def __init__(  # noqa: PLR0917  the scheduler's parts, put together once
        self,
        turn: Turn,
        registry: Registry,
        placing: Placing,
        alarms: Alarms,
        tokens: Iterator[int],
        ttl: float,
    ) -> None:
        self.runs: dict[str, Run] = {}
        self.children: defaultdict[str, set[str]] = defaultdict(set)
        self.acceptance = Acceptance()
        self.term = 0
        self.defaults = RunOptions(timeout=0.0, grace_period=GRACE, result_ttl=ttl)
        self._turn = turn
        self._registry = registry
        self._placing = placing
        self._alarms = alarms
        self._tokens = tokens
        self._order = itertools.count(1)

    def call(self, client: str, call: Call) -> None:
        """Admit a run, to be recorded if it is stored.

        Raises:
            CloudburstError: what it calls is not there, or has no such step.
            Overloaded: no executor could ever run it.
        """
        parent = self.runs.get(call.parent)
        if parent is not None and parent.state is not RunState.RUNNING:
            raise CallerEnded(f"run {call.parent}, which calls it, has ended or starts again")
        if call.parent and self._placing.scaling.is_exhausted():
            raise too_deep()
        if call.warm:
            self._check_replicas(call)
        run = self.new_run(client, call)
        self._placing.admit(run, self.runs)
        if call.store:
            self.acceptance.admitted(run, self._turn.now)

    def _check_replicas(self, call: Call) -> None:
        plan = self._registry.plan(call.target, is_dag=call.is_dag)
        replicas = self._registry.replicas(plan.dag) if plan.has_classes else call.warm
        if call.warm > replicas:
            raise UsageError(
                f"DAG {call.target!r} keeps {replicas} instance(s) of its classes: register it "
                f"with replicas={call.warm} to have so many"
            )

    def reject(self, client: str, call: Call, error: CloudburstError) -> None:
        """Refuse a call, and delete what it has put into the KVS."""
        self._turn.send(client, Rejected(call.run_id, type(error).__name__, str(error)))
        for name in parked_of(call):
            self._turn.write(Delete(keys.object_key(name)))

    def confirm(self, client: str, run: Run) -> None:
        """A client has sent a call again: it may not have heard that it was accepted."""
        if run.recorded and not self.acceptance.is_writing(run.run_id):
            self._turn.send(client, Accepted((run.run_id,)))

    def record_late(self) -> None:
        """Record what has not ended in the meantime. To be called at ``acceptance.record_at``."""
        for run in self.acceptance.to_record(self._turn.now):
            self.record(run)

    def record(self, run: Run) -> None:
        """Record a run, from which a later scheduler could start it again."""
        run.recorded = True
        token = next(self._tokens)
        self.acceptance.writing(token, run.client, run.run_id)
        add = AddMember(keys.OPEN_RUNS, run.run_id)
        self._turn.write(add, run.record(call=pack_call(run.call, run.client)), token=token)

    def new_run(self, client: str, call: Call, age: float = 0.0) -> Run:
        """A run of a call that was made ``age`` seconds ago.

        Raises:
            CloudburstError: what it calls is not there, or has no such step.
        """
        plan = self._registry.plan(call.target, is_dag=call.is_dag)
        said = self._registry.options_of(call.target, is_dag=call.is_dag)
        run = new_run(next(self._order), client, call, plan, said.over(self.defaults))
        run.epoch = first_epoch(self.term)
        run.called = self._turn.now
        if call.parent:
            parent = self.runs.get(call.parent)
            run.depth = 1 + (parent.depth if parent is not None else 0)
            self.children[call.parent].add(run.run_id)
        self.runs[call.run_id] = run
        if run.options.timeout:
            limit = self._turn.now + run.options.timeout - age
            self._alarms.set(Alarm(Due.LIMIT, run.run_id), limit)
        return run


def too_deep() -> Overloaded:
    """What is said to a call that could only ever run if others ended that wait for it."""
    return Overloaded(
        "every executor waits for calls of its own, and there cannot be more executors: "
        "functions call each other too deep, or too many at a time"
    )
