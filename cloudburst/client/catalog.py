"""What is registered on a cluster: its functions and DAGs, as a connection gets at them."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, Unpack

from cloudburst.client.function import CallOptions, CloudburstFunction
from cloudburst.client.requests import Requests
from cloudburst.client.steps import StepSaid, make_dag
from cloudburst.core.dag import Dag, did_you_mean
from cloudburst.core.ids import check_name, check_text
from cloudburst.core.options import (
    NOTHING_SAID,
    Batch,
    OptionsSaid,
    RunOptions,
    check_batching,
    check_limit,
    check_resource,
    make_options,
)
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
    RegisterDag,
    RegisterFunction,
)
from cloudburst.errors import DagError, InvalidName, UnknownDag, UnknownFunction, UnknownStep
from cloudburst.kvs import keys
from cloudburst.kvs.base import KeyValueStore, PutIfAbsent
from cloudburst.serialization import pack_function

# Inside the class the name `list` is its method.
_Strings: TypeAlias = list[str]


class Catalog(ABC):
    """Registers functions and DAGs, and finds them. The part of a connection that does so.

    Args:
        requests: asks the scheduler.
        store: gives the KVS, when it is needed.
    """

    def __init__(self, requests: Requests, store: Callable[[], KeyValueStore]) -> None:
        self._requests = requests
        self._store_of_code = store
        self._steps: dict[str, frozenset[str]] = {}

    @abstractmethod
    def call_function(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """Call a registered function; what a `CloudburstFunction` does when it is called."""

    def register(
        self,
        function: object,
        name: str,
        *,
        max_concurrency: int | None = None,
        max_per_host: int | None = None,
        batching: bool | Batch = False,
        needs: str | None = None,
        **options: Unpack[OptionsSaid],
    ) -> CloudburstFunction:
        """Register a function or class under a name; a name in use gets the new code.

        Args:
            function: a function, whose first parameter receives the user library; or a class
                with a ``run`` method; or ``(class, init)``, where ``init`` is a tuple of
                arguments for its ``__init__`` or one bare value.
            name: letters, digits, ``_``, ``-`` and ``.``, at most 200.
            max_concurrency: how many of its runs may go on at a time, in the cluster; others
                wait, in the order of their calls. By default any number. A run of a DAG counts
                from its start.
            max_per_host: how many of them on one host.
            batching: the function takes several calls at once: for each parameter a list with an
                item of every call. It returns a list of as many values, in the same order; one
                that is an exception is raised by that call alone. True, or `batch` with limits.
            needs: a resource that its executors must have, such as ``"gpu"``: hosts are started
                with ``--resources``.
            options: of its runs, unless a call says otherwise: ``timeout``, seconds from the call
                after which a run is ended (0: none); ``max_retries``, how often it is tried again
                after it raised or its executor died; ``grace_period``, seconds its code has to
                end once it was interrupted; ``result_ttl``, seconds that its result is kept
                (0: for ever).

        Raises:
            InvalidName: the name cannot be used.
            UsageError: it is not a function that can be registered, or an option cannot be used.
            SerializationError: it refers to something that cannot be pickled.
            KVSUnavailable, SchedulerUnavailable: the cluster does not answer.
        """
        said = make_options(**options)
        how = (
            check_limit("max_concurrency", max_concurrency),
            check_limit("max_per_host", max_per_host),
            *check_batching(batching),
            check_resource(needs),
        )
        code = pack_function(function, check_name(name, "function"))
        put = PutIfAbsent(keys.code_key(code.version), code.blob)
        self._store_of_code().execute([put])
        info = FunctionInfo(name, code.version, code.is_class, *how)
        self._requests.ask(lambda n: RegisterFunction(n, info, said), Done)
        return CloudburstFunction(self, name)

    def get_function(self, name: str) -> CloudburstFunction | None:
        """The registered function of that name, or None.

        Args:
            name: the name it was registered under, by any client.

        Raises:
            SchedulerUnavailable: the scheduler does not answer.
        """
        try:
            self._check_function(name)
        except UnknownFunction:
            return None
        return CloudburstFunction(self, name)

    def _check_function(self, name: str) -> None:
        """See whether a function is registered.

        Raises:
            UsageError: the name is no string that can be sent.
            UnknownFunction: there is none; the message suggests one that is.
        """
        check_text(name, "function name")
        self._requests.ask(lambda n: GetFunction(n, name), FunctionFound)

    def list(self, prefix: str | None = None) -> _Strings:
        """The names of the registered functions, sorted.

        Args:
            prefix: list only those whose name begins with it.

        Raises:
            SchedulerUnavailable: the scheduler does not answer.
        """
        wanted = "" if prefix is None else check_text(prefix, "prefix")
        return list(self._requests.ask(lambda n: ListFunctions(n, wanted), Names).names)

    def delete_function(self, name: str) -> bool:
        """Delete a function. Returns whether there was one.

        Runs that were called before go on with it.

        Args:
            name: the name it was registered under.

        Raises:
            UsageError: a DAG uses it.
            SchedulerUnavailable: the scheduler does not answer.
        """
        check_text(name, "function name")
        return self._requests.ask(lambda n: DeleteFunction(n, name), Done).changed

    def register_dag(
        self,
        name: str,
        functions: Iterable[StepSaid],
        connections: Iterable[Sequence[str]],
        *,
        colocated: Iterable[str | Iterable[str]] = (),
        gpu_functions: Iterable[str] = (),
        replicas: int = 1,
        **options: Unpack[OptionsSaid],
    ) -> bool:
        """Register a DAG of registered functions.

        Args:
            name: as for functions; DAGs have names of their own.
            functions: function names, each a step of that name; or ``(step, function)`` pairs; or
                `first_of` either.
            connections: pairs of step names, source first. A step receives the results of its
                sources in the order in which they are listed here.
            colocated: steps that should run on the same executor, because much passes between
                them; or several such lists.
            gpu_functions: steps that need an executor of a host with ``--resources gpu``.
            replicas: how many instances of each class step there may be. With more than one, each
                has a state of its own; another is made when those there are have been busy for a
                while.
            options: of its runs, as for `register`; those of its functions do not count.

        Returns:
            Whether the DAG is registered. A warning says why it is not; `check_dag` raises it.

        Raises:
            UsageError: there is no such option, or its value cannot be used.
            SchedulerUnavailable: the scheduler does not answer.
        """
        said = make_options(**options)
        try:
            check_name(name, "DAG")
            dag = make_dag(name, functions, connections, colocated, gpu_functions, replicas)
            self._send_dag(dag, said, only_check=False)
        except (DagError, InvalidName) as error:
            warnings.warn(f"DAG {name!r:.80} is not registered: {error}", stacklevel=2)
            return False
        return True

    def check_dag(
        self,
        functions: Iterable[StepSaid],
        connections: Iterable[Sequence[str]],
        *,
        colocated: Iterable[str | Iterable[str]] = (),
        gpu_functions: Iterable[str] = (),
    ) -> None:
        """Say why `register_dag` would not register these.

        Args:
            functions, connections, colocated, gpu_functions: as for `register_dag`.

        Raises:
            DagError: with every problem found.
            SchedulerUnavailable: the scheduler does not answer.
        """
        dag = make_dag("checked", functions, connections, colocated, gpu_functions)
        self._send_dag(dag, NOTHING_SAID, only_check=True)

    def _send_dag(self, dag: Dag, said: RunOptions, *, only_check: bool) -> None:
        self._requests.ask(lambda n: RegisterDag(n, *dag, said, only_check), Done)
        self._steps.pop(dag.name, None)

    def list_dags(self) -> _Strings:
        """The names of the registered DAGs, sorted.

        Raises:
            SchedulerUnavailable: the scheduler does not answer.
        """
        return list(self._requests.ask(ListDags, Names).names)

    def delete_dag(self, name: str) -> bool:
        """Delete a DAG, and the instances its class steps keep. Returns whether there was one.

        Runs that were called before go on with it.

        Args:
            name: the name it was registered under.

        Raises:
            SchedulerUnavailable: the scheduler does not answer.
        """
        self._steps.pop(check_text(name, "DAG name"), None)
        return self._requests.ask(lambda n: DeleteDag(n, name), Done).changed

    def _check_steps(self, name: str, arg_map: Mapping[str, Any]) -> None:
        """See whether a DAG has the steps that arguments are given for.

        Raises:
            UnknownDag, UnknownStep: there is no such DAG, or it has no such step.
        """
        steps = self._steps.get(check_text(name, "DAG name"))
        if steps is None or not arg_map.keys() <= steps:
            steps = self._look_up(name)
        for step in arg_map:
            if step not in steps:
                hint = did_you_mean(str(step), steps)
                raise UnknownStep(f"DAG {name!r} has no step {step!r:.80}{hint}")

    def _is_dag(self, name: str) -> bool:
        """Whether a name is a DAG's; if not, it is a function's.

        Raises:
            UnknownFunction: it is neither.
        """
        try:
            self._look_up(check_text(name, "name"))
        except UnknownDag:
            self._check_function(name)
            return False
        return True

    def _look_up(self, name: str) -> frozenset[str]:
        found = self._requests.ask(lambda n: GetDag(n, name), DagFound)
        steps = self._steps[name] = frozenset(step for step, _ in found.steps)
        return steps
