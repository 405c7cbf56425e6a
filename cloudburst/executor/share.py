"""An executor's share of a run: what is to be done here, and what has come for it."""

from __future__ import annotations

from cloudburst.core.messages import Finished, Frames, RunContext, RunState, Start, Trigger
from cloudburst.core.plan import Edge, Plan
from cloudburst.errors import ProtocolError
from cloudburst.executor.events import Argument, Input, Local, Route, SendTrigger, Work


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

    def take_start(self, start: Start) -> list[Work]:
        """The message that begins it. Returns what may run now.

        Raises:
            ProtocolError: it does not fit the plan; nothing has changed.
        """
        if self.started:
            return []
        position = 0
        segment_of = self.route.plan.segment_of
        arguments: dict[int, list[Argument]] = {}
        for step, keyword, count in start.arguments:
            if step not in self.route.context.given:
                raise ProtocolError(f"run {start.run_id} has an argument for no step of its plan")
            argument = Argument(step, keyword, start.frames[position : position + count])
            arguments.setdefault(segment_of[step], []).append(argument)
            position += count
        self.started = True
        self.arguments = arguments
        ready = [self._one_less(number) for number in self.route.needs_start]
        return [work for work in ready if work is not None]

    def take_input(self, segment: int, position: int, value: Input) -> list[Work]:
        """The value of an edge. Returns what may run now.

        Raises:
            ProtocolError: it does not fit the plan; nothing has changed.
        """
        if segment not in self.missing:
            if self.route.is_here(segment):
                return []  # a duplicate for a segment that has run
            raise ProtocolError(f"segment {segment} of run {self.run_id} is not placed here")
        if not 0 <= position < self.route.plan.segments[segment].inputs:
            raise ProtocolError(f"segment {segment} of run {self.run_id} has no input {position}")
        inputs = self.inputs.setdefault(segment, {})
        if position in inputs:
            return []
        inputs[position] = value
        work = self._one_less(segment)
        return [] if work is None else [work]

    def _one_less(self, number: int) -> Work | None:
        missing = self.missing[number] - 1
        if missing:
            self.missing[number] = missing
            return None
        del self.missing[number]
        inputs = self.inputs.pop(number, None)
        return Work(
            self.run_id,
            self.epoch,
            self.route,
            number,
            self.arguments.pop(number, ()),
            [inputs[position] for position in range(len(inputs))] if inputs else (),
        )


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


def trigger_of(share: Share, edge: Edge, value: Input) -> SendTrigger:
    """The value of an edge, for the executor of its other end."""
    context = share.route.context
    address = context.executors[context.places[edge.segment]]
    frames = packed(value)
    trigger = Trigger(share.run_id, share.epoch, share.route.packed, *edge, frames)
    return SendTrigger(address, trigger)


def finished_of(share: Share, state: RunState) -> Finished:
    """What the scheduler is told of a share that is over."""
    return Finished(share.run_id, share.epoch, state, tuple(share.times))


def packed(value: Input) -> Frames:
    """A value as it leaves the executor."""
    if isinstance(value, Local):
        raise TypeError("a value that leaves the executor was not packed")
    return value
