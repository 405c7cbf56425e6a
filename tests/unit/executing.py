"""Drivers for `ExecutorState`: runs as short words, and an executor checked after each event."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from cloudburst.core.dag import Dag, Step
from cloudburst.core.messages import Finished, Frames, Message, Probe, RunContext, Start, Trigger
from cloudburst.core.options import Batch
from cloudburst.core.plan import FunctionInfo, Plan, compile_dag, compile_function
from cloudburst.core.wire import pack_context
from cloudburst.executor.events import (
    Command,
    Deliver,
    Done,
    Ending,
    Event,
    Input,
    Local,
    PlanLoaded,
    Report,
    SendTrigger,
    Work,
)
from cloudburst.executor.state import ExecutorState

SECONDS = 0.5

PAIRS = Batch(2, 1.0)
"""Two calls at a time; one waits a second for another."""

C = TypeVar("C", bound=Command)


def plan_of(edges: str, first_of: str = "", batched: str = "", batch: Batch = PAIRS) -> Plan:
    """The plan of a DAG: ``"ab bc"`` is a chain of three steps; one letter is a lone function.

    Args:
        edges: pairs of steps.
        first_of: the steps that are fired by the first result that counts.
        batched: the steps that are run in batches.
        batch: how these are made.
    """
    pairs = [(edge[0], edge[1]) for edge in edges.split() if len(edge) == 2]
    names = list(dict.fromkeys(edges.replace(" ", "")))
    functions = {
        name: FunctionInfo(
            name,
            f"v-{name}",
            is_class=False,
            batch_size=batch.size if name in batched else 0,
            batch_wait=batch.wait if name in batched else 0.0,
        )
        for name in names
    }
    if not pairs:
        return compile_function(functions[edges])
    steps = tuple(Step(name, name, "", b"none" if name in first_of else b"") for name in names)
    return compile_dag(Dag("dag", steps, tuple(pairs)), functions)


class Job(NamedTuple):
    """A run of a plan that is placed; makes the messages about it."""

    plan: Plan
    context: RunContext
    run_id: str = "run"
    epoch: int = 1

    def again(self, epoch: int) -> Job:
        return self._replace(epoch=epoch)

    def start(self, *arguments: tuple[str, str, str]) -> Start:
        """A `Start` with arguments as (step, keyword, value)."""
        spec = tuple((self.plan.step_index[step], keyword, 1) for step, keyword, _ in arguments)
        frames = [value.encode() for _, _, value in arguments]
        return Start(self.run_id, self.epoch, pack_context(self.context), spec, frames)

    def trigger(self, step: str, position: int, value: str) -> Trigger:
        """The value of an edge to the segment that begins with the step."""
        segment = self.plan.segment_of[self.plan.step_index[step]]
        context = pack_context(self.context)
        return Trigger(self.run_id, self.epoch, context, segment, position, packed(value))


def job(
    edges: str,
    places: str,
    given: str = "",
    run_id: str = "run",
    epoch: int = 1,
    *,
    retried: bool = False,
    alone: bool = False,
    warms: bool = False,
    first_of: str = "",
    batched: str = "",
    batch: Batch = PAIRS,
) -> Job:
    """A run.

    Args:
        edges: as for `plan_of`; so are ``first_of``, ``batched`` and ``batch``.
        places: the executor of each segment, a letter each: ``"AAB"``.
        given: the steps that have arguments of their own.
        run_id: its id.
        epoch: its epoch.
        retried: whether it is tried again if user code raises.
        alone: whether it is in no batch with others.
        warms: whether its code is only to be loaded.
    """
    plan = plan_of(edges, first_of, batched, batch)
    assert len(places) == len(plan.segments), [segment.steps for segment in plan.segments]
    executors = tuple(dict.fromkeys(places))
    context = RunContext(
        plan=plan.id,
        executors=executors,
        places=tuple(executors.index(place) for place in places),
        given=tuple(plan.step_index[step] for step in given),
        client="client",
        reply_to="@client",
        store=True,
        output_key="",
        patience=1.0,
        ttl=60.0,
        retried=retried,
        alone=alone,
        warms=warms,
    )
    return Job(plan, context, run_id, epoch)


def join_on_b() -> Job:
    """A join on B with an argument of its own, whose sources run on A."""
    return job("ac bc", "AAB", given="c")


def full(call: Job, mark: str = "") -> list[Event]:
    """All that the join on B waits for."""
    return [
        call.start(("c", "", "own" + mark)),
        call.trigger("c", 0, "a" + mark),
        call.trigger("c", 1, "b" + mark),
    ]


class Executor:
    """An executor's state; every event is followed by a look at its invariants."""

    def __init__(self, address: str = "A", *knows: Job) -> None:
        self.state = ExecutorState(address)
        for known in knows:
            assert self.take(PlanLoaded(known.plan)) == []

    def take(self, *events: Event) -> list[Command]:
        """What is to be done about the events."""
        commands: list[Command] = []
        for event in events:
            commands += self.state.handle(event)
            self.state.validate()
        return commands

    def waiting(self) -> list[str]:
        """The steps of what may run now, in order; nothing is taken out."""
        state = self.state
        live = [
            work
            for work in state.ready.works
            if work.run_id in state.shares and state.shares[work.run_id].epoch == work.epoch
        ]
        return [steps(work) for work in live]

    def peek(self) -> Work:
        """What is to run next; it stays there."""
        work = self.work()
        self.state.ready.works.appendleft(work)
        return work

    def work(self) -> Work:
        """Take out what is to run next; there must be something."""
        (work,) = self.state.next_work()
        return work

    def batch(self, now: float = 0.0) -> tuple[Work, ...]:
        """Take out what is to run next at that time, if anything."""
        works = self.state.next_work(now)
        self.state.validate()
        return works

    def idle(self) -> bool:
        return not self.state.next_work()

    def run(self, value: str = "", *, failed: bool = False) -> list[Command]:
        """Run the next segment, in 0.5 seconds and with this value: what is to be done then."""
        return self.finish(self.work(), value, failed=failed)

    def finish(self, work: Work, value: str = "", *, failed: bool = False) -> list[Command]:
        """The segment that was taken out has run."""
        return self.take(done(work, value, failed=failed))

    def finish_void(self, work: Work) -> list[Command]:
        """What had come for the segment that was taken out did not count."""
        return self.take(Done(work, (), Ending.VOID, SECONDS))

    def holds_nothing(self) -> bool:
        """Whether no run has left anything but the memory of its end."""
        state = self.state
        return self.idle() and not (state.shares or state.ready.works or state.routes.early)


