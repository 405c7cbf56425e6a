"""Sockets for tests: inboxes and outlets of either transport, all closed at the end."""

import shutil
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sockets import PATIENCE, heard, wait_until

from cloudburst.core.messages import Buffer
from cloudburst.transport import Context, Inbox, Outlet, Poller

MEGABYTE = 1 << 20


class World:
    """A context with sockets that reach each other.

    Args:
        scheme: ``ipc`` or ``tcp``.
    """

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.directory = Path(tempfile.mkdtemp(prefix="cb-", dir="/tmp"))
        self.context = Context()
        self._names = 0

    def new_address(self) -> str:
        """An address to bind at."""
        self._names += 1
        if self.scheme == "tcp":
            return "tcp://127.0.0.1:*"
        return f"ipc://{self.directory}/{self._names}"

    def free_address(self) -> str:
        """An address where nobody is, yet."""
        if self.scheme == "ipc":
            return self.new_address()
        # Not that of an inbox: ZeroMQ closes behind our back, and may still accept.
        with socket.create_server(("127.0.0.1", 0)) as server:
            return f"tcp://127.0.0.1:{server.getsockname()[1]}"

    def inbox(self, address: str = "") -> Inbox:
        """Bind, at an address where somebody may just have been."""
        inboxes: list[Inbox] = []

        def bind() -> bool:
            try:
                inboxes.append(self.context.bind(address or self.new_address()))
            except OSError:
                return False
            return True

        wait_until(bind, "the address is free")
        return inboxes[0]

    def outlet(self, inbox: Inbox | str, identity: str = "", **options: bool) -> Outlet:
        """Connect."""
        address = inbox if isinstance(inbox, str) else inbox.address
        return self.context.connect(address, identity, **options)

    def pair(self, identity: str = "peer") -> tuple[Inbox, Outlet, Poller]:
        """An inbox, an outlet that has greeted it, and a poller of both."""
        inbox = self.inbox()
        outlet = self.outlet(inbox, identity)
        poller = Poller(inbox, outlet)
        outlet.send([b"hello"])
        assert heard(inbox, poller) == [(identity, [b"hello"])]
        return inbox, outlet, poller

    def close(self) -> None:
        """Close everything; nothing may be left."""
        self.context.abandon()
        assert overflow_threads() == []
        shutil.rmtree(self.directory)


@contextmanager
def world_of(scheme: str) -> Iterator[World]:
    """A world for one test."""
    world = World(scheme)
    try:
        yield world
    finally:
        world.close()


def overflow_threads() -> list[threading.Thread]:
    """The threads that send what the kernel did not take."""
    return [thread for thread in threading.enumerate() if thread.name == "cloudburst-overflow"]


def raw(inbox: Inbox) -> socket.socket:
    """A connection by somebody who may not speak our language."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(inbox.address.removeprefix("ipc://"))
    return connection


def packed(*frames: bytes) -> bytes:
    """A message as it goes over a Unix socket."""
    return struct.pack(f"<{len(frames) + 1}Q", len(frames), *map(len, frames)) + b"".join(frames)


def header(*lengths: int) -> bytes:
    """What a message of frames of these lengths begins with."""
    return struct.pack(f"<{len(lengths) + 1}Q", len(lengths), *lengths)


def payloads(inbox: Inbox, poller: Poller, count: int = 1) -> list[list[bytes]]:
    """So many messages, whoever sent them, and whatever memory they came in."""
    return [contents(frames) for _, frames in heard(inbox, poller, count)]


def contents(frames: Sequence[Buffer]) -> list[bytes]:
    """The frames as bytes, whatever memory they came in."""
    return [bytes(frame) for frame in frames]


def block(number: int, size: int = MEGABYTE) -> bytes:
    """A large frame that is like no other."""
    return number.to_bytes(8, "big") * (size // 8)


class Reader:
    """A process of its own, as it were: a thread that reads an inbox until it has so much."""

    def __init__(self, address: str, count: int) -> None:
        self.found: list[list[bytes]] = []
        self.go = threading.Event()
        self._context = Context()
        self._inbox = self._context.bind(address)
        self.address = self._inbox.address
        self._count = count
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        poller = Poller(self._inbox)
        self.go.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while len(self.found) < self._count and time.monotonic() < deadline:
            poller.wait(0.1)
            self.found.extend(contents(frames) for _, frames in self._inbox.messages())
        self._context.abandon()

    def finish(self) -> list[list[bytes]]:
        """Wait for the end. Returns what was read."""
        self.go.set()
        self._thread.join()
        return self.found
