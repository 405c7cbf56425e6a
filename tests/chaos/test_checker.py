"""The judge of a chaos run finds what is wrong in evidence that was made up for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from .checker import Limits, Verdict, judge
from .evidence import Evidence, Keys, Record, Remains
from .faults import Action, Fault, Happened, Part
from .harness import Options
from .journal import Account, Journal, Noted, read
from .report import lines
from .workload import DIRECT_KINDS, HASTE, Spec, generate

BEGAN = 1_000.0
SECONDS = 60.0
RATE = 10
LIMITS = Limits(rate=RATE, kills=20)
SEED = "made up"
SPECS: list[Spec] = list(islice(generate(SEED), int(RATE * SECONDS)))


def happened(
    part: Part, at: float, *, back_at: float = 0.0, action: Action = Action.KILL
) -> Happened:
    fault = Fault(0.0, part, action, 0.0, 0.0, then_kill=False, restart_after=0.0)
    back = BEGAN + back_at if back_at else 0.0
    return Happened(fault, BEGAN + at, back_at=back, up_at=back)


@dataclass
class Story:
    """A run of a minute in which all was kept, until a test says otherwise."""

    account: Account = field(default_factory=lambda: Account(SEED, mortal=False, owner="c"))
    records: dict[str, Record] = field(default_factory=dict)
    finals: dict[str, str] = field(default_factory=dict)
    faults: list[Happened] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    remains: Remains = field(default_factory=lambda: Remains(executors=4))

    def __post_init__(self) -> None:
        for spec in SPECS:
            at = BEGAN + spec.number / RATE
            outcome = spec.expected
            noted = Noted(f"c-{spec.number}", at, [(outcome, at + 0.4)])
            self.account.calls[spec.number] = noted
            self.finals[noted.run_id] = outcome
            self.records[noted.run_id] = Record("SUCCEEDED", 1, at, at, at + 0.4, "")
        self.account.safe = len(SPECS)
        self.account.finished = True
        self.faults += [happened(Part.ZYGOTE, 3.0 * number) for number in range(20)]

    def call(self, kind: str = "plain") -> tuple[Spec, Noted]:
        """The first call of a kind."""
        spec = next(spec for spec in SPECS if spec.kind == kind)
        return spec, self.account.calls[spec.number]

    def ends(self, noted: Noted, outcome: str, final: str | None = None) -> None:
        """A call's client reads this, and whoever comes later, too, or something else."""
        noted.ends = [(outcome, noted.at + 0.5)]
        self.finals[noted.run_id] = outcome if final is None else final

    def evidence(self) -> Evidence:
        return Evidence(
            accounts=[self.account],
            records=self.records,
            finals=self.finals,
            happened=self.faults,
            crashes=self.crashes,
            executors=4,
            remains=self.remains,
            began=BEGAN,
            ceased=BEGAN + SECONDS,
            ended=BEGAN + SECONDS,
        )

    def judged(self) -> Verdict:
        return judge(self.evidence(), LIMITS)


@pytest.fixture
def story() -> Story:
    return Story()


def only_violation(verdict: Verdict) -> str:
    assert verdict.exit_code == 1
    (violation,) = verdict.violations
    return violation


def test_all_was_kept(story: Story) -> None:
    verdict = story.judged()

    assert (verdict.violations, verdict.invalid, verdict.exit_code) == ([], [], 0)
    assert (verdict.accepted, verdict.ended, verdict.rate) == (len(SPECS), len(SPECS), RATE)


# what was promised of calls


def test_an_accepted_call_is_lost(story: Story) -> None:
    _, noted = story.call()
    story.ends(noted, "no answer")
    noted.ends.clear()
    verdict = story.judged()

    assert len(verdict.lost) == 1
    assert verdict.exit_code == 1


def test_a_result_is_lost_that_its_client_has_read(story: Story) -> None:
    spec, noted = story.call()
    story.ends(noted, spec.expected, final="no answer: RunError: nothing is known of it")

    assert only_violation(story.judged()).startswith("1 lost")


def test_a_call_is_lost_with_its_record(story: Story) -> None:
    """It counts as accepted because its client was told so."""
    _, noted = story.call()
    del story.records[noted.run_id]
    story.account.mortal = True
    noted.ends.clear()
    story.finals[noted.run_id] = "no answer"

    assert only_violation(story.judged()).startswith("1 lost")


