"""A cluster started by hand: a store that keeps its data, a scheduler, hosts with executors."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from cloudburst import CloudburstConnection
from cloudburst.child import child_environment
from cloudburst.kvs.embedded import EmbeddedServer
from cloudburst.kvs.redis import RedisStore

HOSTS = 2
EXECUTORS = 3
"""On each host at least."""

MOST = 8
IDLE = 2.0
"""Seconds without work after which an executor ends that is one too many."""
DRAIN = 3.0
MARK = "CLOUDBURST_CHAOS"
"""In the environment of all processes of one cluster, its clients too."""


class Process:
    """A process of ours that may be started again and again.

    Its stdin is a pipe: whatever becomes of us, it does not outlive us for long.

    Args:
        name: for reports, and of its log.
        command: arguments of the interpreter.
        logs: where its log goes.
        env: its environment.

    Attributes:
        running: the process; None before the first start.
        stopped: whether SIGSTOP was sent, and SIGCONT was not.
    """

    tells_name = False

    def __init__(self, name: str, command: list[str], logs: Path, env: dict[str, str]) -> None:
        self.name = name
        self.command = command
        self.running: subprocess.Popen[bytes] | None = None
        self.stopped = False
        self._log = logs / f"{name}.log"
        self._env = env
        self._ready = -1

    def start(self) -> None:
        """Start it."""
        self.stopped = False
        if self._ready >= 0:
            os.close(self._ready)
        self._ready, end = os.pipe()
        flags = ["--ready-fd", str(end)] if self.tells_name else []
        with self._log.open("ab") as log:
            self.running = subprocess.Popen(
                [sys.executable, *self.command, *flags],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[end],
                env=self._env,
                start_new_session=True,
            )
        os.close(end)

    def told(self) -> str:
        """The name that it gave itself, once it has ended; "" if it did not come so far."""
        said = os.read(self._ready, 4096)
        return str(json.loads(said).get("ready", "")) if said else ""

    @property
    def pid(self) -> int:
        """Of the one that was started last."""
        assert self.running is not None
        return self.running.pid

    def exit_code(self) -> int | None:
        """None while it runs."""
        assert self.running is not None
        return self.running.poll()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens if it is gone."""
        if self.running is not None and self.running.poll() is None:
            self.stopped = number == signal.SIGSTOP or (
                self.stopped and number not in {signal.SIGCONT, signal.SIGKILL}
            )
            self.running.send_signal(number)

    def let_go(self) -> None:
        """Close its stdin."""
        if self.running is not None and self.running.stdin is not None:
            with suppress(BrokenPipeError):
                self.running.stdin.close()

    def end(self, grace: float) -> bool:
        """End it with SIGTERM, or else by force. Returns whether that was not needed."""
        if self.running is None:
            return True
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        try:
            self.running.wait(grace)
        except subprocess.TimeoutExpired:
            self.running.kill()
            self.running.wait()
            return False
        finally:
            self.let_go()
        return True


