"""One scheduler at a time: it holds a lease in the KVS, by the KVS's clock.

Two would give the same executors work without knowing of each other. Whoever loses the lease, or
cannot be sure of it because its process was stopped for a while, ends; its runs are recorded, and
are the other's by then. What it has said may still be on its way: so each scheduler has a *term*,
higher than that of all before it, and the epochs of its runs are higher than all of theirs.
"""

from __future__ import annotations

import time

from cloudburst.errors import ClusterError
from cloudburst.kvs import keys
from cloudburst.kvs.base import Get, Hold, Increment, KeyValueStore, Put

LEASE = 3.0
"""Seconds that a lease lasts without being renewed."""

RENEW_EVERY = 1.0

_POLL = 0.1


class Lease:
    """The lease of one scheduler.

    Args:
        address: where it is bound: nobody else can be, so a lease of the same address is a dead
            scheduler's.
        identity: its own, different in every process.
    """

    def __init__(self, address: str, identity: str) -> None:
        self._holder = f"{identity} {address}".encode()
        self._address = address
        self._seen = 0.0
        self._due = 0.0

    @property
    def renewal(self) -> Hold:
        """What renews it."""
        return Hold(keys.SCHEDULER, self._holder, LEASE)

    def acquire(self, store: KeyValueStore) -> int:
        """Take the lease; if another scheduler holds it, wait until that would have expired.

        Returns:
            The term that begins with it.

        Raises:
            ClusterError: the other scheduler is alive.
            KVSUnavailable: the store does not answer.
        """
        deadline = time.monotonic() + LEASE + _POLL
        while not self._take(store):
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"another scheduler uses this store, at {self._other(store)}; end that one, or "
                    "use another store"
                )
            time.sleep(_POLL)
        self.awake(time.monotonic())
        (term,) = store.execute([Increment(keys.TERM)])
        return int(term)

    def awake(self, now: float) -> bool:
        """To be told in every turn: whether this process can still be sure of its lease.

        It cannot if it did not run for as long as a lease lasts.
        """
        sure = now - self._seen < LEASE or not self._seen
        self._seen = now
        return sure

    def is_due(self, now: float) -> bool:
        """Whether to renew it now; true once every `RENEW_EVERY` seconds."""
        if now < self._due:
            return False
        self._due = now + RENEW_EVERY
        return True

    def next_deadline(self) -> float:
        """When to renew it next."""
        return self._due

    def _take(self, store: KeyValueStore) -> bool:
        (mine,) = store.execute([self.renewal])
        if not mine and self._other(store) == self._address:
            store.execute([Put(keys.SCHEDULER, self._holder, LEASE)])
            return True
        return bool(mine)

    def _other(self, store: KeyValueStore) -> str:
        (holder,) = store.execute([Get(keys.SCHEDULER)])
        return bytes(holder or b"").decode(errors="replace").partition(" ")[2]
