"""The scheduler's decisions: events in, commands out. No socket, no clock, no store.

`SchedulerState.handle` is the only thing that changes the state. What follows for runs is the
business of `Lifecycle`, what is registered that of `Registrar`, who is alive that of
`Membership`; what remains here is to tell them what happened.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection

from cloudburst.core.hosts import (
    NOBODY,
    Drained,
    Draining,
    ExecutorDied,
    Fence,
    Heartbeat,
    Knock,
    Recount,
)
from cloudburst.core.messages import (
    PROTOCOL,
    Accepted,
    Blocked,
    Call,
    Cancel,
    ExecutorReady,
    ExecutorUnknown,
    Finished,
    HandBack,
    Hello,
    Relay,
    Result,
    RunState,
    RunStatus,
    Standing,
    Start,
    Watch,
    Welcome,
    Yield,
)
from cloudburst.core.requests import ClusterStatus, GetStatus
from cloudburst.errors import CloudburstError, Overloaded
from cloudburst.scheduler.endings import orphan_end
from cloudburst.scheduler.events import (
    Command,
    Event,
    Received,
    Restored,
    Tick,
    Undelivered,
    Written,
)
from cloudburst.scheduler.lifecycle import Lifecycle
from cloudburst.scheduler.membership import Membership
from cloudburst.scheduler.policy import Policy, Preference
from cloudburst.scheduler.queues import ANY, NEEDS, needed_in
from cloudburst.scheduler.registrar import Registrar
from cloudburst.scheduler.run import Run
from cloudburst.scheduler.turn import Turn


class SchedulerState:
    """Everything a scheduler knows.

    Args:
        welcome: what clients are told of this cluster.
        max_waiting: runs that may wait; one more is refused.
        host_timeout: seconds of silence after which a host is lost.
        ttl: seconds that results and run records are kept, if a call does not say otherwise.
        policy: which of several executors with room a run begins on.
        resources: what hosts are known to have before they are heard of.
    """

    def __init__(
        self,
        welcome: Welcome,
        *,
        max_waiting: int,
        host_timeout: float,
        ttl: float,
        policy: Policy = Policy.LOCALITY,
        resources: tuple[str, ...] = (),
    ) -> None:
        self.welcome = welcome
        self.max_waiting = max_waiting
        self.tokens = itertools.count(1)
        self.members = Membership(host_timeout, resources)
        self.registrar = Registrar(self.tokens, self.members.resources)
        self.turn = Turn()
        registry = self.registrar.registry
        preference = Preference(policy)
        self.life = Lifecycle(self.turn, self.members, registry, self.tokens, ttl, preference)

    def begin(self, term: int) -> None:
        """This is the scheduler number so much of the store. To be called before all events."""
        self.life.admission.term = term

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take in one event and say what is to be done about it."""
        self.turn.now = now
        match event:
            case Received(sender=sender, message=message):
                self._received(sender, message, now)
            case Written(token=token, outcome=outcome):
                self._written(token, outcome)
            case Undelivered(to=to, message=message):
                self._undelivered(to, message)
            case Restored():
                self._restored(event)
            case Tick():
                self._tick(now)
        return self.turn.end()

    def next_deadline(self) -> float | None:
        """When to send the next `Tick`."""
        life = self.life
        deadlines = (
            self.members.next_deadline(),
            life.admission.acceptance.record_at,
            life.admission.acceptance.deadline,
            life.placing.deadline,
            life.placing.scaling.deadline,
            life.placing.checks.deadline,
            life.alarms.next_deadline(),
        )
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def _received(self, sender: str, message: object, now: float) -> None:
        match message:
            case Call():
                self._call(sender, message)
            case Finished() | HandBack() | Yield() | Standing() | Blocked():
                self._from_executor(sender, message)
            case Watch(run_id=run_id):
                self._watch(sender, run_id)
            case Cancel(run_id=run_id):
                self._cancel(sender, run_id)
            case Relay(client=client):
                self.turn.send(client, Result(*message[1:]))
            case Hello():
                self.turn.send(sender, self.welcome)
            # Executors and hosts speak for themselves: runs given to a name that nobody bears, or
            # taken from one that lives, would be upset by a single stray message.
            case ExecutorReady(name=name) if name == sender:
                self._executor_ready(message, now)
            case Heartbeat(host=host) if host == sender:
                self._heartbeat(sender, message, now)
            case ExecutorDied(host=host) if host == sender:
                self._executor_died(message)
            case Draining(host=host) if host == sender:
                self._drain(host)
            case GetStatus(request=request):
                self.turn.send(sender, self._status(request))
            case _:
                self.turn.commands += self.registrar.request(sender, message)

    # clients

    def _call(self, client: str, call: Call) -> None:
        known = self.life.runs.get(call.run_id)
        if known is not None:
            self.life.admission.confirm(client, known)
            return
        try:
            if self._is_full():
                raise Overloaded(
                    f"{self.max_waiting} runs are waiting for an executor; try again later"
                )
            self.life.admission.call(client, call)
            self.life.hold_back(call.run_id)
        except CloudburstError as error:
            self.life.admission.reject(client, call, error)

    def _is_full(self) -> bool:
        """Whether enough runs wait, in a queue or between two attempts."""
        if len(self.life.runs) < self.max_waiting:
            return False
        held = sum(len(executor.shares) for executor in self.members.all())
        return len(self.life.runs) - held >= self.max_waiting

    def _restored(self, event: Restored) -> None:
        try:
            self.life.restore(event)
        except CloudburstError as error:
            end = orphan_end(event, error, self.life.admission.defaults)
            self.turn.commands.append(end)

    def _watch(self, client: str, run_id: str) -> None:
        run = self.life.runs.get(run_id)
        if run is None:
            self.turn.send(client, RunStatus(run_id, RunState.UNKNOWN))
            return
        run.watchers.add(client)
        self.turn.send(client, RunStatus(run_id, run.told))

    def _cancel(self, client: str, run_id: str) -> None:
        run = self.life.runs.get(run_id)
        if run is None:
            self.turn.send(client, RunStatus(run_id, RunState.UNKNOWN))
            return
        run.watchers.add(client)
        self.life.stopping.stop(run, RunState.CANCELLED)
        # Otherwise it is told once it is sure, or how the run has ended.
        if run_id in self.life.runs and run.stop_is_sure:
            self.turn.send(client, RunStatus(run_id, run.sure_end))

    def _status(self, request: int) -> ClusterStatus:
        runs = self.life.runs.values()
        running = sum(bool(run.placed_on) for run in runs)
        executors = self.members.executors.values()
        return ClusterStatus(
            request=request,
            executors=tuple(executor.name for executor in executors),
            running=running,
            waiting=len(runs) - running,
            hosts=tuple(executor.host for executor in executors),
            utilisations=tuple(executor.utilisation for executor in executors),
        )

    # executors and hosts

    def _from_executor(
        self, sender: str, message: Finished | HandBack | Yield | Standing | Blocked
    ) -> None:
        executor = self.members.find(sender)
        if executor is None:
            return
        match message:
            case Finished():
                self.life.finished(executor, message)
            case HandBack():
                self.life.handed_back(executor, message)
            case Yield():
                self.life.gave_way(executor, message)
            case Standing():
                self.life.standing(executor, message)
            case Blocked():
                self.life.placing.blocked(executor, message)
        if executor.host in self.members.draining:
            self._tell_drained()

    def _executor_ready(self, message: ExecutorReady, now: float) -> None:
        if message.protocol != PROTOCOL:
            return
        name, host, address, resources = *message[1:4], message.resources
        executor = self.members.ready(name, host, address, now, resources)
        if executor is not None:
            self.life.joined(executor, message.holds)

    def _heartbeat(self, sender: str, message: Heartbeat, now: float) -> None:
        if message.protocol != PROTOCOL:
            return
        heard = self.members.heartbeat(message, now)
        for name in heard.unknown:
            self.turn.send(name, ExecutorUnknown(name))
            self.turn.send(sender, Knock(name))
        self._executors_gone(heard.missing, "its host no longer has it", dead=False)
        self._executors_gone(heard.cut_off, "its connection ended", dead=False, blamed=NOBODY)
        if not self.life.placing.holdings.hear(sender, message.changes):
            self.turn.send(sender, Recount(message.number))
        self.life.placing.retire(message.host)
        self.life.placing.settle_more()
        # In any case an answer: the host counts on hearing from somebody.
        self.turn.send(sender, Fence(self.members.to_replace(message.executors)))

    def _executor_died(self, message: ExecutorDied) -> None:
        name, running = message.executor, message.running
        if self.members.find(name) is None and name not in self.members.gone:
            self.life.blame(running)
        self._executors_gone([name], message.reason, dead=True, blamed=running or None)

    def _executors_gone(
        self, names: Collection[str], reason: str, *, dead: bool, blamed: str | None = None
    ) -> None:
        removed = [self.members.remove(name, dead=dead) for name in names]
        # What one that was let go has had to say of runs, it had said long before.
        gone = {executor for executor in removed if executor and not executor.retired}
        if gone:
            self.life.lost(gone, reason, blamed)
        if any(removed):
            self._tell_drained()

    def _undelivered(self, name: str, message: object) -> None:
        """If an executor is dead, its host is about to say of what; meanwhile it gets no more."""
        executor = self.members.find(name)
        if executor is None:
            return
        self.members.lose_touch(executor)
        self.life.leave([executor])
        if isinstance(message, Start):
            self.life.undelivered(executor, message)
        if not executor.shares:
            self._executors_gone([name], "its connection ended", dead=False, blamed=NOBODY)

    def _drain(self, host: str) -> None:
        leaving = self.members.drain(host, self.turn.now)
        self.life.leave(leaving)
        self._tell_drained()

    def _tell_drained(self) -> None:
        for host in self.members.drained():
            self.turn.send(host, Drained(host))

    # the rest

    def _tick(self, now: float) -> None:
        silent = self.members.silent(now)
        self._executors_gone(silent, "its host stopped answering", dead=False, blamed=NOBODY)
        self.life.placing.holdings.keep(self.members.hosts)
        self._announce(now)
        self.life.ring()

    def _written(self, token: int, outcome: object) -> None:
        if self.life.accepted(token, outcome):
            return
        stopping, closing = self.life.stopping, self.life.closing
        if not (stopping.written(token, outcome) or closing.committed(token, outcome)):
            self.turn.commands += self.registrar.written(token, outcome)
            self._tidy()

    def _announce(self, now: float) -> None:
        acceptance = self.life.admission.acceptance
        if acceptance.deadline is None or now < acceptance.deadline:
            return
        for client, run_ids in acceptance.announcements(self.life.runs):
            self.turn.send(client, Accepted(run_ids))

    def _tidy(self) -> None:
        """Let go of what belongs to deleted or changed DAGs and replaced plans."""
        registry = self.registrar.registry
        self.life.placing.drop_instances()
        self.life.placing.serve_limited()  # there may be more of them now
        plans = {plan.id for plan in registry.plans()}
        plans.update(run.plan.id for run in self.life.runs.values())
        self.life.placing.times.forget(plans)
        for executor in self.members.all():
            executor.plans &= plans

    def validate(self) -> None:
        """Check the invariants; raises AssertionError if one does not hold."""
        self.members.validate()
        self.registrar.validate()
        self.life.validate()
        executors, queues = self.members.executors, self.life.placing.queues
        idle = [executor for executor in executors.values() if not executor.shares]
        for queue in (ANY, *queues.waits_in(NEEDS)):
            # What needs several executors at once may wait for them.
            waiting = queues.first(queue, len(queues))
            could = any(executor.has(needed_in(queue)) for executor in idle)
            assert not (could and waiting and all(map(_needs_one, waiting)))
        assert not self.turn.commands


def _needs_one(run: Run) -> bool:
    return len(run.plan.segments) == 1 and not run.plan.has_classes
