"""Requests about functions and DAGs. No I/O.

Changes are made one at a time: the next is prepared when the one before it is written and
applied, so that a DAG is never compiled against a function that is just being replaced.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple, TypeAlias

from cloudburst.core.dag import Step, did_you_mean, make_steps
from cloudburst.core.options import RunOptions
from cloudburst.core.plan import FunctionInfo
from cloudburst.core.requests import (
    DagFound,
    DeleteDag,
    DeleteFunction,
    Done,
    FunctionFound,
    GetDag,
    GetFunction,
    ListDags,
    ListFunctions,
    Names,
    Refused,
    RegisterDag,
    RegisterFunction,
    Reply,
)
from cloudburst.errors import (
    CloudburstError,
    DagError,
    UnknownDag,
    UnknownFunction,
    UsageError,
)
from cloudburst.scheduler.events import Command, Send, Write
from cloudburst.scheduler.registry import Change, Registry

_Changing: TypeAlias = RegisterFunction | DeleteFunction | RegisterDag | DeleteDag


class _Pending(NamedTuple):
    client: str
    request: int
    change: Change


class Registrar:
    """Answers requests, and keeps the registry and the KVS in step.

    Args:
        tokens: where the tokens of its writes come from.
        offered: gives the resources that the cluster's hosts have.
    """

    def __init__(self, tokens: Iterator[int], offered: Callable[[], Collection[str]]) -> None:
        self.registry = Registry()
        self._tokens = tokens
        self._offered = offered
        self._waiting: deque[tuple[str, _Changing]] = deque()
        self._writing: dict[int, _Pending] = {}

    def request(self, client: str, message: object) -> Iterator[Command]:
        """Answer a request, at once or when its change is written."""
        registry = self.registry
        match message:
            case RegisterFunction() | DeleteFunction() | RegisterDag() | DeleteDag():
                self._waiting.append((client, message))
                yield from self._next()
            case GetFunction(request=request, name=name):
                yield Send(client, self._function(request, name))
            case GetDag(request=request, name=name):
                yield Send(client, self._dag(request, name))
            case ListFunctions(request=request, prefix=prefix):
                names = (name for name in sorted(registry.functions) if name.startswith(prefix))
                yield Send(client, Names(request, tuple(names)))
            case ListDags(request=request):
                yield Send(client, Names(request, tuple(sorted(registry.dags))))

    def written(self, token: int, outcome: object) -> Iterator[Command]:
        """A change was written, or could not be."""
        pending = self._writing.pop(token, None)
        if pending is None:
            return
        if isinstance(outcome, CloudburstError):
            yield Send(pending.client, _refused(pending.request, outcome))
        else:
            self.registry.apply(pending.change)
            yield Send(pending.client, Done(pending.request, changed=True))
        yield from self._next()

    def validate(self) -> None:
        """Check that one change at most is being written, and that none waits for nothing."""
        self.registry.validate()
        assert len(self._writing) <= 1
        assert self._writing or not self._waiting

    def _next(self) -> Iterator[Command]:
        while self._waiting and not self._writing:
            client, message = self._waiting.popleft()
            try:
                change = self._prepare(message)
            except CloudburstError as error:
                yield Send(client, _refused(message.request, error))
                continue
            if change is None:
                yield Send(client, Done(message.request, changed=False))
                continue
            token = next(self._tokens)
            self._writing[token] = _Pending(client, message.request, change)
            yield Write(change.operations, token)

    def _prepare(self, message: _Changing) -> Change | None:
        registry = self.registry
        match message:
            case RegisterFunction(function=function, options=options):
                info = FunctionInfo(*function)
                problem = self._unmet(f"function {info.name!r}", info.needs)
                if problem:
                    raise UsageError(problem)
                return registry.prepare_function(info, RunOptions(*options))
            case DeleteFunction(name=name):
                return registry.prepare_delete_function(name)
            case RegisterDag(dag=dag, options=options, only_check=only_check):
                make_steps(step[:2] for step in dag.steps)  # whose names nobody may have checked
                unmet = [self._unmet(f"step {s.name!r}", self._needed_by(s)) for s in dag.steps]
                problems = [problem for problem in unmet if problem]
                if only_check or problems:
                    registry.check_dag(dag, problems)
                    return None
                return registry.prepare_dag(dag, RunOptions(*options))
            case DeleteDag(name=name):
                return registry.prepare_delete_dag(name)

    def _needed_by(self, step: Step) -> str:
        function = self.registry.functions.get(step.function)
        return step.needs or (function.needs if function is not None else "")

    def _unmet(self, who: str, needs: str) -> str:
        """Why something that needs a resource could not run anywhere; "" if it could."""
        if not needs:
            return ""
        offered = self._offered()
        if needs in offered:
            return ""
        there_is = f"there is {', '.join(sorted(offered))}" if offered else "there is none"
        return (
            f"{who} needs {needs!r}, which no host of this cluster has ({there_is}); start a host "
            f"with --resources {needs}."
        )

    def _function(self, request: int, name: str) -> Reply:
        function = self.registry.functions.get(name)
        if function is None:
            hint = did_you_mean(name, self.registry.functions)
            error = UnknownFunction(f"no function {name!r} is registered{hint}")
            return _refused(request, error)
        return FunctionFound(request, *function[:3])

    def _dag(self, request: int, name: str) -> Reply:
        dag = self.registry.dags.get(name)
        if dag is None:
            hint = did_you_mean(name, self.registry.dags)
            return _refused(request, UnknownDag(f"no DAG {name!r} is registered{hint}"))
        return DagFound(request, name, tuple(step[:2] for step in dag.steps), dag.edges)


def _refused(request: int, error: CloudburstError) -> Refused:
    reasons = error.problems if isinstance(error, DagError) else [str(error)]
    return Refused(request, type(error).__name__, tuple(reasons))
