"""Runs on their way to executors: placed at once, or when there is room. No I/O, no clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from cloudburst.core.messages import Bounce, Knock, Replace, RunState, Stop
from cloudburst.scheduler.checks import Checks
from cloudburst.scheduler.membership import Executor, Membership
from cloudburst.scheduler.placement import UNKNOWN, Homes, ServiceTimes, place, settle
from cloudburst.scheduler.queues import ANY, Queues
from cloudburst.scheduler.registry import Registry
from cloudburst.scheduler.run import Run
from cloudburst.scheduler.turn import Turn

GIVE_WAY = 0.01
"""Seconds that runs wait behind a late one before they are taken back."""


class Placing:
    """Starts runs on executors.

    Args:
        turn: where commands go.
        members: the executors.
        registry: which DAGs there are; the instances of others are not kept.

    Attributes:
        queues: the runs that wait.
        times: how long segments take.
        homes: which executor keeps which instances.
        checks: asks after runs that take their time.
        deadline: when to call `take_back`; None if no run waits behind another.
    """

    def __init__(self, turn: Turn, members: Membership, registry: Registry) -> None:
        self.queues = Queues()
        self.times = ServiceTimes()
        self.homes: Homes = {}
        self.checks = Checks()
        self.deadline: float | None = None
        self._hopes: defaultdict[str, set[str]] = defaultdict(set)
        self._turn = turn
        self._members = members
        self._registry = registry

    def admit(self, run: Run, runs: Mapping[str, Run]) -> None:
        """Place the run now, or let it wait: for results it needs, or for room.

        Args:
            run: which.
            runs: all that have not ended, by id.
        """
        for key in run.call.references:
            if key not in runs:
                self._hopes[key].add(run.run_id)
            elif key != run.run_id:
                run.waits_for.add(key)
        if run.waits_for:
            self.queues.park(run)
        else:
            self.enqueue(run)

    def hoping_for(self, new: Run, runs: Mapping[str, Run]) -> list[Run]:
        """The runs that refer to this one, and were there before it; told once.

        Its call was lost with an earlier scheduler, and has been sent again.
        """
        hoping = [runs[run_id] for run_id in sorted(self._hopes.pop(new.run_id, ()))]
        may_wait = (RunState.PENDING, RunState.RUNNING)
        return [r for r in hoping if r.state in may_wait and r.run_id not in new.waits_for]

    def ended(self, run: Run) -> None:
        """What waited for nothing but its result may start."""
        for key in run.call.references:
            if key in self._hopes:
                self._hopes[key].discard(run.run_id)
                if not self._hopes[key]:
                    del self._hopes[key]
        for waiting in self.queues.unpark(run.run_id):
            self.enqueue(waiting)

    def enqueue(self, run: Run) -> None:
        """Place a run, unless others wait for the same room."""
        home = self.homes.get((run.plan.dag, 0), ANY) if run.plan.has_classes else ANY
        if self.queues.waiting(ANY) or self.queues.waiting(home):
            self.queues.add(run, home)
        else:
            self._place(run)

    def serve(self, executor: Executor) -> None:
        """An executor has less to do: runs that wait for room may start."""
        if executor.name not in self._members.executors:
            return
        while (run := self.queues.pop(executor.name)) is not None:
            if self._place(run) in (ANY, executor.name):
                return

    def withdraw(self, names: Collection[str]) -> list[Run]:
        """These executors get no more work. Returns the runs that waited for them."""
        for home in [home for home, name in self.homes.items() if name in names]:
            del self.homes[home]
        return [run for name in sorted(names) for run in self.queues.abandon(name)]

    def take_back(self) -> None:
        """Ask executors that are late for the runs that wait behind the one that runs."""
        now = self._turn.now
        self.deadline = None
        for executor in self._members.all():
            if len(executor.shares) < 2:
                continue
            self.deadline = now + GIVE_WAY
            if now - executor.since > GIVE_WAY and not executor.bounced:
                executor.bounced = True
                self._turn.send(executor.name, Bounce(executor.name))
                self._turn.send(executor.host, Knock(executor.name))

    def holders(self, run: Run) -> list[Executor]:
        """The executors that have a share of the run, and are not gone."""
        return [
            executor
            for executor in run.shares()
            if run.run_id in executor.shares and self._members.find(executor.name) is executor
        ]

    def stop(self, run: Run, state: RunState) -> None:
        """Executors that still hold a share of the run let go of it, and say so."""
        for executor in self.holders(run):
            self.stop_there(executor, Stop(run.run_id, run.epoch, state))

    def stop_there(self, executor: Executor, stop: Stop) -> None:
        """An executor lets go of a run, even if it runs user code."""
        self._turn.send(executor.name, stop)
        self._turn.send(executor.host, Knock(executor.name))

    def replace(self, run: Run) -> None:
        """Executors that did not stop in time are killed, if they still run its code."""
        reason = f"run {run.run_id} did not stop within {run.options.grace_period:g} seconds"
        for executor in self.holders(run):
            self._turn.send(executor.host, Replace(executor.name, run.run_id, reason))
        self.stop(run, run.stopping or run.state)

    def _place(self, run: Run) -> str | None:
        """Start the run, or queue it. Returns the queue, if it has to wait for room."""
        plan, executors = run.plan, self._members.executors
        expected = self.times.of(plan)
        if run.deaths:
            # It may kill this one too: let no other run die with it.
            expected = [UNKNOWN] * len(expected)
        placement = place(plan, executors, expected, self.homes, self._turn.now)
        if placement.blocked_on is not None:
            self.queues.add(run, placement.blocked_on)
            return placement.blocked_on
        run.placed_on = placement.executors
        run.epoch += 1
        now = run.started = self._turn.now
        run.become(RunState.RUNNING)
        self.checks.begin(now)
        for executor, segments in run.shares().items():
            work = sum([expected[segment] for segment in segments])
            if executor.shares and self.deadline is None:
                self.deadline = now + GIVE_WAY
            executor.take(run.run_id, run.epoch, work, now)
            executor.plans.add(plan.id)
        if plan.has_classes and plan.dag in self._registry.dags:
            settle(self.homes, plan, run.placed_on)
        for name, start in run.starts():
            self._turn.send(name, start)
        if run.recorded:
            self._turn.write(run.record())
        return None

    def validate(self, runs: Mapping[str, Run]) -> None:
        """Check that what is waited for may come, and that homes are there."""
        self.queues.validate(runs)
        assert all(hoping and hoping <= runs.keys() for hoping in self._hopes.values())
        assert self._hopes.keys().isdisjoint(runs)
        assert set(self.homes.values()) <= self._members.executors.keys()
        assert {dag for dag, _ in self.homes} <= self._registry.dags.keys()
