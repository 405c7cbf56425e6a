"""What an executor tells the scheduler of runs: at once, or several ends of short runs together."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from cloudburst.core.messages import Blocked, Finished, HandBack, Message, Standing, Yield

SHORT = 0.001
"""Seconds that finished results may wait for each other to be sent in one pipeline, and that the
scheduler may wait to hear of a short run's end: it counts on such runs to end soon anyway."""

MOST = 8
"""Ended runs of which the scheduler is told at once, whatever comes next."""

Told: TypeAlias = Finished | HandBack | Yield | Standing | Blocked


class Reports:
    """Messages about runs that have not been sent yet.

    Args:
        send: sends to the scheduler.
    """

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._waiting: list[Told] = []
        self._due = 0.0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, message: Told) -> None:
        """Tell at the next occasion."""
        self._waiting.append(message)

    def finished(self, message: Finished) -> None:
        """Tell later if it was quick: the executor's own work is nearer the next result."""
        now = time.perf_counter()
        if not self._waiting:
            self._due = now + SHORT
        self._waiting.append(message)
        took = sum([seconds for _, seconds in message.times])
        if len(self._waiting) >= MOST or took > SHORT or now >= self._due:
            self.flush()

    def flush(self) -> None:
        """Tell all."""
        for message in self._waiting:
            self._send(message)
        self._waiting.clear()
