"""The smallest DAG, ``square(increment(x))``, beside the floors under it.

    python -m benchmarks.two_functions [--calls N] [--blocks B] [--executors E] [--json FILE]

Contenders, all in one run on one machine: the DAG with a direct response; the DAG with a stored
future and `.get()`; three processes that pass messages of the same sizes on with bare pyzmq; a
SET and a GET with redis-py over the cluster's own store; and the two functions called in Python.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from benchmarks.counters import cluster_roles, descendants, this_process
from benchmarks.measure import Contender, interleave
from benchmarks.relay import Relay, Sizes
from benchmarks.report import as_json, cpu_lines, host, host_lines, ratios, summaries, table
from cloudburst import CloudburstConnection, LocalCluster
from cloudburst.core.dag import Dag, make_steps
from cloudburst.core.ids import new_id
from cloudburst.core.messages import PROTOCOL, Call, ExecutorReady, Message, Result, Start, Welcome
from cloudburst.core.options import NOTHING_SAID
from cloudburst.core.plan import FunctionInfo
from cloudburst.core.requests import RegisterDag, RegisterFunction
from cloudburst.core.wire import encode
from cloudburst.scheduler.events import Command, Received, Send, Write, Written
from cloudburst.scheduler.state import SchedulerState
from cloudburst.serialization import pack

DAG = "square_of_increment"
STEPS = ("increment", "square")
FLOOR = "pyzmq relay"
TYPICAL = 2**29


def increment(_: Any, number: int) -> int:
    return number + 1


def square(_: Any, number: int) -> int:
    return number * number


def composed(number: int) -> int:
    """What every contender that computes must return."""
    return square(None, increment(None, number))


def contenders(cloud: CloudburstConnection, relay: Relay, pids: set[int]) -> list[Contender]:
    """All contenders, in the order of their turns."""
    roles = cluster_roles(pids)
    store = {name: roles[name] for name in ("client", "store")}
    return [
        Contender("DAG, direct response", _direct(cloud), composed, roles),
        Contender("DAG, stored future", _stored(cloud), composed, roles),
        Contender(FLOOR, relay.call, lambda number: number, relay.roles),
        Contender("redis-py SET + GET", _set_and_get(cloud.kvs_url), lambda n: n, store),
        Contender("Python call", composed, composed, this_process()),
    ]


def _direct(cloud: CloudburstConnection) -> Any:
    return lambda number: cloud.call_dag(DAG, {"increment": number}, direct_response=True)


def _stored(cloud: CloudburstConnection) -> Any:
    return lambda number: cloud.call_dag(DAG, {"increment": number}).get(timeout=10.0)


def _set_and_get(url: str) -> Any:
    client: Any = redis.from_url(url)
    size = len(pack(composed(TYPICAL)).frames[0])

    def call(number: int) -> int:
        client.set("benchmark", number.to_bytes(size, "big"))
        value: bytes = client.get("benchmark")
        return int.from_bytes(value, "big")

    return call


def deploy(cloud: CloudburstConnection) -> None:
    """Register the two functions and the DAG."""
    cloud.register(increment, "increment")
    cloud.register(square, "square")
    cloud.register_dag(DAG, STEPS, [STEPS])


def message_sizes(cloud: CloudburstConnection) -> list[Sizes]:
    """The sizes of a direct call's messages: client to scheduler to executor to client.

    Made by the scheduler's own state for a cluster with this one's addresses.
    """
    directory = cloud.address.rpartition("/")[0]
    executor, client = cloud.status().executors[0], f"c0-{new_id()}"
    call = Call(
        run_id=f"{new_id()}-12345",
        target=DAG,
        is_dag=True,
        arguments=((STEPS[0], "", 1),),
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


def _start_of(call: Call, client: str, executor: str, address: str) -> Start:
    state = SchedulerState(
        Welcome(PROTOCOL, "", "", ""), max_waiting=1, host_timeout=1.0, ttl=86400.0
    )
    dag = Dag(DAG, make_steps(STEPS), (STEPS,))
    messages: list[tuple[str, Message]] = [
        *(
            (
                client,
                RegisterFunction(1, FunctionInfo(name, new_id(), is_class=False), NOTHING_SAID),
            )
            for name in STEPS
        ),
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


@contextmanager
def started(executors: int | None) -> Iterator[tuple[CloudburstConnection, set[int]]]:
    """A cluster with the DAG on it, and the ids of its processes."""
    before = descendants()
    with LocalCluster(executors) as cluster, cluster.connect() as cloud:
        deploy(cloud)
        yield cloud, descendants() - before


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.two_functions")
    parser.add_argument("--calls", type=int, default=1000, help="of each contender in a block")
    parser.add_argument("--blocks", type=int, default=10, help="of each contender")
    parser.add_argument("--executors", type=int, default=None, help="by default one per core")
    parser.add_argument("--json", type=Path, default=None, help="write the results to this file")
    arguments = parser.parse_args()

    facts = host()
    with started(arguments.executors) as (cloud, pids):
        sizes = message_sizes(cloud)
        with Relay(sizes) as relay:
            results = interleave(contenders(cloud, relay, pids), arguments.calls, arguments.blocks)
    figures, times = summaries(results), ratios(results, FLOOR)
    print(*host_lines(facts), sep="\n")
    print(f"{arguments.blocks} blocks of {arguments.calls} calls, one at a time; ", end="")
    print("messages of " + ", ".join("+".join(map(str, frames)) for frames in sizes) + " bytes\n")
    print(*table(figures, times, FLOOR), sep="\n")
    print("\nCPU µs per call by process", *cpu_lines(figures), sep="\n")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(as_json(results, times, facts), indent=2) + "\n")


if __name__ == "__main__":
    main()
