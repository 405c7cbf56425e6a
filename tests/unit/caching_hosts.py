"""A cluster whose hosts say what they have in their caches."""

from __future__ import annotations

from scheduling import Cluster

from cloudburst.core.hosts import CacheChanges, Heartbeat
from cloudburst.core.messages import PROTOCOL
from cloudburst.scheduler.events import Command
from cloudburst.scheduler.policy import Policy

MB = 1_000_000


class CachingCluster(Cluster):
    """As `Cluster`.

    Attributes:
        told: how often each host has said what has changed.
    """

    def __init__(self, *, policy: Policy = Policy.LOCALITY) -> None:
        super().__init__(policy=policy)
        self.told: dict[str, int] = {}

    def cache(self, host: str, *dropped: str, **sizes: int) -> list[Command]:
        """A host says what it has in its cache now, and has no more."""
        self.told[host] = number = self.told.get(host, 0) + 1
        return self.says(host, CacheChanges(number, tuple(sizes.items()), dropped))

    def says(self, host: str, changes: CacheChanges, sender: str = "") -> list[Command]:
        """A host, or somebody in its name, says what has changed in its cache."""
        names = tuple(e.name for e in self.state.members.all() if e.host == host)
        beat = Heartbeat(PROTOCOL, host, names, *self.size, (), *changes)
        return self.tell(sender or host, beat)
