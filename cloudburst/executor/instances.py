"""Class instances: which ones an executor keeps for its DAGs, and when it lets go of them."""

from __future__ import annotations

import gc
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from cloudburst.executor.calling import Called
from cloudburst.executor.memory import resident_memory

PATIENCE = 1.0
"""Seconds that an instance's ``close()`` may take."""

LAST_MOMENTS = 0.4
"""Seconds that those of all instances may take together when the executor ends: its zygote waits
little longer."""

MEASURE_EVERY = 0.1
"""Seconds between two measurements of the memory because of instances that were used."""

_MIB = 1 << 20
_log = logging.getLogger(__name__)


class _Key(NamedTuple):
    dag: str
    step: str


@dataclass(slots=True, eq=False)
class Instance:
    """An object of a user's class.

    Attributes:
        value: the object.
        run: its ``run``, to be called with the library first.
        version: that of the class.
        step: the step it was made for.
        dag: whose step that is, or "" for a lone call.
        last_used: when it was made, or the last run that used it ended.
    """

    value: Any
    run: Called
    version: str
    step: str
    dag: str
    last_used: float = field(default_factory=time.monotonic)

    @property
    def closes(self) -> bool:
        """Whether its class wants to know of its end."""
        return callable(getattr(type(self.value), "close", None))

    def __str__(self) -> str:
        return f"step {self.step!r} of DAG {self.dag!r}" if self.dag else f"function {self.step!r}"


Close: TypeAlias = Callable[[Instance, float], None]
"""Calls an instance's ``close()``, which may take so many seconds; raises nothing."""


class Instances:
    """The class instances of one executor.

    One that is let go while user code runs, perhaps its own, is closed only when that has ended.

    Args:
        close: called once with each instance that is let go and whose class has a ``close()``.
        idle: seconds after which an unused instance is let go.
        budget: bytes that the process may take before instances are let go; 0 for any number.
        resident: how many it takes.
    """

    def __init__(
        self,
        close: Close,
        idle: float,
        budget: int = 0,
        resident: Callable[[], int] = resident_memory,
    ) -> None:
        self._close = close
        self._idle = idle
        self._budget = budget
        self._resident = resident
        self._kept: dict[_Key, Instance] = {}  # in the order of their last use
        self._in_use: list[Instance] = []
        self._let_go: deque[Instance] = deque()
        self._has_grown = False
        self._was_used = False
        self._measured = -math.inf
        self._stuck = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def are_to_be_closed(self) -> bool:
        """Whether any is to be closed, or just is; any thread may ask."""
        return bool(self._let_go) or any(item.closes for item in list(self._kept.values()))

    def use(self, dag: str, step: str, version: str) -> Instance | None:
        """The instance that is kept for a step of a DAG, if it is of this version."""
        key = _Key(dag, step)
        instance = self._kept.get(key)
        if instance is None or instance.version != version:
            return None
        self._kept[key] = self._kept.pop(key)
        self._in_use.append(instance)
        return instance

    def add(self, instance: Instance) -> None:
        """Keep a new instance, instead of an older version; that of a lone call for this call."""
        if not instance.dag:
            self._drop(instance)
            return
        key = _Key(instance.dag, instance.step)
        self._remove(key)
        self._kept[key] = instance
        self._in_use.append(instance)
        self._has_grown = True

    def drop_dag(self, dag: str) -> None:
        """Let go of a deleted DAG's instances; to be followed by `settle` or `look`."""
        for key in [key for key in self._kept if key.dag == dag]:
            self._remove(key)

    def settle(self) -> None:
        """User code has ended. To be called after every run, and costs nothing without classes."""
        if self._in_use:
            now = time.monotonic()
            for instance in self._in_use:
                instance.last_used = now
            self._in_use.clear()
            self._was_used = True
        if self._let_go:
            self._close_all()
        if self._has_grown:
            self._has_grown = False
            self._fit()

    def look(self) -> float | None:
        """The executor has nothing to do: let go of what is idle, or takes too much memory.

        Returns:
            Seconds until there may be something to let go of again.
        """
        if not (self._kept or self._let_go):
            return None
        now = time.monotonic()
        for key, instance in list(self._kept.items()):
            if now >= instance.last_used + self._idle:
                self._remove(key)
        self._close_all()
        if self._awaits_measuring and now >= self._measured + MEASURE_EVERY:
            self._fit()
        if not self._kept:
            return None
        due = next(iter(self._kept.values())).last_used + self._idle
        if self._awaits_measuring:
            due = min(due, self._measured + MEASURE_EVERY)
        return max(0.0, due - now)

    def close(self) -> None:
        """The executor ends: let go of all that there are."""
        for key in list(self._kept):
            self._remove(key)
        end = time.monotonic() + LAST_MOMENTS
        while self._let_go:
            # One that takes all of its share leaves the others theirs.
            self._close_next((end - time.monotonic()) / len(self._let_go))

    @property
    def _may_be_too_many(self) -> bool:
        return bool(self._budget) and len(self._kept) > 1

    @property
    def _awaits_measuring(self) -> bool:
        return self._was_used and self._may_be_too_many

    def _fit(self) -> None:
        """Let go of what was not used for longest, while the process takes too much memory.

        What nobody gives back is not asked for again: it may be the caches of modules, or a peak
        that never falls, and keeping fewer instances would not change that.
        """
        self._was_used = False
        if not self._may_be_too_many:
            return
        taken = self._resident()
        self._stuck = min(self._stuck, taken)
        while self._may_be_too_many and taken > max(self._budget, self._stuck):
            key = next(iter(self._kept))
            words = "%s is let go: the executor takes %d MiB, and has room for %d"
            _log.info(words, self._kept[key], taken // _MIB, self._budget // _MIB)
            self._remove(key)
            self._close_all()
            taken = self._resident()
            if taken > self._budget:
                gc.collect()
                taken = self._resident()
        if taken > self._budget:
            self._stuck = taken
        self._measured = time.monotonic()

    def _remove(self, key: _Key) -> None:
        if key in self._kept:
            self._drop(self._kept[key])
            del self._kept[key]

    def _drop(self, instance: Instance) -> None:
        if instance.closes:
            self._let_go.append(instance)

    def _close_all(self) -> None:
        while self._let_go:
            self._close_next(PATIENCE)

    def _close_next(self, patience: float) -> None:
        # It counts as one that is to be closed until it is.
        self._close(self._let_go[0], patience)
        self._let_go.popleft()
