"""The supervisor: starts the processes of a local cluster and ends them together.

If one of them dies, the cluster ends, loudly: a local cluster is cheap to start again.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

from cloudburst.child import START_TIMEOUT, Child, describe_exit, start_role
from cloudburst.config import HostConfig, LocalConfig, SchedulerConfig
from cloudburst.errors import ClusterError
from cloudburst.kvs import embedded
from cloudburst.life import Life
from cloudburst.rundir import RunDir, clear_shared_lock, sweep_stale
from cloudburst.transport import Poller

STORE_CHECK = 0.5
"""Seconds between two looks at whether the store still runs; the others tell by themselves."""

HOST_GRACE = 1.2
SCHEDULER_GRACE = 0.5
STORE_GRACE = 0.7

_log = logging.getLogger(__name__)


class Supervisor:
    """The processes of one local cluster.

    Args:
        config: how many executors, and which store.
        directory: the run directory, claimed.
        life: the pipe to the owner, whose end ends the cluster.
    """

    def __init__(self, config: LocalConfig, directory: RunDir, life: Life) -> None:
        self.address = f"ipc://{directory.path}/scheduler"
        self._config = config
        self._directory = directory
        self._life = life
        self._began = time.monotonic()
        self._store: embedded.EmbeddedServer | None = None
        self._children: dict[str, Child] = {}
        self._poller = Poller(life)
        if not config.kvs_url:
            data_dir = Path(config.data_dir) if config.data_dir else None
            self._store = embedded.EmbeddedServer(directory.path, data_dir)
        self.kvs_url = config.kvs_url if self._store is None else self._store.url

    def start(self) -> bool:
        """Start everything. Returns False if the owner went away meanwhile.

        Raises:
            ClusterError: something cannot start; the text is its own.
        """
        # The host first: its zygote has most to import, and nobody needs the store before that.
        self._start_host()
        if self._store is not None:
            self._store.start()
            self._note("store")
        self._start_scheduler()
        waiting = list(self._children.values())
        deadline = time.monotonic() + START_TIMEOUT
        while waiting and not self._life.ended():
            self._poller.wait(deadline - time.monotonic())
            if time.monotonic() > deadline:
                waiting[0].wait_ready(0.0)
            for child in [child for child in waiting if child.answer() is not None]:
                waiting.remove(child)
                self._note(child.name)
        return not waiting

    def watch(self) -> None:
        """Return when the owner is gone or asks to stop.

        Raises:
            ClusterError: a process of the cluster died.
        """
        while not self._life.ended():
            self._poller.wait(STORE_CHECK)
            for child in self._children.values():
                if child.ended():
                    raise ClusterError(f"the {child.name} died: {child.how_it_ended()}")
            self._check_store()

    def stop(self) -> None:
        """End everything, each within its grace; harmless for what never started."""
        for role, grace in (("host", HOST_GRACE), ("scheduler", SCHEDULER_GRACE)):
            child = self._children.get(role)
            if child is not None:
                child.stop(grace)
        self._stop_store()

    def _start_host(self) -> None:
        config = HostConfig(
            scheduler=self.address,
            kvs_url=self.kvs_url,
            bind=f"ipc://{self._directory.path}",
            executors=self._config.executors,
        )
        self._start("host", config.to_json())

    def _start_scheduler(self) -> None:
        config = SchedulerConfig(address=self.address, kvs_url=self.kvs_url)
        self._start("scheduler", config.to_json())

    def _start(self, role: str, config: str) -> None:
        child = start_role(role, config, "--run-dir", str(self._directory.path))
        self._children[role] = child
        self._poller.add(child)

    def _check_store(self) -> None:
        if self._store is None or self._store.pid is None:
            return
        pid, status = os.waitpid(self._store.pid, os.WNOHANG)
        if pid:
            how = describe_exit(os.waitstatus_to_exitcode(status))
            raise ClusterError(f"the embedded key-value store died: {how}")

    def _stop_store(self) -> None:
        if self._store is None or self._store.pid is None:
            return
        # It may take seconds over its files; the data is with the kernel by now.
        killer = threading.Timer(STORE_GRACE, _kill, (self._store.pid,))
        killer.start()
        self._store.stop()
        killer.cancel()
        killer.join()

    def _note(self, stage: str) -> None:
        _log.info("%s is ready after %.3f s", stage, time.monotonic() - self._began)


def main(config: LocalConfig, life: Life) -> None:
    """Run a local cluster until its owner is gone.

    Raises:
        ClusterError: something cannot start, or died.
    """
    sweep_stale(embedded.sweep)
    directory = RunDir(Path(config.directory))
    supervisor = Supervisor(config, directory, life)
    try:
        if supervisor.start():
            if config.shared:
                directory.publish(supervisor.address)
            life.ready({"address": supervisor.address, "kvs_url": supervisor.kvs_url})
            supervisor.watch()
    finally:
        directory.withdraw()
        supervisor.stop()
        directory.close()
        clear_shared_lock()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
