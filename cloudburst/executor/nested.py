"""Calls that running functions make: the way to the scheduler, and what a step leaves behind."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cloudburst.calls.arguments import arguments_of_call
from cloudburst.calls.chain import ChainLink, Then, make_calls, make_chain, start_chain
from cloudburst.calls.future import CloudburstFuture
from cloudburst.calls.link import CallLink
from cloudburst.calls.making import CallMaker
from cloudburst.calls.open_calls import Calls
from cloudburst.core.ids import check_key, check_name, new_id, run_ids
from cloudburst.core.messages import Call, Frames, Message
from cloudburst.core.options import RunOptions
from cloudburst.errors import CallerEnded
from cloudburst.executor.doorbell import Doorbell
from cloudburst.executor.waiting import Waiting
from cloudburst.kvs.base import KeyValueStore
from cloudburst.kvs.objects import delete_run, result_of

PATIENCE = 10.0
"""Seconds without any answer after which the scheduler is given up, and that references of a call
may take to appear."""

SLICE = 0.05
"""Seconds after which the main thread looks whether another one has what it waits for."""


class NestedLink(CallLink):
    """The executor's sockets, as those see it who wait for the ends of calls.

    Messages are put aside when they come, perhaps in the middle of user code that holds a lock,
    and taken in by whoever waits.

    Args:
        address: the executor's own.
        send: sends to the scheduler; only for the main thread.
        waiting: how user code waits.
        doorbell: kept shut while the sockets are used.

    Attributes:
        receive: called with each message, by whoever waits.
        listening: whether anybody does.
    """

    def __init__(
        self, address: str, send: Callable[[Message], None], waiting: Waiting, doorbell: Doorbell
    ) -> None:
        self.receive: Callable[[Message], object] = lambda _: None
        self.listening = False
        self._address = address
        self._send = send
        self._waiting = waiting
        self._doorbell = doorbell
        self._came: deque[Message] = deque()
        self._outbox: deque[Message] = deque()

    @property
    def reply_to(self) -> str:
        """See `CallLink.reply_to`."""
        return self._address

    def put(self, message: Message) -> None:
        """A message has come; of interest only while a step waits for its calls."""
        if self.listening:
            self._came.append(message)

    def flush(self) -> None:
        """Send what other threads have left; only for the main thread, with the door shut."""
        while self._outbox:
            self._send(self._outbox.popleft())

    def send(self, message: Message) -> None:
        """See `CallLink.send`."""
        self._outbox.append(message)
        if self._doorbell.is_ours:
            with self._doorbell.shut_meanwhile():
                self.flush()
        else:
            self._doorbell.knock()

    def wait(self, ready: Callable[[], bool], deadline: float | None) -> bool:
        """See `CallLink.wait`."""
        self._take_in()
        with self._waiting.until_done():
            while not ready():
                left = SLICE if deadline is None else deadline - time.monotonic()
                self._waiting.wait(max(0.0, min(left, SLICE)))
                self._take_in()
                if left <= 0:
                    break
        return ready()

    def look(self) -> None:
        """See `CallLink.look`."""
        self._waiting.look()
        self._take_in()

    def wake(self) -> None:
        """See `CallLink.wake`: nobody waits for longer than a moment."""

    def _take_in(self) -> None:
        while self._came:
            self.receive(self._came.popleft())


class NestedCalls:
    """The calls of the step that runs.

    Args:
        link: the way to the scheduler.
        store: holds results and large arguments.

    Attributes:
        abandoned: whether calls of the last step were cancelled because its run goes on, or has
            ended, without it.
    """

    def __init__(self, link: NestedLink, store: KeyValueStore) -> None:
        self._link = link
        self._store = store
        self._maker = CallMaker(link, run_ids(new_id()), lambda: store, PATIENCE)
        self._calls = Calls(link, self._stored, self._drop, PATIENCE)
        self._futures: list[CloudburstFuture] = []
        self.abandoned = False
        link.receive = self._calls.receive

    def call(
        self, parent: str, name: str, args: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> CloudburstFuture:
        """Call a function; see `UserLibrary.call`."""
        arguments = arguments_of_call(check_name(name, "function"), args, keywords)
        return self._start(self._maker.make(name, arguments, parent=parent, is_dag=False))

    def call_dag(  # noqa: PLR0917  the signature users know
        self,
        parent: str,
        name: str,
        arg_map: Mapping[str, Any],
        then: Then | Sequence[Then] | None,
        output_key: str | None,
        said: RunOptions,
    ) -> CloudburstFuture:
        """Call a DAG, or a chain of DAGs; see `UserLibrary.call_dag`."""
        links = [ChainLink(name, arg_map), *make_chain(then)]
        key = None if output_key is None else check_key(output_key)
        for link in links:
            check_name(link.dag, "DAG")
        return start_chain(make_calls(links, self._maker, said, key, parent), self._start)

    def finish(self) -> None:
        """The step is about to end: what it has called is safe by then, and goes on without it.

        Raises:
            SchedulerUnavailable: nobody knows whether it is.
        """
        if self._futures:
            self._calls.flush(PATIENCE)

    def forget(self) -> None:
        """The step has ended, one way or another."""
        self.abandoned = False
        if self._link.listening:
            self.abandoned = any(map(_is_abandoned, self._futures))
            self._futures.clear()
            self._link.listening = False
            self._calls.forget_all()

    def _start(self, call: Call) -> CloudburstFuture:
        self._link.listening = True
        future = self._calls.start(call)
        self._futures.append(future)
        return future

    def _stored(self, run_id: str) -> Frames | None:
        return result_of(self._store, run_id)

    def _drop(self, run_id: str) -> None:
        delete_run(self._store, run_id)


def _is_abandoned(future: CloudburstFuture) -> bool:
    return future.is_settled() and isinstance(future.exception(0), CallerEnded)
