"""The calls of a connection that have not ended: what was sent, and who waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import InvalidStateError
from dataclasses import dataclass

from cloudburst.client.future import Callback, CloudburstFuture
from cloudburst.client.link import Link
from cloudburst.client.listener import Listener, fail
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

LOST_AFTER = 3
"""How often in a row the scheduler may not know a direct call before that is sent again: its
result may be long on its way, and is nowhere but there."""

_ENDED = (RunState.SUCCEEDED, RunState.FAILED)


@dataclass(slots=True)
class _Entry:
    """A future, and what to do if its result does not come. Times are monotonic seconds.

    Attributes:
        call: to be sent again should the scheduler not know of it; None once it is accepted.
        foreign: whether the run was called elsewhere, so that nothing is pushed here.
        ask_at: when to find out how the run stands.
        asked_at: when the scheduler was first asked without an answer; 0 if it answers.
        state: its last answer.
        unknown: how often in a row it did not know the run.
    """

    future: CloudburstFuture
    call: Call | None
    foreign: bool
    ask_at: float
    asked_at: float = 0.0
    state: str | None = None
    unknown: int = 0

    @property
    def run_id(self) -> str:
        """The id under which the run goes now."""
        return self.call.run_id if self.call else self.future.obj_id


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
        self._listener = Listener(self.wait_for, link.wake)

    def start(self, call: Call) -> CloudburstFuture:
        """Send a call and return its future at once."""
        future = CloudburstFuture(call.run_id, self)
        ask_at = time.monotonic() + ASK_EVERY
        self._entries[call.run_id] = _Entry(future, call, foreign=False, ask_at=ask_at)
        self._link.send(call)
        if len(self._entries) % 64 == 0:
            self._link.look()  # whoever calls without waiting must not pile up answers
        return future

    def join(self, run_id: str) -> CloudburstFuture:
        """The future of a run that was called elsewhere."""
        entry = self._entries.get(run_id)
        if entry is None:
            entry = self._entries.setdefault(run_id, _foreign(CloudburstFuture(run_id, self)))
        return entry.future

    def receive(self, message: Message) -> bool:
        """Take in a message about a run. Returns whether it was one."""
        match message:
            case Result(run_id=run_id, frames=frames):
                entry = self._entries.pop(run_id, None)
                if entry is not None:
                    _settle(entry.future, frames)
            case Accepted(run_ids=run_ids):
                for run_id in run_ids:
                    entry = self._entries.get(run_id)
                    if entry is not None:
                        entry.call = None
            case Rejected(run_id=run_id, error=error, text=text):
                entry = self._entries.pop(run_id, None)
                if entry is not None:
                    fail(entry.future, rebuild(error, text))
            case RunStatus(run_id=run_id, state=state):
                entry = self._entries.get(run_id)
                if entry is not None:
                    entry.state, entry.asked_at = state, 0.0
            case _:
                return False
        return True

    def wait_for(
        self,
        future: CloudburstFuture,
        deadline: float | None,
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        """See `Runs.wait_for`.

        The result is pushed. If it does not come within `ASK_EVERY`, or was called elsewhere,
        the scheduler is asked how the run stands, and the KVS for the result.

        Args:
            future: which.
            deadline: when to return at the latest (monotonic seconds).
            enough: a further reason to return.

        Raises:
            SchedulerUnavailable: the scheduler does not answer.
            RunError: nobody knows the run.
        """
        entry = self._entries.get(future.obj_id)
        if entry is None or entry.future is not future:
            entry = self._entries[future.obj_id] = _foreign(future)

        def has_news() -> bool:
            return future.is_settled() or entry.state in _ENDED or enough()

        while not (future.is_settled() or enough()):
            until = entry.ask_at if deadline is None else min(entry.ask_at, deadline)
            if self._link.wait(has_news, until) and entry.state not in _ENDED:
                continue
            now = time.monotonic()
            if entry.state in _ENDED or now >= entry.ask_at:
                self._ask(entry, deadline)
            elif deadline is not None and now >= deadline:
                return
        if future.is_settled():
            # Another thread may have received the result before this one made an entry.
            self._entries.pop(future.obj_id, None)

    def look(self, future: CloudburstFuture) -> None:
        """See `Runs.look`."""
        self._link.look()
        entry = self._entries.get(future.obj_id)
        if entry is None or future.is_settled():
            return
        if entry.foreign:
            self._read(entry)
        elif time.monotonic() >= entry.ask_at:
            entry.ask_at = time.monotonic() + ASK_EVERY
            self._read(entry)

    def listen(self, future: CloudburstFuture, callback: Callback | None) -> None:
        """See `Runs.listen`."""
        self._listener.add(future, callback)

    def fail_all(self, error: CloudburstError) -> None:
        """The connection is closed: nobody will tell these futures anything any more."""
        while self._entries:
            _, entry = self._entries.popitem()
            fail(entry.future, error)

    def _ask(self, entry: _Entry, deadline: float | None) -> None:
        """Find out how a silent run stands, and act upon it."""
        entry.ask_at = time.monotonic() + ASK_EVERY
        if self._read(entry) or not self._is_answered(entry, deadline):
            return
        if entry.future.is_settled() or entry.state in (RunState.PENDING, RunState.RUNNING):
            entry.unknown = 0
            return
        # It has ended, or the scheduler never heard of it; a result is in the KVS by now.
        if self._read(entry):
            return
        if entry.call is not None:
            entry.unknown += 1
            self._send_again(entry, entry.call)
            return
        self._entries.pop(entry.future.obj_id, None)
        raise RunError(
            f"nothing is known of run {entry.future.obj_id}: it was never called on this cluster, "
            "or its result has expired"
        )

    def _is_answered(self, entry: _Entry, deadline: float | None) -> bool:
        """Ask the scheduler. Returns whether it answered, or the result came, by the deadline."""
        entry.state = None
        entry.asked_at = entry.asked_at or time.monotonic()
        self._link.send(Watch(entry.run_id))
        limit = entry.asked_at + self._timeout
        until = limit if deadline is None else min(limit, deadline)
        if self._link.wait(lambda: entry.future.is_settled() or entry.state is not None, until):
            return True
        if time.monotonic() < limit:
            return False
        entry.asked_at = 0.0
        raise SchedulerUnavailable(
            f"the scheduler has not answered for {self._timeout:g} seconds; run "
            f"{entry.future.obj_id} may have gone on: ask for it again later"
        )

    def _send_again(self, entry: _Entry, call: Call) -> None:
        if not call.store:
            if entry.unknown % LOST_AFTER:
                return
            # Under the old id executors would take it for an echo of what has ended there.
            call = entry.call = call._replace(run_id=f"{call.run_id}.again")
            self._entries[call.run_id] = entry
        self._link.send(call)

    def _read(self, entry: _Entry) -> bool:
        if entry.call is not None and not entry.call.store:
            return False
        frames = self._stored(entry.future.obj_id)
        if frames is None:
            return False
        self._entries.pop(entry.future.obj_id, None)
        _settle(entry.future, frames)
        self._link.wake()
        return True


def _foreign(future: CloudburstFuture) -> _Entry:
    return _Entry(future, None, foreign=True, ask_at=0.0)


def _settle(future: CloudburstFuture, frames: Frames) -> None:
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
