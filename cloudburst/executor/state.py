"""An executor's decisions: what may run, where values go, when its share of a run is done.

No socket, no clock, no store, no user code. `ExecutorState.handle` is the only thing that
changes the state; `next_work` takes out what may run now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from cloudburst.core.messages import Finished, Forget, Frames, RunContext, RunState, Start, Trigger
from cloudburst.core.plan import Edge, Plan
from cloudburst.core.wire import unpack_context
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
    SendTrigger,
    Work,
)

REMEMBERED = 10_000
"""Ended runs whose late messages are recognised and dropped."""


@dataclass(slots=True)
class Share:
    """What this executor has to do for one epoch of a run.

    Attributes:
        packed: the context as it travels on in triggers.
        missing: of each segment that waits here, how many inputs it waits for; the `Start` that
            brings a segment's own arguments, or makes a source run, counts as one.
        inputs: what has come for each of them.
        arguments: the steps' own arguments, by segment.
        left: how many segments have not run.
        early: messages that came before the plan was known.
    """

    run_id: str
    epoch: int
    context: RunContext
    packed: bytes
    plan: Plan | None = None
    missing: dict[int, int] = field(default_factory=dict)
    inputs: dict[int, list[Input | None]] = field(default_factory=dict)
    arguments: dict[int, list[Argument]] = field(default_factory=dict)
    left: int = 0
    started: bool = False
    times: list[tuple[int, float]] = field(default_factory=list)
    early: list[Start | Trigger] = field(default_factory=list)


class ExecutorState:
    """Everything an executor knows of runs.

    Args:
        address: this executor's own address, by which contexts name it.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.plans: dict[str, Plan] = {}
        self.shares: dict[str, Share] = {}
        self.ready: deque[Work] = deque()
        self.ended: dict[str, int] = {}
        self.fetching: dict[str, dict[str, None]] = {}

    def handle(self, event: Event) -> list[Command]:
        """Take in one event and say what is to be done about it."""
        match event:
            case Done():
                return list(self._done(event))
            case Start() | Trigger():
                return self._message(event)
            case Forget(run_id=run_id, epoch=epoch):
                return self._forget(run_id, epoch)
            case PlanLoaded(plan=plan):
                self._plan_loaded(plan)
                return []
            case PlanMissing(plan_id=plan_id, failure=failure):
                shares = self._shares_awaiting(plan_id)
                return [self._deliver(share, RunState.FAILED, failure) for share in shares]

    def next_work(self) -> Work | None:
        """Take out the next segment that may run, or None."""
        while self.ready:
            work = self.ready.popleft()
            share = self.shares.get(work.run_id)
            if share is not None and share.epoch == work.epoch:
                return work
        return None

    def _message(self, message: Start | Trigger) -> list[Command]:
        share = self._share_of(message)
        if share is None:
            return []
        if share.plan is None:
            share.early.append(message)
            return self._await_plan(share.context.plan, message.run_id)
        self._take(message, share, share.plan)
        return []

    def _share_of(self, message: Start | Trigger) -> Share | None:
        """The share a message belongs to, made if it is the first; None if it is stale."""
        run_id, epoch = message.run_id, message.epoch
        share = self.shares.get(run_id)
        if share is not None and share.epoch == epoch:
            return share
        if epoch <= max(self.ended.get(run_id, 0), share.epoch if share else 0):
            return None
        share = Share(run_id, epoch, unpack_context(message.context), message.context)
        self.shares[run_id] = share
        plan = self.plans.get(share.context.plan)
        if plan is not None:
            self._plan_share(share, plan)
        return share

    def _plan_share(self, share: Share, plan: Plan) -> None:
        share.plan = plan
        context = share.context
        given = {plan.segment_of[step] for step in context.given}
        for number, place in enumerate(context.places):
            if context.executors[place] == self.address:
                segment = plan.segments[number]
                needs_start = not segment.parents or number in given
                share.missing[number] = segment.inputs + needs_start
                share.inputs[number] = [None] * segment.inputs
                share.left += 1

    def _await_plan(self, plan_id: str, run_id: str) -> list[Command]:
        first = plan_id not in self.fetching
        self.fetching.setdefault(plan_id, {})[run_id] = None
        return [FetchPlan(plan_id)] if first else []

    def _plan_loaded(self, plan: Plan) -> None:
        self.plans[plan.id] = plan
        for share in self._shares_awaiting(plan.id):
            self._plan_share(share, plan)
            early, share.early = share.early, []
            for message in early:
                self._take(message, share, plan)

    def _shares_awaiting(self, plan_id: str) -> list[Share]:
        shares = [self.shares.get(run_id) for run_id in self.fetching.pop(plan_id, ())]
        return [share for share in shares if share is not None and share.plan is None]

    def _take(self, message: Start | Trigger, share: Share, plan: Plan) -> None:
        if isinstance(message, Start):
            self._take_start(message, share, plan)
        else:
            edge = Edge(message.segment, message.position)
            self._take_input(share, plan, edge, message.frames)

    def _take_start(self, start: Start, share: Share, plan: Plan) -> None:
        if share.started:
            return
        share.started = True
        position = 0
        for step, keyword, count in start.arguments:
            frames = start.frames[position : position + count]
            position += count
            own = share.arguments.setdefault(plan.segment_of[step], [])
            own.append(Argument(step, keyword, frames))
        for number in list(share.missing):
            if not plan.segments[number].parents or number in share.arguments:
                self._one_less(share, plan, number)

    def _take_input(self, share: Share, plan: Plan, edge: Edge, value: Input) -> None:
        inputs = share.inputs.get(edge.segment)
        if inputs is None or not 0 <= edge.position < len(inputs):
            return  # a duplicate for a segment that has run, or not a segment of this executor
        if inputs[edge.position] is None:
            inputs[edge.position] = value
            self._one_less(share, plan, edge.segment)

    def _one_less(self, share: Share, plan: Plan, number: int) -> None:
        share.missing[number] -= 1
        if share.missing[number]:
            return
        del share.missing[number]
        outputs = plan.segments[number].outputs
        work = Work(
            run_id=share.run_id,
            epoch=share.epoch,
            plan=plan,
            segment=number,
            context=share.context,
            arguments=tuple(share.arguments.pop(number, ())),
            inputs=tuple([value for value in share.inputs.pop(number) if value is not None]),
            keep_local=len(outputs) == 1 and self._is_here(share, outputs[0].segment),
        )
        self.ready.append(work)

    def _is_here(self, share: Share, segment: int) -> bool:
        return share.context.executors[share.context.places[segment]] == self.address

    def _done(self, done: Done) -> Iterator[Command]:
        work = done.work
        share = self.shares.get(work.run_id)
        if share is None or share.epoch != work.epoch:
            return
        share.left -= 1
        share.times.append((work.segment, done.seconds))
        if done.failed:
            yield self._deliver(share, RunState.FAILED, done.value)
            return
        outputs = work.plan.segments[work.segment].outputs
        if not outputs:
            yield self._deliver(share, RunState.SUCCEEDED, done.value)
            return
        for edge in outputs:
            if self._is_here(share, edge.segment):
                self._take_input(share, work.plan, edge, done.value)
            else:
                yield self._trigger(share, edge, done.value)
        if share.left == 0:
            self._end(share.run_id, share.epoch)
            yield Report(_finished(share, RunState.RUNNING))

    def _trigger(self, share: Share, edge: Edge, value: Input) -> SendTrigger:
        address = share.context.executors[share.context.places[edge.segment]]
        frames = _packed(value)
        return SendTrigger(address, Trigger(share.run_id, share.epoch, share.packed, *edge, frames))

    def _deliver(self, share: Share, state: RunState, value: Input) -> Deliver:
        self._end(share.run_id, share.epoch)
        failed = state is RunState.FAILED
        return Deliver(share.context, failed, _packed(value), _finished(share, state))

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
        self.ended.pop(run_id, None)
        self.ended[run_id] = epoch
        if len(self.ended) > REMEMBERED:
            del self.ended[next(iter(self.ended))]

    def validate(self) -> None:
        """Check the invariants; raises AssertionError if one does not hold."""
        for run_id, share in self.shares.items():
            assert self.ended.get(run_id, 0) < share.epoch
            assert share.missing.keys() == share.inputs.keys()
            assert all(count > 0 for count in share.missing.values())
            assert share.plan is None or share.left >= len(share.missing)
            assert share.plan is not None or share.early
        assert len(self.ended) <= REMEMBERED


def _finished(share: Share, state: RunState) -> Finished:
    return Finished(share.run_id, share.epoch, state, tuple(share.times))


def _packed(value: Input) -> Frames:
    if isinstance(value, Local):
        raise TypeError("a value that leaves the executor was not packed")
    return value
