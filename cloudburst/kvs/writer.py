"""What a poll loop asks of a store that it must not wait for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from cloudburst.errors import KVSUnavailable
from cloudburst.kvs.base import Operation


class Writer(Protocol):
    """Carries out operations behind the caller's back; no call waits for the store.

    In each turn: `submit`, `flush`, wait for `fileno` or `next_deadline`, `collect`.
    """

    @property
    def pending(self) -> int:
        """How many submissions have not been collected."""

    @property
    def wants_write(self) -> bool:
        """Whether to poll `fileno` for being writable, too."""

    def fileno(self) -> int:
        """The descriptor to poll for reading, or -1; ask again in every turn."""

    def submit(self, operations: Sequence[Operation], token: object) -> None:
        """Take operations over. They may be carried out twice: they are to be idempotent.

        Args:
            operations: as for `KeyValueStore.execute`.
            token: comes back from `collect` with their results.
        """

    def flush(self) -> None:
        """Send what was submitted, as far as that is possible now."""

    def collect(self) -> list[tuple[Any, list[Any] | KVSUnavailable]]:
        """The finished submissions, in order: token, and results or the error instead."""

    def next_deadline(self) -> float | None:
        """When to call `collect` at the latest, in monotonic seconds; None if nothing pends."""

    def close(self) -> None:
        """Give back the connection; what was not collected is forgotten."""
