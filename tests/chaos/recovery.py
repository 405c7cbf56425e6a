"""How long it took after each fault until things went on."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import NamedTuple

from .evidence import Evidence, Record
from .faults import Action, Happened, Part

_SETTLED = {Part.SCHEDULER: 1.0, Part.STORE: 0.5, Part.EXECUTOR: 0.5, Part.CLIENT: 0.0}
_HOSTLY = (Part.HOST, Part.MACHINE, Part.ZYGOTE)
_HOST_SETTLED = 3.5
"""Seconds after which a fault is over, once who has fallen is back."""

_BY_DEATH = re.compile(r"\d+ (SIGKILL|SIGTERM|exit code 0|stopped by|its executor was ended)")


@dataclass(slots=True)
class Times:
    """Seconds, each with what it was.

    Attributes:
        executor: from an executor's death to the end of each run that it held.
        scheduler: from a scheduler's start to the first call that it accepted.
        store: from a store's first answer to the first end of a run.
        overlapped: times that say nothing, because other faults came in between.
        idle: deaths of executors that held nothing.
    """

    executor: list[tuple[float, str]] = field(default_factory=list)
    scheduler: list[tuple[float, str]] = field(default_factory=list)
    store: list[tuple[float, str]] = field(default_factory=list)
    overlapped: int = 0
    idle: int = 0


class _Span(NamedTuple):
    """When something was not as it should be."""

    cause: Happened
    begin: float
    end: float

    def touches(self, begin: float, end: float) -> bool:
        return self.begin < end and begin < self.end


def recoveries(evidence: Evidence, quick: set[str]) -> Times:
    """Measure.

    Args:
        evidence: where times come from.
        quick: the runs that take no time of their own.
    """
    times = Times()
    spans = [_span(happened) for happened in evidence.happened]
    accepted = sorted(record.accepted for record in evidence.records.values())
    finished = sorted(record.finished for record in evidence.records.values())
    begun_again = {
        run_id: record
        for run_id, record in evidence.records.items()
        if run_id in quick and _began_again(record)
    }
    for happened in evidence.happened:
        match happened.fault.part:
            case Part.EXECUTOR:
                _after_death(happened, begun_again, spans, times)
            case Part.SCHEDULER if happened.is_kill:
                begin = happened.back_at
                _after_start(happened, begin, accepted, spans, times, times.scheduler)
            case Part.STORE if happened.is_kill:
                _after_start(happened, happened.up_at, finished, spans, times, times.store)
            case _:
                continue
    return times


def _span(happened: Happened) -> _Span:
    back = max(happened.back_at, happened.up_at, happened.at)
    return _Span(happened, happened.at, back + _SETTLED.get(happened.fault.part, _HOST_SETTLED))


def _after_death(
    happened: Happened, records: dict[str, Record], spans: list[_Span], times: Times
) -> None:
    ends = [
        (record.finished - happened.at, run_id)
        for run_id, record in records.items()
        if record.started <= happened.at <= record.finished
    ]
    times.idle += not ends
    how = "stopped" if happened.fault.action is Action.STOP else happened.fault.action
    for seconds, run_id in ends:
        if _is_disturbed(happened, happened.at, happened.at + seconds, spans):
            times.overlapped += 1
        else:
            times.executor.append((seconds, f"{how} at {happened.at:.3f}, run {run_id}"))


def _began_again(record: Record) -> bool:
    """Whether it was taken, once, from an executor that died or was ended under it."""
    deaths = [line for line in record.reasons.splitlines() if _BY_DEATH.match(line)]
    return record.state == "SUCCEEDED" and len(deaths) == 1


def _after_start(
    happened: Happened,
    begin: float,
    events: list[float],
    spans: list[_Span],
    times: Times,
    into: list[tuple[float, str]],
) -> None:
    first = bisect_left(events, begin)
    if not begin or first == len(events):
        times.overlapped += 1
        return
    if _is_disturbed(happened, begin, events[first], spans):
        times.overlapped += 1
        return
    into.append((events[first] - begin, f"{happened.label} at {happened.at:.3f}"))


def _is_disturbed(happened: Happened, begin: float, end: float, spans: list[_Span]) -> bool:
    """Whether anything else went on in that time that may have taken it."""
    others = [span for span in spans if span.cause is not happened and span.touches(begin, end)]
    executor = happened.fault.part is Part.EXECUTOR
    parts = [span.cause.fault.part for span in others]
    if Part.SCHEDULER in parts or Part.STORE in parts:
        return True
    if executor and Part.EXECUTOR in parts:
        return True
    return sum(part in _HOSTLY for part in parts) > 1
