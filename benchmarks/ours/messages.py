"""The messages of a call: how large they are, and how many."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks.measure import Contender, WrongResult
from benchmarks.ours.calls import Calls, two_functions
from benchmarks.recording import Recorder, recorded_cluster, wait_until
from benchmarks.relay import Sizes
from benchmarks.tasks import composed
from benchmarks.work import Work
from cloudburst import CloudburstConnection
from cloudburst.core.dag import Dag, make_steps
from cloudburst.core.hosts import Fence, Heartbeat, Knock
from cloudburst.core.ids import new_id
from cloudburst.core.messages import (
    PROTOCOL,
    Accepted,
    Bounce,
    Call,
    ExecutorReady,
    Message,
    Result,
    Start,
    Welcome,
)
from cloudburst.core.options import NOTHING_SAID
from cloudburst.core.plan import FunctionInfo
from cloudburst.core.requests import ClusterStatus, GetStatus, RegisterDag, RegisterFunction
from cloudburst.core.wire import encode
from cloudburst.scheduler.events import Command, Received, Send, Write, Written
from cloudburst.scheduler.state import SchedulerState
from cloudburst.serialization import pack

TYPICAL = 2**29
CALLS = 20
_WARM_UP = 50
_ASIDE = (Heartbeat, Fence, GetStatus, ClusterStatus, Bounce, Knock, Accepted)
"""What the clock has sent at any time, and what is asked while counting."""


def messages_per_call(work: Work) -> dict[str, float]:
    """How many messages of each kind one call needs, by way: a direct response, or a future.

    Counted in a cluster of its own, in which they are passed on by whoever counts.
    """
    directory = Path(tempfile.mkdtemp(prefix="cb-", dir="/tmp"))
    try:
        with recorded_cluster(directory) as (cloud, recorder):
            calls = Calls(cloud, dict)
            counts = {each.name: _count(cloud, recorder, each) for each in calls.contenders(work)}
            calls.close()
            return counts
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def message_sizes(cloud: CloudburstConnection) -> list[Sizes]:
    """The sizes of a direct call's messages: client to scheduler to executor to client.

    Made by the scheduler's own state for a cluster with this one's addresses.
    """
    name, (source, _), _ = two_functions()
    directory = cloud.address.rpartition("/")[0]
    executor, client = cloud.status().executors[0], f"c0-{new_id()}"
    call = Call(
        run_id=f"{new_id()}-12345",
        target=name,
        is_dag=True,
        arguments=((str(source), "", 1),),
        references=(),
        reply_to=f"{directory}/{client}",
        store=False,
        output_key="",
        patience=10.0,
        options=NOTHING_SAID,
        frames=pack(TYPICAL).frames,
    )
    start = _start_of(call, client, executor, f"{directory}/{executor}")
    result = Result(call.run_id, 1, failed=False, frames=pack(composed(TYPICAL)).frames)
    return [_sizes(message) for message in (call, start, result)]


def _count(cloud: CloudburstConnection, recorder: Recorder, one: Contender) -> float:
    """Messages per call, the reports to the scheduler included."""
    for number in range(_WARM_UP):
        one.call(number)
    _settle(cloud)
    before = len(recorder.log)
    for number in range(CALLS):
        if one.call(number) != one.expected(number):
            raise WrongResult(f"{one.name} of {number}, while its messages were counted")
    _settle(cloud)
    sent = [each for each in recorder.log[before:] if not isinstance(each.message, _ASIDE)]
    return len(sent) / CALLS


def _settle(cloud: CloudburstConnection) -> None:
    """Wait until no run goes on, as far as the scheduler knows."""
    wait_until(lambda: cloud.status()[2:4] == (0, 0), "all runs end")


def _start_of(call: Call, client: str, executor: str, address: str) -> Start:
    welcome = Welcome(PROTOCOL, "", "", "")
    state = SchedulerState(welcome, max_waiting=1, host_timeout=1.0, ttl=86400.0)
    name, steps, edges = two_functions()
    messages: list[tuple[str, Message]] = []
    for step in steps:
        info = FunctionInfo(str(step), new_id(), is_class=False)
        messages.append((client, RegisterFunction(1, info, NOTHING_SAID)))
    dag = Dag(name, make_steps(steps), tuple(edges))
    messages += [
        (client, RegisterDag(2, *dag, NOTHING_SAID, only_check=False)),
        (executor, ExecutorReady(PROTOCOL, executor, "host", address, 1, ())),
        (client, call),
    ]
    commands: list[Command] = []
    for sender, message in messages:
        commands = state.handle(Received(sender, message), 0.0)
        for command in commands:
            if isinstance(command, Write):
                state.handle(Written(command.token, [None] * len(command.operations)), 0.0)
    (start,) = (c.message for c in commands if isinstance(c, Send) and isinstance(c.message, Start))
    return start


def _sizes(message: Message) -> Sizes:
    return tuple([len(frame) for frame in encode(message)])
