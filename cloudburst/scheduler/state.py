"""The scheduler's decisions: events in, commands out. No socket, no clock, no store.

`SchedulerState.handle` is the only thing that changes the state. What is registered is the
business of `Registrar`, who is alive that of `Membership`, where work goes that of `placement`;
what remains here is the life of runs: accepted, queued, placed, finished, retried.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection

from cloudburst.core.messages import (
    PROTOCOL,
    Accepted,
    Call,
    ClusterStatus,
    DropDag,
    ExecutorDied,
    ExecutorReady,
    ExecutorUnknown,
    Finished,
    Forget,
    GetStatus,
    Heartbeat,
    Hello,
    Message,
    Rejected,
    Relay,
    Result,
    RunState,
    RunStatus,
    Watch,
    Welcome,
)
from cloudburst.core.wire import pack_call
from cloudburst.errors import CloudburstError, ExecutorDiedError, Overloaded
from cloudburst.kvs import keys
from cloudburst.kvs.base import AddMember, DropMember, RecordRun
from cloudburst.scheduler.acceptance import Acceptance
from cloudburst.scheduler.events import (
    Command,
    Event,
    Fail,
    PeerGone,
    Received,
    Restored,
    Send,
    Tick,
    Write,
    Written,
)
from cloudburst.scheduler.membership import Executor, Membership
from cloudburst.scheduler.placement import UNKNOWN, Home, ServiceTimes, place
from cloudburst.scheduler.queues import ANY, Queues
from cloudburst.scheduler.registrar import Registrar
from cloudburst.scheduler.run import MAX_ATTEMPTS, Run, new_run

_ENDED = {RunState.SUCCEEDED.value: RunState.SUCCEEDED, RunState.FAILED.value: RunState.FAILED}


class SchedulerState:
    """Everything a scheduler knows.

    Args:
        welcome: what clients are told of this cluster.
        max_waiting: runs that may wait; one more is refused.
        host_timeout: seconds of silence after which a host is lost.
        ttl: seconds that results and run records are kept.
    """

    def __init__(
        self, welcome: Welcome, *, max_waiting: int, host_timeout: float, ttl: float
    ) -> None:
        self.welcome = welcome
        self.max_waiting = max_waiting
        self.ttl = ttl
        self.tokens = itertools.count(1)
        self.registrar = Registrar(self.tokens)
        self.members = Membership(host_timeout)
        self.times = ServiceTimes()
        self.homes: dict[Home, str] = {}
        self.runs: dict[str, Run] = {}
        self.queues = Queues()
        self.acceptance = Acceptance()
        self.order = itertools.count(1)
        self.out: list[Command] = []

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take in one event and say what is to be done about it."""
        self.out = []
        match event:
            case Received(sender=sender, message=message):
                self._received(sender, message, now)
            case Written(token=token, outcome=outcome):
                self._written(token, outcome, now)
            case PeerGone(peer=peer):
                self._executors_gone([peer], "its connection ended", dead=False)
            case Restored():
                self._restored(event)
            case Tick():
                silent = self.members.silent(now)
                self._executors_gone(silent, "its host stopped answering", dead=False)
                self._announce(now)
        return self.out

    def next_deadline(self) -> float | None:
        """When to send the next `Tick`."""
        deadlines = (self.members.next_deadline(), self.acceptance.deadline)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def _received(self, sender: str, message: object, now: float) -> None:
        match message:
            case Call():
                self._call(sender, message)
            case Finished():
                self._finished(sender, message)
            case Watch(run_id=run_id):
                self._watch(sender, run_id)
            case Relay(client=client, run_id=run_id, failed=failed, frames=frames):
                self._send(client, Result(run_id, failed, frames))
            case Hello():
                self._send(sender, self.welcome)
            case ExecutorReady():
                self._executor_ready(message, now)
            case Heartbeat():
                self._heartbeat(message, now)
            case ExecutorDied(executor=name, reason=reason):
                self._executors_gone([name], reason, dead=True)
            case GetStatus(request=request):
                self._send(sender, self._status(request))
            case _:
                self.out += self.registrar.request(sender, message)

    def _send(self, to: str, message: Message) -> None:
        self.out.append(Send(to, message))

    # runs: from call to end

    def _call(self, client: str, call: Call) -> None:
        if call.run_id in self.runs:
            return
        try:
            if len(self.queues) >= self.max_waiting:
                raise Overloaded(
                    f"{self.max_waiting} runs are waiting for an executor; try again later"
                )
            run = self._new_run(client, call)
        except CloudburstError as error:
            self._send(client, Rejected(call.run_id, type(error).__name__, str(error)))
            return
        self._admit(run)
        if call.store:
            token = next(self.tokens)
            self.acceptance.writing(token, client, run.run_id)
            add = AddMember(keys.OPEN_RUNS, run.run_id)
            self.out.append(Write((add, self._record(run, pack_call(call, client))), token))
            run.recorded = True

    def _restored(self, event: Restored) -> None:
        try:
            run = self._new_run(event.client, event.call)
        except CloudburstError as error:
            self.out.append(Fail(event.client, event.call, event.epoch + 1, error))
            self.out.append(Write((DropMember(keys.OPEN_RUNS, event.call.run_id),)))
            return
        run.epoch, run.recorded = event.epoch, True
        self._admit(run)

    def _new_run(self, client: str, call: Call) -> Run:
        plan = self.registrar.registry.plan(call.target, is_dag=call.is_dag)
        run = self.runs[call.run_id] = new_run(next(self.order), client, call, plan)
        return run

    def _admit(self, run: Run) -> None:
        """Place the run now, or let it wait: for results it needs, or for room."""
        if run.call.references:
            run.waits_for = {key for key in run.call.references if key in self.runs}
            run.waits_for.discard(run.run_id)
        if run.waits_for:
            self.queues.park(run)
        else:
            self._enqueue(run)

    def _enqueue(self, run: Run) -> None:
        home = self.homes.get((run.plan.dag, 0), ANY) if run.plan.has_classes else ANY
        if self.queues.waiting(ANY) or self.queues.waiting(home):
            self.queues.add(run, home)
        else:
            self._place(run)

    def _place(self, run: Run) -> str | None:
        """Start the run, or queue it. Returns the queue, if it has to wait for room."""
        plan, executors = run.plan, self.members.executors
        expected = self.times.of(plan)
        if run.deaths:
            # It may kill this one too: let no other run die with it.
            expected = [UNKNOWN] * len(expected)
        placement = place(plan, executors, expected, self.homes)
        if placement.blocked_on is not None:
            self.queues.add(run, placement.blocked_on)
            return placement.blocked_on
        run.placed_on = placement.executors
        run.epoch += 1
        run.become(RunState.RUNNING)
        for executor, segments in run.shares().items():
            work = sum([expected[segment] for segment in segments])
            executor.take(run.run_id, run.epoch, work)
            executor.plans.add(plan.id)
        if plan.has_classes:
            self._settle(run)
        for name, start in run.starts(self.ttl):
            self._send(name, start)
        if run.recorded:
            self.out.append(Write((self._record(run),)))
        return None

    def _settle(self, run: Run) -> None:
        """Class steps of a DAG keep their instance: they come back to the same executor."""
        plan = run.plan
        if plan.dag not in self.registrar.registry.dags:
            return
        for number, segment in enumerate(plan.segments):
            if any(plan.steps[step].is_class for step in segment.steps):
                self.homes[plan.dag, number] = run.placed_on[number].name

    def _finished(self, sender: str, message: Finished) -> None:
        executor = self.members.executors.get(sender)
        if executor is None:
            return
        executor.release(message.run_id, message.epoch)
        run = self.runs.get(message.run_id)
        if run is not None and run.epoch == message.epoch and run.state is RunState.RUNNING:
            for segment, seconds in message.times:
                self.times.observe(run.plan.id, segment, seconds)
            state = _ENDED.get(message.state)
            if state is not None:
                self._end(run, state)
        self._serve(executor)

    def _end(self, run: Run, state: RunState) -> None:
        run.become(state)
        del self.runs[run.run_id]
        if run.recorded:
            self.out.append(Write((DropMember(keys.OPEN_RUNS, run.run_id),)))
        if state is RunState.FAILED:
            self._forget(run)
        if run.plan.has_classes and run.plan.dag not in self.registrar.registry.dags:
            for executor in self._present(run):
                self._send(executor.name, DropDag(run.plan.dag))
        for watcher in run.watchers:
            self._send(watcher, RunStatus(run.run_id, state))
        for waiting in self.queues.unpark(run.run_id):
            self._enqueue(waiting)

    def _forget(self, run: Run) -> None:
        """Executors that still hold a share of the run let go of it, and say so."""
        for executor in self._present(run):
            if run.run_id in executor.shares:
                self._send(executor.name, Forget(run.run_id, run.epoch))

    def _present(self, run: Run) -> list[Executor]:
        """The executors of the run that are not gone."""
        return [executor for executor in run.shares() if executor.name in self.members.executors]

    def _watch(self, client: str, run_id: str) -> None:
        run = self.runs.get(run_id)
        if run is not None:
            run.watchers.add(client)
        self._send(client, RunStatus(run_id, run.state if run else RunState.UNKNOWN))

    def _record(self, run: Run, call: bytes = b"") -> RecordRun:
        sink = run.placed_on[-1].name if run.placed_on else ""
        target = run.call.target
        return RecordRun(run.run_id, run.state, run.epoch, target, sink, call, self.ttl)

    def _serve(self, executor: Executor) -> None:
        """An executor has less to do: runs that wait for room may start."""
        while (run := self.queues.pop(executor.name)) is not None:
            if self._place(run) in (ANY, executor.name):
                return

    # members

    def _executor_ready(self, message: ExecutorReady, now: float) -> None:
        if message.protocol != PROTOCOL:
            return
        executor = self.members.ready(message.name, message.host, message.address, now)
        if executor is not None:
            self._serve(executor)

    def _heartbeat(self, message: Heartbeat, now: float) -> None:
        if message.protocol != PROTOCOL:
            return
        unknown, missing = self.members.heartbeat(message.host, message.executors, now)
        for name in unknown:
            self._send(name, ExecutorUnknown(name))
        self._executors_gone(missing, "its host no longer has it", dead=False)

    def _executors_gone(self, names: Collection[str], reason: str, *, dead: bool) -> None:
        removed = [self.members.remove(name, dead=dead) for name in names]
        lost = {executor for executor in removed if executor is not None}
        if not lost:
            return
        self.homes = {home: name for home, name in self.homes.items() if name not in names}
        # Also runs whose share there is done: its triggers may have died with the process.
        runs = [run for run in self.runs.values() if not lost.isdisjoint(run.placed_on)]
        again = [run for run in runs if self._survives(run, lost, reason)]
        again += [run for executor in lost for run in self.queues.abandon(executor.name)]
        for run in sorted(again, key=lambda run: run.order):
            self._enqueue(run)

    def _survives(self, run: Run, lost: Collection[Executor], reason: str) -> bool:
        """Executors died with shares of the run: it starts over, unless that was once too often."""
        run.deaths += 1
        if run.deaths < MAX_ATTEMPTS:
            self._forget(run)
            run.become(RunState.PENDING)
            run.placed_on = ()
            return True
        name = next(executor.name for executor in run.placed_on if executor in lost)
        error = ExecutorDiedError(
            f"run {run.run_id} of {run.call.target!r} was given up: its executor died "
            f"{run.deaths} times, the last time executor {name}: {reason}"
        )
        self.out.append(Fail(run.client, run.call, run.epoch, error))
        self._end(run, RunState.FAILED)
        return False

    # the rest

    def _written(self, token: int, outcome: object, now: float) -> None:
        if not self.acceptance.written(token, now, succeeded=isinstance(outcome, list)):
            self.out += self.registrar.written(token, outcome)
            self._tidy()

    def _announce(self, now: float) -> None:
        if self.acceptance.deadline is None or now < self.acceptance.deadline:
            return
        for client, run_ids in self.acceptance.announcements(self.runs):
            self._send(client, Accepted(run_ids))

    def _tidy(self) -> None:
        """Let go of what belongs to deleted DAGs and replaced plans."""
        registry = self.registrar.registry
        for home in [home for home in self.homes if home[0] not in registry.dags]:
            self._send(self.homes.pop(home), DropDag(home[0]))
        plans = {plan.id for plan in registry.plans()}
        plans.update(run.plan.id for run in self.runs.values())
        self.times.forget(plans)
        for executor in self.members.executors.values():
            executor.plans &= plans

    def validate(self) -> None:
        """Check the invariants; raises AssertionError if one does not hold."""
        self.members.validate()
        self.registrar.validate()
        self.queues.validate(self.runs)
        executors = self.members.executors
        for run_id, run in self.runs.items():
            assert run_id == run.run_id
            assert bool(run.placed_on) == (run.state is RunState.RUNNING)
            assert all(executors.get(executor.name) is executor for executor in run.placed_on)
        idle = [name for name, executor in executors.items() if not executor.shares]
        assert not any(self.queues.waiting(name) for name in idle)
        assert not (idle and self.queues.waiting(ANY))
        assert set(self.homes.values()) <= executors.keys()
        assert {dag for dag, _ in self.homes} <= self.registrar.registry.dags.keys()
        waiting = sum(run.state is RunState.PENDING for run in self.runs.values())
        assert len(self.queues) == waiting

    def _status(self, request: int) -> ClusterStatus:
        running = sum(run.state is RunState.RUNNING for run in self.runs.values())
        names = tuple(self.members.executors)
        return ClusterStatus(request, names, running, len(self.runs) - running)