class Cluster:
    """The processes, where they live, and how to reach them.

    Args:
        directory: a private one, with a short name and nothing in it.
        transport: ``ipc`` or ``tcp``.

    Attributes:
        address: the scheduler's.
        ip: of clients, for executors; None if they need none.
        run: where sockets are; data and logs are beside it.
    """

    def __init__(self, directory: Path, transport: str) -> None:
        self.directory = directory
        self.run = directory / "r"
        self.logs = directory / "logs"
        self.logs.mkdir()
        self.run.mkdir(mode=0o700)
        self.ip = "127.0.0.1" if transport == "tcp" else None
        on_ipc = transport == "ipc"
        place = f"tcp://127.0.0.1:{_free_port()}"
        self.address = f"ipc://{self.run}/scheduler" if on_ipc else place
        self.mark = f"{os.getpid()}-{time.time()}"
        self.store = EmbeddedServer(self.run, directory / "data", appendfsync="always")
        bind = f"ipc://{self.run}" if on_ipc else "tcp://127.0.0.1"
        common = ("--kvs", self.store.url, "--life")
        self.scheduler = self.process(
            "scheduler", "cloudburst", "scheduler", "--address", self.address, *common
        )
        flags = ("--scheduler", self.address, "--bind", bind)
        flags += ("--min", str(EXECUTORS), "--max", str(MOST), "--idle-timeout", str(IDLE))
        self.hosts = [
            self.process(
                f"host{number}",
                "cloudburst",
                "host",
                *flags,
                *common,
                "--drain-timeout",
                f"{DRAIN}",
            )
            for number in range(HOSTS)
        ]
        for host in self.hosts:
            host.tells_name = True

    def sweep(self, host: Process) -> None:
        """Remove the sockets of a host that is dead and could not do so, as a supervisor would."""
        name = host.told()
        for path in self.run.glob(f"{name}.*") if name else ():
            path.unlink(missing_ok=True)

    def process(self, name: str, module: str, *arguments: str) -> Process:
        """A process of this cluster or one of its clients, not started yet."""
        env = {**child_environment(), MARK: self.mark, "CLOUDBURST_LOG": "INFO"}
        return Process(name, ["-m", module, *arguments], self.logs, env)

    def start(self) -> None:
        """Start everything, and wait until all executors are there."""
        self.store.start()
        self.scheduler.start()
        for host in self.hosts:
            host.start()
        with self.connect() as connection:
            self.wait_whole(connection, 30.0)

    def connect(self) -> CloudburstConnection:
        """A new connection."""
        return CloudburstConnection(self.address, self.ip)

    def open_store(self) -> RedisStore:
        """A connection to the store that does not wait long."""
        return RedisStore(self.store.url, timeout=2.0)

    def wait_whole(self, connection: CloudburstConnection, seconds: float) -> int:
        """Wait until all executors are ready. Returns how many are."""
        deadline = time.monotonic() + seconds
        while (count := len(connection.status().executors)) != HOSTS * EXECUTORS:
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        return count

    def zygotes(self) -> list[psutil.Process]:
        """Of the hosts that run, in the order of these; those that have worked so far.

        A host whose first zygote dies at its start takes that for hopeless, and says so.
        """
        found = [child for host in self.hosts for child in _children(host.pid)]
        return [zygote for zygote in found if _children(zygote.pid)]

    def executors(self) -> list[psutil.Process]:
        """All executors that run."""
        return [child for zygote in self.zygotes() for child in _children(zygote.pid)]

    def group(self, host: Process) -> list[int]:
        """A host, its zygote and its executors: all that a suspended machine stops."""
        try:
            return [
                host.pid,
                *(child.pid for child in psutil.Process(host.pid).children(recursive=True)),
            ]
        except psutil.NoSuchProcess:
            return []

    def stop(self) -> list[str]:
        """End everything in order. Returns who had to be killed."""
        forced = [host.name for host in self.hosts if not host.end(DRAIN + 5.0)]
        forced += [process.name for process in [self.scheduler] if not process.end(5.0)]
        self.store.stop()
        return forced

    def leftovers(self) -> tuple[list[str], list[str]]:
        """Processes and files that are still there of a cluster that was stopped."""
        return (
            sorted(f"{process.pid} {_line(process)}" for process in self.marked()),
            sorted(str(path.relative_to(self.run)) for path in self.run.rglob("*")),
        )

    def marked(self) -> Iterator[psutil.Process]:
        """All processes with this cluster's mark that live."""
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get(MARK) == self.mark:
                    yield process


def signal_all(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to processes that may be gone."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def is_alive(pid: int) -> bool:
    """Whether a process runs, or is stopped; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _children(pid: int) -> list[psutil.Process]:
    try:
        return sorted(psutil.Process(pid).children(), key=lambda child: child.pid)
    except psutil.NoSuchProcess:
        return []


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[1:5])
    except psutil.Error:
        return "?"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
