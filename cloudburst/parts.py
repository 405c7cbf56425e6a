"""The parts of a local cluster: processes that are started, watched, and started again."""

from __future__ import annotations

import os
import signal
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any

from cloudburst.cache.folder import remove_dead
from cloudburst.child import Child, describe_exit, start_role
from cloudburst.errors import ClusterError
from cloudburst.kvs.embedded import EmbeddedServer
from cloudburst.restarts import Lives
from cloudburst.transport import Poller

STORE_GRACE = 0.7


class Part(ABC):
    """One process of a cluster, whichever it is at a time.

    Attributes:
        name: what it is.
        lives: when it is started again.
        replaceable: whether another one can take its place.
    """

    name: str
    replaceable: bool = True

    def __init__(self) -> None:
        self.lives = Lives()

    @abstractmethod
    def start(self) -> None:
        """Start the process.

        Raises:
            ClusterError: it cannot be started.
        """

    @abstractmethod
    def death(self) -> str | None:
        """How it died, as a sentence, or None while it lives; does not wait."""

    @abstractmethod
    def clear(self) -> None:
        """Remove what is left of a process that died."""

    @abstractmethod
    def stop(self) -> None:
        """End the process, by force if need be; harmless if it was never started."""


class Role(Part):
    """A part that is Cloudburst's own.

    Args:
        name: the role, as ``python -m cloudburst`` knows it.
        config: what it is told.
        directory: the run directory.
        grace: seconds it has to end in order.
        poller: is told to wait for it.
    """

    def __init__(
        self, name: str, config: str, directory: Path, grace: float, poller: Poller
    ) -> None:
        super().__init__()
        self.name = name
        self._config = config
        self._directory = directory
        self._grace = grace
        self._poller = poller
        self._child: Child | None = None

    def start(self) -> None:
        """See `Part.start`. It is ready when `answer` says so."""
        self._child = start_role(self.name, self._config, "--run-dir", str(self._directory))
        self._poller.add(self._child)

    def answer(self) -> Any:
        """What it said when it became ready, or None if it has not yet.

        Raises:
            ClusterError: it could not get ready, in its own words, or has died.
        """
        return self._child.answer() if self._child is not None else None

    def death(self) -> str | None:
        """See `Part.death`."""
        child = self._child
        if child is None:
            return None
        try:
            child.answer()
        except ClusterError as error:
            return str(error)
        return f"the {self.name} died: {child.how_it_ended()}" if child.ended() else None

    def clear(self) -> None:
        """See `Part.clear`."""
        child, self._child = self._child, None
        if child is not None:
            self._poller.discard(child)
            child.stop(0.0)
            self._sweep(child)

    def stop(self) -> None:
        """See `Part.stop`."""
        if self._child is not None:
            self._child.stop(self._grace)

    def _sweep(self, child: Child) -> None:
        """Remove the files of a process that is gone, if it cannot have done so itself."""


class HostRole(Role):
    """The host, whose executors have sockets that bear its name before theirs."""

    def _sweep(self, child: Child) -> None:
        with suppress(ClusterError):  # it died before it had a name
            for socket in self._directory.glob(f"{child.answer()}.*"):
                socket.unlink(missing_ok=True)
        remove_dead()

    def stop(self) -> None:
        """See `Part.stop`."""
        super().stop()
        remove_dead()  # its cache, if it had to be killed


class Store(Part):
    """The embedded key-value store.

    Args:
        server: not started yet.
        replaceable: whether its data outlives it.
    """

    name = "embedded key-value store"

    def __init__(self, server: EmbeddedServer, *, replaceable: bool) -> None:
        super().__init__()
        self.replaceable = replaceable
        self._server = server

    def start(self) -> None:
        """See `Part.start`; waits until it answers."""
        self._server.start()

    def death(self) -> str | None:
        """See `Part.death`."""
        if self._server.pid is None:
            return None
        pid, status = os.waitpid(self._server.pid, os.WNOHANG)
        if not pid:
            return None
        return f"the {self.name} died: {describe_exit(os.waitstatus_to_exitcode(status))}"

    def clear(self) -> None:
        """See `Part.clear`."""
        # The next one replaces socket and pid file; the lock on the data is kept.

    def stop(self) -> None:
        """See `Part.stop`."""
        if self._server.pid is None:
            return
        # It may take seconds over its files; the data is with the kernel by now.
        killer = threading.Timer(STORE_GRACE, _kill, (self._server.pid,))
        killer.start()
        self._server.stop()
        killer.cancel()
        killer.join()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
