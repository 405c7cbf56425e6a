"""What hosts and the scheduler say to each other about executors.

Messages like all others: see `cloudburst.core.messages`.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

NOBODY = "-"
"""In place of a run's id: none is to blame for the loss of an executor."""


class PoolSize(NamedTuple):
    """How many executors a host runs.

    Attributes:
        least: so many always.
        most: so many that are not blocked.
        ceiling: so many, blocked ones included.
        idle_timeout: seconds without work after which one above ``least`` is not needed.
    """

    least: int
    most: int
    ceiling: int
    idle_timeout: float


class CacheChanges(NamedTuple):
    """What has changed in a machine's cache, of objects that are worth a word.

    Attributes:
        number: counts the changes that were told; those of a number that was told are none.
        added: keys and bytes.
        dropped: keys.
        whole: whether nothing is cached but these, whatever was told before.
    """

    number: int = 0
    added: tuple[tuple[str, int], ...] = ()
    dropped: tuple[str, ...] = ()
    whole: bool = False


class Heartbeat(NamedTuple):
    """A host is alive, and so are these executors of its own (names).

    The four fields after them are its `PoolSize`; ``resources`` are what it has that not every
    host has, and functions may need; the rest are the `CacheChanges` since the last heartbeat.
    """

    protocol: int
    host: str
    executors: tuple[str, ...]
    least: int
    most: int
    ceiling: int
    idle_timeout: float
    resources: tuple[str, ...] = ()
    number: int = 0
    added: tuple[tuple[str, int], ...] = ()
    dropped: tuple[str, ...] = ()
    whole: bool = False

    @property
    def size(self) -> PoolSize:
        """How many executors the host runs."""
        return PoolSize(*self[3:7])

    @property
    def changes(self) -> CacheChanges:
        """What has changed in its cache."""
        return CacheChanges(*self[8:12])


class ExecutorDied(NamedTuple):
    """A host saw an executor's process end.

    ``reason`` names the signal or exit code, ``running`` the run whose code it ran; "" if it ran
    none, or that is not known; `NOBODY` if it was ended for reasons of its host.
    """

    host: str
    executor: str
    reason: str
    running: str


class Draining(NamedTuple):
    """This host is about to end: give it no more work, and say `Drained` when it has none."""

    host: str


class Drained(NamedTuple):
    """Nothing is left to do on that host."""

    host: str


class Resize(NamedTuple):
    """Run so many executors, until some are to `Retire`; never fewer than now."""

    executors: int


class Retire(NamedTuple):
    """An executor that has nothing to do is not needed any more."""

    executor: str


class Knock(NamedTuple):
    """Have an executor look at its messages although it runs user code."""

    executor: str


class Replace(NamedTuple):
    """Kill an executor, if it still runs user code of that run, and start another."""

    executor: str
    run_id: str
    reason: str


class Fence(NamedTuple):
    """The scheduler has given these executors up, and their runs to others: replace them."""

    executors: tuple[str, ...]


class Prefetch(NamedTuple):
    """Bring these objects into the machine's cache: they are about to be read there."""

    names: tuple[str, ...]


class Recount(NamedTuple):
    """Say anew what is cached: before the changes of that number, others were not heard of."""

    number: int


HostMessage: TypeAlias = (
    Heartbeat
    | ExecutorDied
    | Draining
    | Drained
    | Resize
    | Retire
    | Knock
    | Replace
    | Fence
    | Prefetch
    | Recount
)
