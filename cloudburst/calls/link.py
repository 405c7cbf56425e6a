"""The way to the scheduler, as those see it who wait for the ends of calls."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from cloudburst.core.messages import Message

SAY_AGAIN = 1.0
"""Seconds without an answer after which a question is sent again."""


class CallLink(ABC):
    """Sends messages to the scheduler, and lets threads wait for what they bring about."""

    @property
    @abstractmethod
    def reply_to(self) -> str:
        """Where executors reach this process; "" if they cannot."""

    @abstractmethod
    def send(self, message: Message) -> None:
        """Send to the scheduler, from any thread.

        Raises:
            ClusterError: the connection is closed, or belongs to the parent of this process.
            UsageError: the message is larger than what the scheduler takes.
        """

    @abstractmethod
    def wait(self, ready: Callable[[], bool], deadline: float | None) -> bool:
        """Take in messages until ``ready()``, or until the deadline. Returns ``ready()``.

        What has come by then is taken in even if the deadline is past.
        """

    @abstractmethod
    def look(self) -> None:
        """Take in what has come, without waiting; nothing if another thread does so anyway."""

    @abstractmethod
    def wake(self) -> None:
        """Have waiting threads ask again whether they are ready, after a change by another one."""

    def ask(self, message: Message, answered: Callable[[], bool], seconds: float) -> bool:
        """Send a message until it is ``answered()``, at most for so long. Returns whether it is.

        Again after a while: a scheduler that dies takes with it what it has not read.

        Raises:
            ClusterError, UsageError: as for `send`.
        """
        deadline = time.monotonic() + seconds
        while True:
            self.send(message)
            until = min(deadline, time.monotonic() + SAY_AGAIN)
            if self.wait(answered, until):
                return True
            if until == deadline:
                return False
