"""Deliberate bugs, to see that the simulator finds them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pytest

from cloudburst.core.hosts import CacheChanges
from cloudburst.core.messages import RunState
from cloudburst.executor.state import ExecutorState
from cloudburst.kvs.base import Commit, CommitRun
from cloudburst.kvs.memory import MemoryStore
from cloudburst.scheduler.acceptance import Acceptance
from cloudburst.scheduler.admission import Admission
from cloudburst.scheduler.checks import Checks
from cloudburst.scheduler.closing import Closing
from cloudburst.scheduler.endings import ending_of
from cloudburst.scheduler.holdings import Holdings, _Cache
from cloudburst.scheduler.lifecycle import Lifecycle
from cloudburst.scheduler.membership import Executor, Membership
from cloudburst.scheduler.placing import Placing
from cloudburst.scheduler.run import Run
from cloudburst.scheduler.scaling import Scaling

Mutation = Callable[[pytest.MonkeyPatch], None]


def _nothing(*_: Any, **__: Any) -> None:
    return None


def deaths_change_nothing(patch: pytest.MonkeyPatch) -> None:
    """A run is not started again when an executor with a share of it dies."""
    patch.setattr(Lifecycle, "start_again", _nothing)


def epochs_do_not_rise(patch: pytest.MonkeyPatch) -> None:
    """A run is started again under the epoch that it had."""
    take_back = Lifecycle._take_back

    def same_epoch(life: Lifecycle, run: Run, reason: str) -> None:
        take_back(life, run, reason)
        run.epoch -= 1

    patch.setattr(Lifecycle, "_take_back", same_epoch)


def the_last_commit_counts(patch: pytest.MonkeyPatch) -> None:
    """A result is replaced by that of a later attempt."""
    commit = MemoryStore._commit

    def replacing(store: MemoryStore, operation: CommitRun) -> Commit:
        verdict = commit(store, operation)
        if verdict is Commit.ENDED:
            store._entries.pop(f"cb:run:{{{operation.run_id}}}", None)
            verdict = commit(store, operation)
        return verdict

    patch.setattr(MemoryStore, "_commit", replacing)


def cancelled_runs_may_succeed(patch: pytest.MonkeyPatch) -> None:
    """A run that is being cancelled ends as whatever comes first."""
    commit = MemoryStore._commit

    def lenient(store: MemoryStore, operation: CommitRun) -> Commit:
        record = store._read(f"cb:run:{{{operation.run_id}}}", dict)
        if record.get("state") == b"CANCELLING":
            record["state"] = b"RUNNING"
        return commit(store, operation)

    patch.setattr(MemoryStore, "_commit", lenient)


def accepted_before_it_is_recorded(patch: pytest.MonkeyPatch) -> None:
    """A client hears that its call is safe when the record has only been sent."""
    writing = Acceptance.writing

    def early(acceptance: Acceptance, token: int, client: str, run_id: str) -> None:
        writing(acceptance, token, client, run_id)
        acceptance._written[client].append(run_id)
        acceptance.deadline = acceptance.deadline or 0.0

    patch.setattr(Acceptance, "writing", early)


def never_recorded(patch: pytest.MonkeyPatch) -> None:
    """Calls are not recorded, so that no later scheduler knows of them."""

    def forgetful(admission: Admission, run: Run) -> None:
        run.recorded = True
        admission.acceptance._written[run.client].append(run.run_id)
        admission.acceptance.deadline = 0.0

    patch.setattr(Admission, "record", forgetful)


def told_before_it_is_committed(patch: pytest.MonkeyPatch) -> None:
    """A client is told of an end that the scheduler brought about, before the KVS has it."""
    conclude = Closing.conclude

    def hasty(closing: Closing, run: Run, state: RunState, error: Any) -> None:
        closing._turn.send(run.client, ending_of(run, error).result())
        conclude(closing, run, state, error)

    patch.setattr(Closing, "conclude", hasty)


def nobody_asks_after_runs(patch: pytest.MonkeyPatch) -> None:
    """A run of which a message was lost stands still for ever."""
    questions = Checks.questions

    def silent(checks: Checks, *args: Any) -> list[Any]:
        list(questions(checks, *args))
        return []

    patch.setattr(Checks, "questions", silent)


def nobody_is_reminded(patch: pytest.MonkeyPatch) -> None:
    """An executor that has not heard that a run is over holds it for ever."""
    patch.setattr(Checks, "reminders", lambda *_: iter(()))


def nothing_is_stopped(patch: pytest.MonkeyPatch) -> None:
    """Executors are not told that a run is over."""
    patch.setattr(Placing, "stop_there", _nothing)


def dead_hosts_are_kept(patch: pytest.MonkeyPatch) -> None:
    """A host that has fallen silent is counted on."""

    def trusting(members: Membership, now: float) -> list[str]:
        for host in members.hosts.values():
            host.seen = max(host.seen, now - members.timeout / 2)
        return []

    patch.setattr(Membership, "silent", trusting)


def retries_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    """A run that raises is tried again for ever."""
    patch.setattr("cloudburst.core.options.RunOptions.retries_exceptions", 10**6)


def blocked_code_keeps_what_is_behind_it(patch: pytest.MonkeyPatch) -> None:
    """While code waits for what others do, nothing that could run there is handed back."""
    patch.setattr(ExecutorState, "_yield", ExecutorState._yield_unbegun)


def nobody_hears_that_code_waits(patch: pytest.MonkeyPatch) -> None:
    """Code that waits counts as any other."""
    patch.setattr(Placing, "blocked", _nothing)


def the_busy_are_let_go(patch: pytest.MonkeyPatch) -> None:
    """Executors retire although they have work."""
    retire = Scaling.retire

    def ruthless(scaling: Scaling, name: str, warm: Collection[str]) -> list[Executor]:
        members = scaling._members
        for executor in list(members.executors.values()):
            if executor.host == name and executor.shares and len(members.executors) > 1:
                members.retire(executor)
        return retire(scaling, name, warm)

    patch.setattr(Scaling, "retire", ruthless)


def missed_changes_are_not_noticed(patch: pytest.MonkeyPatch) -> None:
    """What a host says of its cache is taken as if nothing that it has said was lost."""
    hear = Holdings.hear

    def trusting(holdings: Holdings, host: str, changes: CacheChanges) -> bool:
        cache = holdings._caches.get(host)
        number = 0 if cache is None else cache.number
        if changes.number > number and not changes.whole:
            holdings._caches.setdefault(host, _Cache()).number = changes.number - 1
        hear(holdings, host, changes)
        return True

    patch.setattr(Holdings, "hear", trusting)


def lost_hosts_are_counted_on(patch: pytest.MonkeyPatch) -> None:
    """What a host had in its cache is not forgotten with the host."""
    patch.setattr(Holdings, "keep", _nothing)
    patch.setattr(Holdings, "validate", _nothing)


MUTATIONS: dict[str, Mutation] = {
    mutation.__name__: mutation
    for mutation in (
        deaths_change_nothing,
        epochs_do_not_rise,
        the_last_commit_counts,
        cancelled_runs_may_succeed,
        accepted_before_it_is_recorded,
        never_recorded,
        told_before_it_is_committed,
        nobody_asks_after_runs,
        nobody_is_reminded,
        nothing_is_stopped,
        dead_hosts_are_kept,
        retries_are_not_counted,
        blocked_code_keeps_what_is_behind_it,
        nobody_hears_that_code_waits,
        the_busy_are_let_go,
        missed_changes_are_not_noticed,
        lost_hosts_are_counted_on,
    )
}
