"""Clusters on this machine: finding the user's shared one, and starting one that ends with us."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from cloudburst import rundir
from cloudburst.cache.folder import remove_dead
from cloudburst.child import START_TIMEOUT, Child, start_role
from cloudburst.config import (
    APPENDFSYNC,
    IDLE_TIMEOUT,
    POLICIES,
    LocalConfig,
    cache_memory,
    executor_memory,
    executor_range,
    log_level,
    resources_in,
)
from cloudburst.core.ids import check_text
from cloudburst.core.options import check_wait
from cloudburst.errors import UsageError
from cloudburst.kvs import embedded
from cloudburst.kvs.urls import read_url
from cloudburst.life import Life

__all__ = ["Life", "OwnedCluster", "local_address", "start_cluster"]

STOP_GRACE = 3.0
"""Seconds a supervisor may take to end everything."""

LOADING_TIMEOUT = 300.0
"""Seconds more that a store may take to read its data."""


def local_address() -> str | None:
    """Where the user's shared local cluster is reached, or None if none is running.

    Raises:
        ClusterError: the folder of run directories is not private to this user.
    """
    return rundir.shared_address()


class OwnedCluster:
    """A local cluster that ends with this process, unless it is somebody else's.

    Attributes:
        address: where its scheduler is reached.
        kvs_url: its key-value store, or "" for a cluster that was joined.
    """

    def __init__(
        self,
        address: str,
        kvs_url: str = "",
        supervisor: Child | None = None,
        directory: Path | None = None,
    ) -> None:
        self.address = address
        self.kvs_url = kvs_url
        self._supervisor = supervisor
        self._directory = directory
        self._pid = os.getpid()
        self._lock = threading.Lock()
        if supervisor is not None:
            atexit.register(self.close)

    @property
    def owned(self) -> bool:
        """Whether this object started the cluster, which then ends with it."""
        return self._supervisor is not None and self._pid == os.getpid()

    def fileno(self) -> int:
        """Readable when an owned cluster is gone; -1 otherwise."""
        return self._supervisor.fileno() if self._supervisor is not None else -1

    def close(self) -> None:
        """End the cluster if it is owned. Closing twice, or in a forked process, is harmless."""
        if self._pid != os.getpid():
            return
        with self._lock:
            supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            atexit.unregister(self.close)
            _stop(supervisor, self._directory)


def start_cluster(
    executors: int | None = None,
    *,
    least: int | None = None,
    most: int | None = None,
    idle_timeout: float = IDLE_TIMEOUT,
    policy: str = POLICIES[0],
    kvs_url: str = "",
    data_dir: str = "",
    appendfsync: str = "everysec",
    shared: bool = False,
    resources: str | Sequence[str] = (),
) -> OwnedCluster:
    """Start a cluster on this machine, and wait until it takes calls.

    Args:
        executors: exactly so many; see `cloudburst.config.executor_range`.
        least: so many in any case.
        most: so many while there is work for them.
        idle_timeout: seconds without work after which one above the minimum is let go.
        policy: which of several executors with room a run begins on.
        kvs_url: an external key-value store, or "" for the embedded one.
        data_dir: where the embedded store keeps its data, or "" to keep it in memory only.
        appendfsync: when that data reaches the disk, one of `cloudburst.config.APPENDFSYNC`.
        shared: let the user's other processes find it; if there is such a cluster, join that
            one, as it is.
        resources: names of what functions may need and find here, or one text with commas.

    Raises:
        UsageError: there cannot be so many executors, there is to be a folder for an external
            store, there is no such ``appendfsync``, the URL of a Valkey Cluster or of sentinels
            cannot be read, or an argument is of another type.
        ClusterError: it cannot be started; the text is of the process that failed.
    """
    log_level()  # its processes would only complain of it one by one
    least, most = executor_range(executors, least, most)
    config = LocalConfig(
        directory=str(rundir.new_directory()),
        min_executors=least,
        max_executors=most,
        idle_timeout=check_wait("idle_timeout", idle_timeout),
        executor_memory=executor_memory(),
        cache_memory=cache_memory(),
        policy=policy,
        kvs_url=check_text(kvs_url, "URL of the key-value store"),
        data_dir=check_text(data_dir, "data directory"),
        appendfsync=appendfsync,
        shared=bool(shared),
        resources=",".join(resources_in(resources)),
    )
    _check(config)
    if not shared:
        return _start_supervisor(config)
    with rundir.starting_shared():
        address = rundir.shared_address()
        if address is not None:
            return OwnedCluster(address)
        return _start_supervisor(config)


def _check(config: LocalConfig) -> None:
    read_url(config.kvs_url)  # for its errors; one server's are found by who connects to it
    if config.kvs_url and config.data_dir:
        raise UsageError(f"an external store keeps its data itself, not in {config.data_dir}")
    for name, choices in (("policy", POLICIES), ("appendfsync", APPENDFSYNC)):
        chosen = getattr(config, name)
        if chosen not in choices:
            raise UsageError(f"{name} is one of {', '.join(choices)}, not {chosen!r:.80}")


def _start_supervisor(config: LocalConfig) -> OwnedCluster:
    directory = Path(config.directory)
    supervisor = start_role("supervise", config.to_json(), name="cluster")
    try:
        told = supervisor.wait_ready(START_TIMEOUT + (LOADING_TIMEOUT if config.data_dir else 0.0))
    except BaseException:
        _stop(supervisor, directory)
        raise
    return OwnedCluster(told["address"], told["kvs_url"], supervisor, directory)


def _stop(supervisor: Child, directory: Path | None) -> None:
    supervisor.stop(STOP_GRACE)
    if directory is not None:  # there only if the supervisor was killed
        rundir.clear_orphan(directory, embedded.sweep)
    remove_dead()
