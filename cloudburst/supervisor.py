"""The supervisor: starts the processes of a local cluster, starts them again, and ends them.

A scheduler or host that dies is replaced, and so is a store that keeps its data in a folder. A
store that does not takes everything along, so the cluster ends with it; and it ends, loudly, with
whatever dies over and over.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from cloudburst.child import START_TIMEOUT
from cloudburst.config import HostConfig, LocalConfig, SchedulerConfig
from cloudburst.errors import ClusterError
from cloudburst.kvs import embedded
from cloudburst.life import Life
from cloudburst.parts import HostRole, Part, Role, Store
from cloudburst.restarts import HOPELESS, HOPELESS_WITHIN
from cloudburst.rundir import RunDir, clear_shared_lock, sweep_stale
from cloudburst.transport import Poller

STORE_CHECK = 0.5
"""Seconds between two looks at whether the store still runs; the others tell by themselves."""

HOST_GRACE = 1.2
SCHEDULER_GRACE = 0.5

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
        self.kvs_url = config.kvs_url
        self._life = life
        self._began = time.monotonic()
        self._poller = Poller(life)
        self._store: Store | None = None
        if not config.kvs_url:
            self._store, self.kvs_url = _own_store(config, directory.path)
        scheduler = SchedulerConfig(
            address=self.address,
            kvs_url=self.kvs_url,
            policy=config.policy,
            resources=config.resources,
        )
        self._scheduler = Role(
            "scheduler", scheduler.to_json(), directory.path, SCHEDULER_GRACE, self._poller
        )
        host = HostConfig(
            scheduler=self.address,
            kvs_url=self.kvs_url,
            bind=f"ipc://{directory.path}",
            min_executors=config.min_executors,
            max_executors=config.max_executors,
            idle_timeout=config.idle_timeout,
            resources=config.resources,
            executor_memory=config.executor_memory,
            cache_memory=config.cache_memory,
        )
        self._host = HostRole("host", host.to_json(), directory.path, HOST_GRACE, self._poller)

    def start(self) -> bool:
        """Start everything. Returns False if the owner went away meanwhile.

        Raises:
            ClusterError: something cannot start; the text is its own.
        """
        # The host first: its zygote has most to import, and nobody needs the store before that.
        self._begin(self._host)
        if self._store is not None:
            self._begin(self._store)
            self._note("store")
        self._begin(self._scheduler)
        waiting: list[Role] = [self._host, self._scheduler]
        deadline = time.monotonic() + START_TIMEOUT
        while waiting and not self._life.ended():
            self._poller.wait(deadline - time.monotonic())
            for role in [role for role in waiting if role.answer() is not None]:
                waiting.remove(role)
                self._note(role.name)
            if waiting and time.monotonic() > deadline:
                late = waiting[0].name
                raise ClusterError(f"the {late} did not get ready within {START_TIMEOUT:g} seconds")
        return not waiting

    def watch(self) -> None:
        """Keep everything running; return when the owner is gone or asks to stop.

        Raises:
            ClusterError: something died that cannot be replaced, or dies over and over.
        """
        while not self._life.ended():
            self._poller.wait(self._seconds_to_wait())
            for part in self._parts():
                if part.lives.due is None:
                    death = part.death()
                    if death is not None:
                        self._bury(part, death)
                elif time.monotonic() >= part.lives.due:
                    self._revive(part)

    def stop(self) -> None:
        """End everything, each within its grace; harmless for what never started."""
        for part in (self._host, self._scheduler, self._store):
            if part is not None:
                part.stop()

    def _parts(self) -> list[Part]:
        # In this order they need each other.
        parts = (self._store, self._scheduler, self._host)
        return [part for part in parts if part is not None]

    def _seconds_to_wait(self) -> float:
        dues = [part.lives.due for part in self._parts() if part.lives.due is not None]
        return max(0.0, min([STORE_CHECK, *(due - time.monotonic() for due in dues)]))

    def _begin(self, part: Part) -> None:
        part.start()
        part.lives.begin(time.monotonic())

    def _revive(self, part: Part) -> None:
        try:
            self._begin(part)
        except ClusterError as error:
            self._bury(part, str(error))

    def _bury(self, part: Part, death: str) -> None:
        if not part.replaceable:
            raise ClusterError(f"{death}; what it held is gone")
        if not part.lives.end(time.monotonic()):
            raise ClusterError(f"{death}; that makes {HOPELESS} deaths in {HOPELESS_WITHIN:g} s")
        _log.error("%s; it is started again", death)
        part.clear()

    def _note(self, stage: str) -> None:
        _log.info("%s is ready after %.3f s", stage, time.monotonic() - self._began)


def _own_store(config: LocalConfig, directory: Path) -> tuple[Store, str]:
    data_dir = Path(config.data_dir) if config.data_dir else None
    server = embedded.EmbeddedServer(directory, data_dir, appendfsync=config.appendfsync)
    return Store(server, replaceable=data_dir is not None), server.url


def main(config: LocalConfig, life: Life) -> None:
    """Run a local cluster until its owner is gone.

    Raises:
        ClusterError: something cannot start, or died and cannot be replaced.
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
