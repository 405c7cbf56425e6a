"""Judges the evidence: what was promised, and whether it was kept. Touches nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from cloudburst.scheduler.run import EPOCHS

from .evidence import UNREADABLE, Evidence, Record
from .faults import Part
from .journal import Account, Noted
from .recovery import Times, recoveries
from .workload import DIRECT_KINDS, SLOW, Spec, generate

GIVEN_UP = "ExecutorDiedError"
DEATHS = 3
"""Executors that a run may cost, after which it may be given up."""

EARLY = 0.02
"""Seconds that a client may seem to have called later than it has."""


@dataclass(frozen=True)
class Limits:
    """What is demanded.

    Attributes:
        rate: calls a second, of the lasting clients, for a run to count.
        kills: in a minute, likewise.
        executor: seconds from an executor's death to the end of a run that it held.
        scheduler: from a scheduler's start to the first call that it accepts.
        store: from a store's first answer to the first run that ends.
    """

    rate: float = 100.0
    kills: float = 20.0
    executor: float = 1.0
    scheduler: float = 3.0
    store: float = 3.0


@dataclass(slots=True)
class Verdict:
    """What came out.

    Attributes:
        kills: faults, by what they were.
        again: runs that were begun more than once.
        lost: accepted calls without a result in the store.
        wrong: calls that ended with something that plain evaluation does not give.
        unfinished: calls whose client waited for nothing.
        changed: calls that ended with one thing here, with another there.
        twice: calls whose client was told of the end twice.
        violations: of what was promised.
        invalid: why the run proves nothing, if it does not.
    """

    calls: int = 0
    direct: int = 0
    rate: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    kills_a_minute: float = 0.0
    accepted: int = 0
    ended: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    again: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    given_up: int = 0
    times: Times = field(default_factory=Times)
    violations: list[str] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 if all was kept, 1 if something was not, 2 if the run proves nothing."""
        return 1 if self.violations else 2 if self.invalid else 0


class _Case(NamedTuple):
    """One stored call, with all that is known of it."""

    label: str
    account: Account
    spec: Spec
    noted: Noted
    record: Record | None
    final: str

    @property
    def is_accepted(self) -> bool:
        return self.record is not None or self.spec.number < self.account.safe


def judge(evidence: Evidence, limits: Limits) -> Verdict:
    """Compare what was found with what was promised."""
    verdict = Verdict()
    cases = list(_cases(evidence))
    _count(evidence, verdict, limits)
    for case in cases:
        _judge_call(case, verdict)
    _judge_direct(evidence, verdict)
    quick = {case.noted.run_id for case in cases if case.spec.target not in SLOW}
    verdict.times = recoveries(evidence, quick)
    _judge_times(verdict, limits)
    for name in ("lost", "wrong", "unfinished", "changed", "twice"):
        found: list[str] = getattr(verdict, name)
        if found:
            verdict.violations.append(f"{len(found)} {name}, such as {'; '.join(found[:3])}")
    _judge_remains(evidence, verdict)
    return verdict


def _cases(evidence: Evidence) -> Iterator[_Case]:
    for index, account in enumerate(evidence.accounts):
        count = max(account.calls, default=-1) + 1
        for spec in islice(generate(account.seed), count):
            noted = account.calls.get(spec.number)
            if noted is not None:
                record = evidence.records.get(noted.run_id)
                final = evidence.finals.get(noted.run_id, UNREADABLE)
                label = f"client {index} call {spec.number} ({spec.kind}, {noted.run_id})"
                yield _Case(label, account, spec, noted, record, final)


def _count(evidence: Evidence, verdict: Verdict, limits: Limits) -> None:
    seconds = evidence.ended - evidence.began
    lasting = [account for account in evidence.accounts if not account.mortal]
    verdict.calls = sum(len(account.calls) for account in lasting)
    verdict.direct = sum(len(account.direct) for account in lasting)
    verdict.rate = (verdict.calls + verdict.direct) / seconds
    verdict.kills = Counter(happened.label for happened in evidence.happened)
    kills = sum(happened.counts for happened in evidence.happened)
    verdict.kills_a_minute = 60 * kills / (evidence.ceased - evidence.began)
    if verdict.rate < limits.rate:
        verdict.invalid.append(f"{verdict.rate:.0f} calls/s are fewer than {limits.rate:g}")
    if verdict.kills_a_minute < limits.kills:
        verdict.invalid.append(
            f"{verdict.kills_a_minute:.0f} kills a minute are fewer than {limits.kills:g}"
        )
    for account in evidence.accounts:
        # Of an error only its kind: its words name runs and times.
        verdict.troubles.update(error.partition(":")[0] for error, _ in account.troubles)
        verdict.violations += [f"a client crashed: {crash}" for crash in account.crashes]
        if not (account.finished or account.mortal):
            verdict.violations.append("a client did not come to its end")
    verdict.violations += evidence.crashes