def test_what_a_killed_client_was_not_told_to_be_accepted_may_be_lost(story: Story) -> None:
    noted = story.account.calls[SPECS[-1].number]
    story.account.mortal, story.account.safe = True, len(SPECS) - 1
    del story.records[noted.run_id]
    noted.ends.clear()
    story.finals[noted.run_id] = "no answer"

    assert story.judged().violations == []


def test_a_client_hears_nothing_of_a_run_that_has_ended(story: Story) -> None:
    _, noted = story.call()
    noted.ends.clear()

    assert only_violation(story.judged()).startswith("1 unfinished")


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("plain", "0123 30 4567"),
        ("plain", "KeyNotFound: nothing was stored"),
        ("plain", "InvocationTimedOutError: nobody wanted that"),
        ("plain", "ExecutorDiedError: its record knows of no death"),
        ("broken", "ValueError: something else"),
        ("tossed", "a strange value ()"),
    ],
)
def test_a_call_ends_with_something_wrong(story: Story, kind: str, outcome: str) -> None:
    _, noted = story.call(kind)
    story.ends(noted, outcome)

    assert only_violation(story.judged()).startswith("1 wrong")


@pytest.mark.parametrize("seconds", [HASTE - 0.5, HASTE])
def test_a_time_limit_must_not_come_too_early(story: Story, seconds: float) -> None:
    _, noted = story.call("hasty")
    story.ends(noted, "InvocationTimedOutError: it took longer")
    record = story.records[noted.run_id]
    story.records[noted.run_id] = record._replace(finished=noted.at + seconds)

    assert len(story.judged().wrong) == (seconds < HASTE)


def test_three_deaths_are_a_reason_to_give_up(story: Story) -> None:
    _, noted = story.call()
    story.ends(noted, "ExecutorDiedError: given up")
    reasons = "1 SIGKILL (signal 9)\n2 SIGKILL (signal 9)\n"
    story.records[noted.run_id] = story.records[noted.run_id]._replace(reasons=reasons)
    verdict = story.judged()

    assert (verdict.violations, verdict.given_up) == ([], 1)


def test_a_run_ends_in_two_ways(story: Story) -> None:
    spec, noted = story.call("cancelled")
    story.ends(noted, "InvocationCancelledError: run was cancelled", final=spec.expected)

    assert only_violation(story.judged()).startswith("1 changed")


def test_a_client_is_told_twice(story: Story) -> None:
    _, noted = story.call()
    noted.ends *= 2

    assert only_violation(story.judged()).startswith("1 twice")


def test_a_direct_call_is_wrong_or_never_ends(story: Story) -> None:
    right, wrong, endless = islice(generate(f"{SEED}/direct", DIRECT_KINDS), 3)
    story.account.direct = {
        right.number: Noted("", BEGAN, [(right.expected, BEGAN)]),
        wrong.number: Noted("", BEGAN, [("something else", BEGAN)]),
        endless.number: Noted("", BEGAN),
    }
    verdict = story.judged()

    assert (len(verdict.wrong), len(verdict.unfinished)) == (1, 1)
    assert verdict.outcomes["direct, as expected"] == 1
    assert verdict.exit_code == 1


# what was promised of times


def struck(story: Story, part: Part, at: float, back_at: float = 0.0) -> None:
    story.faults = [happened(part, at, back_at=back_at)]


@pytest.mark.parametrize("seconds", [0.5, 1.5])
def test_what_an_executor_held_ends_soon_after_its_death(story: Story, seconds: float) -> None:
    _, noted = story.call()
    at = noted.at - BEGAN + 0.1
    struck(story, Part.EXECUTOR, at)
    record = story.records[noted.run_id]
    story.records[noted.run_id] = record._replace(
        epoch=2, reasons="1 SIGKILL (signal 9)\n", finished=BEGAN + at + seconds
    )
    verdict = story.judged()

    assert [round(found, 6) for found, _ in verdict.times.executor] == [seconds]
    assert bool(verdict.violations) == (seconds > LIMITS.executor)


