"""When something that died is started again, and when that is given up. Knows no clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

QUICK = 1.0
"""Who dies within so many seconds of its start may do so again."""

FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0

HOPELESS = 5
"""So many deaths within `HOPELESS_WITHIN` seconds, and another start would not help either."""

HOPELESS_WITHIN = 10.0


@dataclass(slots=True)
class Restarts:
    """When something that died is started again: at once, later if it keeps dying young."""

    quick_deaths: int = 0

    def delay(self, lived: float) -> float:
        """Seconds to wait after a life of ``lived`` seconds."""
        self.quick_deaths = self.quick_deaths + 1 if lived < QUICK else 0
        if self.quick_deaths <= 1:
            return 0.0
        # A bounded exponent: a float has no 2 ** 2000.
        doublings = min(self.quick_deaths - 2, 10)
        return min(LONGEST_DELAY, FIRST_DELAY * 2.0**doublings)


@dataclass(slots=True)
class Obituary:
    """The last deaths of something, and whether there is any hope left for it."""

    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=HOPELESS))

    def note(self, now: float) -> bool:
        """Count a death. Returns whether it may be started again."""
        self.deaths.append(now)
        return len(self.deaths) < HOPELESS or now - self.deaths[0] > HOPELESS_WITHIN


@dataclass(slots=True)
class Lives:
    """The lives of one process of which there is always to be one.

    Attributes:
        due: when it is to be started again; None while it runs.
    """

    due: float | None = None
    since: float = 0.0
    restarts: Restarts = field(default_factory=Restarts)
    obituary: Obituary = field(default_factory=Obituary)

    def begin(self, now: float) -> None:
        """It has been started."""
        self.since, self.due = now, None

    def end(self, now: float) -> bool:
        """It has died. Returns whether it may be started again, once it is due."""
        self.due = now + self.restarts.delay(now - self.since)
        return self.obituary.note(now)
