"""Interrupting user code: a signal makes the main thread look at its messages in between.

The host sends the signal when the scheduler has something to say to an executor that is busy. It
costs nothing while nobody does. Python runs signal handlers on the main thread, between two
instructions of the user's code, and also within `time.sleep` or a lock that it waits for; only
native code that never returns is out of reach, and that is killed in the end.

The code may be anywhere when it is interrupted, and hold any lock. So what is done in between
takes no lock that user code may hold, does not log, and uses nothing that user code is just using:
where it uses the executor's sockets, the door is shut.
"""

from __future__ import annotations

import _thread
import logging
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from types import FrameType

from cloudburst.core.messages import RunState
from cloudburst.errors import InvocationCancelledError, InvocationTimedOutError, RunError

KNOCK = signal.SIGURG
"""By default it is ignored, so that it hurts no process that does not listen."""

SOON = 0.001
LONGEST_PAUSE = 0.05
"""Seconds between a knock that was of no use and the next: the pause doubles."""

UNHEARD = 25
"""Knocks repeated in one piece of code because there was no message yet."""

_LOGGING = logging.Logger.info.__code__.co_filename


class Doorbell:
    """The door between user code and messages; to be made on the main thread.

    Args:
        look: takes in urgent messages; calls `ring` if the code that runs is to end. Returns
            whether there were any that are knocked for.
    """

    def __init__(self, look: Callable[[], bool]) -> None:
        self._look = look
        self._thread = threading.get_ident()
        self._open = False
        self._knocked = False
        self._error: RunError | None = None
        self._raised = False
        self._pause = SOON
        self._unheard = 0

    @property
    def is_ours(self) -> bool:
        """Whether the calling thread is the one that is interrupted, and may use the sockets."""
        return threading.get_ident() == self._thread

    @property
    def is_rung(self) -> bool:
        """Whether the code that runs is about to be interrupted."""
        return self._error is not None

    @property
    def has_interrupted(self) -> bool:
        """Whether the code that runs, or was the last to run, was interrupted."""
        return self._raised

    def listen(self) -> None:
        """Answer the signal from now on."""
        signal.signal(KNOCK, self._knock)

    def knock(self) -> None:
        """Have the main thread look at its messages; for other threads."""
        signal.pthread_kill(self._thread, KNOCK)

    def open(self) -> None:
        """User code begins: from now on it may be interrupted, once.

        Raises:
            InvocationCancelledError, InvocationTimedOutError: already now.
        """
        self._error, self._raised = None, False
        self._pause, self._unheard = SOON, 0
        self._open = True
        self._answer()

    def shut(self) -> None:
        """User code has ended."""
        self._open = False

    def ring(self, run_id: str, state: str) -> None:
        """The code that runs is to end, because its run is to end in that state."""
        # Whoever catches the error is not disturbed again: it has its grace period.
        if not self._raised:
            self._error = _error(run_id, state)

    def raise_if_rung(self) -> None:
        """Raise what `ring` has asked for, once.

        Raises:
            InvocationCancelledError, InvocationTimedOutError: the code is to end.
        """
        error, self._error = self._error, None
        if error is not None:
            self._raised = True
            raise error

    def shut_meanwhile(self) -> AbstractContextManager[None]:
        """What user code calls here must not be interrupted half-way."""
        return _ShutMeanwhile(self)

    def shut_if_open(self) -> bool:
        """Shut it, if this thread is the one to do so. Returns whether it was open."""
        if not (self._open and self.is_ours):
            return False
        self._open = False
        return True

    def reopen(self) -> None:
        """User code goes on.

        Raises:
            InvocationCancelledError, InvocationTimedOutError: or rather not.
        """
        self._open = True
        self._answer()

    def _answer(self) -> None:
        """Act on a knock, if there was one."""
        if self._knocked:
            self._hear()
            self.raise_if_rung()

    def _hear(self) -> bool:
        """Look until there was no knock meanwhile. Returns whether there was a reason."""
        heard = False
        while self._knocked:
            self._open = self._knocked = False
            try:
                heard |= self._look()
            finally:
                self._open = True
        return heard

    def _knock(self, _number: int, frame: FrameType | None) -> None:
        self._knocked = True
        if not self._open:
            return
        heard = self._hear()
        if self.is_rung and not _is_swallowed(frame):
            self.raise_if_rung()
        elif self.is_rung:
            self._knock_again()
        elif not heard and self._unheard < UNHEARD:
            # A large message may be before the one that the knock is for.
            self._unheard += 1
            self._knock_again()

    def _knock_again(self) -> None:
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        # Not by `threading`, whose locks user code may hold just now.
        with suppress(RuntimeError):
            _thread.start_new_thread(_knock_later, (self._thread, pause))


class _ShutMeanwhile(AbstractContextManager[None]):
    # A generator would do the same for ten times as much, several times for each message.
    __slots__ = ("_bell", "_was_open")

    def __init__(self, bell: Doorbell) -> None:
        self._bell = bell

    def __enter__(self) -> None:
        self._was_open = self._bell.shut_if_open()

    def __exit__(self, *_: object) -> None:
        if self._was_open:
            self._bell.reopen()


def _knock_later(thread: int, seconds: float) -> None:
    time.sleep(seconds)
    signal.pthread_kill(thread, KNOCK)


def _is_swallowed(frame: FrameType | None) -> bool:
    """Whether an exception raised there would be printed and forgotten."""
    while frame is not None:
        if frame.f_code.co_name == "__del__" or frame.f_code.co_filename == _LOGGING:
            return True
        frame = frame.f_back
    return False


def _error(run_id: str, state: str) -> RunError:
    match state:
        case RunState.TIMED_OUT:
            return InvocationTimedOutError(f"run {run_id} has reached its time limit")
        case RunState.CANCELLED:
            return InvocationCancelledError(f"run {run_id} was cancelled")
        case _:
            return InvocationCancelledError(
                f"run {run_id} goes on, or has ended, without this step"
            )
