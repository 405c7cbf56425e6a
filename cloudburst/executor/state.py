"""An executor's decisions: what may run, where values go, when its share of a run is done.

No socket, no clock, no store, no user code. `ExecutorState.handle` is the only thing that
changes the state; `next_work` takes out what may run now.
"""

from __future__ import annotations

import logging
from collections import deque

from cloudburst.core.messages import Finished, Forget, Frames, RunContext, RunState, Start, Trigger
from cloudburst.core.plan import Edge, Plan
from cloudburst.core.wire import unpack_context
from cloudburst.errors import ProtocolError
from cloudburst.executor.events import (
    Argument,
    Command,
    Deliver,
    Done,
    Event,
    FetchPlan,
    Input,
    Local,
    PlanLoaded,
    PlanMissing,
    Report,
    Route,
    SendTrigger,
    Work,
)

ROUTES = 1000
"""Contexts kept understood."""

REMEMBERED = 10_000
"""Ended runs whose late messages are recognised and dropped."""

_log = logging.getLogger(__name__)


class Share:
    """What this executor has to do for one epoch of a run.

    Attributes:
        missing: of each segment that waits here, how many inputs it waits for.
        inputs: what has come for each of them, by position.
        arguments: the steps' own arguments, by segment.
        left: how many segments have not run.
        times: (segment, seconds) of those that have.
    """

    __slots__ = (
        "arguments", "epoch", "inputs", "left", "missing", "route", "run_id", "started", "times",
    )  # fmt: skip

    def __init__(self, run_id: str, epoch: int, route: Route) -> None:
        self.run_id = run_id
        self.epoch = epoch
        self.route = route
        self.missing = route.missing.copy()
        self.inputs: dict[int, dict[int, Input]] = {}
        self.arguments: dict[int, list[Argument]] = {}
        self.left = len(route.missing)
        self.started = False
        self.times: list[tuple[int, float]] = []


