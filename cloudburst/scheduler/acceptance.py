"""Runs whose records are on their way to the KVS, and the clients to be told. No I/O.

A client learns of an acceptance only to forget the call, so there is no hurry. A record is written
a moment after the call, and not at all if the run has ended by then: its result is recorded with
it. And of what was written the client is told later, of several runs at once.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Container

from cloudburst.core.messages import ENDED
from cloudburst.scheduler.run import Run

RECORD_AFTER = 0.003
"""Seconds that a run has to end before it is recorded."""

ANNOUNCE_AFTER = 0.01
"""Seconds that an acceptance may wait for others."""


class Acceptance:
    """What is written, and what is to be said of it.

    Attributes:
        deadline: when to call `announcements`; None if there is nothing to say.
        record_at: when to call `to_record`; None if everything is recorded.
    """

    def __init__(self) -> None:
        self.deadline: float | None = None
        self.record_at: float | None = None
        self._unrecorded: deque[tuple[float, Run]] = deque()
        self._writing: dict[int, tuple[str, str]] = {}
        self._written: defaultdict[str, list[str]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._writing)

    def admitted(self, run: Run, now: float) -> None:
        """A run is there that is to be recorded."""
        if self.record_at is None:
            self.record_at = now + RECORD_AFTER
        self._unrecorded.append((now + RECORD_AFTER, run))

    def to_record(self, now: float) -> list[Run]:
        """The runs that had their moment, and have not ended in it."""
        runs = []
        unrecorded = self._unrecorded
        while unrecorded and unrecorded[0][0] <= now:
            _, run = unrecorded.popleft()
            if not (run.recorded or run.state in ENDED):
                runs.append(run)
        while unrecorded and unrecorded[0][1].state in ENDED:
            unrecorded.popleft()
        self.record_at = unrecorded[0][0] if unrecorded else None
        return runs

    def writing(self, token: int, client: str, run_id: str) -> None:
        """The run's record is being written under that token."""
        self._writing[token] = (client, run_id)

    def is_writing(self, run_id: str) -> bool:
        """Whether the run's record is on its way."""
        return any(known == run_id for _, known in self._writing.values())

    def written(self, token: int, now: float, *, succeeded: bool) -> str | None:
        """A write has ended. Returns the run whose record it was, or None."""
        record = self._writing.pop(token, None)
        if record is None:
            return None
        client, run_id = record
        if succeeded:
            self._written[client].append(run_id)
            self.deadline = self.deadline or now + ANNOUNCE_AFTER
        return run_id

    def announcements(self, open_runs: Container[str]) -> list[tuple[str, tuple[str, ...]]]:
        """Whom to tell of which runs; those that have ended are left out."""
        written, self._written = self._written, defaultdict(list)
        self.deadline = None
        told = [
            (client, tuple(run_id for run_id in run_ids if run_id in open_runs))
            for client, run_ids in written.items()
        ]
        return [(client, run_ids) for client, run_ids in told if run_ids]
