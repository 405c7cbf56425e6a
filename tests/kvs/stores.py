"""What the tests of stores share: clocks, waiting, and a look at a server's insides."""

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import hiredis

from cloudburst.core.messages import Content
from cloudburst.kvs.base import CommitRun, KeyValueStore, RecordRun
from cloudburst.kvs.channel import pack
from cloudburst.kvs.commands import Command
from cloudburst.kvs.embedded import EmbeddedServer
from cloudburst.kvs.objects import read_objects
from cloudburst.kvs.opening import ServedStore, open_store
from cloudburst.kvs.shared import SharedState
from cloudburst.kvs.writer import Writer

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, timeout: float = 10.0) -> T:
    """The first true value of ``condition``, asked again and again until the timeout."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout:g} seconds: {what}"
        time.sleep(0.005)
    return value


@dataclass
class Clock:
    """A clock that only moves when told."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Bench:
    """A store to test, and how to let time pass for it."""

    store: KeyValueStore
    clock: Clock | None = None
    url: str = ""
    ttl: float = 0.05
    names: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))

    def do(self, *operations: Any) -> list[Any]:
        return self.store.execute(operations)

    def one(self, operation: Any) -> Any:
        (answer,) = self.store.execute([operation])
        return answer

    def wait_expired(self, gone: Callable[[], bool]) -> None:
        """Let ``ttl`` pass; ``gone`` says that what had it is no more."""
        if self.clock is None:
            wait_until(gone, "the time to live passes")
        else:
            assert not gone()
            self.clock.now += self.ttl
            assert gone()


@dataclass
class State(SharedState):
    """The verbs of clients and functions, over a store."""

    store: KeyValueStore
    written: list[str] = field(default_factory=list)

    def _shared_store(self) -> KeyValueStore:
        return self.store

    def _read(self, keys: list[str], default: Any) -> dict[str, Any]:
        return read_objects(self.store, keys, default)

    def _has_written(self, keys: Iterable[str]) -> None:
        self.written += keys


def words_of(*words: str) -> bytes:
    """A command as it travels."""
    return b"".join(pack([Command(words, None)]))


class Admin:
    """A connection of its own to a server, without redis-py and without patience."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._path = unquote(urlsplit(server.url).path)

    def __call__(self, *words: str) -> Any:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5.0)
            sock.connect(self._path)
            sock.sendall(words_of(*words))
            reader = hiredis.Reader(notEnoughData=...)
            while (reply := reader.gets()) is ...:
                reader.feed(sock.recv(65536))
        assert not isinstance(reply, hiredis.ReplyError), reply
        return reply

    def other_clients(self) -> list[str]:
        """Ids of the connections besides this one."""
        lines = self("CLIENT", "LIST").decode().splitlines()
        return [line.split()[0].removeprefix("id=") for line in lines if "cmd=client" not in line]

    def calls(self, command: str) -> int:
        """How often the server carried a command out."""
        for line in self("INFO", "commandstats").decode().splitlines():
            if line.startswith(f"cmdstat_{command}:"):
                return int(line.partition("calls=")[2].partition(",")[0])
        return 0


@contextmanager
def stopped(server: EmbeddedServer) -> Iterator[None]:
    """The server does nothing, but its sockets stay open."""
    os.kill(pid_of(server), signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid_of(server), signal.SIGCONT)


def kill(server: EmbeddedServer) -> None:
    """End the server as a crash does, and wait until it has."""
    os.kill(pid_of(server), signal.SIGKILL)
    os.waitid(os.P_PID, pid_of(server), os.WEXITED | os.WNOWAIT)


def pid_of(server: EmbeddedServer) -> int:
    assert server.pid is not None
    return server.pid


def open_files(path: Path = Path("/dev/fd")) -> int:
    """How many descriptors this process has open."""
    return len(list(path.iterdir()))


NAMES = [
    "plain",
    "",
    "with spaces  and\ttabs",
    "line\nbreaks\r\n",
    "{braces}",
    "}{",
    "{}",
    "\N{SNOWMAN} und Umlaute äöü",
    "a lone surrogate: \udce9",
    "nul\0byte",
    "*3\r\n$3\r\nSET\r\n",
    "x" * 10_000,
]
"""Names of every kind that users think of, or an attacker."""

COMMIT = CommitRun("r", "SUCCEEDED", 0, "e1", "", b"result", "", 60.0)


def record(run_id: str, state: str = "RUNNING", epoch: int = 0, **other: Any) -> RecordRun:
    fields = {"target": "dag", "executor": "e1", "reason": "", "call": b"", "ttl": 60.0}
    return RecordRun(run_id, state, epoch, **(fields | other))  # type: ignore[arg-type]


def commit(run_id: str, result: Content = b"result", **other: Any) -> CommitRun:
    fields = {"epoch": 0, "executor": "e1", "reason": "", "output_key": "", "ttl": 60.0}
    state = str(other.pop("state", "SUCCEEDED"))
    return CommitRun(run_id=run_id, state=state, result=result, **(fields | other))


def collect_all(writer: Writer, timeout: float = 10.0) -> list[tuple[Any, Any]]:
    """Drive a writer as a poll loop does until nothing is pending."""
    finished = []
    end = time.monotonic() + timeout
    writer.flush()
    while writer.pending:
        assert time.monotonic() < end, f"{writer.pending} submissions are still pending"
        wait_turn(writer)
        finished += writer.collect()
    return finished


def wait_turn(writer: Writer) -> None:
    """Wait for what the writer says it waits for."""
    deadline = writer.next_deadline()
    assert deadline is not None, "something is pending, but the writer never wakes its caller"
    seconds = max(0.0, deadline - time.monotonic())
    if writer.fileno() < 0:
        time.sleep(seconds)
    else:
        writable = [writer] if writer.wants_write else []
        select.select([writer], writable, [], seconds)


@contextmanager
def store_at(url: str, timeout: float = 0.3) -> Iterator[ServedStore]:
    store = open_store(url, timeout=timeout)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def busy(server: EmbeddedServer, admin: Admin) -> Iterator[None]:
    """The server runs a script that does not end."""
    admin("CONFIG", "SET", "busy-reply-threshold", "1")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(unquote(urlsplit(server.url).path))
        sock.sendall(words_of("EVAL", "while true do end", "0"))

        def is_busy() -> bool:
            try:
                return not admin("PING")
            except AssertionError as error:
                return "BUSY" in str(error)

        wait_until(is_busy, "the server is busy")
        yield
        admin("SCRIPT", "KILL")