def _judge_call(case: _Case, verdict: Verdict) -> None:
    ends, final = case.noted.ends, case.final
    verdict.accepted += case.is_accepted
    verdict.again += case.record is not None and case.record.epoch % EPOCHS > 1
    is_missing = final.startswith(UNREADABLE)
    if is_missing and (case.is_accepted or ends):
        verdict.lost.append(f"{case.label}: {final}, its record says {case.record}")
    if not case.account.mortal and not ends:
        text = f"{case.label}: its client has heard nothing; the store says {final}"
        verdict.unfinished.append(text)
    if len(ends) > 1:
        verdict.twice.append(f"{case.label}: {ends}")
    read = dict.fromkeys([*(outcome for outcome, _ in ends), *([] if is_missing else [final])])
    verdict.ended += bool(read)
    if len(read) > 1:
        verdict.changed.append(f"{case.label}: {list(read)}")
    for outcome in read:
        _judge_outcome(case, outcome, verdict)


def _judge_outcome(case: _Case, outcome: str, verdict: Verdict) -> None:
    name = outcome.partition(":")[0] if ":" in outcome or "Error" in outcome else "value"
    verdict.outcomes[name] += 1
    if case.noted.said and name == "value":
        verdict.outcomes["value, though cancel() said true"] += 1
    if case.spec.allows(outcome):
        if name == "InvocationTimedOutError" and not _had_its_time(case):
            verdict.wrong.append(f"{case.label}: ended before its time limit, {case.record}")
        return
    if name == GIVEN_UP and case.record is not None and _deaths(case.record) >= DEATHS:
        verdict.given_up += 1
        return
    verdict.wrong.append(f"{case.label}: {outcome!r}, not {case.spec.expected!r}")


def _had_its_time(case: _Case) -> bool:
    record, limit = case.record, case.spec.options.get("timeout", 0.0)
    return record is None or record.finished - case.noted.at >= limit - EARLY


def _deaths(record: Record) -> int:
    # The last one is not a line of the reasons, but the reason of the end.
    return 1 + len(re.findall(r"^\d+ .*", record.reasons, re.MULTILINE))


def _judge_direct(evidence: Evidence, verdict: Verdict) -> None:
    for account in evidence.accounts:
        count = max(account.direct, default=-1) + 1
        for spec in islice(generate(f"{account.seed}/direct", DIRECT_KINDS), count):
            noted = account.direct.get(spec.number)
            if noted is None:
                continue
            if not (noted.ends or account.mortal):
                verdict.unfinished.append(f"direct call {spec.number}")
            for outcome, _ in noted.ends:
                if spec.allows(outcome):
                    verdict.outcomes["direct, as expected"] += 1
                elif outcome.partition(":")[0] in _TROUBLE:
                    verdict.outcomes[f"direct, {outcome.partition(':')[0]}"] += 1
                else:
                    verdict.wrong.append(f"direct call {spec.number}: {outcome!r}")


_TROUBLE = {"RunTimeoutError", "SchedulerUnavailable", "KVSUnavailable", GIVEN_UP}
"""What a direct call may meet, which nobody keeps for later."""


def _judge_times(verdict: Verdict, limits: Limits) -> None:
    times = verdict.times
    for name, found, limit in (
        ("an executor's death", times.executor, limits.executor),
        ("a scheduler's start", times.scheduler, limits.scheduler),
        ("a store's first answer", times.store, limits.store),
    ):
        verdict.violations += [
            f"{seconds:.2f} s after {name} are more than {limit:g} ({what})"
            for seconds, what in found
            if seconds > limit
        ]


def _judge_remains(evidence: Evidence, verdict: Verdict) -> None:
    remains = evidence.remains
    if remains.executors != evidence.executors:
        verdict.violations.append(f"{remains.executors} executors, not {evidence.executors}")
    killed = sum(happened.fault.part is Part.CLIENT for happened in evidence.happened)
    if len(remains.sockets) > killed:
        verdict.violations.append(f"{len(remains.sockets)} sockets of {killed} killed clients")
    if remains.under_way:
        verdict.violations.append(f"the scheduler still has {remains.under_way} runs")
    for what, found in (
        ("open runs", [f"{run}, {evidence.records.get(run)}" for run in remains.open_runs]),
        ("strange keys", remains.keys.strange),
        ("processes that had to be killed", remains.forced),
        ("processes", remains.processes),
        ("files", remains.files),
        ("pieces of shared memory", remains.memory),
        ("complaints in logs", remains.complaints),
    ):
        if found:
            verdict.violations.append(f"left behind, {len(found)} {what}: {'; '.join(found[:5])}")