class ExecutorState:
    """Everything an executor knows of runs.

    Args:
        address: this executor's own address, by which contexts name it.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.plans: dict[str, Plan] = {}
        self.routes: dict[bytes, Route] = {}
        self.shares: dict[str, Share] = {}
        self.ready: deque[Work] = deque()
        self.ended: dict[str, int] = {}
        self.early: dict[str, list[Start | Trigger]] = {}

    def handle(self, event: Event) -> list[Command]:
        """Take in one event and say what is to be done about it.

        Raises:
            ProtocolError: a message does not fit its plan; nothing has changed.
        """
        match event:
            case Done():
                return self._done(event)
            case Start() | Trigger():
                return self._message(event)
            case Forget(run_id=run_id, epoch=epoch):
                return self._forget(run_id, epoch)
            case PlanLoaded(plan=plan):
                self.plans[plan.id] = plan
                return self._catch_up(self.early.pop(plan.id, []))
            case PlanMissing(plan_id=plan_id, failure=failure):
                return self._give_up(self.early.pop(plan_id, []), failure)

    def next_work(self) -> Work | None:
        """Take out the next segment that may run, or None."""
        while self.ready:
            work = self.ready.popleft()
            share = self.shares.get(work.run_id)
            if share is not None and share.epoch == work.epoch:
                return work
        return None

    def _message(self, message: Start | Trigger) -> list[Command]:
        run_id, epoch = message.run_id, message.epoch
        share = self.shares.get(run_id)
        if share is None or share.epoch != epoch:
            if epoch <= (share.epoch if share else self.ended.get(run_id, 0)):
                return self._stale(message)
            route = self.routes.get(message.context) or self._route(message.context)
            if route is None:
                return self._await_plan(message)
            share = Share(run_id, epoch, route)
        if isinstance(message, Start):
            self._take_start(message, share)
        else:
            self._take_input(share, message.segment, message.position, message.frames)
        self.shares[run_id] = share  # only now: a message that does not fit leaves no share
        return []

    def _stale(self, message: Start | Trigger) -> list[Command]:
        # A scheduler that was restarted may start a run again whose share here is done: it must
        # not count on it for ever.
        if isinstance(message, Trigger):
            return []
        return [Report(Finished(message.run_id, message.epoch, RunState.RUNNING, ()))]

    def _route(self, packed: bytes) -> Route | None:
        """Understand a context; None if its plan is not known yet."""
        context = unpack_context(packed)
        plan = self.plans.get(context.plan)
        if plan is None:
            return None
        route = make_route(context, packed, plan, self.address)
        self.routes[packed] = route
        if len(self.routes) > ROUTES:
            del self.routes[next(iter(self.routes))]
        return route

    def _await_plan(self, message: Start | Trigger) -> list[Command]:
        plan_id = unpack_context(message.context).plan
        first = plan_id not in self.early
        self.early.setdefault(plan_id, []).append(message)
        return [FetchPlan(plan_id)] if first else []

    def _catch_up(self, early: list[Start | Trigger]) -> list[Command]:
        """Take in the messages that waited for a plan."""
        commands: list[Command] = []
        for message in early:
            try:
                commands += self._message(message)
            except ProtocolError as error:
                # Said here: the other messages must not be lost with it.
                _log.warning("dropped a message: %s", error)
        return commands

    def _give_up(self, early: list[Start | Trigger], failure: Frames) -> list[Command]:
        """The plan cannot be had: the runs that wait for it fail."""
        commands: list[Command] = []
        for message in early:
            share = self.shares.get(message.run_id)
            newest = share.epoch if share else self.ended.get(message.run_id, 0)
            if newest < message.epoch:
                self._end(message.run_id, message.epoch)
                finished = Finished(message.run_id, message.epoch, RunState.FAILED, ())
                context = unpack_context(message.context)
                commands.append(Deliver(context, failed=True, frames=failure, finished=finished))
        return commands

    def _take_start(self, start: Start, share: Share) -> None:
        if share.started:
            return
        position = 0
        segment_of = share.route.plan.segment_of
        arguments: dict[int, list[Argument]] = {}
        for step, keyword, count in start.arguments:
            if step not in share.route.context.given:
                raise ProtocolError(f"run {start.run_id} has an argument for no step of its plan")
            argument = Argument(step, keyword, start.frames[position : position + count])
            arguments.setdefault(segment_of[step], []).append(argument)
            position += count
        share.started = True
        share.arguments = arguments
        for number in share.route.needs_start:
            self._one_less(share, number)

    def _take_input(self, share: Share, segment: int, position: int, value: Input) -> None:
        if segment not in share.missing:
            if share.route.is_here(segment):
                return  # a duplicate for a segment that has run
            raise ProtocolError(f"segment {segment} of run {share.run_id} is not placed here")
        if not 0 <= position < share.route.plan.segments[segment].inputs:
            raise ProtocolError(f"segment {segment} of run {share.run_id} has no input {position}")
        inputs = share.inputs.setdefault(segment, {})
        if position not in inputs:
            inputs[position] = value
            self._one_less(share, segment)

    def _one_less(self, share: Share, number: int) -> None:
        missing = share.missing[number] - 1
        if missing:
            share.missing[number] = missing
            return
        del share.missing[number]
        inputs = share.inputs.pop(number, None)
        work = Work(
            share.run_id,
            share.epoch,
            share.route,
            number,
            share.arguments.pop(number, ()),
            [inputs[position] for position in range(len(inputs))] if inputs else (),
        )
        self.ready.append(work)

    def _done(self, done: Done) -> list[Command]:
        work = done.work
        share = self.shares.get(work.run_id)
        if share is None or share.epoch != work.epoch:
            return []
        share.left -= 1
        share.times.append((work.segment, done.seconds))
        if done.failed:
            return [self._deliver(share, RunState.FAILED, done.value)]
        outputs = share.route.plan.segments[work.segment].outputs
        if not outputs:
            return [self._deliver(share, RunState.SUCCEEDED, done.value)]
        commands: list[Command] = []
        for edge in outputs:
            if share.route.is_here(edge.segment):
                self._take_input(share, edge.segment, edge.position, done.value)
            else:
                commands.append(_trigger(share, edge, done.value))
        if share.left == 0:
            self._end(share.run_id, share.epoch)
            commands.append(Report(_finished(share, RunState.RUNNING)))
        return commands

    def _deliver(self, share: Share, state: RunState, value: Input) -> Deliver:
        self._end(share.run_id, share.epoch)
        failed = state is RunState.FAILED
        return Deliver(share.route.context, failed, _packed(value), _finished(share, state))

    def _forget(self, run_id: str, epoch: int) -> list[Command]:
        share = self.shares.get(run_id)
        times: tuple[tuple[int, float], ...] = ()
        if share is not None and share.epoch <= epoch:
            times = tuple(share.times)
        if share is None or share.epoch <= epoch:
            self._end(run_id, epoch)
        return [Report(Finished(run_id, epoch, RunState.RUNNING, times))]

    def _end(self, run_id: str, epoch: int) -> None:
        self.shares.pop(run_id, None)
        self.ended[run_id] = max(epoch, self.ended.pop(run_id, 0))
        if len(self.ended) > REMEMBERED:
            del self.ended[next(iter(self.ended))]

    def validate(self) -> None:
        """Check the invariants; raises AssertionError if one does not hold."""
        for run_id, share in self.shares.items():
            assert self.ended.get(run_id, 0) < share.epoch
            assert share.inputs.keys() <= share.missing.keys() <= share.route.missing.keys()
            assert all(count > 0 for count in share.missing.values())
            assert share.left >= len(share.missing)
        assert self.early.keys().isdisjoint(self.plans)
        assert len(self.ended) <= REMEMBERED
        assert len(self.routes) <= ROUTES


def make_route(context: RunContext, packed: bytes, plan: Plan, address: str) -> Route:
    """What a context means on the executor at that address.

    Raises:
        ProtocolError: the context is not one of the plan, or places nothing here.
    """
    places, executors = context.places, context.executors
    if not (
        len(places) == len(plan.segments)
        and all(0 <= place < len(executors) for place in places)
        and all(0 <= step < len(plan.steps) for step in context.given)
    ):
        raise ProtocolError(f"a run's context does not fit its plan {plan.id}")
    here = {number for number, place in enumerate(places) if executors[place] == address}
    if not here:
        raise ProtocolError(f"a run of plan {plan.id} has no segment on this executor")
    given = {plan.segment_of[step] for step in context.given}
    needs_start = [n for n in sorted(here) if not plan.segments[n].parents or n in given]
    outputs = {number: plan.segments[number].outputs for number in here}
    return Route(
        context=context,
        packed=packed,
        plan=plan,
        missing={n: plan.segments[n].inputs + (n in needs_start) for n in sorted(here)},
        needs_start=tuple(needs_start),
        keep_local=frozenset(
            number
            for number, edges in outputs.items()
            if len(edges) == 1 and edges[0].segment in here
        ),
    )


def _trigger(share: Share, edge: Edge, value: Input) -> SendTrigger:
    context = share.route.context
    address = context.executors[context.places[edge.segment]]
    frames = _packed(value)
    trigger = Trigger(share.run_id, share.epoch, share.route.packed, *edge, frames)
    return SendTrigger(address, trigger)


def _finished(share: Share, state: RunState) -> Finished:
    return Finished(share.run_id, share.epoch, state, tuple(share.times))


def _packed(value: Input) -> Frames:
    if isinstance(value, Local):
        raise TypeError("a value that leaves the executor was not packed")
    return value
