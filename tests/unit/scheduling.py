"""A driver for `SchedulerState`: feeds it events, and checks it after each one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, Unpack

from cloudburst.core.dag import Dag, make_steps
from cloudburst.core.hosts import Draining, ExecutorDied, Heartbeat, PoolSize
from cloudburst.core.messages import (
    PROTOCOL,
    Arguments,
    Blocked,
    Call,
    Cancel,
    DropDag,
    ExecutorReady,
    Finished,
    Frames,
    HandBack,
    Message,
    Result,
    RunContext,
    RunState,
    Standing,
    Start,
    Stop,
    Welcome,
)
from cloudburst.core.options import NOTHING_SAID, OptionsSaid, RunOptions, make_options
from cloudburst.core.plan import FunctionInfo
from cloudburst.core.requests import RegisterDag, RegisterFunction
from cloudburst.core.wire import unpack_context
from cloudburst.errors import CloudburstError, KVSUnavailable
from cloudburst.kvs.base import Commit, CommitRun, Operation
from cloudburst.kvs.memory import MemoryStore
from cloudburst.scheduler.acceptance import RECORD_AFTER
from cloudburst.scheduler.events import (
    Command,
    Event,
    Received,
    Send,
    Tick,
    Undelivered,
    Write,
    Written,
)
from cloudburst.scheduler.homes import Home
from cloudburst.scheduler.queues import Queues
from cloudburst.scheduler.run import Run
from cloudburst.scheduler.state import SchedulerState
from cloudburst.scheduler.times import ServiceTimes
from cloudburst.serialization import failure_in, unpack

WELCOME = Welcome(PROTOCOL, "1.2.3", "3.11", "redis://store")
SHORT = 20e-6
LONG = 5.0
SMALL_TALK = DropDag("gone")
AWAY = KVSUnavailable("the store is away")

M = TypeVar("M")
Op = TypeVar("Op", bound=Operation)


class Cluster:
    """A scheduler's state, and the rest of a cluster as far as it can tell.

    Executor, step and function names are short words; the address of executor ``a`` is ``@a``.
    What the state writes reaches the store when a test hands it to `write`.
    """

    def __init__(self, **options: Any) -> None:
        told = {"max_waiting": 1000, "host_timeout": 3.0, "ttl": 60.0, **options}
        self.state = SchedulerState(WELCOME, **told)
        self.now = 0.0
        self.store = MemoryStore(clock=lambda: self.now)
        self.requests = 0
        self.size = PoolSize(least=1, most=1, ceiling=1, idle_timeout=30.0)

    @property
    def runs(self) -> dict[str, Run]:
        return self.state.life.runs

    @property
    def queues(self) -> Queues:
        return self.state.life.placing.queues

    @property
    def times(self) -> ServiceTimes:
        return self.state.life.placing.times

    @property
    def homes(self) -> dict[Home, list[str]]:
        """Where instances are kept, for what."""
        found: dict[Home, list[str]] = {}
        for name in self.state.members.executors:
            for home in self.state.life.placing.homes.at(name):
                found.setdefault(home, []).append(name)
        return found

    def feed(self, event: Event) -> list[Command]:
        commands = self.state.handle(event, self.now)
        self.state.validate()
        return commands

    def tell(self, sender: str, message: Message) -> list[Command]:
        return self.feed(Received(sender, message))

    # members

    def join(
        self,
        *names: str,
        host: str = "host",
        holds: tuple[tuple[str, int], ...] = (),
        resources: tuple[str, ...] = (),
    ) -> list[Command]:
        commands = []
        for name in names:
            ready = ExecutorReady(PROTOCOL, name, host, f"@{name}", 1, holds, resources)
            commands += self.tell(name, ready)
        return commands

    def die(
        self,
        name: str,
        reason: str = "killed by signal 9",
        *,
        running: str = "",
        host: str = "host",
    ) -> list[Command]:
        return self.tell(host, ExecutorDied(host, name, reason, running))

    def miss(self, name: str, message: Message = SMALL_TALK) -> list[Command]:
        """A message to that peer could not be delivered."""
        return self.feed(Undelivered(name, message))

    def cut_off(self, name: str, host: str = "host") -> list[Command]:
        """An executor is out of reach for so long that it is given up, although it lives."""
        names = [e.name for e in self.state.members.all() if e.host == host]
        commands = self.miss(name)
        for _ in range(2):
            commands += self.heartbeat(*names, host=host)
        return commands

    def heartbeat(
        self, *names: str, host: str = "host", resources: tuple[str, ...] = ()
    ) -> list[Command]:
        return self.tell(host, Heartbeat(PROTOCOL, host, names, *self.size, resources))

    def drain(self, host: str = "host") -> list[Command]:
        return self.tell(host, Draining(host))

    def pass_time(self, seconds: float) -> list[Command]:
        self.now += seconds
        return self.feed(Tick())

    def live(self, seconds: float) -> list[Command]:
        """Time passes as a server lets it: a tick at each deadline; hosts stay alive."""
        end, commands = self.now + seconds, []
        members = self.state.members
        while (deadline := self.state.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            for host, known in [*members.hosts.items()]:
                names = [executor.name for executor in members.all() if executor.host == host]
                commands += self.heartbeat(*names, host=host, resources=known.resources)
            commands += self.pass_time(0.0)
        self.now = end
        return commands

    # what is registered

    def register(
        self,
        name: str,
        version: str = "v1",
        *,
        is_class: bool = False,
        options: RunOptions = NOTHING_SAID,
        limits: tuple[int, int] = (0, 0),
        batch: tuple[int, float] = (0, 0.0),
        needs: str = "",
    ) -> list[Command]:
        """``limits`` are ``max_concurrency`` and ``max_per_host``, ``batch`` is size and wait."""
        self.requests += 1
        function = FunctionInfo(name, version, is_class, *limits, *batch, needs)
        request = RegisterFunction(self.requests, function, options)
        return self.write(self.tell("client", request))

    def dag(
        self,
        name: str,
        steps: Sequence[object],
        edges: Iterable[tuple[str, str]] = (),
        *,
        colocated: tuple[tuple[str, ...], ...] = (),
        replicas: int = 1,
        options: RunOptions = NOTHING_SAID,
    ) -> list[Command]:
        self.requests += 1
        dag = Dag(name, make_steps(steps), tuple(edges), colocated, replicas)
        request = RegisterDag(self.requests, *dag, options, only_check=False)
        return self.write(self.tell("client", request))

    # the store

    def record(self) -> list[Command]:
        """The moment passes that runs have to end before they are recorded."""
        return self.pass_time(RECORD_AFTER)

    def accept(self, run_id: str, target: str = "f", **options: Unpack[OptionsSaid]) -> None:
        """A stored call is made, and the store has its record."""
        self.call(run_id, target, store=True, **options)
        self.write(self.record())

    def write(self, commands: Iterable[Command]) -> list[Command]:
        """The store carries out all writes, and those of what follows; returns what follows."""
        said: list[Command] = []
        for command in commands:
            if isinstance(command, Write):
                outcome = self.store.execute(command.operations)
                follows = self.feed(Written(command.token, outcome)) if command.token else []
                said += [*follows, *self.write(follows)]
        return said

    def refuse(self, commands: Iterable[Command], error: CloudburstError = AWAY) -> list[Command]:
        """The store carries out none of the writes; returns what follows."""
        said: list[Command] = []
        for command in commands:
            if isinstance(command, Write) and command.token:
                said += self.feed(Written(command.token, error))
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
        readers: tuple[str, ...] | None = None,
        store: bool = False,
        reply_to: str = "@client",
        parent: str = "",
        warm: int = 0,
        **options: Unpack[OptionsSaid],
    ) -> list[Command]:
        is_dag = target in self.state.registrar.registry.dags
        call = Call(
            run_id=run_id,
            target=target,
            is_dag=is_dag,
            arguments=arguments,
            references=references,
            reply_to=reply_to,
            store=store,
            output_key="",
            patience=10.0,
            options=make_options(**options),
            parent=parent,
            warm=warm,
            readers=(target,) * len(references) if readers is None else readers,
            frames=frames,
        )
        return self.tell(client, call)

    def commit(self, run_id: str, epoch: int = 1, state: RunState = RunState.SUCCEEDED) -> Commit:
        """An executor stores the result of a run; what the store says to that."""
        commit = CommitRun(run_id, state, epoch, "a", "", b"result", "", ttl=60.0)
        (answer,) = self.store.execute([commit])
        return Commit(answer)

    def cancel(self, run_id: str, client: str = "client") -> list[Command]:
        return self.tell(client, Cancel(run_id))

    def finish(
        self, run_id: str, seconds: float = LONG, state: RunState = RunState.SUCCEEDED
    ) -> list[Command]:
        """Every executor of the run does its share, the one with the sink last."""
        run = self.runs[run_id]
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

    def let_go(self, executor: str, run_id: str, epoch: int = 1) -> list[Command]:
        """What an executor says when nothing of a run is left there, though it has not ended."""
        return self.report(executor, run_id, epoch, RunState.RUNNING)

    def hand_back(
        self, executor: str, run_id: str, epoch: int = 1, *, raised: bool = False
    ) -> list[Command]:
        reason = "ValueError: no" if raised else "executor @b could not be reached"
        return self.tell(executor, HandBack(run_id, epoch, raised, reason))

    def stand(
        self, executor: str, run_id: str, epoch: int = 1, *, active: bool = False
    ) -> list[Command]:
        """The answer to a `Probe`."""
        return self.tell(executor, Standing(run_id, epoch, active))

    def block(
        self, executor: str, run_id: str, epoch: int = 1, *, waits: bool = True
    ) -> list[Command]:
        """Code of a run waits on an executor for what others do, or goes on."""
        return self.tell(executor, Blocked(run_id, epoch, waits))

    def learn(self, target: str, seconds: float = SHORT) -> None:
        """Let the scheduler see how long a function or the branches of a DAG take."""
        self.requests += 1
        run_id = f"learn-{self.requests}"
        self.call(run_id, target)
        self.finish(run_id, seconds)

    def places(self, run_id: str) -> list[str]:
        """The executor of each segment of a run; empty while it waits."""
        return [executor.name for executor in self.runs[run_id].placed_on]

    def epoch(self, run_id: str) -> int:
        return self.runs[run_id].epoch

    def idle(self) -> bool:
        """Whether nothing is left of any run."""
        life = self.state.life
        busy = any(executor.shares or executor.load for executor in self.state.members.all())
        writing = len(life.admission.acceptance) + len(life.closing.endings)
        return not (self.runs or len(self.queues) or writing or len(life.alarms) or busy)


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


def stops(commands: Iterable[Command]) -> list[tuple[str, str, int]]:
    """(executor, run, epoch) of every `Stop` among commands, in order."""
    return [(to, stop.run_id, stop.epoch) for to, stop in sent(commands, Stop)]


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


def endings(commands: Iterable[Command]) -> list[tuple[str, str, BaseException]]:
    """(client, run, error) of every `Result` that tells of a failure, in order."""
    return [(to, result.run_id, error_in(result.frames)) for to, result in sent(commands, Result)]


def error_in(frames: Frames) -> BaseException:
    failure = failure_in(unpack(frames))
    assert failure is not None
    return failure.exception()


def ends(commands: Iterable[Command]) -> list[tuple[str, type[BaseException]]]:
    """(run, class of error) of every `Result` that tells of a failure, in order."""
    return [(run_id, type(error)) for _, run_id, error in endings(commands)]
