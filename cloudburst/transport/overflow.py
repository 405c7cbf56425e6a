"""What the kernel does not take at once."""

from __future__ import annotations

import math
import os
import select
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Protocol

Left = deque[memoryview]
"""Pieces to be sent. The owner of the stream appends, and only `Overflow` takes away what was sent:
while there are any, the owner sends nothing itself, and so nothing is overtaken. When there are
none, all of it has been sent."""


class Leaking(Protocol):
    """A stream, as seen here."""

    fd: int
    left: Left

    def flush(self) -> None:
        """Send of what is left as much as the kernel takes at once."""

    def shut(self) -> None:
        """Close the descriptor."""


class Overflow:
    """A thread that sends on what streams have left; it exists only while there is some.

    A stream is closed here, too: never while the thread uses its descriptor, whose number could
    be another connection's then.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # When to give up; never, as long as the stream is in use.
        self._deadlines: dict[Leaking, float] = {}
        self._thread: threading.Thread | None = None
        self._ending: threading.Thread | None = None
        self._wake = -1

    def add(self, stream: Leaking) -> None:
        """See to it that what the stream has left is sent.

        Raises:
            OSError, RuntimeError: the process has no descriptor or thread left to do it with.
        """
        with self._lock:
            if stream not in self._deadlines or not self._runs():
                self._deadlines[stream] = math.inf
                self._stir()

    def close(self, stream: Leaking, linger: float) -> None:
        """Close a stream once nothing is left, at the latest after ``linger`` seconds."""
        with self._lock:
            if stream in self._deadlines and self._runs():
                self._deadlines[stream] = time.monotonic() + linger
                self._stir()
                return
        stream.shut()

    def finish(self, seconds: float) -> None:
        """Wait until all is sent, at most so long; then close what has something left."""
        thread = self._thread
        if thread is None or not self._runs():
            ending = self._ending  # it has nothing left to do, but may not be gone
            if ending is not None:
                ending.join()
            return
        thread.join(seconds)
        with self._lock:
            if self._runs():
                self._deadlines = dict.fromkeys(self._deadlines, 0.0)
                self._stir()
        thread.join()

    def _runs(self) -> bool:
        # An exception raised by a signal handler may have come between making and starting it.
        return self._thread is not None and self._thread.is_alive()

    def _stir(self) -> None:
        """Have the thread look at the deadlines; start it if there is none."""
        if self._runs():
            with suppress(BlockingIOError):  # it has been woken often enough
                os.write(self._wake, b"!")
            return
        wakeup, wake = os.pipe()
        os.set_blocking(wake, False)
        self._wake = wake
        self._thread = threading.Thread(
            target=self._run, args=(wakeup, wake), name="cloudburst-overflow", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:
            self._thread = None
            os.close(wakeup)
            os.close(wake)
            raise

    def _run(self, wakeup: int, wake: int) -> None:
        while streams := self._not_done():
            poll = select.poll()
            poll.register(wakeup, select.POLLIN)
            for fd in streams:
                poll.register(fd, select.POLLOUT)
            for fd, _ in poll.poll(self._milliseconds()):
                if fd == wakeup:
                    os.read(wakeup, 4096)
                else:
                    streams[fd].flush()
        os.close(wakeup)
        os.close(wake)

    def _not_done(self) -> dict[int, Leaking]:
        """By descriptor, the streams to go on with; if there are none, the thread must end."""
        with self._lock:
            if self._thread is not threading.current_thread():
                return {}  # another has been started in its place
            now = time.monotonic()
            for stream, deadline in list(self._deadlines.items()):
                if not stream.left or deadline <= now:
                    del self._deadlines[stream]
                    if deadline < math.inf:
                        stream.shut()
            if not self._deadlines:
                self._ending, self._thread = self._thread, None
            return {stream.fd: stream for stream in self._deadlines}

    def _milliseconds(self) -> int | None:
        with self._lock:
            first = min(self._deadlines.values())
        return None if first == math.inf else max(0, math.ceil((first - time.monotonic()) * 1000))
