"""What is registered: functions, DAGs, and the plans compiled from them. No I/O.

A change is first prepared, then written to the KVS, and only then applied: nobody can be given
a plan that an executor could not yet fetch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple, TypeAlias

import msgpack

from cloudburst.core.dag import Dag, Step, did_you_mean, problems_of
from cloudburst.core.ids import check_name
from cloudburst.core.options import NOTHING_SAID, RunOptions
from cloudburst.core.plan import FunctionInfo, Plan, compile_dag, compile_function, pack_plan
from cloudburst.errors import DagError, UnknownDag, UnknownFunction, UsageError
from cloudburst.kvs import keys
from cloudburst.kvs.base import DropField, Operation, Put, SetFields

_DAG, _FUNCTION = "dag", "function"

Target: TypeAlias = tuple[bool, str]
"""What is called: whether it is a DAG, and its name."""


class Change(NamedTuple):
    """A prepared change: what to write, and what to apply once it is written.

    A function or DAG that is None under its name is deleted.
    """

    operations: tuple[Operation, ...]
    functions: dict[str, FunctionInfo | None]
    dags: dict[str, Dag | None]
    options: dict[Target, RunOptions] = {}  # noqa: RUF012  (never changed)


@dataclass
class Registry:
    """The functions and DAGs of a cluster, with one current plan each.

    Attributes:
        limited: the functions of which not any number may run at a time.
    """

    functions: dict[str, FunctionInfo] = field(default_factory=dict)
    dags: dict[str, Dag] = field(default_factory=dict)
    function_plans: dict[str, Plan] = field(default_factory=dict)
    dag_plans: dict[str, Plan] = field(default_factory=dict)
    options: dict[Target, RunOptions] = field(default_factory=dict)
    limited: dict[str, FunctionInfo] = field(default_factory=dict)

    def options_of(self, target: str, *, is_dag: bool) -> RunOptions:
        """What was said of the runs of a function or DAG when it was registered."""
        return self.options.get((is_dag, target), NOTHING_SAID)

    def replicas(self, dag: str) -> int:
        """How many instances of each of its class steps a DAG may have."""
        return self.instances(dag) or 1

    def instances(self, dag: str) -> int:
        """How many of them are kept; none of a DAG that is not there any more."""
        return self.dags[dag].replicas if dag in self.dags else 0

    def plan(self, target: str, *, is_dag: bool) -> Plan:
        """The current plan of a DAG or lone function.

        Raises:
            UnknownDag, UnknownFunction: it is not registered (any more).
        """
        plan = (self.dag_plans if is_dag else self.function_plans).get(target)
        if plan is not None:
            return plan
        if is_dag:
            raise UnknownDag(f"no DAG {target!r} is registered{did_you_mean(target, self.dags)}")
        raise UnknownFunction(
            f"no function {target!r} is registered{did_you_mean(target, self.functions)}"
        )

    def plans(self) -> Iterator[Plan]:
        """Every current plan."""
        return chain(self.function_plans.values(), self.dag_plans.values())

    def prepare_function(
        self, function: FunctionInfo, options: RunOptions = NOTHING_SAID
    ) -> Change | None:
        """Register code under a name. None if it is registered so already."""
        check_name(function.name, "function")
        target = (False, function.name)
        if self.functions.get(function.name) == function:
            return self._prepare_options(target, options)
        known = {**self.functions, function.name: function}
        plans = [compile_function(function)]
        plans += [compile_dag(dag, known) for dag in self._users(function.name)]
        return Change(
            operations=(
                *(Put(keys.plan_key(plan.id), pack_plan(plan)) for plan in plans),
                SetFields(keys.FUNCTIONS, {function.name: msgpack.packb(function)}),
                _write_options(target, options),
            ),
            functions={function.name: function},
            dags={},
            options={target: options},
        )

    def _prepare_options(self, target: Target, options: RunOptions) -> Change | None:
        if self.options.get(target, NOTHING_SAID) == options:
            return None
        return Change((_write_options(target, options),), {}, {}, {target: options})

    def prepare_delete_function(self, name: str) -> Change | None:
        """Delete a function. None if there is none of that name.

        Raises:
            UsageError: a DAG uses it.
        """
        if name not in self.functions:
            return None
        users = sorted(dag.name for dag in self._users(name))
        if users:
            raise UsageError(
                f"function {name!r} is used by DAG {', '.join(map(repr, users))}; delete that first"
            )
        return Change((DropField(keys.FUNCTIONS, name),), {name: None}, {})

    def check_dag(self, dag: Dag, others: Sequence[str] = ()) -> None:
        """Say why a DAG cannot be registered.

        Args:
            dag: which.
            others: problems that are known already.

        Raises:
            DagError: with every problem found.
        """
        problems = [*problems_of(dag, self.functions), *others]
        if problems:
            raise DagError(problems)

    def prepare_dag(self, dag: Dag, options: RunOptions = NOTHING_SAID) -> Change | None:
        """Register a DAG. None if the same is registered already.

        A DAG may get other options at any time, and another number of replicas, but no other
        steps.

        Raises:
            DagError: it is not a DAG, or another one has that name.
        """
        check_name(dag.name, "DAG")
        self.check_dag(dag)
        present, target = self.dags.get(dag.name), (True, dag.name)
        if present == dag:
            return self._prepare_options(target, options)
        if present is not None and present.shape != dag.shape:
            raise DagError(
                f"another DAG is registered as {dag.name!r}; delete it first or choose a new name."
            )
        plan = compile_dag(dag, self.functions)
        return Change(
            operations=(
                Put(keys.plan_key(plan.id), pack_plan(plan)),
                SetFields(keys.DAGS, {dag.name: msgpack.packb(dag)}),
                _write_options(target, options),
            ),
            functions={},
            dags={dag.name: dag},
            options={target: options},
        )

    def prepare_delete_dag(self, name: str) -> Change | None:
        """Delete a DAG. None if there is none of that name."""
        if name not in self.dags:
            return None
        return Change((DropField(keys.DAGS, name),), {}, {name: None})

    def apply(self, change: Change) -> None:
        """Make a written change the current state."""
        for name, function in change.functions.items():
            if function is None:
                del self.functions[name], self.function_plans[name]
                self.options.pop((False, name), None)
            else:
                self.functions[name] = function
                self.function_plans[name] = compile_function(function)
        self.limited = {name: info for name, info in self.functions.items() if info.is_limited}
        for name, dag in change.dags.items():
            if dag is None:
                del self.dags[name], self.dag_plans[name]
                self.options.pop((True, name), None)
            else:
                self.dags[name] = dag
        self.options |= change.options
        stale = {dag.name for name in change.functions for dag in self._users(name)}
        for name in stale | {name for name, dag in change.dags.items() if dag is not None}:
            self.dag_plans[name] = compile_dag(self.dags[name], self.functions)

    def restore(
        self, functions: dict[str, bytes], dags: dict[str, bytes], options: dict[str, bytes]
    ) -> None:
        """Take over what the KVS holds, at the start of a scheduler."""
        infos = [FunctionInfo(*msgpack.unpackb(blob)) for blob in functions.values()]
        self.apply(Change((), {info.name: info for info in infos}, {}))
        self.apply(Change((), {}, {name: _unpack_dag(blob) for name, blob in dags.items()}))
        for field_name, blob in options.items():
            kind, _, name = field_name.partition(" ")
            said = RunOptions(*msgpack.unpackb(blob))
            if name in (self.dags if kind == _DAG else self.functions):
                self.options[kind == _DAG, name] = said

    def validate(self) -> None:
        """Check that every function and DAG has the plan of what is registered now."""
        assert self.function_plans.keys() == self.functions.keys()
        assert self.dag_plans.keys() == self.dags.keys()
        assert self.limited.items() <= self.functions.items()
        for plan in self.plans():
            for step in plan.steps:
                assert self.functions[step.function].version == step.version

    def _users(self, function: str) -> Iterator[Dag]:
        for dag in self.dags.values():
            if any(step.function == function for step in dag.steps):
                yield dag


def _write_options(target: Target, options: RunOptions) -> Operation:
    is_dag, name = target
    field_name = f"{_DAG if is_dag else _FUNCTION} {name}"
    return SetFields(keys.OPTIONS, {field_name: msgpack.packb(options)})


def _unpack_dag(blob: bytes) -> Dag:
    name, steps, *others = msgpack.unpackb(blob, use_list=False)
    return Dag(name, tuple(Step(*step) for step in steps), *others)
