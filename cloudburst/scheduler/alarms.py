"""What is due, and when. No clock."""

from __future__ import annotations

import enum
import heapq
import itertools
from collections.abc import Iterator
from typing import NamedTuple


class Due(enum.Enum):
    """What an alarm is for."""

    LIMIT = enum.auto()  # a run's time is over
    KILL = enum.auto()  # user code that was interrupted had its grace period
    AGAIN = enum.auto()  # a run that was given back is to be started again
    COMMIT = enum.auto()  # the store did not take a run's end
    UNLIST = enum.auto()  # nor that it is not open any more


class Alarm(NamedTuple):
    """One alarm; the same one is set once at a time."""

    due: Due
    run_id: str


class Alarms:
    """Alarms that can be set, set anew, and cleared."""

    def __init__(self) -> None:
        self._when: dict[Alarm, float] = {}
        self._heap: list[tuple[float, int, Alarm]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._when)

    def __contains__(self, alarm: Alarm) -> bool:
        return alarm in self._when

    def set(self, alarm: Alarm, when: float) -> None:
        """Let it ring at that time, and not at the one set before."""
        self._when[alarm] = when
        heapq.heappush(self._heap, (when, next(self._order), alarm))
        # Those that were cleared stay in the heap until their time comes, which may be hours.
        if len(self._heap) > 2 * len(self._when) + 64:
            self._heap = [entry for entry in self._heap if self._when.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def clear(self, run_id: str) -> None:
        """Take back all alarms of a run."""
        if self._when:
            for due in Due:
                self._when.pop(Alarm(due, run_id), None)

    def take(self, now: float) -> Iterator[Alarm]:
        """Take out the alarms that ring, the earliest first; what is cleared meanwhile does not."""
        while (when := self.next_deadline()) is not None and when <= now:
            _, _, alarm = heapq.heappop(self._heap)
            del self._when[alarm]
            yield alarm

    def next_deadline(self) -> float | None:
        """When the next one rings."""
        heap, when = self._heap, self._when
        while heap and when.get(heap[0][2]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None
