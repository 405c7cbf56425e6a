"""What a hop costs: a small message through three processes, over each transport.

    python -m benchmarks.transport [--bytes N] [--calls N] [--blocks B]

::

    client ──▶ first ──▶ second ──▶ client

Contenders, interleaved: `cloudburst.transport` over Unix sockets and over ZeroMQ, and the floors
under them: bare pyzmq over Unix sockets, and bare sockets that one `recv` and one `send` serve.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import zmq

from benchmarks.counters import Roles, this_process
from benchmarks.measure import Contender, interleave, summary
from cloudburst.transport import Context, Poller

ROOT = Path(__file__).parents[1]
NUMBER = 8
"""Bytes of the number that each message begins with."""

_LARGEST = 1 << 16
_TIMEOUT = 10_000


class End(Protocol):
    """Where a process receives from the one before it, and sends to the one after."""

    def send(self, message: bytes) -> None: ...
    def receive(self) -> bytes: ...


class Ours:
    """An inbox and an outlet."""

    def __init__(self, inbox: str, outlet: str) -> None:
        context = Context()
        self._inbox = context.bind(inbox)
        self._outlet = context.connect(outlet)
        self._poller = Poller(self._inbox)

    def send(self, message: bytes) -> None:
        self._outlet.send([message])

    def receive(self) -> bytes:
        while True:
            self._poller.wait(None)
            for _, frames in self._inbox.messages():
                return bytes(frames[0])


class Pyzmq:
    """A ROUTER and a DEALER."""

    def __init__(self, inbox: str, outlet: str) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = context.socket(zmq.ROUTER)
        self._router.bind(inbox)
        self._dealer = context.socket(zmq.DEALER)
        self._dealer.connect(outlet)

    def send(self, message: bytes) -> None:
        self._dealer.send(message)

    def receive(self) -> bytes:
        return self._router.recv_multipart()[1]


class Bare:
    """One end of each of two pairs of sockets, by descriptor."""

    def __init__(self, inbox: str, outlet: str) -> None:
        self._inbox = socket.socket(fileno=int(inbox))
        self._outlet = socket.socket(fileno=int(outlet))

    def send(self, message: bytes) -> None:
        self._outlet.send(message)

    def receive(self) -> bytes:
        message = self._inbox.recv(_LARGEST)
        if not message:
            raise EOFError
        return message


ENDS: dict[str, Callable[[str, str], End]] = {"ours": Ours, "pyzmq": Pyzmq, "bare": Bare}


class Way(NamedTuple):
    """A contender: its name, which kind of ends it has, and where those of each hop meet."""

    name: str
    end: str
    hops: Callable[[Path], list[str]]


def unix_paths(name: str, directory: Path) -> list[str]:
    return [f"ipc://{directory}/{name}{hop}" for hop in range(3)]


def tcp_ports(_: Path) -> list[str]:
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        return [f"tcp://127.0.0.1:{server.getsockname()[1]}" for server in taken]


WAYS = (
    Way("unix", "ours", partial(unix_paths, "u")),
    Way("zmq", "ours", tcp_ports),
    Way("bare pyzmq", "pyzmq", partial(unix_paths, "z")),
)


class Ring:
    """The client's end, and the two processes behind it."""

    def __init__(self, end: str, ends: Sequence[tuple[str, str]], size: int) -> None:
        client, *others = ends
        self._rest = os.urandom(size - NUMBER)
        self._processes = [_start(end, *names) for names in others]
        self._end = ENDS[end](*client)

    @property
    def roles(self) -> Roles:
        """This process and the two others."""
        first, second = (process.pid for process in self._processes)
        return {**this_process(), "first": (first,), "second": (second,)}

    def call(self, number: int) -> int:
        """Send a number round. Returns what came back."""
        self._end.send(number.to_bytes(NUMBER, "big") + self._rest)
        return int.from_bytes(self._end.receive()[:NUMBER], "big")

    def close(self) -> None:
        """End the two processes."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(_TIMEOUT)


def rings(directory: Path, size: int, stack: ExitStack) -> list[Contender]:
    """All contenders, started."""
    found = []
    for way in WAYS:
        a, b, c = way.hops(directory)
        found.append((way.name, Ring(way.end, [(c, a), (a, b), (b, c)], size)))
    pairs = [socket.socketpair() for _ in range(3)]
    (a_out, a_in), (b_out, b_in), (c_out, c_in) = (
        [str(each.detach()) for each in pair] for pair in pairs
    )
    found.append(
        ("bare sockets", Ring("bare", [(c_in, a_out), (a_in, b_out), (b_in, c_out)], size))
    )
    for _, ring in found:
        stack.callback(ring.close)
    return [Contender(name, ring.call, lambda number: number, ring.roles) for name, ring in found]


def _start(end: str, inbox: str, outlet: str) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "benchmarks.transport", "--relay", end, inbox, outlet]
    descriptors = [int(inbox), int(outlet)] if end == "bare" else []
    return subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE, pass_fds=descriptors)


def relay(end: str, inbox: str, outlet: str) -> None:
    """Pass messages on until the parent ends."""

    def end_with_parent() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    here = ENDS[end](inbox, outlet)
    while True:
        here.send(here.receive())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transport", description=__doc__)
    parser.add_argument("--bytes", type=int, default=150, help="size of the message")
    parser.add_argument("--calls", type=int, default=1000, help="calls in each block")
    parser.add_argument("--blocks", type=int, default=9, help="blocks of each contender")
    parser.add_argument("--relay", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.relay:
        relay(*options.relay)
    with tempfile.TemporaryDirectory(prefix="ring-") as directory, ExitStack() as stack:
        contenders = rings(Path(directory), options.bytes, stack)
        results = interleave(contenders, options.calls, options.blocks)
    print("three hops      p50 us   p99 us   CPU us   switches")
    for name, blocks in results.items():
        figures = summary(blocks)
        row = f"{figures.p50:9.1f}{figures.p99:9.1f}{figures.cpu:9.1f}{figures.switches:11.1f}"
        print(f"{name:13}{row}")


if __name__ == "__main__":
    main()
