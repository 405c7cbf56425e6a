"""Who watches the world: what must never be, checked at the moment at which it would be."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cloudburst.core.messages import ENDED, Call, Frames, RunState
from cloudburst.core.options import RunOptions
from cloudburst.core.plan import Plan
from cloudburst.executor.events import Local, Work
from cloudburst.kvs import keys
from cloudburst.kvs.base import Commit, CommitRun, Get, GetFields, Operation, RecordRun
from cloudburst.kvs.memory import MemoryStore

from .functions import Given, Outcome, attempt_of, outcome_of

AGAIN = ".again"


class Violation(AssertionError):
    """Something was promised and not kept."""


def expect(kept: bool, promise: str, *details: object) -> None:
    """Raise a `Violation` unless a promise is kept."""
    if not kept:
        raise Violation(f"{promise}: {', '.join(map(str, details))}")


@dataclass
class Facts:
    """What is known of one run by whoever sees everything.

    Attributes:
        said: its options, with those of what it calls.
        called: when it was called.
        accepted: whether a client was told that it is safe.
        rejected: whether a scheduler has refused the call.
        cancelled: whether anybody asked for its end.
        raised: how often user code raised in it.
        killed: how often executors died that ran its code, or may have.
        state: the last that the store has recorded.
        result: what was committed.
        ended: when.
    """

    call: Call
    given: Given
    said: RunOptions
    called: float
    accepted: bool = False
    rejected: bool = False
    cancelled: bool = False
    raised: int = 0
    killed: int = 0
    state: str = RunState.UNKNOWN
    result: bytes | None = None
    ended: float = 0.0
    executed: Counter[tuple[str, int]] = field(default_factory=Counter)
    behaved: Counter[str] = field(default_factory=Counter)


class Witness:
    """Keeps the facts of all runs.

    Args:
        now: the time.

    Attributes:
        runs: by the id under which they were called first.
        plans: every plan that there ever was of a DAG (true) or a function.
        deleted: the DAGs that somebody wanted to delete.
        unexplained: how often executors were lost and nobody knew what they ran.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.runs: dict[str, Facts] = {}
        self.plans: dict[tuple[bool, str], list[Plan]] = {}
        self.deleted: set[str] = set()
        self.unexplained = 0

    def facts(self, run_id: str) -> Facts:
        """Those of a run, also under the ids by which it was called again."""
        return self.runs[run_id.partition(AGAIN)[0]]

    # the store

    def watch(
        self, store: MemoryStore, operations: Sequence[Operation], answers: Sequence[Any]
    ) -> None:
        """Operations were carried out."""
        for operation, answer in zip(operations, answers, strict=True):
            match operation:
                case RecordRun(run_id=run_id):
                    self._recorded(store, run_id)
                case CommitRun(run_id=run_id):
                    self._committed(store, operation, answer)

    def _recorded(self, store: MemoryStore, run_id: str) -> None:
        facts = self.facts(run_id)
        before, after = facts.state, _state_in(store, run_id)
        expect(
            before not in ENDED or after == before, "what has ended stays so", run_id, before, after
        )
        if before == RunState.CANCELLING:
            expect(after == before, "what is being cancelled goes on to be", run_id, after)
        facts.state = after

    def _committed(self, store: MemoryStore, commit: CommitRun, answer: Commit) -> None:
        facts = self.facts(commit.run_id)
        before, after = facts.state, _state_in(store, commit.run_id)
        (result,) = store.execute([Get(keys.object_key(commit.run_id))])
        if facts.result is not None:
            expect(result == facts.result, "a result never changes", commit.run_id, result)
            expect(after == before, "an end never changes", commit.run_id, before, after)
            return
        if before == RunState.CANCELLING:
            stopped = (RunState.CANCELLING, RunState.CANCELLED, RunState.TIMED_OUT)
            expect(after in stopped, "a run that is being cancelled does not succeed", commit)
        expect((answer is Commit.STORED) == (after in ENDED), "commits say what they do", commit)
        facts.state = after
        if answer is Commit.STORED:
            facts.result, facts.ended = result, self.now()

    # executors

    def takes(self, work: Work) -> str:
        """A segment has these inputs. Returns the name of the attempt."""
        attempt = f"{work.run_id}#{work.epoch}#{zlib.crc32(work.route.packed)}"
        for value in work.inputs:
            frames: Frames = value.value if isinstance(value, Local) else value
            made_by = attempt_of(frames)
            expect(made_by in (attempt, None), "attempts are not mixed", attempt, made_by)
        return attempt

    def begins(self, work: Work, attempt: str) -> None:
        """The code of a segment runs now."""
        facts, key = self.facts(work.run_id), (attempt, work.segment)
        facts.executed[key] += 1
        expect(facts.executed[key] == 1, "an attempt runs a segment once", *key)

    def behaves(self, run_id: str, step: str) -> int:
        """How often a step of a run has begun before."""
        facts = self.facts(run_id)
        facts.behaved[step] += 1
        return facts.behaved[step] - 1

    def died(self, running: str) -> None:
        """An executor has died, and ran that run's code ("": none)."""
        if running:
            self.facts(running).killed += 1

    # clients

    def called(self, call: Call, given: Given, said: RunOptions) -> None:
        """A client makes a call."""
        self.runs[call.run_id] = Facts(call, given, said, self.now())

    def told(self, run_id: str, frames: Frames) -> None:
        """Somebody tells a client how a run has ended."""
        facts = self.facts(run_id)
        if facts.call.store:
            expect(facts.result is not None, "first it is committed, then told", run_id, frames)
            said = b"".join(bytes(frame) for frame in frames)
            expect(said == facts.result, "what is told was committed", run_id, said)

    def ends(self, run_id: str, outcome: Outcome) -> None:
        """A client knows how its run has ended."""
        facts = self.facts(run_id)
        if facts.call.store and facts.result is not None:
            committed = outcome_of([facts.result])
            expect(outcome == committed, "clients know what was committed", run_id, outcome)


def _state_in(store: MemoryStore, run_id: str) -> str:
    (record,) = store.execute([GetFields(keys.run_key(run_id))])
    return bytes(record.get("state", b"UNKNOWN")).decode()
