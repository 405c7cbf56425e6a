"""The verdict in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .checker import Limits, Verdict
from .evidence import Evidence, Remains
from .harness import Options


def lines(options: Options, limits: Limits, evidence: Evidence, verdict: Verdict) -> Iterator[str]:
    """What is printed of a run."""
    seconds, times = evidence.ended - evidence.began, verdict.times
    yield f"seed {options.seed}, {options.transport}, {seconds:.0f} s of faults"
    yield from _load(evidence, verdict)
    yield from _ends(verdict)
    yield from _recovery(
        "executor killed -> a run that it held ends", times.executor, limits.executor
    )
    yield from _recovery(
        "scheduler started -> next call accepted", times.scheduler, limits.scheduler
    )
    yield from _recovery("store answers -> next run ends", times.store, limits.store)
    yield f"           not counted: {times.overlapped} that others came upon"
    yield f"           and {times.idle} executors that held nothing"
    yield from _remains(evidence.remains)
    yield from (f"VIOLATION  {text}" for text in verdict.violations)
    yield from (f"INVALID    {text}" for text in verdict.invalid)
    yield {0: "All was kept.", 1: "Something was not kept.", 2: "The run proves nothing."}[
        verdict.exit_code
    ]


def _load(evidence: Evidence, verdict: Verdict) -> Iterator[str]:
    yield f"load       {verdict.rate:.0f} calls/s ({verdict.calls} stored, {verdict.direct} direct)"
    yield f"faults     {len(evidence.happened)}, kills {verdict.kills_a_minute:.0f} a minute:"
    yield from (f"           {label}: {count}" for label, count in sorted(verdict.kills.items()))


def _ends(verdict: Verdict) -> Iterator[str]:
    yield f"calls      {verdict.accepted} accepted, {verdict.ended} ended"
    yield f"           lost {len(verdict.lost)}, wrong {len(verdict.wrong)}, "
    yield f"           unfinished {len(verdict.unfinished)}, ended twice {len(verdict.twice)}, "
    yield f"           changed after they were read {len(verdict.changed)}"
    yield f"           {verdict.again} more than once begun, {verdict.given_up} given up"
    yield f"ends       {_counts(verdict.outcomes)}"
    yield f"meanwhile  {_counts(verdict.troubles)}"


def _recovery(what: str, found: Sequence[tuple[float, str]], limit: float) -> Iterator[str]:
    ordered = sorted(seconds for seconds, _ in found)
    figures = "none"
    if ordered:
        p50, p95 = (ordered[int(share * (len(ordered) - 1) + 0.5)] for share in (0.5, 0.95))
        figures = f"p50 {p50:.3f} s, p95 {p95:.3f} s, max {ordered[-1]:.3f} s"
    yield f"recovery   {what}: {len(ordered)} times, {figures} (at most {limit:g} s)"


def _remains(remains: Remains) -> Iterator[str]:
    yield f"afterwards {remains.executors} executors, {remains.under_way} runs under way, "
    yield f"           {len(remains.open_runs)} open in the store"
    yield f"keys       {_counts(remains.keys.kinds)}"
    yield f"left       processes {len(remains.processes)}, sockets and files {len(remains.files)}, "
    yield f"           shared memory {len(remains.memory)}, "
    yield f"           {len(remains.sockets)} sockets of clients that were killed"


def _counts(counter: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in sorted(counter.items())) or "nothing"
