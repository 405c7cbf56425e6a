"""Runs that wait, those called from deepest first, in the order of their calls. No I/O."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from cloudburst.scheduler.run import Run

Rank: TypeAlias = tuple[int, int]

ANY = ""
"""The queue of runs that any executor with room may take."""

HOME = "home "
"""Begins the names of queues of runs that need an executor with certain instances."""

NEEDS = "needs "
"""Begins the names of queues of runs that need an executor with a certain resource."""

SOME = "some "
"""Begins the names of queues of runs that some executors may not take though they are idle. So
they hold up none but their like."""

LIMIT = "limit "
"""Begins the names of queues of runs that wait for others of a function to end."""

_STALE = 64
"""Entries of a queue that may be stale, beside as many as there are runs that wait."""


def queue_for(needs: str) -> str:
    """The queue of runs that begin on any executor with that resource; "" is none."""
    return NEEDS + needs if needs else ANY


def some_of(needs: str, kind: str) -> str:
    """The queue of runs of one kind that only some executors may take, if they have a resource."""
    return f"{SOME}{needs}/{kind}"


def needed_in(queue: str) -> str:
    """The resource that an executor must have for the runs in a queue; "" for none."""
    if queue.startswith(SOME):
        return queue.removeprefix(SOME).partition("/")[0]
    return queue.removeprefix(NEEDS)


class Queues:
    """Runs waiting for room, each in the queue named for what it needs, or for others' results."""

    def __init__(self) -> None:
        self._for_room: defaultdict[str, list[tuple[Rank, Run]]] = defaultdict(list)
        self._for_result: defaultdict[str, dict[str, Run]] = defaultdict(dict)
        self._parked = 0
        # Of each run that waits for room, by its rank, the queue; what else heaps hold is stale.
        self._room_of: dict[Rank, str] = {}

    def __len__(self) -> int:
        return len(self._room_of) + self._parked

    @property
    def waits_for_room(self) -> bool:
        """Whether any run waits for room."""
        return bool(self._room_of)

    def waiting(self, queue: str) -> bool:
        """Whether runs wait in that queue."""
        return queue in self._for_room

    def add(self, run: Run, queue: str) -> None:
        """Let a run wait in a queue, behind its elders."""
        heapq.heappush(self._for_room[queue], (run.rank, run))
        self._room_of[run.rank] = queue

    def pop(self, keys: Iterable[str]) -> Run | None:
        """The eldest run of those in these queues."""
        if not self._room_of:
            return None
        heads = [(queue[0], key) for key in keys if (queue := self._for_room.get(key))]
        if not heads:
            return None
        _, key = min(heads, key=lambda head: head[0][0])
        run = self._for_room[key][0][1]
        self._leave(run, key)
        return run

    def waits_in(self, prefix: str) -> list[str]:
        """The queues with runs in them whose names begin so."""
        return [key for key in self._for_room if key.startswith(prefix)]

    def first(self, key: str, count: int) -> list[Run]:
        """Some of the runs that wait in that queue, the eldest among them."""
        queue = self._for_room.get(key, [])
        return [run for order, run in queue[:count] if self._room_of.get(order) == key]

    def remove(self, run: Run) -> bool:
        """Let a run wait no longer. Returns whether it did."""
        if run.waits_for:
            for run_id in run.waits_for:
                del self._for_result[run_id][run.run_id]
                if not self._for_result[run_id]:
                    del self._for_result[run_id]
            self._parked -= 1
            return True
        key = self._room_of.get(run.rank)
        if key is not None:
            self._leave(run, key)
        return key is not None

    def _leave(self, run: Run, key: str) -> None:
        """Thousands may leave at once: their entries go when they come to the top."""
        del self._room_of[run.rank]
        queue = self._for_room[key]
        if len(queue) > 2 * len(self._room_of) + _STALE:
            queue[:] = [item for item in queue if self._room_of.get(item[0]) == key]
            heapq.heapify(queue)
        while queue and self._room_of.get(queue[0][0]) != key:
            heapq.heappop(queue)
        if not queue:
            del self._for_room[key]

    def abandon(self, key: str) -> list[Run]:
        """The runs that waited in a queue which nobody serves any more, eldest first."""
        queue = dict(self._for_room.get(key, ()))
        runs = [queue[order] for order in sorted(queue) if self._room_of.get(order) == key]
        for run in runs:
            self._leave(run, key)
        return runs

    def park(self, run: Run) -> None:
        """Let a run wait for the results in its ``waits_for``."""
        self._parked += 1
        for run_id in run.waits_for:
            self._for_result[run_id][run.run_id] = run

    def unpark(self, run_id: str) -> list[Run]:
        """That run has ended: the runs that waited for nothing else."""
        ready = []
        for run in self._for_result.pop(run_id, {}).values():
            run.waits_for.discard(run_id)
            if not run.waits_for:
                ready.append(run)
        self._parked -= len(ready)
        return ready

    def validate(self, runs: Mapping[str, Run]) -> None:
        """Check that nobody waits twice, or for what will not come."""
        waiting = [
            run
            for key, queue in self._for_room.items()
            for order, run in dict(queue).items()
            if self._room_of.get(order) == key
        ]
        parked = {
            run_id: run for group in self._for_result.values() for run_id, run in group.items()
        }
        assert self._for_room.keys() == set(self._room_of.values())
        assert all(self._room_of[queue[0][0]] == key for key, queue in self._for_room.items())
        assert all(runs.get(run.run_id) is run for run in (*waiting, *parked.values()))
        assert len({run.run_id for run in waiting}) == len(waiting) == len(self._room_of)
        assert parked.keys().isdisjoint(run.run_id for run in waiting)
        assert self._for_result.keys() <= runs.keys()
        assert len(parked) == self._parked
        for awaited, group in self._for_result.items():
            assert all(awaited in run.waits_for for run in group.values())
