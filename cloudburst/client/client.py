"""The user's connection to a cluster."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias

from cloudburst.client.address import inbox_address, not_reached, scheduler_address
from cloudburst.client.arguments import NamedArguments, pack_arguments
from cloudburst.client.calls import Calls
from cloudburst.client.function import CallOptions, CloudburstFunction
from cloudburst.client.future import CloudburstFuture
from cloudburst.client.link import Link
from cloudburst.client.requests import Requests
from cloudburst.core.consistency import NORMAL, Consistency
from cloudburst.core.dag import did_you_mean, make_edges, make_steps
from cloudburst.core.ids import check_key, check_name, check_text, new_id, run_ids
from cloudburst.core.messages import (
    Call,
    ClusterStatus,
    DagFound,
    DeleteDag,
    DeleteFunction,
    Done,
    Frames,
    FunctionFound,
    GetDag,
    GetFunction,
    GetStatus,
    ListDags,
    ListFunctions,
    Message,
    Names,
    RegisterDag,
    RegisterFunction,
)
from cloudburst.errors import (
    ClusterError,
    DagError,
    InvalidName,
    UnknownFunction,
    UnknownStep,
    UsageError,
)
from cloudburst.kvs import keys
from cloudburst.kvs.base import Delete, Get, KeyValueStore, PutIfAbsent
from cloudburst.kvs.objects import check_size, read_objects, write_objects
from cloudburst.launch import OwnedCluster, start_cluster
from cloudburst.serialization import pack_function, split

REPORTING = 0.5
"""Seconds in which an executor can say that a reference did not appear within the timeout."""

# Inside the class the name `list` is its method.
_Strings: TypeAlias = list[str]


class CloudburstConnection:
    """A connection to a cluster: register functions and DAGs, call them, keep state.

    Threads may share a connection. A forked process needs one of its own.

    Args:
        func_addr: the scheduler's host name or address; surrounding spaces do not count.
        ip: this machine's address as executors reach it. Without it results take the way through
            the scheduler; on the scheduler's own machine it is not needed.
        tid: tells connections of one process apart in logs.
        local: use the user's local cluster on this machine: the one that runs, or a new one
            that ends with this connection.
        timeout: seconds that the cluster may take to answer.

    Raises:
        UsageError: an argument cannot be used.
        ConnectionFailed: no scheduler answers at the address.
        VersionMismatch: it does, and is of another version.
    """

    def __init__(
        self,
        func_addr: str = "127.0.0.1",
        ip: str | None = None,
        tid: int = 0,
        local: bool = False,
        *,
        timeout: float = 10.0,
    ) -> None:
        self.timeout = timeout
        self._cluster: OwnedCluster | None = None
        if local:
            self._cluster = start_cluster(shared=True)
            self.address = self._cluster.address
        else:
            self.address = scheduler_address(func_addr)
        self._id = f"c{tid}-{new_id()}"
        self._run_ids = run_ids(new_id())
        self._dags: dict[str, tuple[str, ...]] = {}
        self._store: KeyValueStore | None = None
        inbox = inbox_address(self.address, ip, self._id)
        self._link = Link(self.address, self._id, inbox, self._receive)
        self._requests = Requests(self._link, timeout)
        self._calls = Calls(self._link, self._stored_result, timeout)
        try:
            welcome = self._requests.greet()
            if welcome is None:
                raise not_reached(self.address, timeout)
        except BaseException:
            self._link.abandon()
            self.close()
            raise
        self.kvs_url = welcome.kvs_url

    # functions

    def register(self, function: object, name: str) -> CloudburstFunction:
        """Register a function or class under a name; a name in use gets the new code.

        Args:
            function: a function, whose first parameter receives the user library; or a class
                with a ``run`` method; or ``(class, init)``, where ``init`` is a tuple of
                arguments for its ``__init__`` or one bare value.
            name: letters, digits, ``_``, ``-`` and ``.``, at most 200.

        Raises:
            InvalidName: the name cannot be used.
            UsageError: it is not a function that can be registered.
            SerializationError: it refers to something that cannot be pickled.
        """
        code = pack_function(function, check_name(name, "function"))
        self._kvs().execute([PutIfAbsent(keys.code_key(code.version), code.blob)])
        self._requests.ask(lambda n: RegisterFunction(n, name, code.version, code.is_class), Done)
        return CloudburstFunction(self, name)

    def get_function(self, name: str) -> CloudburstFunction | None:
        """The registered function of that name, or None."""
        try:
            self._requests.ask(lambda n: GetFunction(n, check_text(name, "name")), FunctionFound)
        except UnknownFunction:
            return None
        return CloudburstFunction(self, name)

    def list(self, prefix: str | None = None) -> _Strings:
        """The names of the registered functions, sorted; those that begin with ``prefix``."""
        wanted = check_text(prefix or "", "prefix")
        return list(self._requests.ask(lambda n: ListFunctions(n, wanted), Names).names)

    def delete_function(self, name: str) -> bool:
        """Delete a function. Returns whether there was one.

        Raises:
            UsageError: a DAG uses it.
        """
        return self._requests.ask(
            lambda n: DeleteFunction(n, check_text(name, "name")), Done
        ).changed

    # DAGs

    def register_dag(
        self,
        name: str,
        functions: Iterable[str | tuple[str, str]],
        connections: Iterable[Sequence[str]],
    ) -> bool:
        """Register a DAG of registered functions.

        Args:
            name: as for functions; DAGs have names of their own.
            functions: function names, each a step of that name; or ``(step, function)`` pairs.
            connections: pairs of step names, source first. A step receives the results of its
                sources in the order in which they are listed here.

        Returns:
            Whether the DAG is registered. A warning says why it is not; `check_dag` raises it.
        """
        try:
            self._send_dag(name, functions, connections, only_check=False)
        except (DagError, InvalidName) as error:
            warnings.warn(f"DAG {name!r} is not registered: {error}", stacklevel=2)
            return False
        return True

    def check_dag(
        self,
        functions: Iterable[str | tuple[str, str]],
        connections: Iterable[Sequence[str]],
    ) -> None:
        """Say why `register_dag` would not register these.

        Raises:
            DagError: with every problem found.
        """
        self._send_dag("checked", functions, connections, only_check=True)

    def _send_dag(
        self,
        name: str,
        functions: Iterable[str | tuple[str, str]],
        connections: Iterable[Sequence[str]],
        *,
        only_check: bool,
    ) -> None:
        check_name(name, "DAG")
        steps, edges = make_steps(functions), make_edges(connections)
        self._requests.ask(lambda n: RegisterDag(n, name, steps, edges, only_check), Done)
        self._dags.pop(name, None)

    def list_dags(self) -> _Strings:
        """The names of the registered DAGs, sorted."""
        return list(self._requests.ask(ListDags, Names).names)

    def delete_dag(self, name: str) -> bool:
        """Delete a DAG, and the instances its class steps keep. Returns whether there was one."""
        self._dags.pop(check_text(name, "name"), None)
        return self._requests.ask(lambda n: DeleteDag(n, name), Done).changed

    def call_dag(  # noqa: PLR0917  the signature users know
        self,
        name: str,
        arg_map: Mapping[str, Any],
        direct_response: bool = False,
        consistency: Consistency = NORMAL,
        output_key: str | None = None,
        client_id: str | None = None,  # noqa: ARG002  for sessions, which NORMAL does not have
        *,
        timeout: float | None = None,
    ) -> Any:
        """Call a DAG.

        Args:
            name: the DAG.
            arg_map: arguments by step name. A list is the list of a step's arguments, anything
                else is its one argument; one argument that is a list is ``[[1, 2]]``.
            direct_response: wait for the value and return it; nothing is stored.
            consistency: what reads and writes of its functions promise.
            output_key: a key under which the result is stored besides its own.
            client_id: reserved for session guarantees; without effect under ``NORMAL``.
            timeout: seconds to wait for a direct response, and for references to appear.

        Returns:
            A `CloudburstFuture`; the value itself with ``direct_response``.

        Raises:
            UsageError: the arguments do not fit together.
            UnknownDag, UnknownStep: there is no such DAG, or it has no such step.
            SerializationError: an argument cannot be pickled.
            RunTimeoutError: no direct response in time.
        """
        if not isinstance(arg_map, Mapping):
            raise UsageError(
                f"arg_map is a dict of step name to arguments, not {type(arg_map).__name__}"
            )
        if not isinstance(consistency, Consistency):
            raise UsageError(f"consistency is a member of Consistency, not {consistency!r}")
        if output_key is not None:
            check_key(output_key)
            if direct_response:
                raise UsageError("a direct response is not stored, so it has no output_key")
        self._check_steps(name, arg_map)
        arguments = [
            (step, "", value)
            for step, values in arg_map.items()
            for value in (values if isinstance(values, list) else (values,))
        ]
        options = CallOptions(direct_response, timeout)
        return self._call(name, arguments, options, is_dag=True, output_key=output_key)

    # objects

    def get_object(self, key: str, default: Any = None) -> Any:
        """Read an object from the KVS: one that was put, or a run's result by its id.

        Raises:
            Exception: the run failed; its error is raised.
        """
        return read_objects(self._kvs(), [key], default)[key]

    def put_object(self, key: str, value: Any) -> None:
        """Write an object to the KVS.

        Raises:
            SerializationError: the value cannot be pickled.
        """
        write_objects(self._kvs(), {key: value})

    def delete_object(self, key: str) -> bool:
        """Delete an object from the KVS. Returns whether there was one."""
        (existed,) = self._kvs().execute([Delete(keys.object_key(check_key(key)))])
        return bool(existed)

    # runs

    def future(self, obj_id: str) -> CloudburstFuture:
        """A future of a run that was called anywhere, by its ``obj_id``."""
        return self._calls.join(check_key(obj_id))

    def exec_func(self, name: str, args: Sequence[Any] = ()) -> str:
        """Call a function and return the key under which its result will be stored.

        Raises:
            UnknownFunction: there is no such function. It takes a round trip to find out, because
                a key says nothing of what became of the call.
        """
        if isinstance(args, str) or not isinstance(args, Sequence):
            raise UsageError(f"args is a list of arguments, not {args!r:.80}")
        self._requests.ask(lambda n: GetFunction(n, name), FunctionFound)
        future: CloudburstFuture = self.call_function(name, tuple(args), {}, CallOptions())
        return future.obj_id

    def call_function(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """Call a registered function; what a `CloudburstFunction` does when it is called."""
        arguments = [(name, "", value) for value in args]
        arguments += [(name, keyword, value) for keyword, value in kwargs.items()]
        return self._call(name, arguments, options, is_dag=False, output_key=None)

    def status(self) -> ClusterStatus:
        """How the cluster is doing: executors, runs running, runs waiting."""
        return self._requests.ask(GetStatus, ClusterStatus)

    def close(self) -> None:
        """Close the connection, and the local cluster it started. Closing twice is harmless."""
        self._link.close()
        self._calls.fail_all(ClusterError("the connection was closed before the run's end"))
        if self._store is not None:
            self._store.close()
        if self._cluster is not None:
            self._cluster.close()

    def _call(
        self,
        target: str,
        arguments: NamedArguments,
        options: CallOptions,
        *,
        is_dag: bool,
        output_key: str | None,
    ) -> Any:
        spec, frames, references = pack_arguments(arguments)
        if not options.direct_response:
            check_size(sum(map(len, frames)), f"the call of {target!r}")
        timeout = self.timeout if options.timeout is None else options.timeout
        call = Call(
            run_id=next(self._run_ids),
            target=target,
            is_dag=is_dag,
            arguments=spec,
            references=references,
            reply_to=self._link.reply_to,
            store=not options.direct_response,
            output_key=output_key or "",
            timeout=float(timeout),
            frames=frames,
        )
        future = self._calls.start(call)
        if not options.direct_response:
            return future
        return future.result(timeout + REPORTING if references else timeout)

    def _check_steps(self, name: str, arg_map: Mapping[str, Any]) -> None:
        steps = self._dags.get(check_text(name, "name"))
        if steps is None or not arg_map.keys() <= set(steps):
            found = self._requests.ask(lambda n: GetDag(n, name), DagFound)
            steps = self._dags[name] = tuple(step for step, _ in found.steps)
        for step in arg_map:
            if step not in steps:
                hint = did_you_mean(str(step), steps)
                raise UnknownStep(f"DAG {name!r} has no step {step!r}{hint}")

    def _receive(self, message: Message) -> None:
        if not self._calls.receive(message):
            self._requests.receive(message)

    def _stored_result(self, run_id: str) -> Frames | None:
        (blob,) = self._kvs().execute([Get(keys.object_key(run_id))])
        return None if blob is None else split(blob)

    def _kvs(self) -> KeyValueStore:
        self._link.check()
        if self._store is None:
            from cloudburst.kvs.redis import RedisStore  # 0.1 s that a mere import is spared

            self._store = RedisStore(self.kvs_url, timeout=self.timeout)
        return self._store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<CloudburstConnection to {self.address}>"
