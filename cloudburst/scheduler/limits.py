"""Functions of which only so many run at a time, in the cluster or on one host. No I/O, no clock.

What counts is where a run has a share with such a function in it: from its start on an executor to
that executor's word that nothing of it runs there any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from cloudburst.core.plan import FunctionInfo, Plan
from cloudburst.scheduler.membership import Executor, Membership
from cloudburst.scheduler.queues import LIMIT
from cloudburst.scheduler.registry import Registry
from cloudburst.scheduler.run import Run


def queue_of(function: str) -> str:
    """Where runs wait for one of a function's others to end."""
    return LIMIT + function


class Limits:
    """Counts the runs of limited functions.

    Args:
        members: where they run.
        registry: which functions are limited.
    """

    def __init__(self, members: Membership, registry: Registry) -> None:
        self._members = members
        self._registry = registry
        # Of each share that has limited functions in it: by executor, run and epoch.
        self._held: dict[tuple[str, str, int], frozenset[str]] = {}

    def of(self, plan: Plan) -> list[FunctionInfo]:
        """The limited functions of a plan."""
        limited = self._registry.limited
        if not limited:
            return []
        names = dict.fromkeys(step.function for step in plan.steps)
        return [limited[name] for name in names if name in limited]

    def first_full(self, functions: list[FunctionInfo]) -> str | None:
        """One of these functions of which no more may run anywhere."""
        for function in functions:
            counts = self._counts(function.name)
            if function.max_concurrency and counts.total() >= function.max_concurrency:
                return function.name
            hosts = {executor.host for executor in self._members.executors.values()}
            if function.max_per_host and all(counts[h] >= function.max_per_host for h in hosts):
                return function.name
        return None

    def allowed(
        self, functions: list[FunctionInfo], executors: Mapping[str, Executor]
    ) -> dict[str, Executor]:
        """The executors on whose hosts all of these functions may run."""
        full = set[str]()
        for function in functions:
            if function.max_per_host:
                counts = self._counts(function.name)
                full |= {host for host, count in counts.items() if count >= function.max_per_host}
        return {name: e for name, e in executors.items() if e.host not in full}

    def fitted(
        self, plan: Plan, functions: list[FunctionInfo], placed_on: tuple[Executor, ...]
    ) -> tuple[Executor, ...]:
        """The same placement, or one that keeps the limits: one step after another, if need be."""
        for function in functions:
            mine = {n for n in range(len(placed_on)) if function.name in _functions_in(plan, n)}
            chosen = dict.fromkeys([placed_on[number] for number in sorted(mine)])
            if self._is_too_much(function, list(chosen)):
                needed = {plan.head(number).needs for number in mine}
                able = [e for e in chosen if all(map(e.has, needed))]
                if able:
                    placed_on = tuple(able[0] if n in mine else e for n, e in enumerate(placed_on))
        return placed_on

    def take(self, run: Run, functions: list[FunctionInfo]) -> None:
        """A run has been started."""
        if not functions:
            return
        names = {function.name for function in functions}
        for executor, segments in run.shares().items():
            held = names & {f for n in segments for f in _functions_in(run.plan, n)}
            if held:
                self._held[executor.name, run.run_id, run.epoch] = frozenset(held)

    def _is_too_much(self, function: FunctionInfo, chosen: list[Executor]) -> bool:
        if len(chosen) < 2:
            return False
        counts = self._counts(function.name)
        after = counts + Counter(executor.host for executor in chosen)
        most, per_host = function.max_concurrency, function.max_per_host
        return bool(
            (most and after.total() > most) or (per_host and max(after.values()) > per_host)
        )

    def _counts(self, function: str) -> Counter[str]:
        """How many go on, by host."""
        self._forget_ended()
        counts = Counter[str]()
        for (name, _, _), functions in self._held.items():
            if function in functions:
                executor = self._members.find(name)
                assert executor is not None
                counts[executor.host] += 1
        return counts

    def _forget_ended(self) -> None:
        self._held = {key: held for key, held in self._held.items() if self._goes_on(*key)}

    def _goes_on(self, name: str, run_id: str, epoch: int) -> bool:
        executor = self._members.find(name)
        share = executor.shares.get(run_id) if executor is not None else None
        return share is not None and share[0] == epoch


def _functions_in(plan: Plan, segment: int) -> set[str]:
    return {plan.steps[step].function for step in plan.segments[segment].steps}
