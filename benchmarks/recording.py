"""A cluster whose every message passes through here and is noted."""

import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from cloudburst import CloudburstConnection
from cloudburst.core.messages import Message
from cloudburst.core.wire import decode
from cloudburst.kvs.embedded import EmbeddedServer
from cloudburst.transport import Context, Inbox, Outlet, Poller

_PATIENCE = 10.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Ask again and again until it is so.

    Raises:
        TimeoutError: it was not within ten seconds.
    """
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {_PATIENCE:g} seconds: {what}")
        time.sleep(0.01)


class Sent(NamedTuple):
    """A message that went from one process to another, both by name."""

    sender: str
    receiver: str
    message: Message


class _Detour:
    """In place of a process's inbox: passes on what comes, under the senders' identities."""

    def __init__(self, context: Context, poller: Poller, path: Path, log: list[Sent]) -> None:
        self._context = context
        self._poller = poller
        self._log = log
        self._name = path.name
        self._real = path.with_name(f"{path.name}.real")
        path.rename(self._real)  # a Unix socket goes by its file, not by its name
        self._inbox: Inbox = context.bind(f"ipc://{path}")
        self._outlets: dict[str, Outlet] = {}
        poller.add(self._inbox)

    def pass_on(self) -> None:
        for peer, frames in self._inbox.messages():
            if peer not in self._outlets:
                self._outlets[peer] = self._context.connect(f"ipc://{self._real}", peer)
                self._poller.add(self._outlets[peer])
            self._log.append(Sent(peer, self._name, decode(frames)))
            self._outlets[peer].send(frames)
        for peer, outlet in self._outlets.items():
            for frames in outlet.messages():
                self._log.append(Sent(self._name, peer, decode(frames)))
                self._inbox.send(peer, frames)

    def close(self) -> None:
        self._inbox.close()
        for outlet in self._outlets.values():
            outlet.close()
        self._real.unlink(missing_ok=True)


class Recorder:
    """A thread that stands between processes. What it saw is in ``log``, in order."""

    def __init__(self) -> None:
        self.log: list[Sent] = []
        self._asked: deque[Path] = deque()
        self._detours: dict[Path, _Detour] = {}
        self._wakeup, self._wake = os.pipe()
        self._over = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def interpose(self, path: Path) -> None:
        """Stand before the inbox at ``path``; whoever is connected to it already stays so."""
        wait_until(path.exists, f"{path} is there")
        self._asked.append(path)
        os.write(self._wake, b"!")
        wait_until(lambda: path in self._detours, f"a detour to {path} is there")

    def close(self) -> None:
        self._over = True
        os.write(self._wake, b"!")
        self._thread.join()
        os.close(self._wake)
        os.close(self._wakeup)

    def _run(self) -> None:
        context = Context()
        poller = Poller(self._wakeup)
        while not self._over:
            if self._wakeup in poller.wait(None):
                os.read(self._wakeup, 100)
            while self._asked:
                path = self._asked.popleft()
                self._detours[path] = _Detour(context, poller, path, self.log)
            for detour in self._detours.values():
                detour.pass_on()
        for detour in self._detours.values():
            detour.close()
        context.close()


@contextmanager
def _process(*flags: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "cloudburst", *flags])
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(10) == 0


@contextmanager
def recorded_cluster(directory: Path) -> Iterator[tuple[CloudburstConnection, Recorder]]:
    """A connection to a cluster of two executors, and the recorder of all their messages."""
    recorder = Recorder()
    store = EmbeddedServer(directory)
    store.start()
    place = f"ipc://{directory}"
    with ExitStack() as stack:
        stack.callback(store.stop)
        stack.callback(recorder.close)
        stack.enter_context(
            _process("scheduler", "--address", f"{place}/scheduler", "--kvs", store.url)
        )
        recorder.interpose(directory / "scheduler")
        stack.enter_context(
            _process(
                *("host", "--scheduler", f"{place}/scheduler", "--kvs", store.url),
                *("--bind", place, "--executors", "2"),
            )
        )
        connection = stack.enter_context(CloudburstConnection(f"{place}/scheduler"))
        (inbox,) = directory.glob("c-*")
        recorder.interpose(inbox)
        wait_until(lambda: len(connection.status().executors) == 2, "both executors are ready")
        for executor in connection.status().executors:
            recorder.interpose(directory / executor)
        yield connection, recorder
