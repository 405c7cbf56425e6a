"""Messages on their way out: those that follow each other quickly leave together.

The first one leaves at once; so does everything before the code that sends it waits, looks into the
store, calls, or ends. What comes within a moment of another is kept for at most `SOON`, because one
message of a hundred values costs hardly more than one of a single value.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from cloudburst.errors import CloudburstError
from cloudburst.executor.doorbell import Doorbell

QUICK = 50e-6
"""Seconds between two messages that make them a burst."""

SOON = 500e-6
"""Seconds for which a message of a burst may wait for the next."""

MOST = 256
"""Messages that leave together."""

LARGE = 2048
"""Bytes of a message from which on it leaves alone."""

Carry: TypeAlias = Callable[[str, str, list[bytes]], None]
"""Takes pickled values from a sender (second) to a recipient (first)."""


class Outgoing:
    """The messages that the running step has sent, and that have not left.

    Args:
        carry: takes messages to where they belong.
        doorbell: interrupts the main thread, which then calls `flush`.
    """

    def __init__(self, carry: Carry, doorbell: Doorbell) -> None:
        self._carry = carry
        self._doorbell = doorbell
        self._alarm = _Alarm(doorbell.knock)
        self._recipient = ""
        self._sender = ""
        # Never replaced: an interruption may come between any two steps here.
        self._values: deque[bytes] = deque()
        self._last = 0.0

    def add(self, recipient: str, sender: str, value: bytes) -> None:
        """Send a pickled value, now or in a moment.

        Raises:
            KVSUnavailable: those before could not be sent.
        """
        values = self._values
        if values and recipient != self._recipient:
            self.flush()
        if values or self._is_burst():
            self._recipient, self._sender = recipient, sender
            values.append(value)
            if len(values) == 1:
                self._alarm.set()
            elif len(values) >= MOST:
                self.flush()
        else:
            self._carry(recipient, sender, [value])

    def flush(self) -> None:
        """Send what has not left.

        Raises:
            KVSUnavailable: its recipient does not run, and the store does not answer.
        """
        values = self._values
        if values:
            self._last = time.perf_counter()
            with self._doorbell.shut_meanwhile():  # or an interruption would take some of them
                taken = [values.popleft() for _ in range(len(values))]
            if taken:
                self._carry_or_keep(taken)

    def _carry_or_keep(self, taken: list[bytes]) -> None:
        try:
            self._carry(self._recipient, self._sender, taken)
        except CloudburstError:
            self._values.extendleft(reversed(taken))
            raise

    def clear(self) -> None:
        """Forget everything: it belongs to a step that is over."""
        self._values.clear()

    def _is_burst(self) -> bool:
        now = time.perf_counter()
        last, self._last = self._last, now
        return now - last < QUICK


class _Alarm:
    """Knocks a moment after it was set. Its thread is there from the first time on."""

    def __init__(self, knock: Callable[[], None]) -> None:
        self._knock = knock
        self._is_set = threading.Event()
        self._thread: threading.Thread | None = None

    def set(self) -> None:
        """Knock in a moment."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="cloudburst-post", daemon=True)
            self._thread.start()
        self._is_set.set()

    def _run(self) -> None:
        while True:
            self._is_set.wait()
            self._is_set.clear()
            time.sleep(SOON)
            self._knock()
