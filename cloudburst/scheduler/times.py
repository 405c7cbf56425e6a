"""How long segments take, by what executors report. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Collection

from cloudburst.core.plan import Plan

UNKNOWN = 1.0
"""Seconds assumed of a segment that never ran: long enough not to be sent ahead."""

OVERHEAD = 50e-6
"""Seconds an executor needs for a run besides the user's code."""

_SMOOTHING = 0.2


class ServiceTimes:
    """Expected seconds per segment, as a moving average of what executors report.

    Attributes:
        crowding: plans whose segments have waited for each other in one place. However short they
            are, they need places of their own.
    """

    def __init__(self) -> None:
        self.crowding: set[str] = set()
        self._of_plan: dict[str, list[float]] = {}

    def of(self, plan: Plan) -> list[float]:
        """Expected seconds of each of the plan's segments."""
        if plan.id in self.crowding:
            return [UNKNOWN] * len(plan.segments)
        times = self._of_plan.get(plan.id)
        if times is None:
            times = self._of_plan[plan.id] = [UNKNOWN] * len(plan.segments)
        return times

    def observe(self, plan_id: str, segment: int, seconds: float) -> None:
        """Take in one measurement. The first one counts fully."""
        times = self._of_plan.get(plan_id)
        if times is None or not 0 <= segment < len(times):
            return
        seconds += OVERHEAD
        old = times[segment]
        times[segment] = seconds if old == UNKNOWN else old + _SMOOTHING * (seconds - old)

    def forget(self, plan_ids: Collection[str]) -> None:
        """Drop all but these plans' measurements."""
        self.crowding.intersection_update(plan_ids)
        self._of_plan = {key: self._of_plan[key] for key in plan_ids if key in self._of_plan}
