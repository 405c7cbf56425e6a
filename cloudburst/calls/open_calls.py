"""The calls of a process that have not ended: what was sent, and who waits for it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from cloudburst.calls.future import Callback, CloudburstFuture
from cloudburst.calls.link import CallLink
from cloudburst.calls.listener import Listener, fail, settle
from cloudburst.core.messages import (
    ENDED,
    Accepted,
    Call,
    Cancel,
    Frames,
    Message,
    Rejected,
    Result,
    RunState,
    RunStatus,
    Watch,
)
from cloudburst.errors import (
    CloudburstError,
    InvocationCancelledError,
    Overloaded,
    RunError,
    SchedulerUnavailable,
    UsageError,
    rebuild,
)

ASK_EVERY = 1.0
"""Seconds without a result after which the scheduler and the KVS are asked for it."""

LOST_AFTER = 3
"""How often in a row the scheduler may not know a direct call before that is sent again: its
result may be long on its way, and is nowhere but there."""

MAX_OPEN = 100_000
"""Calls that may be under way at a time."""

_GOING_ON = (RunState.PENDING, RunState.RUNNING, RunState.CANCELLING)
_CANCELLED = (RunState.CANCELLING, RunState.CANCELLED)


@dataclass(slots=True)
class _Entry:
    """A future, and what to do if its result does not come. Times are monotonic seconds.

    Attributes:
        call: to be sent again should the scheduler not know of it; None once it is accepted.
        foreign: whether the run was called elsewhere, so that nothing is pushed here.
        ask_at: when to find out how the run stands.
        send_at: when to send the call again, if it is not accepted by then.
        asked_at: when the scheduler was first asked without an answer; 0 if it answers.
        state: its last answer.
        unknown: how often in a row it did not know the run.
    """

    future: CloudburstFuture
    call: Call | None
    foreign: bool
    ask_at: float
    send_at: float = 0.0
    asked_at: float = 0.0
    state: str | None = None
    unknown: int = 0

    @property
    def run_id(self) -> str:
        """The id under which the run goes now."""
        return self.call.run_id if self.call else self.future.obj_id


class Calls:
    """The runs whose results a process waits for.

    Args:
        link: the way to the scheduler.
        stored: reads a run's result from the KVS; None if it is not there.
        drop: deletes it.
        timeout: seconds without any answer after which the scheduler is given up.
    """

    def __init__(
        self,
        link: CallLink,
        stored: Callable[[str], Frames | None],
        drop: Callable[[str], None],
        timeout: float,
    ) -> None:
        self._link = link
        self._stored = stored
        self._drop = drop
        self._timeout = timeout
        self._entries: dict[str, _Entry] = {}
        self._listener = Listener(self.wait_for, link.wake)

    def start(self, call: Call) -> CloudburstFuture:
        """Send a call and return its future at once.

        Raises:
            Overloaded: too many calls are under way.
            CloudburstError: it cannot be sent.
        """
        if len(self._entries) >= MAX_OPEN:
            self._link.look()
            if len(self._entries) >= MAX_OPEN:
                raise Overloaded(
                    f"{MAX_OPEN:,} calls of this connection are under way; wait for some of them"
                )
        future = CloudburstFuture(call.run_id, self)
        ask_at = _soon()
        self._entries[call.run_id] = _Entry(
            future, call, foreign=False, ask_at=ask_at, send_at=ask_at
        )
        try:
            self._link.send(call)
        except CloudburstError:
            self._entries.pop(call.run_id, None)
            raise
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
                    settle(entry.future, frames)
            case Accepted(run_ids=run_ids):
                for run_id in run_ids:
                    entry = self._entries.get(run_id)
                    if entry is not None:
                        entry.call, entry.unknown = None, 0
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
        entry = self._entry_of(future)

        def has_news() -> bool:
            return future.is_settled() or entry.state in ENDED or enough()

        while not (future.is_settled() or enough()):
            until = entry.ask_at if deadline is None else min(entry.ask_at, deadline)
            if self._link.wait(has_news, until) and entry.state not in ENDED:
                continue
            now = time.monotonic()
            if entry.state in ENDED or now >= entry.ask_at:
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
            entry.ask_at = _soon()
            self._read(entry)

    def cancel(self, future: CloudburstFuture) -> bool:
        """See `Runs.cancel`."""
        entry = self._entry_of(future)
        self._cancel_there(entry)
        call, unheard = entry.call, entry.state == RunState.UNKNOWN
        if unheard and call is not None and call.store and not self._read(entry):
            # Executors may have it of a scheduler that died before it was recorded. So it is not
            # enough to forget it: only the KVS can say which end was first.
            self._link.send(call)
            self._cancel_there(entry)
        cancelled = entry.state in _CANCELLED
        if cancelled and call is not None and not call.store:
            # Its result may be on the way here, and nobody else will ever know of it.
            self._entries.pop(future.obj_id, None)
            fail(future, InvocationCancelledError(f"run {future.obj_id} was cancelled"))
        return cancelled or future.cancelled()

    def release(self, future: CloudburstFuture) -> None:
        """See `Runs.release`."""
        if not future.done():
            entry = self._entry_of(future)
            self._tell(entry, Watch(entry.run_id), "was not released")
            if entry.state in _GOING_ON:
                raise UsageError(
                    f"run {future.obj_id} has not ended; wait for it, or cancel it first"
                )
        self._drop(future.obj_id)

    def _cancel_there(self, entry: _Entry) -> None:
        # That it goes on is the answer to an earlier question, which came late.
        unheard = "may have been cancelled, or not"
        self._tell(entry, Cancel(entry.run_id), unheard, (RunState.PENDING, RunState.RUNNING))

    def _tell(
        self,
        entry: _Entry,
        message: Cancel | Watch,
        otherwise: str,
        no_answer: Collection[str] = (),
    ) -> None:
        """Say something of a run, and wait until its end or state is known."""
        entry.state = None

        def is_known() -> bool:
            if entry.state in no_answer:
                entry.state = None
            return entry.future.is_settled() or entry.state is not None

        if not self._link.ask(message, is_known, self._timeout):
            raise SchedulerUnavailable(
                f"the scheduler has not answered for {self._timeout:g} seconds; run "
                f"{entry.future.obj_id} {otherwise}"
            )

    def flush(self, timeout: float) -> None:
        """Wait until every stored call is recorded in the KVS, or has ended.

        Raises:
            SchedulerUnavailable: some are not within so many seconds.
        """
        deadline = time.monotonic() + timeout
        while not self._link.wait(lambda: not any(self._unsafe()), min(deadline, _soon())):
            unsafe = list(self._unsafe())
            if time.monotonic() >= deadline:
                raise SchedulerUnavailable(
                    f"{len(unsafe)} calls were not accepted within {timeout:g} seconds: they may "
                    "run, or be lost"
                )
            self._send_unsafe()

    def _send_unsafe(self) -> None:
        """Send again what has not been accepted for a while, in the order of the calls.

        All of it, as one may refer to the result of another. What the scheduler has, it knows by
        its id.
        """
        now = time.monotonic()
        for entry in self._unsafe():
            if entry.call is not None and now >= entry.send_at:
                entry.send_at = now + ASK_EVERY
                self._link.send(entry.call)

    def _unsafe(self) -> Iterator[_Entry]:
        return (
            entry
            for entry in list(self._entries.values())
            if entry.call is not None and entry.call.store and not entry.future.is_settled()
        )

    def _entry_of(self, future: CloudburstFuture) -> _Entry:
        entry = self._entries.get(future.obj_id)
        if entry is None or entry.future is not future:
            entry = self._entries[future.obj_id] = _foreign(future)
        return entry

    def listen(self, future: CloudburstFuture, callback: Callback | None) -> None:
        """See `Runs.listen`."""
        self._listener.add(future, callback)

    def forget_all(self) -> None:
        """Nobody waits here any more; what is asked of a future later, the KVS has to say."""
        self._entries.clear()

    def fail_all(self, error: CloudburstError) -> None:
        """The connection is closed: nobody will tell these futures anything any more."""
        while self._entries:
            _, entry = self._entries.popitem()
            fail(entry.future, error)

    def _ask(self, entry: _Entry, deadline: float | None) -> None:
        """Find out how a silent run stands, and act upon it."""
        entry.ask_at = _soon()
        if self._read(entry):
            return
        self._send_unsafe()
        if not self._is_answered(entry, deadline):
            return
        if entry.future.is_settled() or entry.state in _GOING_ON:
            entry.unknown = 0
            return
        # It has ended, or the scheduler never heard of it; a result is in the KVS by now.
        if self._read(entry):
            return
        entry.unknown += 1
        if entry.call is not None:
            self._send_again(entry, entry.call)
            return
        if not entry.foreign and entry.unknown == 1:
            return  # the answer to a question from before the run was accepted
        self._entries.pop(entry.future.obj_id, None)
        raise RunError(
            f"nothing is known of run {entry.future.obj_id}: it was never called on this cluster, "
            "or its result has expired or was released"
        )

    def _is_answered(self, entry: _Entry, deadline: float | None) -> bool:
        """Ask the scheduler. Returns whether it answered, or the result came, by the deadline."""
        entry.state = None
        entry.asked_at = entry.asked_at or time.monotonic()
        self._link.send(Watch(entry.run_id))
        limit = entry.asked_at + self._timeout
        # Asked again after a while: a scheduler that dies takes the question with it.
        until = min(limit, entry.ask_at, math.inf if deadline is None else deadline)
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
        settle(entry.future, frames)
        self._link.wake()
        return True


def _soon() -> float:
    return time.monotonic() + ASK_EVERY


def _foreign(future: CloudburstFuture) -> _Entry:
    return _Entry(future, None, foreign=True, ask_at=0.0)
