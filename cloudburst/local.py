"""A cluster on this machine, for notebooks, scripts and tests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cloudburst.client.client import CloudburstConnection
from cloudburst.config import IDLE_TIMEOUT, POLICIES
from cloudburst.errors import UsageError
from cloudburst.launch import OwnedCluster, start_cluster
from cloudburst.serialization import NotAValue


class LocalCluster:
    """A cluster on this machine, started here, which ends with this process.

    Args:
        executors: how many to run, always; or else
        min: how many to run at least; by default as many as there are cores, and at least two.
        max: how many to run while there is work for them; by default 8 for each core. Those whose
            code waits for other functions do not count.
        idle_timeout: seconds without work after which one above ``min`` is let go.
        policy: which of several executors with room a run begins on: ``"locality"``, one that ran
            the same code before; ``"least-loaded"``, the one that was busy least;
            ``"round-robin"`` or ``"random"``.
        kvs: URL of an external key-value store; by default one of the cluster's own.
        data_dir: folder in which the cluster's own store keeps its data; by default the data
            ends with the cluster.
        appendfsync: when that data reaches the disk: ``"always"``, before a write is answered;
            ``"everysec"``, once a second; or ``"no"``, when the operating system likes.
        shared: let ``CloudburstConnection(local=True)`` in other processes of this user find it.
            If there is one such cluster already, this object stands for that one and leaves it
            running.
        resources: what functions may need and find on this machine, such as ``["gpu"]``.

    Attributes:
        address: where `CloudburstConnection` reaches it.

    Raises:
        UsageError: an argument cannot be used.
        ClusterError: it cannot be started; the text is of the process that failed.
    """

    def __init__(
        self,
        executors: int | None = None,
        *,
        min: int | None = None,  # noqa: A002  the word for it
        max: int | None = None,  # noqa: A002
        idle_timeout: float = IDLE_TIMEOUT,
        policy: str = POLICIES[0],
        kvs: str | None = None,
        data_dir: str | Path | None = None,
        appendfsync: str = "everysec",
        shared: bool = False,
        resources: str | Sequence[str] = (),
    ) -> None:
        self._cluster: OwnedCluster = start_cluster(
            executors,
            least=min,
            most=max,
            idle_timeout=idle_timeout,
            policy=policy,
            kvs_url="" if kvs is None else kvs,
            data_dir="" if data_dir is None else _absolute(data_dir),
            appendfsync=appendfsync,
            shared=shared,
            resources=resources,
        )
        self.address = self._cluster.address
        self._open = True

    @property
    def owned(self) -> bool:
        """Whether this object started the cluster, and has not closed it."""
        return self._cluster.owned

    def connect(self) -> CloudburstConnection:
        """A new connection to it, which is the caller's to close."""
        return CloudburstConnection(self.address)

    def fileno(self) -> int:
        """For a poll loop: readable when an owned cluster has died; -1 if it is not owned."""
        return self._cluster.fileno()

    def close(self) -> None:
        """End the cluster, if it is owned, and wait until nothing of it is left."""
        self._open = False
        self._cluster.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise NotAValue(
            "a cluster", "What runs in it has no need of it: the library argument is the way to it."
        )

    def __repr__(self) -> str:
        how = "closed" if not self._open else "owned" if self.owned else "joined"
        return f"<LocalCluster {self.address} {how} by process {os.getpid()}>"


def _absolute(folder: str | Path) -> str:
    """A path that means the same wherever the processes are that are told it."""
    try:
        return str(Path(folder).resolve())
    except (TypeError, ValueError) as error:  # it is no path, or has a NUL in it
        raise UsageError(f"data_dir is a folder, not {folder!r:.80}") from error
