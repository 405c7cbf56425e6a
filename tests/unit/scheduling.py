"""A driver for `SchedulerState`: feeds it events, and checks it after each one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from cloudburst.core.messages import (
    PROTOCOL,
    Arguments,
    Call,
    ExecutorDied,
    ExecutorReady,
    Finished,
    Frames,
    Heartbeat,
    Message,
    RegisterDag,
    RegisterFunction,
    RunContext,
    RunState,
    Start,
    Welcome,
)
from cloudburst.core.wire import unpack_context
from cloudburst.kvs.base import Operation
from cloudburst.scheduler.events import Command, Event, Received, Send, Tick, Write, Written
from cloudburst.scheduler.state import SchedulerState

WELCOME = Welcome(PROTOCOL, "1.2.3", "3.11", "redis://store")
SHORT = 20e-6
LONG = 5.0

M = TypeVar("M")
Op = TypeVar("Op", bound=Operation)


class Cluster:
    """A scheduler's state, and the rest of a cluster as far as it can tell.

    Executor, step and function names are short words; the address of executor ``a`` is ``@a``.
    """

    def __init__(self, *, max_waiting: int = 1000, host_timeout: float = 3.0) -> None:
        self.state = SchedulerState(
            WELCOME, max_waiting=max_waiting, host_timeout=host_timeout, ttl=60.0
        )
        self.now = 0.0
        self.requests = 0

    def feed(self, event: Event) -> list[Command]:
        commands = self.state.handle(event, self.now)
        self.state.validate()
        return commands

    def tell(self, sender: str, message: Message) -> list[Command]:
        return self.feed(Received(sender, message))

    # members

    def join(self, *names: str, host: str = "host") -> list[Command]:
        commands = []
        for name in names:
            commands += self.tell(name, ExecutorReady(PROTOCOL, name, host, f"@{name}", 1))
        return commands

    def die(self, name: str, reason: str = "killed by signal 9") -> list[Command]:
        return self.tell("host", ExecutorDied("host", name, reason))

    def heartbeat(self, *names: str, host: str = "host") -> list[Command]:
        return self.tell(host, Heartbeat(PROTOCOL, host, names))

    def pass_time(self, seconds: float) -> list[Command]:
        self.now += seconds
        return self.feed(Tick())

    # what is registered

    def register(self, name: str, version: str = "v1", *, is_class: bool = False) -> list[Command]:
        self.requests += 1
        return self.write(
            self.tell("client", RegisterFunction(self.requests, name, version, is_class))
        )

    def dag(
        self,
        name: str,
        steps: Sequence[str | tuple[str, str]],
        edges: Iterable[tuple[str, str]] = (),
    ) -> list[Command]:
        self.requests += 1
        pairs = tuple((step, step) if isinstance(step, str) else step for step in steps)
        request = RegisterDag(self.requests, name, pairs, tuple(edges), only_check=False)
        return self.write(self.tell("client", request))

    def write(self, commands: Iterable[Command]) -> list[Command]:
        """The store carries out all writes, and those of what follows; returns what follows."""
        said: list[Command] = []
        for command in commands:
            if isinstance(command, Write) and command.token:
                follows = self.feed(Written(command.token, [None] * len(command.operations)))
                said += [*follows, *self.write(follows)]
        return said

    # runs

    def call(
        self,
        run_id: str,
        target: str = "f",
        *,
        client: str = "client",
        arguments: Arguments = (),
        frames: Frames = (),
        references: tuple[str, ...] = (),
        store: bool = False,
        reply_to: str = "@client",
    ) -> list[Command]:
        is_dag = target in self.state.registrar.registry.dags
        return self.tell(
            client,
            Call(run_id, target, is_dag, arguments, references, reply_to, store, "", 10.0, frames),
        )

    def finish(
        self, run_id: str, seconds: float = LONG, state: RunState = RunState.SUCCEEDED
    ) -> list[Command]:
        """Every executor of the run does its share, the one with the sink last."""
        run = self.state.runs[run_id]
        epoch, sink = run.epoch, run.placed_on[-1]
        commands = []
        shares = run.shares()
        for executor in sorted(shares, key=lambda executor: executor is sink):
            end = state if executor is sink else RunState.RUNNING
            times = [(segment, seconds) for segment in shares[executor]]
            commands += self.report(executor.name, run_id, epoch, end, times)
        return commands

    def report(
        self,
        executor: str,
        run_id: str,
        epoch: int,
        state: RunState,
        times: Iterable[tuple[int, float]] = (),
    ) -> list[Command]:
        return self.tell(executor, Finished(run_id, epoch, state.value, tuple(times)))

    def learn(self, target: str, seconds: float = SHORT) -> None:
        """Let the scheduler see how long a function or the branches of a DAG take."""
        self.requests += 1
        run_id = f"learn-{self.requests}"
        self.call(run_id, target)
        self.finish(run_id, seconds)

    def places(self, run_id: str) -> list[str]:
        """The executor of each segment of a run; empty while it waits."""
        return [executor.name for executor in self.state.runs[run_id].placed_on]

    def epoch(self, run_id: str) -> int:
        return self.state.runs[run_id].epoch

    def idle(self) -> bool:
        """Whether nothing is left of any run."""
        executors = self.state.members.executors.values()
        busy = any(executor.shares or executor.load for executor in executors)
        return not (self.state.runs or len(self.state.queues) or len(self.state.acceptance) or busy)


def sent(commands: Iterable[Command], kind: type[M]) -> list[tuple[str, M]]:
    """The messages of that kind among commands, with their receivers."""
    return [
        (command.to, command.message)
        for command in commands
        if isinstance(command, Send) and isinstance(command.message, kind)
    ]


def started(commands: Iterable[Command]) -> list[tuple[str, str]]:
    """(run, executor) of every `Start` among commands, in order."""
    return [(start.run_id, to) for to, start in sent(commands, Start)]


def operations(commands: Iterable[Command], kind: type[Op]) -> list[Op]:
    """The store operations of that kind among commands, in order."""
    return [
        operation
        for command in commands
        if isinstance(command, Write)
        for operation in command.operations
        if isinstance(operation, kind)
    ]


def context(start: Start) -> RunContext:
    return unpack_context(start.context)
