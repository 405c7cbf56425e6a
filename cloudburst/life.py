"""The child's side of a process's life: when to end, and whom to tell that it is ready."""

from __future__ import annotations

import json
import os
import select
import selectors
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

FAREWELL = b"."
"""What a parent that lets go says before it closes the pipe; one that dies cannot."""

_ENDING = (signal.SIGTERM, signal.SIGINT)


class Life:
    """The child's side: whether this process should go on.

    It should not once its parent is gone or has let go of it, or SIGTERM or SIGINT came. To be
    made on the main thread, once in a process.

    Args:
        stdin: whether stdin is the parent's pipe; it is replaced by ``/dev/null``. A process
            started by hand has no such pipe and ends by a signal only.
        ready_fd: the pipe on which to say that this process is ready, or -1.

    Attributes:
        pipe: descriptor that ends with the parent; this process's children may share it.
        parted: whether the parent is gone or has let go, as of the last `ended`.
        signals: how many times SIGTERM or SIGINT came, as of the last `ended`.
    """

    def __init__(self, *, stdin: bool = False, ready_fd: int = -1) -> None:
        self.parted = False
        self.signals = 0
        self._let_go = False
        self._said = False
        self._ready_fd = ready_fd
        if ready_fd >= 0:
            os.set_inheritable(ready_fd, False)  # noqa: FBT003  (positional only)
        self._own_end = -1
        if stdin:
            self.pipe = _take_stdin()
        else:
            self.pipe, self._own_end = os.pipe()
        self._signals, self._wakeup = os.pipe()
        os.set_blocking(self._signals, False)
        os.set_blocking(self._wakeup, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.pipe, selectors.EVENT_READ)
        self._selector.register(self._signals, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        for number in _ENDING:
            signal.signal(number, noted)

    def fileno(self) -> int:
        """Readable when it is time to ask `ended`."""
        # An epoll or kqueue object: one descriptor that stands for both pipes.
        return self._selector.fileno()

    def ended(self) -> bool:
        """Whether this process should end itself now."""
        for key, _ in self._selector.select(0):
            came = os.read(key.fd, 4096)
            if key.fd == self.pipe:
                self._let_go |= FAREWELL in came
                self.parted = True
            else:
                self.signals += sum(number in _ENDING for number in came)
        return self.parted or self.signals > 0

    def orphaned(self) -> bool:
        """Whether this process ends because its parent died, and not because it was told to."""
        return self.ended() and not self._let_go and not self.signals

    def guard(self, grace: float, last: Callable[[], None]) -> None:
        """End the process by force if it does not notice that its parent is gone.

        Nobody else would: it may stand in a call that takes its time. Not for processes that
        fork, as this takes a thread.

        Args:
            grace: seconds the process has to end by itself.
            last: called before, on that thread.
        """
        threading.Thread(target=self._watch, args=(grace, last), daemon=True).start()

    def ready(self, payload: Any = "") -> None:
        """Tell the parent that this process does its work from now on.

        Args:
            payload: what the parent should know, as JSON can carry it; not None.
        """
        self._say({"ready": payload})

    def failed(self, text: str) -> bool:
        """Tell the parent why there is no getting ready.

        Returns:
            False if nobody listens, or no longer because this process was ready before.
        """
        return self._say({"error": text})

    def detach(self) -> int:
        """For a forked child: give up everything but the pipe. Returns its descriptor."""
        self.close(but_pipe=True)
        return self.pipe

    def close(self, *, but_pipe: bool = False) -> None:
        """Undo what the constructor did, except to stdin."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._selector.close()
        for fd in (self._signals, self._wakeup, self._ready_fd):
            if fd >= 0:
                os.close(fd)
        self._ready_fd = -1
        if not but_pipe:
            os.close(self.pipe)
            if self._own_end >= 0:
                os.close(self._own_end)

    def _watch(self, grace: float, last: Callable[[], None]) -> None:
        poll = select.poll()
        poll.register(self.pipe, 0)  # a hang-up is told in any case
        poll.poll()
        time.sleep(grace)
        try:
            last()
        finally:
            os._exit(1)

    def _say(self, message: dict[str, Any]) -> bool:
        if self._ready_fd < 0 or self._said:
            return False
        self._said = True
        try:
            os.write(self._ready_fd, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:
            return False
        return True


def noted(_number: int, _frame: FrameType | None) -> None:
    """A signal handler that only lets the signal arrive at the wakeup descriptor."""


def _take_stdin() -> int:
    pipe = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return pipe
