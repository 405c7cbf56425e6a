"""Callbacks of futures, and futures that nobody waits for: a thread that waits for them."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, TypeAlias

from cloudburst.calls.future import Callback, CloudburstFuture
from cloudburst.core.messages import Frames
from cloudburst.errors import CloudburstError, RunError
from cloudburst.serialization import failure_in, unpack

ROUND = 1.0
"""Seconds for which one of the futures is waited for, before it is the next one's turn to have
the scheduler asked for it."""

Wait: TypeAlias = Callable[[CloudburstFuture, float, Callable[[], bool]], None]


class Listener:
    """Runs callbacks on a thread of its own, which is there while there are futures to wait for.

    Not where the result is taken in: that is any thread that waits for anything, in the middle
    of its turn, and a callback may use the connection as it likes.

    Args:
        wait: waits for a future, until a deadline or until the given condition holds.
        wake: has whoever waits look again at what it waits for.
    """

    def __init__(self, wait: Wait, wake: Callable[[], None]) -> None:
        self._wait = wait
        self._wake = wake
        self._lock = threading.Lock()
        self._tokens = itertools.count()
        self._pending: dict[int, CloudburstFuture] = {}
        self._due: deque[tuple[int, Callback | None]] = deque()
        self._thread: threading.Thread | None = None

    def add(self, future: CloudburstFuture, callback: Callback | None) -> None:
        """See to it that the future becomes done; then call the callback, if there is one."""
        token = next(self._tokens)
        with self._lock:
            # Never a future's own lock inside of this one: `concurrent.futures.wait` comes here
            # with the locks of all its futures.
            self._pending[token] = future
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="cloudburst-listener", daemon=True
                )
                self._thread.start()
        Future.add_done_callback(future, lambda _: self._due.append((token, callback)))
        if self._due:
            self._wake()  # it was done by now, and the thread may wait for another one

    def _run(self) -> None:
        while (future := self._next()) is not None:
            try:
                self._wait(future, time.monotonic() + ROUND, lambda: bool(self._due))
            except CloudburstError as error:
                self._give_up(future, error)
            while self._due:
                self._call(*self._due.popleft())

    def _next(self) -> CloudburstFuture | None:
        with self._lock:
            if not self._pending:
                self._thread = None
                return None
            token = next(iter(self._pending))
            future = self._pending[token] = self._pending.pop(token)  # the last one from now on
            return future

    def _call(self, token: int, callback: Callback | None) -> None:
        with self._lock:
            future = self._pending.pop(token)
        if callback is not None:
            # It is done, so this calls at once, and logs what is raised as is usual.
            Future.add_done_callback(future, callback)

    def _give_up(self, future: CloudburstFuture, error: CloudburstError) -> None:
        futures: list[Future[Any]] = [future]
        if not isinstance(error, RunError):  # it is the cluster's: the others fare no better
            with self._lock:
                futures += self._pending.values()
        for one in dict.fromkeys(futures):
            fail(one, error)


def fail(future: Future[Any], error: BaseException) -> None:
    """Settle a future with an exception, unless it is settled."""
    try:
        future.set_exception(error)
    except InvalidStateError:
        return


def settle(future: CloudburstFuture, frames: Frames) -> None:
    """Settle a future with the result of its run, unless it is settled."""
    if future.is_settled():
        return  # the call was sent again, and the first answer came after all
    try:
        value = unpack(frames)
    except CloudburstError as error:
        fail(future, error)
        return
    failure = failure_in(value)
    if failure is not None:
        fail(future, failure.exception())
        return
    try:
        future.set_result(value)
    except InvalidStateError:
        return  # another thread has read it from the KVS, or received it, at the same time
