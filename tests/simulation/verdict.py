"""When a world has come to rest, and whether all that was promised has been kept."""

from __future__ import annotations

from collections.abc import Iterator

from cloudburst.cache.inventory import LEAST
from cloudburst.core.messages import ENDED, RunState
from cloudburst.kvs import keys
from cloudburst.kvs.base import Members

from .client import REJECTED, UNKNOWN
from .functions import RAISED, WARM, Outcome, Worth, evaluated, outcome_of
from .witness import Facts, Violation, expect
from .world import World


def leftovers(world: World) -> Iterator[str]:
    """What has not come to its end, in words."""
    yield from _of_clients(world)
    yield from _of_scheduler(world)
    yield from _of_hosts(world)
    (open_runs,) = world.kvs.store.execute([Members(keys.OPEN_RUNS)])
    if open_runs:
        yield f"the store has open runs: {open_runs}"


def _of_clients(world: World) -> Iterator[str]:
    for client in world.clients:
        for entry in client.entries.values():
            if client.alive and entry.outcome is None:
                yield f"{client.name} waits for {entry.run_id}"


def _of_scheduler(world: World) -> Iterator[str]:
    scheduler = world.scheduler
    life = scheduler.state.life
    if not (scheduler.alive and scheduler.is_serving):
        yield "there is no scheduler"
    for run in life.runs.values():
        yield f"the scheduler holds {run.run_id}, {run.state}, epoch {run.epoch}"
    left = {
        "queues": len(life.placing.queues),
        "acceptance": len(life.admission.acceptance),
        "alarms": len(life.alarms),
        "endings": len(life.closing.endings),
        "writes": scheduler.writer.pending,
    }
    yield from (f"the scheduler's {what}: {count}" for what, count in left.items() if count)
    for executor in scheduler.state.members.all():
        if executor.shares or executor.load:
            yield f"the scheduler counts on {executor.name}: {executor.shares}"


def _of_hosts(world: World) -> Iterator[str]:
    members = world.scheduler.state.members
    living = [host for host in world.hosts if host.alive]
    names = {executor.name for host in living for executor in host.living()}
    if members.executors.keys() != names:
        yield f"the scheduler knows {sorted(members.executors)}, there are {sorted(names)}"
    holdings = world.scheduler.state.life.placing.holdings
    if not {host.name for host in living}.issuperset(holdings.hosts):
        yield f"the scheduler counts on caches of {sorted(holdings.hosts)}"
    for host in living:
        cached = {name: size for name, size in host.cached.items() if size >= LEAST}
        if not dict(holdings.of(host.name)) == host.inventory.told == cached:
            yield f"{host.name} has cached {cached}, the scheduler knows {holdings.of(host.name)}"
        if host.pool.draining or not host.pool.complete:
            yield f"{host.name} has {host.pool.slots}"
        for executor in host.living():
            state = executor.state
            holds = [*state.shares, *state.routes.early, *executor.finished, *executor.reports]
            if (
                holds
                or state.running
                or any(work.run_id in state.shares for work in state.ready.works)
            ):
                yield f"{executor.name} holds {holds}, runs {state.running}"


def judge(world: World) -> None:
    """Check how every run has ended.

    Raises:
        Violation: one should have ended otherwise.
    """
    outcomes = {
        entry.run_id: entry.outcome
        for client in world.clients
        if client.alive
        for entry in client.entries.values()
        if not entry.foreign and entry.outcome is not None
    }
    for run_id, facts in world.witness.runs.items():
        # The record of a refused call may have been written, and only the answer been lost.
        known = facts.state != RunState.UNKNOWN and not facts.rejected
        if facts.call.store and (facts.accepted or known):
            expect(facts.state in ENDED, "a run that was accepted ends", run_id, facts.state)
            expect(facts.result is not None, "an ended run has a result", run_id, facts.state)
        outcome = outcomes.get(run_id)
        if outcome is None and facts.result is not None:
            outcome = outcome_of([facts.result])
        if outcome is not None:
            _judge(world, run_id, facts, outcome)


def _judge(world: World, run_id: str, facts: Facts, outcome: Outcome) -> None:
    said, witness = facts.said, world.witness
    match outcome.error:
        case "":
            expected = {text for worth in _worths(world, facts) for text in worth.values}
            promise = "a value is that of plain evaluation"
            expect(outcome.text in expected, promise, run_id, outcome, expected)
        case error if error == RAISED:
            least = 1 + said.retries_exceptions
            enough = facts.raised >= least or _is_of_reference(world, facts, outcome)
            expect(enough, "who may be tried again is", run_id, outcome, facts.raised)
        case "ExecutorDiedError":
            deaths = facts.killed + witness.unexplained
            enough = deaths >= said.deaths_allowed or _is_of_reference(world, facts, outcome)
            expect(enough, "executors have died of it", run_id, outcome, facts.killed)
        case "NoValidResult":
            # Nor does a branch count that could not have what it refers to, or what it needs.
            failed = bool(facts.call.references) or world.kvs.troubles > 0
            may = failed or any(worth.may_have_none for worth in _worths(world, facts))
            expect(may, "some result counts", run_id, outcome)
        case "InvocationCancelledError":
            asked = facts.cancelled or _is_of_reference(world, facts, outcome)
            expect(asked, "somebody has cancelled it", run_id, outcome)
        case "InvocationTimedOutError":
            late = said.timeout >= 0 and world.clock.now >= facts.called + said.timeout
            expect(late or _is_of_reference(world, facts, outcome), "its time is over", run_id)
        case "KVSUnavailable":
            expect(world.kvs.troubles > 0, "the store was in trouble", run_id, outcome)
        case "KeyNotFound":
            expect(bool(facts.call.references), "it waits for a key", run_id, outcome)
        case "UnknownDag":
            deleted = facts.call.target in witness.deleted
            expect(
                deleted or _is_of_reference(world, facts, outcome),
                "the DAG is there",
                run_id,
                outcome,
            )
        case error if error == REJECTED:
            _judge_rejection(world, run_id, facts, outcome)
        case error if error == UNKNOWN:
            raise Violation(f"what a client has called is known: {run_id}, {outcome}")
        case _:
            raise Violation(f"runs fail as they may: {run_id}, {outcome}")


def _judge_rejection(world: World, run_id: str, facts: Facts, outcome: Outcome) -> None:
    match outcome.text:
        case "UnknownDag":
            expect(facts.call.target in world.witness.deleted, "the DAG is there", run_id)
        case "KVSUnavailable":
            expect(world.kvs.troubles > 0, "the store was in trouble", run_id)
        case "UsageError":
            expect(facts.call.warm > 1, "so many may be warm", run_id)
        case error:
            expect(error == "Overloaded", "calls are not rejected without a reason", run_id, error)


def _worths(world: World, facts: Facts) -> Iterator[Worth]:
    """What a run may be worth: with the code of one time or another."""
    results = {}
    for reference in facts.call.references:
        result = world.witness.runs[reference].result
        outcome = None if result is None else outcome_of([result])
        if outcome is not None and not outcome.error:
            results[reference] = outcome.text
    for plan in world.witness.plans[facts.call.is_dag, facts.call.target]:
        if facts.call.warm:
            yield Worth(frozenset((WARM,)), may_have_none=False)
        else:
            yield evaluated(plan, facts.given, results, world.behaviour_of)


def _is_of_reference(world: World, facts: Facts, outcome: Outcome) -> bool:
    """Whether a run that it refers to has ended so."""
    results = [world.witness.runs[reference].result for reference in facts.call.references]
    return any(result is not None and outcome_of([result]) == outcome for result in results)
