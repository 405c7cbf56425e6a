"""The result of a call that may still be running."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Callable, Generator
from typing import Any, Protocol, TypeAlias

from cloudburst.errors import RunTimeoutError
from cloudburst.serialization import CloudburstReference, collecting

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


class CloudburstFuture(concurrent.futures.Future[Any]):
    """The result of a run, now or later.

    The run goes on whether or not anybody waits. As an argument of another call a future is
    passed as a reference: the function receives the value.

    Attributes:
        obj_id: the run's id, and the key of its result: `CloudburstConnection.future` makes a
            future of it anywhere, `get_object` reads it.
    """

    def __init__(self, obj_id: str, runs: Runs) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()
        self.obj_id = obj_id
        self._runs = runs

    def result(self, timeout: float | None = None) -> Any:
        """The value the run returned.

        Args:
            timeout: seconds to wait; None waits as long as the cluster answers.

        Raises:
            RunTimeoutError: the run has not ended in time. It goes on.
            SchedulerUnavailable: the cluster has stopped answering.
            Exception: the user's own exception, with a `FunctionError` as its cause.
        """
        self._wait(timeout)
        return super().result(0)

    get = result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The exception that the run ended with, or None if it succeeded; waits as `result`."""
        self._wait(timeout)
        return super().exception(0)

    def done(self) -> bool:
        """Whether the run has ended, as far as this client has been told."""
        if not super().done():
            self._runs.look(self)
        return super().done()

    def add_done_callback(self, fn: Callback) -> None:
        """Call ``fn`` with this future when it is done.

        At once if it is; otherwise on a thread of the connection's own, where ``fn`` may use the
        connection.
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
        return asyncio.wrap_future(self).__await__()

    def is_settled(self) -> bool:
        """As `done`, but without taking in what may have come."""
        return super().done()

    def _wait(self, timeout: float | None) -> None:
        if super().done():
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        self._runs.wait_for(self, deadline)
        if not super().done():
            raise RunTimeoutError(
                f"run {self.obj_id} has not ended within {timeout:g} seconds; it goes on, and "
                "get() may be called again"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        if collecting():
            return CloudburstReference(self.obj_id).__reduce__()
        raise TypeError(
            f"a future cannot be pickled; pickle its obj_id {self.obj_id!r}, and make a future of "
            "it with connection.future(obj_id)"
        )

    def __repr__(self) -> str:
        return f"<CloudburstFuture {self.obj_id} {'done' if self.is_settled() else 'pending'}>"
