"""Messages between two running functions, beside bare pyzmq PUSH and PULL in two processes.

10,000 numbers from one to the other as fast as they go, all of them checked and in order: the time
of a message. And single ones there and back, one after another: half of the time of a round trip.
"""

from __future__ import annotations

import multiprocessing
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import zmq

from benchmarks.bench import Bench
from benchmarks.counters import this_process
from benchmarks.measure import Clocked, Contender
from benchmarks.ours.cluster import Cloudburst
from cloudburst import CloudburstConnection, CloudburstReference

PATIENCE = 60.0
FUNCTIONS, SOCKETS = "cloudburst, functions", "pyzmq PUSH/PULL"


def gather(library: Any, key: str, count: int) -> tuple[float, bool]:
    """Receive so many numbers. Returns when, and whether they came in order."""
    library.put(key, library.get_id())
    found: list[int] = []
    while len(found) < count and (messages := library.recv(timeout=PATIENCE)):
        found += [message for _, message in messages]
    return time.perf_counter(), found == list(range(count))


def scatter(library: Any, recipient: str, count: int) -> float:
    """Send so many numbers. Returns when the first left."""
    began = time.perf_counter()
    for number in range(count):
        library.send(recipient, number)
    return began


def echo(library: Any, key: str) -> None:
    """Send back what comes, up to a None."""
    library.put(key, library.get_id())
    while messages := library.recv(timeout=PATIENCE):
        for sender, message in messages:
            if message is None:
                return
            library.send(sender, message)


def call_out(library: Any, recipient: str, count: int) -> list[float]:
    """Seconds one way, of so many messages one after another."""
    seconds = []
    for number in range(count):
        began = time.perf_counter()
        library.send(recipient, number)
        while not library.recv(timeout=PATIENCE):
            pass
        seconds.append((time.perf_counter() - began) / 2)
    library.send(recipient, None)
    return seconds


def burst_of_functions(cloud: CloudburstConnection, key: str, count: int) -> float:
    """Seconds from the first message to the last."""
    gathered = _function(cloud, "gather")(key, count)
    began = _function(cloud, "scatter")(CloudburstReference(key), count).get(PATIENCE)
    ended, in_order = gathered.get(PATIENCE)
    assert in_order
    return float(ended - began)


def one_way_of_functions(cloud: CloudburstConnection, key: str, count: int) -> float:
    """The median."""
    echoed = _function(cloud, "echo")(key)
    seconds: list[float] = _function(cloud, "call_out")(CloudburstReference(key), count).get(
        PATIENCE
    )
    echoed.get(PATIENCE)
    return statistics.median(seconds)


def _function(cloud: CloudburstConnection, name: str) -> Any:
    return cloud.get_function(name)


def burst_of_sockets(folder: str, count: int) -> float:
    """The same with bare sockets, each number pickled as a message of its own."""
    with _Sockets(_gather_raw, folder, count) as (out, back):
        assert back.recv() == b"ready"
        began = time.perf_counter()
        for number in range(count):
            out.send(pickle.dumps(number, 5))
        assert back.recv() == b"in order"
        return time.perf_counter() - began


def one_way_of_sockets(folder: str, count: int) -> float:
    """The median."""
    seconds = []
    with _Sockets(_echo_raw, folder, count) as (out, back):
        assert back.recv() == b"ready"
        for number in range(count):
            began = time.perf_counter()
            out.send(pickle.dumps(number, 5))
            pickle.loads(back.recv())
            seconds.append((time.perf_counter() - began) / 2)
    return statistics.median(seconds)


class _Sockets:
    """A PUSH socket to another process, and a PULL socket from it."""

    def __init__(self, target: Any, folder: str, count: int) -> None:
        self._paths = [f"ipc://{folder}/{target.__name__}{way}" for way in ("out", "back")]
        # Before there is a context here: it would not survive the fork.
        fork = multiprocessing.get_context("fork")
        self._process = fork.Process(target=target, args=(*self._paths, count))
        self._process.start()
        self._context = zmq.Context()

    def __enter__(self) -> tuple[Any, Any]:
        self._out, self._back = (self._context.socket(kind) for kind in (zmq.PUSH, zmq.PULL))
        self._out.setsockopt(zmq.SNDHWM, 0)
        self._out.bind(self._paths[0])
        self._back.bind(self._paths[1])
        return self._out, self._back

    def __exit__(self, *_: object) -> None:
        self._process.join()
        self._out.close()
        self._back.close()
        self._context.term()


def _gather_raw(out: str, back: str, count: int) -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as come, context.socket(zmq.PUSH) as go:
        come.setsockopt(zmq.RCVHWM, 0)
        come.connect(out)
        go.connect(back)
        go.send(b"ready")
        found = [pickle.loads(come.recv()) for _ in range(count)]
        go.send(b"in order" if found == list(range(count)) else b"out of order")


def _echo_raw(out: str, back: str, count: int) -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as come, context.socket(zmq.PUSH) as go:
        come.connect(out)
        go.connect(back)
        go.send(b"ready")
        for _ in range(count):
            go.send(come.recv())


def run(bench: Bench) -> None:
    count, few = (200, 20) if bench.quick else (10_000, 500)
    effort = bench.effort._replace(calls=1, warm_up=1)
    with Cloudburst() as system, tempfile.TemporaryDirectory(prefix="cb-", dir="/tmp") as folder:
        cloud = system.cloud
        for function in (gather, scatter, echo, call_out):
            cloud.register(function, function.__name__)

        def contender(name: str, measured: Callable[[int], float], each: int = 1) -> Contender:
            roles = system.roles if name == FUNCTIONS else this_process
            # Wrong or missing messages are found where they arrive, and raise there.
            return Contender(
                name, lambda n: Clocked(None, measured(n)), lambda _: None, roles, each
            )

        burst = [
            contender(FUNCTIONS, lambda n: burst_of_functions(cloud, f"burst{n}", count), count),
            contender(SOCKETS, lambda _: burst_of_sockets(folder, count), count),
        ]
        one_way = [
            contender(FUNCTIONS, lambda n: one_way_of_functions(cloud, f"echo{n}", few)),
            contender(SOCKETS, lambda _: one_way_of_sockets(folder, few)),
        ]
        bench.turns("many messages", None, "floors", burst, effort)
        bench.turns("one way", None, "floors", one_way, effort)
