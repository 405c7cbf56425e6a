"""How user code waits for what other functions do: messages, and the ends of calls of its own.

On the executor's main thread, waiting means to take in what comes; other threads have it knock and
look again. If it takes more than a moment the scheduler is told, which then counts this executor
as blocked and gives its work to others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, Self

from cloudburst.executor.doorbell import Doorbell

BLOCKED_AFTER = 0.002
"""Seconds of waiting of which the scheduler is not told: most answers are there by then."""

KNOCK_EVERY = 0.002
"""Seconds between two looks of another thread at what the main thread has taken in."""


class Tell(Protocol):
    """Says to the scheduler that user code waits, or goes on."""

    def __call__(self, *, waits: bool) -> None:
        """Say which of the two."""


class Waiting:
    """Lets user code wait.

    Args:
        pump: takes in what has come on the executor's sockets, waiting so many seconds for it;
            returns whether anything has.
        tell: tells the scheduler.
        doorbell: kept shut while the sockets are used.
    """

    def __init__(self, pump: Callable[[float], bool], tell: Tell, doorbell: Doorbell) -> None:
        self._pump = pump
        self._tell = tell
        self._doorbell = doorbell
        self._told = False

    def look(self) -> None:
        """Take in what has come, without waiting for more."""
        self.wait(0.0)

    def wait(self, seconds: float) -> None:
        """Wait for something to come, at most so long; to be called again and again.

        Raises:
            InvocationCancelledError, InvocationTimedOutError: the code is to end.
        """
        if not self._doorbell.is_ours:
            self._doorbell.knock()
            time.sleep(min(seconds, KNOCK_EVERY))
            return
        with self._doorbell.shut_meanwhile():
            if self._told or seconds <= BLOCKED_AFTER:
                self._pump(seconds)
            elif not self._pump(BLOCKED_AFTER):
                self._told = True
                self._tell(waits=True)
                self._pump(seconds - BLOCKED_AFTER)

    def until_done(self) -> Self:
        """Around all calls of `wait` for the same thing, a context."""
        return self

    def __enter__(self) -> None:
        """Nothing is known to be waited for yet."""

    def __exit__(self, *_: object) -> None:
        """The scheduler is told, if it knows that this executor waited."""
        if self._told and self._doorbell.is_ours:
            self._told = False
            with self._doorbell.shut_meanwhile():
                self._tell(waits=False)
