"""Runs whose records are on their way to the KVS, and the clients to be told. No I/O.

A client learns of an acceptance only to forget the call, so there is no hurry: it is told of
several at once, and not at all of a run that has ended meanwhile, because a result says more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container

ANNOUNCE_AFTER = 0.01
"""Seconds that an acceptance may wait for others."""


class Acceptance:
    """What is written, and what is to be said of it.

    Attributes:
        deadline: when to call `announcements`; None if there is nothing to say.
    """

    def __init__(self) -> None:
        self.deadline: float | None = None
        self._writing: dict[int, tuple[str, str]] = {}
        self._written: defaultdict[str, list[str]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._writing)

    def writing(self, token: int, client: str, run_id: str) -> None:
        """The run's record is being written under that token."""
        self._writing[token] = (client, run_id)

    def written(self, token: int, now: float, *, succeeded: bool) -> bool:
        """A write has ended. Returns whether it was that of a record."""
        record = self._writing.pop(token, None)
        if record is None:
            return False
        if succeeded:
            client, run_id = record
            self._written[client].append(run_id)
            self.deadline = self.deadline or now + ANNOUNCE_AFTER
        return True

    def announcements(self, open_runs: Container[str]) -> list[tuple[str, tuple[str, ...]]]:
        """Whom to tell of which runs; those that have ended are left out."""
        written, self._written = self._written, defaultdict(list)
        self.deadline = None
        told = [
            (client, tuple(run_id for run_id in run_ids if run_id in open_runs))
            for client, run_ids in written.items()
        ]
        return [(client, run_ids) for client, run_ids in told if run_ids]
