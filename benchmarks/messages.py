"""Messages between two functions, beside bare pyzmq PUSH and PULL in two processes.

    python -m benchmarks.messages [--messages N] [--rounds R]

In every round, in turns: so many numbers from one to the other as fast as they go, all of them
checked and in order; and the time one way, which is half of that there and back.
"""

from __future__ import annotations

import argparse
import multiprocessing
import pickle
import statistics
import tempfile
import time
from typing import Any

import zmq

from cloudburst import CloudburstConnection, CloudburstReference, LocalCluster

PATIENCE = 60.0


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


def main() -> None:
    """Run what the command line says, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.messages", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    count, few = options.messages, max(1, options.messages // 5)
    with (
        tempfile.TemporaryDirectory(prefix="cb-", dir="/tmp") as folder,
        LocalCluster(2) as cluster,
        cluster.connect() as cloud,
    ):
        for function in (gather, scatter, echo, call_out):
            cloud.register(function, function.__name__)
        rows = [
            (
                burst_of_functions(cloud, f"burst{number}", count),
                burst_of_sockets(folder, count),
                one_way_of_functions(cloud, f"echo{number}", few),
                one_way_of_sockets(folder, few),
            )
            for number in range(options.rounds)
        ]
    ours, raw, one_way, raw_one_way = (
        statistics.median(column) for column in zip(*rows, strict=True)
    )
    print(
        f"{count:,} messages, ms: functions {ours * 1e3:.1f}, PUSH/PULL {raw * 1e3:.1f}; "
        f"ratio of medians {ours / raw:.2f}"
    )
    print(
        f"one way, us: functions {one_way * 1e6:.0f}, PUSH/PULL {raw_one_way * 1e6:.0f}; "
        f"ratio of medians {one_way / raw_one_way:.2f}"
    )


if __name__ == "__main__":
    main()
