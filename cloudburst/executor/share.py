"""An executor's share of a run: what is to be done here, and what has come for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from cloudburst.core.messages import Finished, Frames, RunContext, RunState, Start, Trigger
from cloudburst.core.options import Batch
from cloudburst.core.plan import Edge, Plan
from cloudburst.errors import ProtocolError
from cloudburst.executor.events import Argument, Input, Local, Route, SendTrigger, Work


class Share:
    """What this executor has to do for one epoch of a run.

    Attributes:
        missing: of each segment that waits here, how many inputs it waits for.
        inputs: what has come for each of them, by position.
        arguments: the steps' own arguments, by segment.
        candidates: of segments that are fired by the first input that counts, what has come.
        left: how many segments have not run.
        times: (segment, seconds) of those that have.
    """

    __slots__ = (
        "arguments", "candidates", "epoch", "inputs", "left", "missing", "route", "run_id",
        "started", "times",
    )  # fmt: skip

    def __init__(self, run_id: str, epoch: int, route: Route) -> None:
        self.run_id = run_id
        self.epoch = epoch
        self.route = route
        self.missing = route.missing.copy()
        self.inputs: dict[int, dict[int, Input]] = {}
        self.arguments: dict[int, list[Argument]] = {}
        self.candidates: dict[int, _Candidates] = {}
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
        if segment in self.route.first_of:
            return self._take_candidate(segment, position, value)
        if segment not in self.missing:
            if self.route.is_here(segment):
                return []  # a duplicate for a segment that has run
            raise ProtocolError(f"segment {segment} of run {self.run_id} is not placed here")
        self._check_position(segment, position)
        inputs = self.inputs.setdefault(segment, {})
        if position in inputs:
            return []
        inputs[position] = value
        work = self._one_less(segment)
        return [] if work is None else [work]

    def may_fail(self, outputs: Sequence[Edge]) -> bool:
        """Whether a failure is no more, where it goes, than a result that does not count."""
        plan = self.route.plan
        takes_first = plan.has_first_of and not self.route.context.warms
        return bool(outputs and takes_first) and all(
            plan.head(edge.segment).invalid for edge in outputs
        )

    def take_next(self, segment: int) -> list[Work]:
        """What had come for a segment does not count. Returns what may run now."""
        self.missing[segment] = 1
        return self._try_candidate(segment)

    def _take_candidate(self, segment: int, position: int, value: Input) -> list[Work]:
        self._check_position(segment, position)
        candidates = self.candidates.setdefault(segment, _Candidates())
        if position in candidates.seen:
            return []
        candidates.seen.add(position)
        candidates.waiting.append(value)
        return self._try_candidate(segment)

    def _try_candidate(self, segment: int) -> list[Work]:
        """One at a time, once all else is there that it waits for."""
        candidates = self.candidates.get(segment)
        if candidates is None or not candidates.waiting or self.missing.get(segment) != 1:
            return []
        del self.missing[segment]
        candidates.tried += 1
        return [
            Work(
                self.run_id,
                self.epoch,
                self.route,
                segment,
                self.arguments.get(segment, ()),
                [candidates.waiting.popleft()],
                self.route.plan.segments[segment].inputs - candidates.tried,
            )
        ]

    def _check_position(self, segment: int, position: int) -> None:
        if not 0 <= position < self.route.plan.segments[segment].inputs:
            raise ProtocolError(f"segment {segment} of run {self.run_id} has no input {position}")

    def _one_less(self, number: int) -> Work | None:
        missing = self.missing[number] - 1
        if missing:
            self.missing[number] = missing
            tried = self._try_candidate(number) if number in self.route.first_of else ()
            return tried[0] if tried else None
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


class _Candidates:
    """What has come for a segment that is fired by the first input that counts.

    Attributes:
        seen: the positions that have come.
        waiting: what has come and was not tried, in order.
        tried: how many were.
    """

    __slots__ = ("seen", "tried", "waiting")

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.waiting: deque[Input] = deque()
        self.tried = 0


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
    # What is only loaded is loaded everywhere.
    takes_first = plan.has_first_of and not context.warms
    first_of = frozenset(n for n in here if takes_first and plan.head(n).invalid)
    apart = context.alone or context.warms
    return Route(
        context=context,
        packed=packed,
        plan=plan,
        missing={
            n: (1 if n in first_of else plan.segments[n].inputs) + (n in needs_start)
            for n in sorted(here)
        },
        needs_start=tuple(needs_start),
        keep_local=frozenset(
            number
            for number, edges in outputs.items()
            if len(edges) == 1 and edges[0].segment in here
        ),
        first_of=first_of,
        batches={} if apart else {n: batch for n in here if (batch := _batch_of(plan, n)).size},
    )


def _batch_of(plan: Plan, segment: int) -> Batch:
    head = plan.head(segment)
    return Batch(head.batch_size, head.batch_wait)


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
