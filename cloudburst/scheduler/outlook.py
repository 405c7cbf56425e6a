"""What runs have to choose from: executors, the instances and the data there. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from cloudburst.core.plan import FunctionInfo
from cloudburst.scheduler.holdings import Holdings
from cloudburst.scheduler.homes import Homes, homes_in
from cloudburst.scheduler.limits import Limits
from cloudburst.scheduler.membership import Executor, Membership
from cloudburst.scheduler.placement import Scene, never, width
from cloudburst.scheduler.policy import Policy, Preference
from cloudburst.scheduler.pull import NO_PULLS, Pull, pulls_of
from cloudburst.scheduler.registry import Registry
from cloudburst.scheduler.run import Run
from cloudburst.scheduler.scaling import Scaling
from cloudburst.scheduler.times import UNKNOWN, ServiceTimes

SPREAD_PATIENCE = 0.5
"""Seconds that branches wait for executors of their own."""

RACE_PATIENCE = 0.05
"""Seconds that branches of which only the first counts wait for those that others race on."""


class Outlook:
    """Sets the scene for placement.

    Args:
        members: the executors.
        registry: how many instances DAGs may have.
        homes: which executors keep instances.
        holdings: what hosts have in their caches.
        limits: counts the runs of functions that are limited.
        scaling: knows whether there may be more executors.
        times: how long segments take.
        preference: which of several executors with room a run begins on.
    """

    def __init__(  # noqa: PLR0917  the scheduler's parts, put together once
        self,
        members: Membership,
        registry: Registry,
        homes: Homes,
        holdings: Holdings,
        limits: Limits,
        scaling: Scaling,
        times: ServiceTimes,
        preference: Preference,
    ) -> None:
        self._members = members
        self._registry = registry
        self._homes = homes
        self._holdings = holdings
        self._limits = limits
        self._scaling = scaling
        self._times = times
        self._preference = preference

    def expected(self, run: Run) -> list[float]:
        """The seconds that its segments should take."""
        expected = self._times.of(run.plan)
        # It may kill the next one too: let no other run die with it.
        return [UNKNOWN] * len(expected) if run.deaths else expected

    def scene(self, run: Run, limited: list[FunctionInfo], now: float) -> Scene:
        """What a run has to choose from."""
        crowds = run.plan.id in self._times.crowding
        scaling = self._scaling
        more_may_come: Callable[[], bool]
        if crowds:
            more_may_come = partial(scaling.may_free, width(run.plan, self._times.of(run.plan)))
        else:
            more_may_come = scaling.may_grow if now < run.called + SPREAD_PATIENCE else never
        return Scene(
            executors=self._candidates(run, limited),
            homes=self._homes,
            replicas=self._registry.replicas(run.plan.dag) if run.plan.has_classes else 1,
            now=now,
            more_may_come=more_may_come,
            preference=self._preference,
            patient=now < run.called + RACE_PATIENCE,
            batches=run.may_batch,
            crowds=crowds,
            pulls=self._pulls(run) if run.call.references else NO_PULLS,
        )

    def _pulls(self, run: Run) -> Mapping[int, Pull]:
        """Which segments are drawn to hosts that have what they refer to."""
        if not self._holdings or self._preference.policy is not Policy.LOCALITY:
            return NO_PULLS
        names: dict[int, list[str]] = {}
        for step, name in run.referred():
            names.setdefault(run.plan.segment_of[step], []).append(name)
        return pulls_of(names, self._holdings, self._members.executors.values())

    def _candidates(self, run: Run, limited: list[FunctionInfo]) -> Mapping[str, Executor]:
        """The executors that the run may be placed on."""
        executors: Mapping[str, Executor] = self._members.executors
        if limited:
            executors = self._limits.allowed(limited, executors)
        if run.depth:
            # Its caller waits for it: behind it, or behind others that wait, it would never run.
            parent = run.call.parent
            executors = {
                name: executor
                for name, executor in executors.items()
                if not (executor.is_blocked or parent in executor.shares)
            }
        return self._cold(run, executors) if run.call.warm else executors

    def _cold(self, run: Run, executors: Mapping[str, Executor]) -> Mapping[str, Executor]:
        """Of these, those that do not have its code, as long as more of them should have it."""
        plan = run.plan
        if plan.has_classes:
            kept = [self._homes.of(plan, n) for n in homes_in(plan)]
        else:
            kept = [[name for name, e in executors.items() if plan.id in e.plans]]
        few = [names for names in kept if len(names) < run.call.warm]
        if not few:
            return executors
        # Of a class that has enough instances no more are made: they would take their places.
        warm = {name for names in few for name in names}
        cold = {name: e for name, e in executors.items() if name not in warm}
        lacking = [n for n in plan.needs or ("",) if not any(e.has(n) for e in cold.values())]
        may_come = all(map(self._scaling.may_grow, lacking)) or not self._scaling.knows_all()
        return cold if may_come else executors
