"""The user's connection to a cluster."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from cloudburst.calls.arguments import arguments_of_call, check_arg_map
from cloudburst.calls.chain import ChainLink, Then, make_calls, make_chain, start_chain
from cloudburst.calls.future import CloudburstFuture
from cloudburst.calls.making import CallMaker
from cloudburst.calls.open_calls import Calls
from cloudburst.client.address import inbox_address, not_reached, scheduler_address
from cloudburst.client.catalog import Catalog
from cloudburst.client.function import CallOptions
from cloudburst.client.link import Link
from cloudburst.client.objects import Objects
from cloudburst.client.requests import Requests
from cloudburst.core.consistency import NORMAL, Consistency
from cloudburst.core.ids import check_key, new_id, run_ids
from cloudburst.core.messages import Buffer, Message
from cloudburst.core.options import OptionsSaid, check_count, check_wait, make_options
from cloudburst.core.requests import ClusterStatus, GetStatus
from cloudburst.errors import ClusterError, InvocationTimedOutError, RunTimeoutError, UsageError
from cloudburst.kvs.base import KeyValueStore
from cloudburst.kvs.objects import delete_run, result_of
from cloudburst.launch import OwnedCluster, start_cluster
from cloudburst.serialization import NotAValue

MAX_TID = 10**18 - 1

MOST_WARMED = 1000
"""Executors that code is loaded on at a time."""

REPORTING = 0.5
"""Seconds in which an executor can say that a reference did not appear within the timeout."""


class CloudburstConnection(Catalog, Objects):
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

    Attributes:
        address: the scheduler's, written out in full.
        kvs_url: the cluster's key-value store.
        timeout: as given.

    Raises:
        UsageError: an argument cannot be used.
        ConnectionFailed: no scheduler answers at the address.
        VersionMismatch: it does, and is of another version.
        ClusterError: no local cluster can be started.
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
        self.timeout = check_wait("timeout", timeout)
        if type(tid) is not int:
            raise UsageError(f"tid is a number, not {tid!r:.80}")
        if abs(tid) > MAX_TID:
            raise UsageError(f"tid is a number, and at most {MAX_TID:,}")
        self._cluster: OwnedCluster | None = None
        if local:
            self._cluster = start_cluster(shared=True)
            self.address = self._cluster.address
        else:
            self.address = scheduler_address(func_addr)
        own_id = new_id()
        self._store: KeyValueStore | None = None
        inbox = inbox_address(self.address, ip, own_id)
        self._link = Link(self.address, f"c{tid}-{own_id}", inbox, self._receive)
        Catalog.__init__(self, Requests(self._link, self.timeout), self._kvs)
        Objects.__init__(self, self._kvs)
        ids = run_ids(new_id())
        self._maker = CallMaker(self._link, ids, self._kvs, self.timeout, self._leave)
        self._calls = Calls(
            self._link,
            lambda run_id: result_of(self._kvs(), run_id),
            lambda run_id: delete_run(self._kvs(), run_id),
            self.timeout,
        )
        try:
            welcome = self._requests.greet()
            if welcome is None:
                raise not_reached(self.address, self.timeout)
        except BaseException:
            self._link.abandon()
            self.close()
            raise
        self.kvs_url = welcome.kvs_url

    def call_dag(  # noqa: PLR0917  the signature users know
        self,
        name: str,
        arg_map: Mapping[str, Any],
        direct_response: bool = False,
        consistency: Consistency = NORMAL,
        output_key: str | None = None,
        client_id: str | None = None,  # noqa: ARG002  for sessions, which NORMAL does not have
        *,
        then: Then | Sequence[Then] | None = None,
        **options: Unpack[OptionsSaid],
    ) -> Any:
        """Call a DAG, or a chain of DAGs.

        Args:
            name: the DAG.
            arg_map: arguments by step name. A list is the list of a step's arguments, anything
                else is its one argument; one argument that is a list is ``[[1, 2]]``.
            direct_response: wait for the value and return it; nothing is stored.
            consistency: what reads and writes of its functions promise.
            output_key: a key under which the result is stored besides its own.
            client_id: reserved for session guarantees; without effect under ``NORMAL``.
            then: a DAG that is called with this one's result, or a list of DAGs, each called with
                the result of the one before: it becomes the last argument of every source. A name,
                or a pair of a name and an ``arg_map`` of own arguments. The value, future, key
                and direct response are then those of the last.
            options: of this run, as for `register`. With a ``timeout``, references may take nine
                tenths of it to appear, and a direct response all of it; otherwise both as long as
                the cluster may take to answer.

        Returns:
            A `CloudburstFuture`; the value itself with ``direct_response``.

        Raises:
            UsageError: the arguments do not fit together.
            UnknownDag, UnknownStep: there is no such DAG, or it has no such step.
            SerializationError: an argument cannot be pickled.
            Overloaded: too many calls of this connection are under way.
            KVSUnavailable: a large argument could not be stored.
            Exception: only with ``direct_response``, as `CloudburstFuture.result`;
                `RunTimeoutError` if nothing came in time, and no ``timeout`` was given.
        """
        if not isinstance(consistency, Consistency):
            raise UsageError(f"consistency is a member of Consistency, not {consistency!r}")
        if output_key is not None:
            check_key(output_key)
            if direct_response:
                raise UsageError("a direct response is not stored, so it has no output_key")
        links = [ChainLink(name, check_arg_map(arg_map)), *make_chain(then)]
        for link in links:
            self._check_steps(link.dag, link.arg_map)
        said = make_options(**options)
        calls = make_calls(links, self._maker, said, output_key, store=not direct_response)
        future = start_chain(calls, self._calls.start)
        return self._outcome(future, links[-1].dag, CallOptions(direct_response, said))

    def prewarm(self, name: str, n: int = 1, *, timeout: float | None = None) -> int:
        """Have executors load what is going to be called, and make the instances of its classes.

        Args:
            name: a DAG or a function.
            n: on how many executors, 1,000 at most. More are started if there are not enough, up
                to the most that the cluster may run; of a DAG with class steps, as many as it has
                replicas.
            timeout: seconds; by default those that the cluster may take to answer.

        Returns:
            How many executors have it now, or a part of it.

        Raises:
            UsageError: ``n`` is no such number, or more than the DAG's ``replicas``.
            UnknownFunction: there is neither a DAG nor a function of that name.
            InvocationTimedOutError: that took longer than ``timeout``.
            Exception: code cannot be loaded, or a class's ``__init__`` raises.
        """
        count = check_count("n", n, "executors", MOST_WARMED)
        is_dag = self._is_dag(name)
        limit = self.timeout if timeout is None else check_wait("timeout", timeout)
        said = make_options(timeout=limit)
        calls = [
            self._maker.make(name, [], said, is_dag=is_dag, store=False, warm=count)
            for _ in range(count)
        ]
        futures = [self._calls.start(call) for call in calls]
        try:
            return len({executor for future in futures for executor in future.result()})
        except InvocationTimedOutError:
            raise InvocationTimedOutError(
                f"{name!r} was not loaded on {count} executor(s) within {limit:g} seconds"
            ) from None

    # runs

    def future(self, obj_id: str) -> CloudburstFuture:
        """A future of a run that was called anywhere. Nothing is asked until it is used.

        Args:
            obj_id: the ``obj_id`` of the future that the call gave.

        Raises:
            InvalidName: that is no run's id.
        """
        return self._calls.join(check_key(obj_id))

    def exec_func(self, name: str, args: Sequence[Any] = ()) -> str:
        """Call a function and return the key under which its result will be stored.

        Args:
            name: the function.
            args: its positional arguments.

        Raises:
            UsageError: the name is no string, or ``args`` no list.
            UnknownFunction: there is no such function. It takes a round trip to find out, because
                a key says nothing of what became of the call.
            SerializationError: an argument cannot be pickled.
        """
        if isinstance(args, str | bytes) or not isinstance(args, Sequence):
            raise UsageError(f"args is a list of arguments, not {args!r:.80}")
        self._check_function(name)
        future: CloudburstFuture = self.call_function(name, tuple(args), {}, CallOptions())
        return future.obj_id

    def call_function(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """Call a registered function; what a `CloudburstFunction` does when it is called.

        Args:
            name: the function.
            args: its positional arguments.
            kwargs: its keyword arguments.
            options: how it is called.

        Returns:
            A `CloudburstFuture`; the value itself with ``direct_response``.

        Raises:
            UsageError: there are too many arguments, or a keyword that cannot be sent.
            Exception: as `call_dag`.
        """
        arguments = arguments_of_call(name, args, kwargs)
        stored = not options.direct_response
        call = self._maker.make(name, arguments, options.run, is_dag=False, store=stored)
        return self._outcome(self._calls.start(call), name, options)

    def status(self) -> ClusterStatus:
        """How the cluster is doing: executors and how busy they are, runs running, runs waiting.

        Raises:
            SchedulerUnavailable: the scheduler does not answer.
        """
        return self._requests.ask(GetStatus, ClusterStatus)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all calls that were made are safe: recorded in the KVS, or ended.

        Args:
            timeout: seconds; by default those that the cluster may take to answer.

        Raises:
            SchedulerUnavailable: some are not by then.
            UsageError: the timeout is no number.
        """
        self._calls.flush(self.timeout if timeout is None else check_wait("timeout", timeout))

    def close(self) -> None:
        """Close the connection, and the local cluster it started. Closing twice is harmless.

        Waits until all calls are safe, as `flush`, unless they end with the cluster anyway.
        """
        if self._cluster is None or not self._cluster.owned:
            self._flush_at_the_end()
        self._link.close()
        self._calls.fail_all(ClusterError("the connection was closed before the run's end"))
        if self._store is not None:
            self._store.close()
        self._caches.close()
        if self._cluster is not None:
            self._cluster.close()

    def _flush_at_the_end(self) -> None:
        try:
            self._calls.flush(self.timeout)
        except ClusterError as error:
            if not self._link.is_closed:
                warnings.warn(f"the connection is closed, but {error}", stacklevel=3)

    def _outcome(self, future: CloudburstFuture, target: str, options: CallOptions) -> Any:
        if not options.direct_response:
            return future
        if options.run.timeout >= 0:
            return future.result()  # it is the cluster that ends the run, and says so
        # A reference that does not appear is reported when the time for it is over.
        try:
            return future.result(self.timeout + REPORTING)
        except RunTimeoutError:
            raise RunTimeoutError(
                f"{target!r} gave no direct response within {self.timeout:g} seconds; give it more "
                "with timeout=, or call it without direct_response"
            ) from None

    def _receive(self, message: Message) -> None:
        if not self._calls.receive(message):
            self._requests.receive(message)

    def _leave(self, name: str, pieces: Sequence[Buffer]) -> None:
        self._caches.leave(name, pieces, self.kvs_url)

    def _kvs(self) -> KeyValueStore:
        self._link.check()
        if self._store is None:
            from cloudburst.kvs.opening import open_store  # 0.1 s that a mere import is spared

            self._store = open_store(self.kvs_url, timeout=self.timeout)
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

    def __reduce__(self) -> Any:
        raise NotAValue(
            "a connection",
            "Inside a function, the library argument reads and writes objects; what is to be "
            "called after it belongs in a DAG.",
        )

    def __repr__(self) -> str:
        return f"<CloudburstConnection to {self.address}>"
