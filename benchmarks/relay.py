"""The floor: three processes that pass messages on with pyzmq, and do nothing else.

::

    client ──▶ first ──▶ second ──▶ client

The way of a direct call (client, scheduler, executor, client) with its number of frames and
bytes, in plain blocking loops: what is left when there is nothing to decide, decode or run.
Every process has a ROUTER for what comes and a DEALER for what goes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import zmq

from benchmarks.counters import Roles, this_process

ROOT = Path(__file__).parents[1]
TIMEOUT = 10_000
NUMBER = 8
"""Bytes of the number that goes round, at the beginning of each message's last frame."""

Sizes: TypeAlias = tuple[int, ...]
"""Bytes of each frame of a message."""


class _Message:
    """Makes messages of one kind: a number, and bytes that stand for the rest."""

    def __init__(self, sizes: Sizes) -> None:
        self._before = [os.urandom(size) for size in sizes[:-1]]
        self._rest = os.urandom(sizes[-1] - NUMBER)

    def with_number(self, number: bytes) -> list[bytes]:
        return [*self._before, number + self._rest]


class Relay:
    """The client's end, and the two processes behind it.

    Args:
        hops: sizes of the messages from client to first, first to second, second to client;
            the last frame of each has at least the eight bytes of the number.
    """

    def __init__(self, hops: Sequence[Sizes]) -> None:
        call, start, result = hops
        self._call = _Message(call)
        self._result = list(result)
        self._directory = tempfile.TemporaryDirectory(prefix="relay-")
        first, second, client = (f"ipc://{self._directory.name}/{name}" for name in "12c")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._inbox = _socket(self._context, zmq.ROUTER)
        self._inbox.bind(client)
        self._processes = [
            _start(first, second, start),
            _start(second, client, result),
        ]
        self._dealer = _socket(self._context, zmq.DEALER)
        self._dealer.connect(first)

    @property
    def roles(self) -> Roles:
        """This process and the two others."""
        first, second = (process.pid for process in self._processes)
        return {**this_process(), "first": (first,), "second": (second,)}

    def call(self, number: int) -> int:
        """Send a number round. Returns what came back.

        Raises:
            zmq.Again: nothing came back within ten seconds.
        """
        self._dealer.send_multipart(self._call.with_number(number.to_bytes(NUMBER, "big")))
        _, *frames = self._inbox.recv_multipart()
        if [len(frame) for frame in frames] != self._result:
            return -1
        return int.from_bytes(frames[-1][:NUMBER], "big")

    def close(self) -> None:
        """End the two processes and remove the sockets."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
            process.wait()
        self._inbox.close(0)
        self._dealer.close(0)
        self._context.term()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def pass_on(inbox: str, outbox: str, sizes: Sizes) -> None:
    """Pass numbers from one address to another for ever, in messages of those sizes."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.bind(inbox)
    dealer = context.socket(zmq.DEALER)
    dealer.connect(outbox)
    message = _Message(sizes)
    while True:
        number = router.recv_multipart()[-1][:NUMBER]
        dealer.send_multipart(message.with_number(number))


def _socket(context: zmq.Context[zmq.Socket[bytes]], kind: int) -> zmq.Socket[bytes]:
    socket = context.socket(kind)
    socket.setsockopt(zmq.RCVTIMEO, TIMEOUT)
    return socket


def _start(inbox: str, outbox: str, sizes: Sizes) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "benchmarks.relay", inbox, outbox, *map(str, sizes)]
    return subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    inbox, outbox, *sizes = sys.argv[1:]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    pass_on(inbox, outbox, tuple(map(int, sizes)))


if __name__ == "__main__":
    main()
