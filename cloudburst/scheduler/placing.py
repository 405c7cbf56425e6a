"""Runs on their way to executors: placed at once, or when there is room. No I/O, no clock."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from cloudburst.core.hosts import Knock, Replace
from cloudburst.core.messages import Blocked, Bounce, DropDag, RunState, Stop
from cloudburst.scheduler.checks import Checks
from cloudburst.scheduler.foresight import Foresight
from cloudburst.scheduler.holdings import Holdings
from cloudburst.scheduler.homes import Homes
from cloudburst.scheduler.limits import Limits, queue_of
from cloudburst.scheduler.membership import Executor, Membership
from cloudburst.scheduler.outlook import Outlook
from cloudburst.scheduler.placement import place
from cloudburst.scheduler.policy import Preference
from cloudburst.scheduler.queues import (
    ANY,
    HOME,
    LIMIT,
    NEEDS,
    SOME,
    Queues,
    needed_in,
    queue_for,
    some_of,
)
from cloudburst.scheduler.registry import Registry
from cloudburst.scheduler.run import Run
from cloudburst.scheduler.scaling import Scaling
from cloudburst.scheduler.times import ServiceTimes
from cloudburst.scheduler.turn import Turn

GIVE_WAY = 0.01
"""Seconds that runs wait behind a late one before they are taken back."""

ASK_BLOCKED = 0.1
"""Seconds after which a blocked executor is asked again for what waits behind."""


class Placing:
    """Starts runs on executors.

    Args:
        turn: where commands go.
        members: the executors.
        registry: which DAGs there are; the instances of others are not kept.
        preference: which of several executors with room a run begins on.

    Attributes:
        queues: the runs that wait.
        times: how long segments take.
        homes: which executors keep which instances.
        checks: asks after runs that take their time.
        limits: counts the runs of functions that are limited.
        scaling: sees to it that there are enough executors.
        holdings: what hosts have in their caches.
        outlook: says what runs have to choose from.
        foresight: has hosts fetch what runs will need.
        deadline: when to call `take_back`; None if no run waits behind another.
    """

    def __init__(
        self, turn: Turn, members: Membership, registry: Registry, preference: Preference
    ) -> None:
        self.queues = Queues()
        self.times = ServiceTimes()
        self.homes = Homes()
        self.checks = Checks()
        self.limits = Limits(members, registry)
        self.scaling = Scaling(turn, members, self.queues, self.times)
        self.holdings = Holdings()
        self.outlook = Outlook(
            members,
            registry,
            self.homes,
            self.holdings,
            self.limits,
            self.scaling,
            self.times,
            preference,
        )
        self.foresight = Foresight(turn, members, self.homes, self.holdings)
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
        if not self.queues.waits_for_room:
            self._place(run)
            return
        for function in self.limits.of(run.plan):
            if self.queues.waiting(queue_of(function.name)):
                self.queues.add(run, queue_of(function.name))
                return
        queue = self._queue_of(run)
        if not (self.queues.waiting(ANY) or self.queues.waiting(queue)):
            self._place(run)
            return
        self._queue(run, queue)
        if queue != ANY:  # those that wait for anybody may wait for others
            for executor in list(self._members.executors.values()):
                if not executor.shares and queue in self._serves(executor):
                    self.serve(executor)

    def _queue_of(self, run: Run) -> str:
        """Where others wait that a run must not overtake."""
        plan = run.plan
        if self.homes.of(plan, 0) and not run.call.warm:
            return HOME + plan.dag
        needs = plan.head(0).needs if plan.needs else ""
        return self._own_queue(run, queue_for(needs))

    def _own_queue(self, run: Run, queue: str) -> str:
        """Where a run waits for what others wait for in that queue."""
        if queue.startswith(HOME):
            return queue
        plan = run.plan
        if run.call.warm:  # not for those that have its code already
            return some_of(needed_in(queue), f"warm {plan.target}")
        if any(function.max_per_host for function in self.limits.of(plan)):
            return some_of(needed_in(queue), plan.target)
        return queue

    def serve(self, executor: Executor) -> None:
        """An executor has less to do: runs that wait for room may start."""
        if not self.queues.waits_for_room:
            return
        self.serve_limited()
        if executor.name not in self._members.executors:
            return
        served = self._serves(executor)
        while (run := self.queues.pop(served)) is not None:
            blocked_on = self._place(run)
            # The eldest waits for more than this one: what others need may be here all the same.
            if blocked_on in served:
                served.remove(blocked_on)
        if self.foresight.has_more:
            self.foresight.go_on()

    def _serves(self, executor: Executor) -> list[str]:
        """The queues of runs that room on an executor may serve."""
        homes = dict.fromkeys([HOME + dag for dag, _ in sorted(self.homes.at(executor.name))])
        needs = [NEEDS + resource for resource in executor.resources]
        return [ANY, *homes, *needs, *self.queues.waits_in(SOME)]

    def serve_limited(self) -> None:
        """Runs that wait for others of the same function may start, if some have ended."""
        for queue in self.queues.waits_in(LIMIT):
            run = self.queues.pop((queue,))
            # Who waits for something else from now on does not keep the others from their turn.
            while run is not None and self._place(run) not in (queue, ANY):
                run = self.queues.pop((queue,))

    def dequeue(self, run: Run) -> bool:
        """Let a run wait no longer. Returns whether it did."""
        waited = self.queues.remove(run)
        if waited:
            self._use_idle()
        return waited

    def look_again(self) -> None:
        """Start what waits, if it waited for more executors than will come."""
        self.scaling.grow()
        self._use_idle()

    def _use_idle(self) -> None:
        """Who waited for several executors may have held up others."""
        idle = [e for e in self._members.executors.values() if not e.shares]
        queues = [ANY, *self.queues.waits_in(NEEDS), *self.queues.waits_in(SOME)]
        for resource in dict.fromkeys(map(needed_in, queues)):
            able = [executor for executor in idle if executor.has(resource)]
            if able:
                self.serve(able[0])

    def settle_more(self) -> None:
        """Runs that wait for instances may have another made, if these are busy for long."""
        for queue in self.queues.waits_in(HOME):
            if self._registry.replicas(queue.removeprefix(HOME)) == 1:
                continue
            run = self.queues.pop((queue,))
            while run is not None and self._place(run) is None:
                run = self.queues.pop((queue,))

    def retire(self, host: str) -> None:
        """Let go of executors of a host that are not needed any more."""
        retired = self.scaling.retire(host, self.homes)
        for run in self.withdraw({executor.name for executor in retired}):
            self.enqueue(run)

    def withdraw(self, names: Collection[str]) -> list[Run]:
        """These executors get no more work. Returns the runs that waited for them."""
        return self._abandoned({dag for dag, _ in self.homes.leave(sorted(names))})

    def drop_instances(self) -> None:
        """Let go of the instances of deleted DAGs, and of more than there may be of others."""
        dropped = self.homes.drop_surplus(self._registry.instances)
        for dag, name in dropped:
            self._turn.send(name, DropDag(dag))
        for run in self._abandoned({dag for dag, _ in dropped}):
            self.enqueue(run)

    def _abandoned(self, dags: Iterable[str]) -> list[Run]:
        """The runs that waited for instances of DAGs of which some are not there any more."""
        return [run for dag in sorted(dags) for run in self.queues.abandon(HOME + dag)]

    def take_back(self) -> None:
        """Ask executors that are late for the runs that wait behind the one that runs."""
        now = self._turn.now
        self.deadline = None
        for executor in self._members.all():
            if len(executor.shares) < 2:
                continue
            pause = ASK_BLOCKED if executor.is_blocked else GIVE_WAY
            if executor.is_blocked and now - executor.since > pause:
                executor.since, executor.bounced = now, False
            self.deadline = min(self.deadline or math.inf, now + pause)
            if (executor.is_blocked or now - executor.since > pause) and not executor.bounced:
                executor.bounced = True
                self._turn.send(executor.name, Bounce(executor.name))
                self._turn.send(executor.host, Knock(executor.name))

    def blocked(self, executor: Executor, message: Blocked) -> None:
        """Code waits on an executor for what others do, or goes on."""
        now = self._turn.now
        if executor.block(message.run_id, message.epoch, now, waits=message.waits):
            executor.since, executor.bounced = now, False
            if len(executor.shares) > 1:
                self.take_back()
            if message.waits:
                self.scaling.grow()  # it may wait for just what waits for room

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
        limited, expected = self.limits.of(run.plan), self.outlook.expected(run)
        full = self.limits.first_full(limited) if limited else None
        if full is not None:
            self.queues.add(run, queue_of(full))
            return queue_of(full)
        placement = place(run.plan, self.outlook.scene(run, limited, self._turn.now), expected)
        if placement.blocked_on is not None:
            queue = self._own_queue(run, placement.blocked_on)
            self._queue(run, queue)
            return queue
        run.placed_on = self.limits.fitted(run.plan, limited, placement.executors)
        self._start(run, expected)
        self.limits.take(run, limited)
        return None

    def _start(self, run: Run, expected: list[float]) -> None:
        """Send a run that is placed to its executors."""
        plan, now = run.plan, self._turn.now
        run.epoch += 1
        run.started = now
        run.hosts.update([executor.host for executor in run.placed_on])
        run.become(RunState.RUNNING)
        self.checks.begin(now)
        batch = plan.id if plan.batch_size and run.may_batch else ""
        for executor, segments in run.shares().items():
            work = sum([expected[segment] for segment in segments])
            if executor.shares and self.deadline is None:
                self.deadline = now + GIVE_WAY
            executor.take(run.run_id, run.epoch, work, now, batch)
            executor.plans.add(plan.id)
        if plan.has_classes and plan.dag in self._registry.dags:
            self.homes.settle(plan, run.placed_on, self._registry.replicas(plan.dag))
        for name, start in run.starts():
            self._turn.send(name, start)
        if run.recorded:
            self._turn.write(run.record())
        if run.call.references:
            self.foresight.begins(run)

    def _queue(self, run: Run, queue: str) -> None:
        self.queues.add(run, queue)
        if run.call.references:
            self.foresight.waits(run)
        if not queue.startswith(HOME):
            self.scaling.waits()

    def validate(self, runs: Mapping[str, Run]) -> None:
        """Check that what is waited for may come, and that homes are there."""
        assert (self.scaling.deadline is not None) >= self.queues.waiting(ANY)
        self.queues.validate(runs)
        assert all(hoping and hoping <= runs.keys() for hoping in self._hopes.values())
        assert self._hopes.keys().isdisjoint(runs)
        self.homes.validate(self._members.executors, self._registry.dags)
        self.holdings.validate(self._members.hosts)
        self.foresight.validate()
