"""One run as the scheduler holds it, from call to end."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloudburst.core.messages import Call, RunContext, RunState, Start
from cloudburst.core.plan import Plan
from cloudburst.core.wire import pack_context
from cloudburst.errors import CloudburstError, ProtocolError, UnknownStep
from cloudburst.scheduler.membership import Executor

MAX_ATTEMPTS = 3
"""How many executors a run may cost before it is given up."""

_NEXT = {
    RunState.PENDING: {RunState.RUNNING, RunState.FAILED},
    RunState.RUNNING: {RunState.PENDING, RunState.SUCCEEDED, RunState.FAILED},
    RunState.SUCCEEDED: set(),
    RunState.FAILED: set(),
}
"""What may follow what; RUNNING goes back to PENDING when an executor of the run died."""


@dataclass(slots=True, eq=False)
class Run:
    """A run that has not ended.

    Attributes:
        run_id: the id that the client gave it.
        order: runs that wait are served in this order; a retried run keeps its place.
        client: identity of the caller's connection.
        arguments: of each argument its step's index, keyword and number of frames.
        given: the steps that have arguments of their own.
        placed_on: the executor of each segment, while RUNNING.
        waits_for: runs whose results are among its arguments, and that have not ended.
        watchers: clients to be told when it ends.
        recorded: whether the KVS has a record of it.
    """

    run_id: str
    order: int
    client: str
    call: Call
    plan: Plan
    arguments: tuple[tuple[int, str, int], ...]
    given: tuple[int, ...]
    state: RunState = RunState.PENDING
    epoch: int = 0
    deaths: int = 0
    placed_on: tuple[Executor, ...] = ()
    waits_for: set[str] = field(default_factory=set)
    watchers: set[str] = field(default_factory=set)
    recorded: bool = False

    def become(self, state: RunState) -> None:
        """Change state.

        Raises:
            ValueError: the transition table does not have this change.
        """
        if state not in _NEXT[self.state]:
            raise ValueError(f"run {self.run_id} is {self.state} and cannot become {state}")
        self.state = state

    def shares(self) -> dict[Executor, list[int]]:
        """The segments of each executor that takes part."""
        shares: dict[Executor, list[int]] = {}
        for segment, executor in enumerate(self.placed_on):
            if executor in shares:
                shares[executor].append(segment)
            else:
                shares[executor] = [segment]
        return shares

    def context(self, ttl: float) -> bytes:
        """What the run's executors must know, packed."""
        executors = tuple(dict.fromkeys([executor.address for executor in self.placed_on]))
        number = {address: index for index, address in enumerate(executors)}
        call = self.call
        return pack_context(
            RunContext(
                plan=self.plan.id,
                executors=executors,
                places=tuple([number[executor.address] for executor in self.placed_on]),
                given=self.given,
                client=self.client,
                reply_to=call.reply_to,
                store=call.store,
                output_key=call.output_key,
                timeout=call.timeout,
                ttl=ttl,
            )
        )

    def starts(self, ttl: float) -> list[tuple[str, Start]]:
        """One message to each executor that has a source step or a step with own arguments."""
        context = self.context(ttl)
        run_id, epoch, frames = self.run_id, self.epoch, self.call.frames
        first = self.placed_on[0].name
        if len(set(self.placed_on)) == 1:
            return [(first, Start(run_id, epoch, context, self.arguments, frames))]
        starts = {
            self.placed_on[number].name: Start(run_id, epoch, context, (), [])
            for number, segment in enumerate(self.plan.segments)
            if not segment.parents
        }
        position = 0
        for argument in self.arguments:
            step, _, count = argument
            name = self.placed_on[self.plan.segment_of[step]].name
            start = starts.get(name) or Start(run_id, epoch, context, (), [])
            starts[name] = start._replace(
                arguments=(*start.arguments, argument),
                frames=[*start.frames, *frames[position : position + count]],
            )
            position += count
        return list(starts.items())


def new_run(order: int, client: str, call: Call, plan: Plan) -> Run:
    """A run of a plan, its arguments checked against the plan's steps.

    Raises:
        UnknownStep: an argument is for a step that the plan does not have.
        ProtocolError: the call's frames are not those its arguments need.
    """
    index = plan.step_index
    try:
        arguments = tuple(
            [(index[step], keyword, count) for step, keyword, count in call.arguments]
        )
    except KeyError as error:
        raise UnknownStep(
            f"{call.target!r} has no step {error}; it has {', '.join(plan.step_index)}"
        ) from None
    problem = _frames_problem(call)
    if problem:
        raise problem
    given = tuple(dict.fromkeys([step for step, _, _ in arguments]))
    return Run(call.run_id, order, client, call, plan, arguments, given)


def _frames_problem(call: Call) -> CloudburstError | None:
    counts = [count for _, _, count in call.arguments]
    if sum(counts) == len(call.frames) and min(counts, default=1) > 0:
        return None
    return ProtocolError(f"run {call.run_id} came with frames that its arguments do not name")