@pytest.mark.parametrize("part", [Part.SCHEDULER, Part.STORE])
@pytest.mark.parametrize("seconds", [2.0, 4.0])
def test_a_part_that_is_started_again_goes_on_soon(
    story: Story, part: Part, seconds: float
) -> None:
    struck(story, part, 10.0, back_at=12.0)
    for run_id, record in story.records.items():
        then = BEGAN + 12.0 + seconds
        if BEGAN + 11.5 < record.accepted < then:
            story.records[run_id] = record._replace(accepted=then, finished=then)
    verdict = story.judged()
    found = verdict.times.scheduler if part is Part.SCHEDULER else verdict.times.store

    assert [round(took) for took, _ in found] == [seconds]
    assert bool(verdict.violations) == (seconds > LIMITS.store)


def test_a_time_that_another_fault_came_upon_does_not_count(story: Story) -> None:
    struck(story, Part.SCHEDULER, 10.0, back_at=12.0)
    story.faults.append(happened(Part.STORE, 11.9, back_at=13.0))
    verdict = story.judged()

    assert verdict.times.scheduler == []
    assert verdict.times.overlapped == 1


# what must not be left


@pytest.mark.parametrize(
    "what",
    [
        {"processes": ["4711 -m cloudburst executor"]},
        {"files": ["executor.1"]},
        {"memory": ["psm_1"]},
        {"forced": ["host0"]},
        {"complaints": ["host0.log: Traceback (most recent call last)"]},
        {"sockets": ["c-0"]},
        {"open_runs": ["c-1"]},
        {"keys": Keys(strange=["cb:staged:{c-1}:1:e"])},
        {"under_way": 1},
        {"executors": 3},
    ],
    ids=lambda what: next(iter(what)),
)
def test_something_is_left_or_missing(story: Story, what: dict[str, Any]) -> None:
    story.remains = Remains(**{"executors": 4, **what})

    assert only_violation(story.judged())


def test_a_killed_client_may_leave_its_socket(story: Story) -> None:
    story.remains.sockets = ["c-0"]
    story.faults.append(happened(Part.CLIENT, 1.0))

    assert story.judged().violations == []


def test_a_process_dies_by_itself(story: Story) -> None:
    story.crashes.append("scheduler ended by itself: 1")

    assert only_violation(story.judged()) == "scheduler ended by itself: 1"


def test_a_client_crashes_or_does_not_come_to_its_end(story: Story) -> None:
    story.account.crashes.append("KeyError")
    story.account.finished = False

    assert len(story.judged().violations) == 2


# runs that prove nothing


def test_too_few_calls(story: Story) -> None:
    verdict = judge(story.evidence(), Limits(rate=RATE + 1, kills=20))

    assert (verdict.violations, verdict.exit_code) == ([], 2)
    assert verdict.invalid == ["10 calls/s are fewer than 11"]


def test_too_few_kills(story: Story) -> None:
    """Those of clients, and what goes on afterwards, do not count."""
    story.faults = story.faults[:10]
    story.faults += [happened(Part.CLIENT, 5.0), happened(Part.HOST, 6.0, action=Action.STOP)]
    verdict = story.judged()

    assert (verdict.violations, verdict.exit_code) == ([], 2)
    assert verdict.invalid == ["10 kills a minute are fewer than 20"]


def test_what_was_not_kept_counts_even_if_there_was_too_little_load(story: Story) -> None:
    story.crashes.append("scheduler ended by itself: 1")

    assert judge(story.evidence(), Limits(rate=RATE + 1, kills=20)).exit_code == 1


# what is said of it


def test_the_report_has_the_figures(story: Story) -> None:
    _, noted = story.call()
    noted.ends.clear()
    evidence = story.evidence()
    told = "\n".join(lines(Options(SEED, SECONDS), LIMITS, evidence, judge(evidence, LIMITS)))

    assert "load       10 calls/s (600 stored, 0 direct)" in told
    assert "faults     20, kills 20 a minute:" in told
    assert "lost 0, wrong 0" in told
    assert "unfinished 1, ended twice 0" in told
    assert "VIOLATION  1 unfinished" in told
    assert told.endswith("Something was not kept.")


def test_a_journal_tells_what_was_noted_before_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.note("call", 0, run_id="c-1", since=BEGAN)
    journal.note("safe", 0)
    journal.note("end", 0, outcome="value")
    journal.note("cancel", 0, said=False)
    with path.open("ab") as torn:
        torn.write(b'{"what": "call", "numb')
    account = read(path, SEED, mortal=True)

    assert (account.owner, account.safe, account.finished) == ("c", 1, False)
    assert [outcome for outcome, _ in account.calls[0].ends] == ["value"]
    assert account.calls[0].said is False
