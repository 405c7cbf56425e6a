"""What placement chooses from: executors, plans of a few functions, and what is known of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from cloudburst.core.dag import Dag, FirstOf, make_groups, make_steps, with_needs
from cloudburst.core.plan import FunctionInfo, Plan, compile_dag, compile_function
from cloudburst.scheduler.homes import Homes
from cloudburst.scheduler.membership import Executor
from cloudburst.scheduler.placement import Placement, Scene, place
from cloudburst.scheduler.policy import Preference

FUNCTIONS = {
    "f": FunctionInfo("f", "v1", is_class=False),
    "C": FunctionInfo("C", "v1", is_class=True),
    "G": FunctionInfo("G", "v1", is_class=True, needs="gpu"),
    "k": FunctionInfo("k", "v1", is_class=False, needs="gpu"),
    "m": FunctionInfo("m", "v1", is_class=False, batch_size=4),
}
LONE = {name: compile_function(info) for name, info in FUNCTIONS.items()}


class Room:
    """Executors ``e0``, ``e1``, ... of which those at certain places have a GPU."""

    def __init__(self, count: int, gpus: Iterable[int] = ()) -> None:
        self.executors = {
            f"e{n}": Executor(
                f"e{n}", "host", f"@{n}", n, resources=("gpu",) if n in {*gpus} else ()
            )
            for n in range(count)
        }
        self.homes = Homes()

    def __getitem__(self, number: int) -> Executor:
        return self.executors[f"e{number}"]

    def busy(self, *numbers: int, seconds: float = 9.0) -> None:
        """These have other work that takes so long."""
        for number in numbers:
            self[number].take(f"other {number}", 1, seconds)

    def used(self, *numbers: int, share: float = 0.9) -> None:
        """These had work for that share of the time, lately."""
        for number in numbers:
            self[number].utilisation = share

    def settle(self, plan: Plan, *numbers: int, replicas: int = 9) -> None:
        """A run of the plan has its segments there; of a lone segment, several runs."""
        runs = [[n] for n in numbers] if len(plan.segments) == 1 else [list(numbers)]
        for run in runs:
            self.homes.settle(plan, [self[number] for number in run], replicas)

    def place(
        self,
        plan: Plan,
        expected: float | Sequence[float] = 1.0,
        *,
        replicas: int = 1,
        more: bool = False,
        patient: bool = False,
        batches: bool = True,
        now: float = 0.0,
        without: Iterable[int] = (),
        may_come: Callable[[], bool] | None = None,
    ) -> Placement:
        times = [expected] * len(plan.segments) if isinstance(expected, float) else expected
        scene = Scene(
            {name: e for name, e in self.executors.items() if e.order not in {*without}},
            self.homes,
            replicas=replicas,
            now=now,
            more_may_come=may_come or (lambda: more),
            preference=Preference(),
            patient=patient,
            batches=batches,
        )
        return place(plan, scene, times)


def places(placement: Placement) -> list[int]:
    """The numbers of the executors of all segments."""
    assert placement.blocked_on is None
    return [executor.order for executor in placement.executors]


def plan_of(
    *steps: tuple[str, str],
    edges: Iterable[tuple[str, str]] = (),
    together: Iterable[Iterable[str]] = (),
    needing: Iterable[str] = (),
    first: str = "",
) -> Plan:
    """A DAG ``d`` of (step, function) pairs, of which one may take the first of its results."""
    items: list[object] = [FirstOf(step, b"none") if step[0] == first else step for step in steps]
    made = make_steps(items)
    groups = make_groups([list(group) for group in together], made)
    dag = Dag("d", with_needs(made, "gpu", needing), tuple(edges), groups)
    return compile_dag(dag, FUNCTIONS)


def chain(*functions: str) -> Plan:
    """A DAG of these functions, one after another; steps are ``s0``, ``s1``, ..."""
    names = [f"s{number}" for number in range(len(functions))]
    return plan_of(*zip(names, functions, strict=True), edges=pairwise(names))


def race(*functions: str, end: str = "f") -> Plan:
    """A DAG of sources ``s0``, ``s1``, ..., of which ``end`` takes the first result."""
    names = [f"s{number}" for number in range(len(functions))]
    steps = [*zip(names, functions, strict=True), ("end", end)]
    return plan_of(*steps, edges=[(name, "end") for name in names], first="end")
