"""An executor's share of a run: what is to be done here, and what has come for it."""

from __future__ import annotations

from cloudburst.core.messages import Finished, Frames, RunContext, RunState, Trigger
from cloudburst.core.plan import Edge, Plan
from cloudburst.errors import ProtocolError
from cloudburst.executor.events import Argument, Input, Local, Route, SendTrigger


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
