"""The calls of a connection that have not ended: what was sent, and who waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cloudburst.client.future import CloudburstFuture
from cloudburst.client.link import Link
from cloudburst.core.messages import (
    Accepted,
    Call,
    Frames,
    Message,
    Rejected,
    Result,
    RunState,
    RunStatus,
    Watch,
)
from cloudburst.errors import CloudburstError, RunError, SchedulerUnavailable, rebuild
from cloudburst.serialization import failure_in, unpack

ASK_EVERY = 1.0
"""Seconds without a result after which the scheduler and the KVS are asked for it."""

_ENDED = (RunState.SUCCEEDED, RunState.FAILED)


@dataclass(slots=True)
class _Entry:
    """A future, and the call to be sent again should the scheduler not know of it."""

    future: CloudburstFuture
    call: Call | None
    state: str | None = None
    read: bool = False


class Calls:
    """The runs whose results a connection waits for.

    Args:
        link: the way to the scheduler.
        stored: reads a run's result from the KVS; None if it is not there.
        timeout: seconds without any answer after which the scheduler is given up.
    """

    def __init__(self, link: Link, stored: Callable[[str], Frames | None], timeout: float) -> None:
        self._link = link
        self._stored = stored
        self._timeout = timeout
        self._entries: dict[str, _Entry] = {}
        self._listened: dict[str, CloudburstFuture] = {}
        self._listener: threading.Thread | None = None
        self._lock = threading.Lock()
        self.last_answer = time.monotonic()

    def start(self, call: Call) -> CloudburstFuture:
        """Send a call and return its future at once."""
        future = CloudburstFuture(call.run_id, self)
        self._entries[call.run_id] = _Entry(future, call)
        self._link.send(call)
        if len(self._entries) % 64 == 0:
            self._link.look()  # whoever calls without waiting must not pile up answers
        return future

    def join(self, run_id: str) -> CloudburstFuture:
        """The future of a run that was called elsewhere."""
        entry = self._entries.get(run_id)
        if entry is not None:
            return entry.future
        future = CloudburstFuture(run_id, self)
        self._entries[run_id] = _Entry(future, None)
        return future

    def receive(self, message: Message) -> bool:
        """Take in a message about a run. Returns whether it was one."""
        match message:
            case Result(run_id=run_id, frames=frames):
                entry = self._entries.pop(run_id, None)
                if entry is not None:
                    _settle(entry.future, frames)
            case Accepted(run_id=run_id):
                entry = self._entries.get(run_id)
                if entry is not None:
                    entry.call = None
            case Rejected(run_id=run_id, error=error, text=text):
                entry = self._entries.pop(run_id, None)
                if entry is not None:
                    entry.future.set_exception(rebuild(error, text))
            case RunStatus(run_id=run_id, state=state):
                entry = self._entries.get(run_id)
                if entry is not None:
                    entry.state = state
            case _:
                return False
        return True

    def wait_for(self, future: CloudburstFuture, deadline: float | None) -> None:
        """See `Runs.wait_for`.

        The result is pushed. If it does not come within `ASK_EVERY`, or was called elsewhere,
        the scheduler is asked how the run stands, and the KVS for the result.

        Raises:
            SchedulerUnavailable: the scheduler does not answer.
            RunError: nobody knows the run.
        """
        entry = self._entries.get(future.obj_id)
        ask_at = time.monotonic() + (ASK_EVERY if entry and entry.call else 0.0)
        while not future.is_settled():
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                return
            if now >= ask_at:
                self._ask(future, deadline)
                ask_at = time.monotonic() + ASK_EVERY
            until = ask_at if deadline is None else min(ask_at, deadline)
            self._link.wait(lambda: future.is_settled() or self._has_news(future), until)
            if self._has_news(future):
                ask_at = time.monotonic()

    def look(self, future: CloudburstFuture) -> None:
        """See `Runs.look`."""
        self._link.look()
        entry = self._entries.get(future.obj_id)
        if not future.is_settled() and entry is not None and entry.call is None:
            self._read(future)

    def listen(self, future: CloudburstFuture) -> None:
        """See `Runs.listen`."""
        with self._lock:
            self._listened[future.obj_id] = future
            if self._listener is None:
                self._listener = threading.Thread(
                    target=self._listen, name="cloudburst-listener", daemon=True
                )
                self._listener.start()

    def fail_all(self, error: CloudburstError) -> None:
        """The connection is closed: nobody will tell these futures anything any more."""
        while self._entries:
            _, entry = self._entries.popitem()
            if not entry.future.is_settled():
                entry.future.set_exception(error)

    def _listen(self) -> None:
        while True:
            with self._lock:
                waiting = [f for f in self._listened.values() if not f.is_settled()]
                self._listened = {future.obj_id: future for future in waiting}
                if not waiting:
                    self._listener = None
                    return
            try:
                self.wait_for(waiting[0], None)
            except CloudburstError as error:
                if not waiting[0].is_settled():
                    waiting[0].set_exception(error)

    def _has_news(self, future: CloudburstFuture) -> bool:
        entry = self._entries.get(future.obj_id)
        return entry is not None and entry.state in _ENDED

    def _ask(self, future: CloudburstFuture, deadline: float | None) -> None:
        """Find out how a silent run stands, and act upon it."""
        entry = self._entries.setdefault(future.obj_id, _Entry(future, None))
        if self._read(future):
            return
        entry.state = None
        self._link.send(Watch(future.obj_id))
        limit = time.monotonic() + self._timeout
        until = limit if deadline is None else min(limit, deadline)
        if not self._link.wait(lambda: future.is_settled() or entry.state is not None, until):
            if until == limit:
                raise SchedulerUnavailable(
                    f"the scheduler has not answered for {self._timeout:g} seconds; run "
                    f"{future.obj_id} may have gone on: ask for it again later"
                )
            return
        if future.is_settled() or entry.state in (RunState.PENDING, RunState.RUNNING):
            return
        # It has ended, or the scheduler never heard of it; a result is in the KVS by now.
        if self._read(future):
            return
        if entry.call is not None:
            self._link.send(entry.call)
            return
        self._entries.pop(future.obj_id, None)
        raise RunError(
            f"nothing is known of run {future.obj_id}: it was never called on this cluster, or "
            "its result has expired"
        )

    def _read(self, future: CloudburstFuture) -> bool:
        frames = self._stored(future.obj_id)
        if frames is None:
            return False
        self._entries.pop(future.obj_id, None)
        if not future.is_settled():
            _settle(future, frames)
        return True


def _settle(future: CloudburstFuture, frames: Frames) -> None:
    try:
        value = unpack(frames)
    except CloudburstError as error:
        future.set_exception(error)
        return
    failure = failure_in(value)
    if failure is None:
        future.set_result(value)
    else:
        future.set_exception(failure.exception())
