"""What a process does that is to be an executor."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from cloudburst.config import ExecutorConfig
from cloudburst.errors import CloudburstError
from cloudburst.executor import server
from cloudburst.kvs.base import Time
from cloudburst.kvs.opening import ServedStore, open_store


class ExecutorTrade:
    """See `cloudburst.executor.zygote.Trade`.

    Args:
        log_as: what its lines in the log begin with, from now on.
    """

    def __init__(self, log_as: Callable[[str], None]) -> None:
        self._log_as = log_as
        self._store: ServedStore | None = None

    def rehearse(self, kvs_url: str) -> None:
        """Connect to the store. If it does not answer, that is not the time to say so."""
        self._store = open_store(kvs_url)
        with suppress(CloudburstError):
            self._store.execute([Time()])

    def perform(self, config: ExecutorConfig, life_fd: int) -> None:
        """Be an executor."""
        self._log_as(f"executor {config.name}")
        server.main(config, life_fd, self._store or open_store(config.kvs_url))
