"""Whether others still take this host for alive. Knows no socket and no clock."""

from __future__ import annotations

import time

from cloudburst.executor.pool_events import LeaseBack, LeaseLost

TERM = 3.0
"""Seconds without any sign after which the scheduler may have given this host's runs to others."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Seconds that also pass while the machine is suspended, unlike those of `time.monotonic`."""
    return time.clock_gettime(_CLOCK)


class Lease:
    """What a host may assume about itself.

    A sign is an answer of the scheduler or of the KVS. Until the first one there is nothing to
    lose: who has not been heard of has no runs.

    Attributes:
        held: whether this host may run executors.
    """

    def __init__(self, term: float = TERM) -> None:
        self.held = True
        self._term = term
        self._sign: float | None = None
        self._looked: float | None = None

    def look(self, now: float, *, sign: bool) -> LeaseLost | LeaseBack | None:
        """To be called in every turn of the host's loop, at least once in a `TERM`.

        Args:
            now: seconds of `clock`.
            sign: whether one came since the last turn.
        """
        stood_still = 0.0 if self._looked is None else now - self._looked
        self._looked = now
        if not self.held:
            self.held = sign
            self._sign = now
            return LeaseBack() if sign else None
        if self._sign is not None and stood_still > self._term:
            return self._lose(f"its host stood still for {stood_still:.1f} s")
        if sign:
            self._sign = now
        elif self._sign is not None and now - self._sign >= self._term:
            return self._lose(f"its host was cut off for {now - self._sign:.1f} s")
        return None

    def next_deadline(self) -> float | None:
        """When the lease is lost, if no sign comes until then."""
        return self._sign + self._term if self.held and self._sign is not None else None

    def _lose(self, reason: str) -> LeaseLost:
        self.held = False
        return LeaseLost(reason)
