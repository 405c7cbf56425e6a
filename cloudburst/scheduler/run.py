"""One run as the scheduler holds it, from call to end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cloudburst.core.ids import is_parked
from cloudburst.core.messages import ENDED, SOURCES, Buffer, Call, RunContext, RunState, Start
from cloudburst.core.options import RunOptions
from cloudburst.core.plan import Plan
from cloudburst.core.wire import pack_context
from cloudburst.errors import (
    CallerEnded,
    CloudburstError,
    ExecutorDiedError,
    InvocationCancelledError,
    InvocationTimedOutError,
    ProtocolError,
    UnknownStep,
)
from cloudburst.kvs.base import RecordRun
from cloudburst.scheduler.membership import Executor

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0

EPOCHS = 10**9
"""Epochs of a run within one scheduler's term: more than `MOST_RETRIES` of them nobody can use."""

_NEXT = {
    RunState.PENDING: {RunState.RUNNING} | ENDED - {RunState.SUCCEEDED},
    RunState.RUNNING: {RunState.PENDING, RunState.CANCELLING} | ENDED,
    RunState.CANCELLING: ENDED,
    **dict.fromkeys(ENDED, frozenset()),
}
"""What may follow what; RUNNING goes back to PENDING when the run is to be started again."""

CRAMPED = 2
"""Times that a run is started again because its segments wait for each other in one place: there is
no more room then."""


@dataclass(slots=True, eq=False)
class Run:
    """A run that has not ended.

    Attributes:
        run_id: the id that the client gave it.
        options: what it may take; nothing in them is left unsaid but ``max_retries``.
        order: when it was called, relative to others; a retried run keeps its place.
        client: identity of the caller's connection.
        arguments: of each argument its step's index, keyword and number of frames.
        given: the steps that have arguments of their own.
        depth: how many runs deep it was called from functions; 0 by a client.
        epoch: grows each time that it is started, see `first_epoch`.
        deaths: how many executors it has cost.
        raised: how often user code raised.
        returned: how often executors gave it back for no fault of its own.
        crowded: how often its segments waited for each other in one place.
        called: when it came to this scheduler.
        started: when it was started last.
        stopping: how it is to end, while CANCELLING.
        caller_ended: whether it is stopped because nobody waits for it any more.
        stop_is_sure: whether nothing else can come before that end any more.
        placed_on: the executor of each segment, while RUNNING or CANCELLING.
        hosts: all that it was ever started on; "" is one of which nothing is known.
        waits_for: runs whose results are among its arguments, and that have not ended.
        watchers: clients to be told when it ends.
        recorded: whether the KVS has a record of it.
        foreseen: whether hosts were, or are to be, told what it reads.
    """

    run_id: str
    order: int
    client: str
    call: Call
    plan: Plan
    options: RunOptions
    arguments: tuple[tuple[int, str, int], ...]
    given: tuple[int, ...]
    called: float = 0.0
    depth: int = 0
    state: RunState = RunState.PENDING
    epoch: int = 0
    deaths: int = 0
    raised: int = 0
    returned: int = 0
    crowded: int = 0
    started: float = 0.0
    stopping: RunState | None = None
    caller_ended: bool = False
    stop_is_sure: bool = False
    placed_on: tuple[Executor, ...] = ()
    hosts: set[str] = field(default_factory=set)
    waits_for: set[str] = field(default_factory=set)
    watchers: set[str] = field(default_factory=set)
    recorded: bool = False
    foreseen: bool = False

    def become(self, state: RunState) -> None:
        """Change state.

        Raises:
            ValueError: the transition table does not have this change.
        """
        if state not in _NEXT[self.state]:
            raise ValueError(f"run {self.run_id} is {self.state} and cannot become {state}")
        self.state = state

    @property
    def together(self) -> int:
        """How many runs like this one an executor may run at once."""
        return max(1, self.plan.batch_size) if self.may_batch else 1

    @property
    def may_batch(self) -> bool:
        """Whether it may run together with others: one that has cost executors may cost more."""
        return not (self.deaths or self.call.warm)

    @property
    def rank(self) -> tuple[int, int]:
        """Its place among those that wait: others wait for those that were called from deepest.

        So few wait at a time; first come, first served would keep an executor blocked for each
        call of a recursion.
        """
        return -self.depth, self.order

    @property
    def told(self) -> RunState:
        """What others are told of its state: nothing that might still come differently."""
        if self.state in (RunState.PENDING, RunState.RUNNING):
            return self.state
        sure = self.stop_is_sure and self.stopping is RunState.CANCELLED
        return RunState.CANCELLING if sure else RunState.RUNNING

    @property
    def sure_end(self) -> RunState:
        """What who wants it cancelled is told, once it is sure how it ends."""
        cancelled = self.stopping is RunState.CANCELLED
        return RunState.CANCELLING if cancelled else RunState.TIMED_OUT

    def shares(self) -> dict[Executor, list[int]]:
        """The segments of each executor that takes part."""
        shares: dict[Executor, list[int]] = {}
        for segment, executor in enumerate(self.placed_on):
            if executor in shares:
                shares[executor].append(segment)
            else:
                shares[executor] = [segment]
        return shares

    def referred(self) -> Iterator[tuple[int, str]]:
        """Each step's index, with a key that is among its own arguments.

        Large arguments, which no other run ever reads, are left out.
        """
        for name, reader in zip(self.call.references, self.call.readers, strict=False):
            if not is_parked(name, self.run_id):
                for step in self._readers(reader):
                    yield step, name

    def _readers(self, reader: str) -> list[int]:
        if reader != SOURCES:
            return [self.plan.step_index[reader]] if reader in self.plan.step_index else []
        return [segment.steps[0] for segment in self.plan.segments if not segment.parents]

    def parked(self) -> list[str]:
        """The names of its large arguments, which wait for it in the KVS."""
        return parked_of(self.call)

    @property
    def pause(self) -> float:
        """Seconds to wait before it is started again; more each time, but not at first.

        User code that raised is never tried again at once: what it met may pass.
        """
        times = max(self.raised, self.returned - 1)
        if times <= 0:
            return 0.0
        return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(times - 1, 10))

    def context(self) -> bytes:
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
                patience=call.patience,
                ttl=self.options.result_ttl,
                retried=self.raised < self.options.retries_exceptions,
                parent=call.parent,
                alone=self.deaths > 0,
                warms=call.warm > 0,
                cramped=self.crowded >= CRAMPED,
                fresh=len(self.hosts) > 1,
            )
        )

    def record(self, *, call: bytes = b"", reason: str = "") -> RecordRun:
        """What the KVS is to keep of it now: until it has ended, however long that takes."""
        sink = self.placed_on[-1].name if self.placed_on else ""
        target = self.call.target
        parent = self.call.parent
        said = (self.run_id, self.state, self.epoch, target, sink, reason, call)
        return RecordRun(*said, ttl=0.0, parent=parent)

    def stop_error(self, state: RunState) -> CloudburstError:
        """What its client is told when it was stopped, to end in that state."""
        if self.caller_ended:
            return CallerEnded(
                f"run {self.run_id} of {self.call.target!r} was cancelled: run "
                f"{self.call.parent}, which called it, has ended or starts again"
            )
        return stop_error(self.call, self.options, state)

    def death_error(self, executor: str, reason: str) -> CloudburstError:
        """What its client is told when it has cost too many executors."""
        times = "time" if self.deaths == 1 else "times"
        return ExecutorDiedError(
            f"run {self.run_id} of {self.call.target!r} was given up: its executor died "
            f"{self.deaths} {times}, the last time executor {executor}: {reason}"
        )

    def starts(self) -> list[tuple[str, Start]]:
        """One message to each executor that has a source step or a step with own arguments."""
        context = self.context()
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


