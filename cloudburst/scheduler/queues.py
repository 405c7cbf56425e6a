"""Runs that wait, in the order they were called. No I/O."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping

from cloudburst.scheduler.run import Run

ANY = ""
"""The queue of runs that any executor with room may take."""


class Queues:
    """Runs waiting for room, on any executor or on a certain one, and for other runs' results."""

    def __init__(self) -> None:
        self._for_room: defaultdict[str, list[tuple[int, Run]]] = defaultdict(list)
        self._for_result: defaultdict[str, list[Run]] = defaultdict(list)
        self._parked = 0
        self._queued = 0

    def __len__(self) -> int:
        return self._queued + self._parked

    def waiting(self, executor: str) -> bool:
        """Whether runs wait for that executor (or for `ANY`)."""
        return self._queued > 0 and executor in self._for_room

    def add(self, run: Run, executor: str) -> None:
        """Let a run wait for room on that executor (or on `ANY`), behind its elders."""
        heapq.heappush(self._for_room[executor], (run.order, run))
        self._queued += 1

    def pop(self, executor: str) -> Run | None:
        """The eldest run that room on that executor may serve."""
        if not self._queued:
            return None
        heads = [(queue[0], key) for key in (ANY, executor) if (queue := self._for_room.get(key))]
        if not heads:
            return None
        _, key = min(heads, key=lambda head: head[0][0])
        _, run = heapq.heappop(self._for_room[key])
        self._queued -= 1
        if not self._for_room[key]:
            del self._for_room[key]
        return run

    def remove(self, run: Run) -> bool:
        """Let a run wait no longer. Returns whether it did."""
        if run.waits_for:
            for run_id in run.waits_for:
                self._for_result[run_id].remove(run)
                if not self._for_result[run_id]:
                    del self._for_result[run_id]
            self._parked -= 1
            return True
        for executor, queue in self._for_room.items():
            if (run.order, run) in queue:
                queue.remove((run.order, run))
                heapq.heapify(queue)
                self._queued -= 1
                if not queue:
                    del self._for_room[executor]
                return True
        return False

    def abandon(self, executor: str) -> list[Run]:
        """The runs that waited for an executor which is gone, eldest first."""
        queue = sorted(self._for_room.pop(executor, []), key=lambda item: item[0])
        self._queued -= len(queue)
        return [run for _, run in queue]

    def park(self, run: Run) -> None:
        """Let a run wait for the results in its ``waits_for``."""
        self._parked += 1
        for run_id in run.waits_for:
            self._for_result[run_id].append(run)

    def unpark(self, run_id: str) -> list[Run]:
        """That run has ended: the runs that waited for nothing else."""
        ready = []
        for run in self._for_result.pop(run_id, ()):
            run.waits_for.discard(run_id)
            if not run.waits_for:
                ready.append(run)
        self._parked -= len(ready)
        return ready

    def validate(self, runs: Mapping[str, Run]) -> None:
        """Check that nobody waits twice, or for what will not come."""
        waiting = [run for queue in self._for_room.values() for _, run in queue]
        parked = {run.run_id: run for group in self._for_result.values() for run in group}
        assert all(self._for_room.values())
        assert all(runs.get(run.run_id) is run for run in (*waiting, *parked.values()))
        assert len({run.run_id for run in waiting}) == len(waiting) == self._queued
        assert parked.keys().isdisjoint(run.run_id for run in waiting)
        assert self._for_result.keys() <= runs.keys()
        assert len(parked) == self._parked
        for awaited, group in self._for_result.items():
            assert all(awaited in run.waits_for for run in group)