def over(epoch: int = 1, *segments: int, state: str = "RUNNING") -> Finished:
    """What is said of a share that is over."""
    return Finished("run", epoch, state, tuple((number, SECONDS) for number in segments))


def standing(executor: Executor, epoch: int = 1, *, run_id: str = "run") -> Message | None:
    """What an executor says when it is asked after a run."""
    return said(only(executor.take(Probe(run_id, epoch)), Report))


def done(work: Work, value: str, *, failed: bool = False) -> Done:
    """The segment ran, and its value is as the state has asked for it."""
    local = work.segment in work.route.keep_local and not failed
    outcome: Input = Local(value) if local else packed(value)
    end = Ending.FAILED if failed else Ending.SUCCEEDED
    return Done(work, outcome, end, SECONDS, value if failed else "")


def packed(value: str) -> Frames:
    return [value.encode()]


def text(value: Input) -> str:
    """What a value handed over in memory, or packed, says."""
    if isinstance(value, Local):
        return str(value.value)
    (frame,) = value
    return bytes(frame).decode()


def steps(work: Work) -> str:
    """The names of the steps that a piece of work runs."""
    plan = work.route.plan
    return "".join(plan.steps[number].name for number in plan.segments[work.segment].steps)


def inputs(work: Work) -> list[str]:
    return [text(value) for value in work.inputs]


def arguments(work: Work) -> list[tuple[str, str, str]]:
    """Own arguments as (step, keyword, value)."""
    plan = work.route.plan
    return [(plan.steps[a.step].name, a.keyword, text(a.frames)) for a in work.arguments]


def only(commands: list[Command], kind: type[C]) -> C:
    """The one command, which is of that kind."""
    (command,) = commands
    assert isinstance(command, kind)
    return command


def triggers(commands: list[Command]) -> list[tuple[str, int, int, str]]:
    """The triggers among commands, as (address, segment, position, value)."""
    sent = [(c.address, c.trigger) for c in commands if isinstance(c, SendTrigger)]
    return [(to, item.segment, item.position, text(item.frames)) for to, item in sent]


def reports(commands: list[Command]) -> list[tuple[int, str, list[int]]]:
    """What the scheduler is told of shares that are over, as (epoch, state, segments that ran)."""
    told = [*map(said, commands)]
    return [
        (item.epoch, item.state, [segment for segment, _ in item.times])
        for item in told
        if isinstance(item, Finished)
    ]


def told(commands: list[Command]) -> list[Message | None]:
    """What the scheduler is told, if there is nothing else to be done."""
    return [*map(said, commands)]


def said(command: Command) -> Message | None:
    """What the scheduler is told by a command, if anything."""
    match command:
        case Deliver(finished=finished):
            return finished
        case Report(message=message):
            return message
        case _:
            return None
