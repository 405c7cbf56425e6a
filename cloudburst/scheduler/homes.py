"""Which executors keep instances of classes, that steps of DAGs come back to. No I/O, no clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Container, Sequence
from typing import TypeAlias

from cloudburst.core.plan import Plan
from cloudburst.scheduler.membership import Executor

Home: TypeAlias = tuple[str, str]
"""Where instances are kept for: a DAG, and the first step of a segment with class steps."""


class Homes:
    """The executors that keep instances, the longest-serving first."""

    def __init__(self) -> None:
        self._names: dict[Home, list[str]] = {}
        self._at: defaultdict[str, set[Home]] = defaultdict(set)

    def __contains__(self, executor: object) -> bool:
        """Whether that executor keeps any."""
        return executor in self._at

    def of(self, plan: Plan, segment: int) -> Sequence[str]:
        """The executors that keep instances for a segment."""
        if not plan.has_classes:
            return ()
        return self._names.get(home_of(plan, segment), ())

    def at(self, executor: str) -> Collection[Home]:
        """What an executor keeps instances for."""
        return self._at.get(executor, ())

    def settle(self, plan: Plan, placed_on: Sequence[Executor], replicas: int) -> None:
        """Class steps of a DAG keep their instances where they run.

        If there are as many as there may be, an executor takes the place of all others: they
        could not be reached, and nobody is to come back to an older state.
        """
        for number in homes_in(plan):
            home, name = home_of(plan, number), placed_on[number].name
            names = self._names.setdefault(home, [])
            if name in names:
                continue
            if len(names) >= replicas:
                for other in names:
                    self._forget(home, other)
                names.clear()
            names.append(name)
            self._at[name].add(home)

    def leave(self, executors: Collection[str]) -> list[Home]:
        """These keep nothing any more. Returns what nobody keeps instances for now."""
        orphaned = []
        for executor in executors:
            for home in sorted(self._at.pop(executor, ())):
                self._names[home].remove(executor)
                if not self._names[home]:
                    del self._names[home]
                    orphaned.append(home)
        return orphaned

    def drop_surplus(self, most: Callable[[str], int]) -> list[tuple[str, str]]:
        """Forget those that are more than their DAG may have, the latest.

        Args:
            most: how many a DAG may have of each.

        Returns:
            The DAGs, and the executors that keep nothing for them any more.
        """
        dropped = []
        for home, names in list(self._names.items()):
            dropped += [(home, name) for name in names[most(home[0]) :]]
        for home, name in dropped:
            self._names[home].remove(name)
            if not self._names[home]:
                del self._names[home]
            self._forget(home, name)
        gone = dict.fromkeys([(dag, name) for (dag, _), name in dropped])
        return [(dag, name) for dag, name in gone if dag not in {d for d, _ in self.at(name)}]

    def _forget(self, home: Home, executor: str) -> None:
        self._at[executor].discard(home)
        if not self._at[executor]:
            del self._at[executor]

    def validate(self, executors: Container[str], dags: Container[str]) -> None:
        """Check that they are there, and that both views of them are the same."""
        pairs = {(home, name) for home, names in self._names.items() for name in names}
        assert pairs == {(home, name) for name, homes in self._at.items() for home in homes}
        assert all(name in executors and home[0] in dags for home, name in pairs)
        assert all(self._names.values())
        assert all(self._at.values())


def homes_in(plan: Plan) -> list[int]:
    """The segments with class steps."""
    return [
        number
        for number, segment in enumerate(plan.segments)
        if any(plan.steps[step].is_class for step in segment.steps)
    ]


def home_of(plan: Plan, segment: int) -> Home:
    """What the instances of a segment are found by."""
    return plan.dag, plan.head(segment).name
