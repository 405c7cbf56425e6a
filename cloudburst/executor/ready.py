"""What may run now: segments, and batches of them that are put together. No I/O, no clock.

A batch is made of the same segment of several runs. It begins when it is full, or when the first
of them has waited long enough for others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

from cloudburst.executor.events import Work

BatchKey: TypeAlias = tuple[str, int]
"""What can be one batch: the plan and the segment."""


class Ready:
    """Segments whose inputs are all in, in the order in which they came.

    Attributes:
        works: all of them.
    """

    def __init__(self) -> None:
        self.works: deque[Work] = deque()
        self._since: dict[BatchKey, float] = {}
        self._look_at = 0.0

    def add(self, works: Iterable[Work]) -> None:
        """These may run."""
        self.works.extend(works)
        self._look_at = 0.0

    def due_at(self) -> float | None:
        """When the next may be taken: a moment that is over, or in which a batch begins."""
        return self._look_at if self.works else None

    def take(self, now: float, is_wanted: Callable[[Work], bool]) -> tuple[Work, ...]:
        """Take out what is to run next: one, or those of a batch; nothing if none is due.

        Args:
            now: monotonic seconds.
            is_wanted: whether one still is to run; others are dropped.
        """
        works = self.works
        while works:
            work = works[0]
            if work.batch is not None:
                return self._take_batch(now, is_wanted)
            works.popleft()
            if is_wanted(work):
                return (work,)
        return ()

    def _take_batch(self, now: float, is_wanted: Callable[[Work], bool]) -> tuple[Work, ...]:
        """As `take`, if the first belongs to a batch: others may pass it while it waits."""
        self._drop(is_wanted)
        due: dict[BatchKey, float] = {}
        for work in self.works:
            batch = work.batch
            if batch is None:
                self.works.remove(work)
                return (work,)
            key = _key(work)
            if key in due:
                continue
            found = [other for other in self.works if _key(other) == key and other.batch]
            due[key] = self._since.setdefault(key, now) + batch.wait
            if len(found) >= batch.size or now >= due[key]:
                return self._without(found[: batch.size])
        self._look_at = min(due.values(), default=0.0)
        return ()

    def _drop(self, is_wanted: Callable[[Work], bool]) -> None:
        """Drop what is not wanted, and how long it has waited."""
        wanted = deque(work for work in self.works if is_wanted(work))
        if len(wanted) < len(self.works):
            self.works = wanted
            here = {_key(work) for work in wanted if work.batch}
            self._since = {key: since for key, since in self._since.items() if key in here}

    def _without(self, batch: list[Work]) -> tuple[Work, ...]:
        chosen = set(map(id, batch))
        self.works = deque(work for work in self.works if id(work) not in chosen)
        self._since.pop(_key(batch[0]), None)
        return tuple(batch)


def _key(work: Work) -> BatchKey:
    return work.route.plan.id, work.segment
