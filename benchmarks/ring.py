"""A small message round three processes, over each transport and over bare sockets.

::

    client ──▶ first ──▶ second ──▶ client

``python -m benchmarks.ring`` is one of the two processes behind the client.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import zmq

from benchmarks.counters import Roles, this_process
from benchmarks.measure import Contender
from benchmarks.tasks import same
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
    def close(self) -> None: ...


class Ours:
    """An inbox and an outlet."""

    def __init__(self, inbox: str, outlet: str) -> None:
        self._context = Context()
        self._inbox = self._context.bind(inbox)
        self._outlet = self._context.connect(outlet)
        self._poller = Poller(self._inbox)
        self._poller.add(self._outlet)  # whose peer may not be there yet

    def send(self, message: bytes) -> None:
        self._outlet.send([message])

    def receive(self) -> bytes:
        while True:
            self._poller.wait(None)
            for _, frames in self._inbox.messages():
                return bytes(frames[0])

    def close(self) -> None:
        self._inbox.close()
        self._outlet.close()
        self._context.close()


class Pyzmq:
    """A ROUTER and a DEALER."""

    def __init__(self, inbox: str, outlet: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.bind(inbox)
        self._dealer = self._context.socket(zmq.DEALER)
        self._dealer.connect(outlet)

    def send(self, message: bytes) -> None:
        self._dealer.send(message)

    def receive(self) -> bytes:
        return self._router.recv_multipart()[1]

    def close(self) -> None:
        self._router.close(0)
        self._dealer.close(0)
        self._context.term()


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

    def close(self) -> None:
        self._inbox.close()
        self._outlet.close()


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

    def roles(self) -> Roles:
        """This process and the two others."""
        first, second = (process.pid for process in self._processes)
        return {**this_process(), "first": (first,), "second": (second,)}

    def call(self, number: int) -> int:
        """Send a number round. Returns what came back."""
        self._end.send(number.to_bytes(NUMBER, "big") + self._rest)
        return int.from_bytes(self._end.receive()[:NUMBER], "big")

    def close(self) -> None:
        """End the two processes, and this end."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(_TIMEOUT)
        self._end.close()


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
    return [Contender(name, ring.call, same, ring.roles) for name, ring in found]


def _start(end: str, inbox: str, outlet: str) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "benchmarks.ring", end, inbox, outlet]
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
    relay(*sys.argv[1:])


if __name__ == "__main__":
    main()
