"""What the scheduler's pure state spends on one run, from its call to its end, in processor time.

With 2 executors and with 64. No socket, no store and no wire format take part, except the packing
of what the state packs.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.measure import block_of
from benchmarks.record import Series, Session
from cloudburst.core.dag import Dag, make_steps
from cloudburst.core.messages import (
    PROTOCOL,
    Call,
    ExecutorReady,
    Finished,
    RunState,
    Start,
    Welcome,
)
from cloudburst.core.options import NOTHING_SAID
from cloudburst.core.plan import FunctionInfo
from cloudburst.core.requests import RegisterDag, RegisterFunction
from cloudburst.scheduler.events import Command, Event, Received, Send, Write, Written
from cloudburst.scheduler.state import SchedulerState

REPEATS = 15
CHAIN = tuple((f"s{number}", "f") for number in range(100))
DIAMOND = (("top", "f"), ("left", "f"), ("right", "f"), ("bottom", "f"))
DIAMOND_EDGES = (("top", "left"), ("top", "right"), ("left", "bottom"), ("right", "bottom"))


def scheduler(executors: int) -> SchedulerState:
    """A state with executors, a function, a chain of 100 steps and a diamond."""
    welcome = Welcome(PROTOCOL, "", "", "")
    state = SchedulerState(welcome, max_waiting=1000, host_timeout=3.0, ttl=3600.0)
    chain_edges = tuple((a[0], b[0]) for a, b in itertools.pairwise(CHAIN))
    for message in (
        RegisterFunction(1, FunctionInfo("f", "v1", is_class=False), NOTHING_SAID),
        RegisterDag(
            2, *Dag("chain", make_steps(CHAIN), chain_edges), NOTHING_SAID, only_check=False
        ),
        RegisterDag(
            3, *Dag("diamond", make_steps(DIAMOND), DIAMOND_EDGES), NOTHING_SAID, only_check=False
        ),
    ):
        for command in state.handle(Received("client", message), 0.0):
            if isinstance(command, Write):
                state.handle(Written(command.token, [None] * len(command.operations)), 0.0)
    for number in range(executors):
        name = f"executor-{number}"
        ready = ExecutorReady(PROTOCOL, name, "host", f"ipc:///run/{name}", number, ())
        state.handle(Received(name, ready), 0.0)
    return state


def calls(target: str, source: str, count: int, *, store: bool) -> list[Call]:
    """Calls as they come off the wire, one argument each."""
    is_dag = target != "f"
    arguments = ((source, "", 1),)
    reply_to = "ipc:///run/client"
    return [
        Call(
            f"c-{n}",
            target,
            is_dag,
            arguments,
            (),
            reply_to,
            store,
            "",
            10.0,
            NOTHING_SAID,
            frames=[b"x" * 40],
        )
        for n in range(count)
    ]


def answers(state: SchedulerState, commands: list[Command], service: float) -> Iterator[Received]:
    """What the executors and the store say to the commands of one call."""
    for command in commands:
        match command:
            case Send(message=Start(run_id=run_id, epoch=epoch)):
                run = state.life.runs[run_id]
                sink = run.placed_on[-1].name
                shares: dict[str, list[int]] = {}
                for segment, executor in enumerate(run.placed_on):
                    shares.setdefault(executor.name, []).append(segment)
                for name in sorted(shares, key=lambda name: name == sink):
                    end = RunState.SUCCEEDED if name == sink else RunState.RUNNING
                    times = tuple((segment, service) for segment in shares[name])
                    yield Received(name, Finished(run_id, epoch, end.value, times))


def measure(state: SchedulerState, batch: list[Call], service: float) -> float:
    """Seconds per run; what stands for the other processes is not counted."""
    spent = 0.0
    clock = time.perf_counter
    for call in batch:
        event = Received("client", call)
        began = clock()
        commands = state.handle(event, 1.0)
        spent += clock() - began
        written = [
            Written(command.token, [None, True])
            for command in commands
            if isinstance(command, Write) and command.token
        ]
        replies: list[Event] = [*written, *answers(state, commands, service)]
        for reply in replies:
            began = clock()
            state.handle(reply, 1.0)
            spent += clock() - began
    return spent / len(batch)


ROWS = (
    ("lone function, direct", "f", "f", False, 20e-6),
    ("lone function, stored", "f", "f", True, 20e-6),
    ("chain of 100, direct", "chain", "s0", False, 20e-6),
    ("diamond of short steps, direct", "diamond", "top", False, 20e-6),
    ("diamond of 10 ms steps, direct", "diamond", "top", False, 10e-3),
)
"""Title, target, source, whether the result is stored, and the seconds that a step takes."""


def run(bench: Bench) -> None:
    cycles, repeats = (20, 2) if bench.quick else (500, REPEATS)
    for title, target, source, store, service in ROWS:
        series = []
        for executors in (2, 64):
            state, batch = scheduler(executors), calls(target, source, cycles, store=store)
            blocks = [block_of([measure(state, batch, service)]) for _ in range(repeats)]
            series.append(Series(f"{executors} executors", "s", 1, blocks))
        bench.add(Session(title, None, "alone", series))
