"""The result of a call that may still be running."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

from cloudburst.core.options import check_wait
from cloudburst.errors import InvocationCancelledError, RunTimeoutError
from cloudburst.serialization import CloudburstReference, NotAValue, collecting

Callback: TypeAlias = Callable[[concurrent.futures.Future[Any]], object]


class Runs(Protocol):
    """What a future asks of its connection."""

    def wait_for(self, future: CloudburstFuture, deadline: float | None) -> None:
        """Return when the future is done, or at the deadline (monotonic seconds)."""

    def listen(self, future: CloudburstFuture, callback: Callback | None) -> None:
        """See to it that the future becomes done though nobody waits for it.

        Args:
            future: which.
            callback: called with it then, or None.
        """

    def look(self, future: CloudburstFuture) -> None:
        """Take in what has come, without waiting."""

    def cancel(self, future: CloudburstFuture) -> bool:
        """Have the run ended. Returns whether it will be, or is, as cancelled."""

    def release(self, future: CloudburstFuture) -> None:
        """Delete the run's result and record from the KVS."""


class CloudburstFuture(concurrent.futures.Future[Any]):
    """The result of a run, now or later.

    The run goes on whether or not anybody waits. As an argument of another call a future is
    passed as a reference: the function receives the value.

    Attributes:
        obj_id: the run's id, and the key of its result: `CloudburstConnection.future` makes a
            future of it anywhere, `get_object` reads it.
        before: the run whose result this one gets, in a chain of DAGs; cancelled with it.
    """

    def __init__(self, obj_id: str, runs: Runs) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()
        self.obj_id = obj_id
        self.before: CloudburstFuture | None = None
        self._runs = runs

    def result(self, timeout: float | None = None) -> Any:
        """The value the run returned.

        Args:
            timeout: seconds to wait; None waits as long as the cluster answers.

        Raises:
            UsageError: the timeout is no number.
            RunTimeoutError: the run has not ended in time. It goes on.
            InvocationCancelledError, InvocationTimedOutError: it was ended before it was done.
            SchedulerUnavailable: the cluster has stopped answering.
            Exception: the user's own exception, with a `FunctionError` as its cause.
        """
        self._wait(timeout)
        return super().result(0)

    get = result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The exception that the run ended with, or None if it succeeded.

        Args:
            timeout: as for `result`.

        Raises:
            RunTimeoutError: the run has not ended in time. It goes on.
            SchedulerUnavailable: the cluster has stopped answering.
        """
        self._wait(timeout)
        return super().exception(0)

    def cancel(self) -> bool:
        """End the run, wherever it is: what waits never starts, what runs is interrupted.

        `InvocationCancelledError` is raised in its code; code that does not end within its grace
        period is killed with its process. `get` then raises the same error.

        Returns:
            Whether the run ends as cancelled. False if it has ended before, or is not known.

        Raises:
            SchedulerUnavailable: the cluster does not answer.
        """
        if self.done():
            return self.cancelled()
        ends = self._runs.cancel(self)
        if self.before is not None:
            self.before.cancel()
        return ends

    def cancelled(self) -> bool:
        """Whether the run has ended because it was cancelled, as far as this client was told."""
        error = super().exception(0) if super().done() else None
        return isinstance(error, InvocationCancelledError)

    def release(self) -> None:
        """Delete the result from the KVS, which would keep it for its time to live.

        This future keeps its value if it has it; others cannot get it any more.

        Raises:
            UsageError: the run has not ended.
            SchedulerUnavailable, KVSUnavailable: the cluster does not answer.
        """
        self._runs.release(self)

    def done(self) -> bool:
        """Whether the run has ended, as far as this client has been told."""
        if not super().done():
            self._runs.look(self)
        return super().done()

    def add_done_callback(self, fn: Callback) -> None:
        """Call ``fn`` with this future when it is done.

        At once if it is; otherwise on a thread of the connection's own, where ``fn`` may use the
        connection. What ``fn`` raises is logged.

        Args:
            fn: takes the future.
        """
        if super().done():
            super().add_done_callback(fn)
        else:
            self._runs.listen(self, fn)

    # `concurrent.futures.wait` and `as_completed` install themselves in this list and then wait
    # for somebody to settle the future. Unless somebody listens, nobody would.
    @property
    def _waiters(self) -> list[Any]:
        if not super().done():
            self._runs.listen(self, None)
        return self._installed

    @_waiters.setter
    def _waiters(self, waiters: list[Any]) -> None:
        self._installed = waiters

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait in an event loop. As with `result`, who stops waiting does not end the run."""
        if not super().done():
            loop, done = asyncio.get_running_loop(), asyncio.Event()

            def tell(_: object) -> None:
                with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                    loop.call_soon_threadsafe(done.set)

            self.add_done_callback(tell)
            yield from done.wait().__await__()
        return super().result(0)

    def is_settled(self) -> bool:
        """As `done`, but without taking in what may have come."""
        return super().done()

    def _wait(self, timeout: float | None) -> None:
        seconds = None if timeout is None else check_wait("timeout", timeout)
        if super().done():
            return
        self._runs.wait_for(self, None if seconds is None else time.monotonic() + seconds)
        if not super().done():
            raise RunTimeoutError(
                f"run {self.obj_id} has not ended within {seconds:g} seconds; it goes on, and "
                "get() may be called again"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        if collecting():
            return CloudburstReference(self.obj_id).__reduce__()
        raise NotAValue(
            "a future",
            "Pass it as an argument, and the function receives the value; elsewhere use its obj_id "
            f"{self.obj_id!r}, of which connection.future(obj_id) makes a future, and "
            "library.get(obj_id) the value.",
        )

    def __repr__(self) -> str:
        return f"<CloudburstFuture {self.obj_id} {'done' if self.is_settled() else 'pending'}>"