def stop_error(call: Call, options: RunOptions, state: RunState) -> CloudburstError:
    """What the client of a run is told that was stopped, to end in that state."""
    what = f"run {call.run_id} of {call.target!r}"
    if state is RunState.TIMED_OUT:
        return InvocationTimedOutError(f"{what} took longer than its {options.timeout:g} seconds")
    return InvocationCancelledError(f"{what} was cancelled")


def parked_of(call: Call) -> list[str]:
    """The names of a call's large arguments, which its client has put into the KVS."""
    return [name for name in call.references if is_parked(name, call.run_id)]


def first_epoch(term: int, before: int = 0) -> int:
    """The epoch that a run is under before it is first started in a scheduler's term.

    It tells from what an earlier scheduler started, recorded or not, and counts on from the
    epoch ``before``: below the terms it says how often the run was started.
    """
    return max(term * EPOCHS + before % EPOCHS, before)


def new_run(order: int, client: str, call: Call, plan: Plan, defaults: RunOptions) -> Run:
    """A run of a plan, its arguments checked against the plan's steps.

    Args:
        order: its place among those that wait.
        client: identity of the caller's connection.
        call: what was called.
        plan: what that means.
        defaults: options for what the call leaves unsaid.

    Raises:
        UnknownStep: an argument is for a step that the plan does not have.
        ProtocolError: the call's frames are not those its arguments need.
    """
    problem = _frames_problem(call)
    if problem:
        raise problem
    call, index = _for_each_source(call, plan), plan.step_index
    try:
        arguments = tuple(
            [(index[step], keyword, count) for step, keyword, count in call.arguments]
        )
    except KeyError as error:
        raise UnknownStep(
            f"{call.target!r} has no step {error}; it has {', '.join(plan.step_index)}"
        ) from None
    given = tuple(dict.fromkeys([step for step, _, _ in arguments]))
    options = RunOptions(*call.options).over(defaults)
    return Run(call.run_id, order, client, call, plan, options, arguments, given)


def _for_each_source(call: Call, plan: Plan) -> Call:
    """The same call; what is for all sources is for each of them."""
    if not any(step == SOURCES for step, _, _ in call.arguments):
        return call
    heads = [segment.steps[0] for segment in plan.segments if not segment.parents]
    sources = [plan.steps[head].name for head in heads]
    arguments: list[tuple[str, str, int]] = []
    frames: list[Buffer] = []
    position = 0
    for step, keyword, count in call.arguments:
        for name in sources if step == SOURCES else (step,):
            arguments.append((name, keyword, count))
            frames += call.frames[position : position + count]
        position += count
    return call._replace(arguments=tuple(arguments), frames=frames)


def _frames_problem(call: Call) -> CloudburstError | None:
    counts = [count for _, _, count in call.arguments]
    if sum(counts) == len(call.frames) and min(counts, default=1) > 0:
        return None
    return ProtocolError(f"run {call.run_id} came with frames that its arguments do not name")
