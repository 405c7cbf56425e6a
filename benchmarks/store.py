"""Servers of the Redis protocol: one for task queues, and how much one was asked to do."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from cloudburst.kvs.embedded import EmbeddedServer

_NOT_WORK = {"ping", "info", "client|tracking", "client|caching", "hello", "config|get"}
"""What is asked by the clock and by these measurements, whether there are calls or not."""


class Commands:
    """How many commands a server has carried out up to now, those of scripts included.

    Args:
        url: of the server.

    Attributes:
        client: the connection to it, with redis-py.
    """

    def __init__(self, url: str) -> None:
        self.client: Any = redis.from_url(url)

    def __call__(self) -> int:
        found = self.client.info("commandstats")
        named = ((name.removeprefix("cmdstat_"), each["calls"]) for name, each in found.items())
        return sum(calls for name, calls in named if name not in _NOT_WORK)

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class QueueServer:
    """A server for a task queue, of the same binary as a cluster's own, on a Unix socket."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="queue-", dir="/tmp"))
        self._server = EmbeddedServer(self._directory)
        self._server.start()

    @property
    def path(self) -> str:
        """Of its socket."""
        return self.url.removeprefix("unix://")

    @property
    def url(self) -> str:
        """For redis-py."""
        return self._server.url

    @property
    def pid(self) -> int:
        """Of its process."""
        if self._server.pid is None:
            raise RuntimeError("the server has ended")
        return self._server.pid

    def close(self) -> None:
        """End it."""
        self._server.stop()
        shutil.rmtree(self._directory, ignore_errors=True)
