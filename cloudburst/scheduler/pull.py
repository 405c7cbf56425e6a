"""What draws a run to certain hosts: the bytes of what it refers to, in their caches. No I/O.

Where these are not, they have to be fetched first. That takes its time, which is weighed against
the time that the run would have to wait where they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from cloudburst.scheduler.holdings import Holdings
from cloudburst.scheduler.membership import Executor
from cloudburst.scheduler.policy import BUSY

RATE = 1e9
"""Bytes a second that executors get out of the store: roughly, with a fast network."""

MOST_AHEAD = 0.01
"""Seconds that a run waits at most behind another for the sake of what is cached there."""


class Pull(NamedTuple):
    """What draws a segment.

    Attributes:
        total: the bytes of all that it refers to and that some host has.
        held: those of each host that is not overloaded.
    """

    total: int
    held: Mapping[str, int]

    def missing(self, executor: Executor) -> int:
        """Bytes that would have to be fetched."""
        return self.total - self.held.get(executor.host, 0)

    def seconds(self, executor: Executor) -> float:
        """How long that would take."""
        return self.missing(executor) / RATE


NO_PULLS: Mapping[int, Pull] = MappingProxyType({})


def pulls_of(
    names: Mapping[int, Iterable[str]], holdings: Holdings, executors: Iterable[Executor]
) -> Mapping[int, Pull]:
    """What draws each segment.

    Args:
        names: what the segments refer to.
        holdings: what hosts have.
        executors: those that may be given work.
    """
    pulls: dict[int, Pull] = {}
    refused: frozenset[str] | None = None
    for segment, keys in names.items():
        held = holdings.bytes_at(keys)
        if held and refused is None:
            refused = overloaded(executors)
        if refused:
            held = {host: size for host, size in held.items() if host not in refused}
        if held:
            pulls[segment] = Pull(holdings.bytes_of(keys), held)
    return pulls


def overloaded(executors: Iterable[Executor]) -> frozenset[str]:
    """The hosts that nothing is drawn to: busy for most of the time, lately, and others are not."""
    utilisations = defaultdict[str, list[float]](list)
    for executor in executors:
        utilisations[executor.host].append(executor.utilisation)
    busy = {host for host, shares in utilisations.items() if sum(shares) > BUSY * len(shares)}
    # If all are, it is no use to have one fetch what another has.
    return frozenset(busy) if len(busy) < len(utilisations) else frozenset()


def ahead(executor: Executor, now: float) -> float:
    """Seconds that a run would wait behind what an executor has, if that goes as expected."""
    return max(0.0, executor.load - (now - executor.since)) if executor.shares else 0.0


def may_wait(executor: Executor, now: float) -> bool:
    """Whether a run may be sent there although it has to wait.

    Not if what was sent there has been asked for back: then it takes longer than expected.
    """
    if executor.bounced or executor.is_late(now):
        return False
    return executor.load <= MOST_AHEAD
