"""A connection's sockets: the DEALER to the scheduler, and the inbox that results come to.

No thread of its own: whoever waits takes the sockets, and takes in what comes for all others
too. Who wants to send while another thread waits leaves the message and wakes it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable

from cloudburst.calls.link import CallLink
from cloudburst.core.messages import Frames, Message
from cloudburst.core.wire import MAX_FRAMES, MAX_HEADER, decode, encode
from cloudburst.errors import ClusterError, ProtocolError, UsageError
from cloudburst.transport import Context, Memory, Poller


class Link(CallLink):
    """Sockets shared by the threads of one connection.

    Args:
        address: the scheduler's.
        identity: by which the scheduler knows this connection.
        inbox: where to bind for results, or "" to have them relayed by the scheduler.
        receive: called with each message, by whichever thread took it in. It must not wait.

    Raises:
        UsageError: ``address`` is none, or ``inbox`` cannot be bound on this machine.
    """

    def __init__(
        self, address: str, identity: str, inbox: str, receive: Callable[[Message], None]
    ) -> None:
        self._receive = receive
        self._context = Context()
        try:
            self._inbox = self._context.bind(inbox) if inbox else None
        except OSError as error:
            self._context.abandon()
            hint = ". Is ip an address of this machine?" if inbox.startswith("tcp:") else ""
            raise UsageError(f"{error.strerror}{hint}") from error
        try:
            self._dealer = self._context.connect(address, identity)
        except OSError as error:
            self._context.abandon()
            raise UsageError(error.strerror) from error
        self._wakeup, self._wake = os.pipe()
        os.set_blocking(self._wakeup, False)
        os.set_blocking(self._wake, False)
        self._poller = Poller(self._dealer, self._wakeup)
        if self._inbox is not None:
            self._poller.add(self._inbox)
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._waiters = 0
        self._outbox: deque[Frames] = deque()
        self._pid = os.getpid()
        self._closing = False
        self._closed = False

    @property
    def reply_to(self) -> str:
        """See `CallLink.reply_to`."""
        return self._inbox.address if self._inbox else ""

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called, or this is another process than that which opened it."""
        return self._closing or self._pid != os.getpid()

    def send(self, message: Message) -> None:
        """See `CallLink.send`."""
        self.check()
        frames = encode(message)
        if len(frames[0]) > MAX_HEADER or len(frames) > MAX_FRAMES:
            raise UsageError(f"a {type(message).__name__} of {len(frames[0]):,} bytes is too large")
        self._outbox.append(frames)
        if not self._flush_if_free():
            self._interrupt()

    def wait(self, ready: Callable[[], bool], deadline: float | None) -> bool:
        """See `CallLink.wait`."""
        while not ready():
            self.check()
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                self.look()
                return ready()
            if self._turn.acquire(blocking=False):
                try:
                    self._pump(left)
                finally:
                    self._release()
            else:
                self._wait_for_other(ready, left)
        return True

    def look(self) -> None:
        """See `CallLink.look`."""
        self.check()
        if self._turn.acquire(blocking=False):
            try:
                self._pump(0.0)
            finally:
                self._release()

    def wake(self) -> None:
        """See `CallLink.wake`."""
        if self._turn.locked():
            self._interrupt()

    def abandon(self) -> None:
        """Before `close`, which then waits for nothing: nobody is there to take what is left."""
        self._context.abandon()

    def close(self) -> None:
        """Send what is left, and close; waiting threads get an error."""
        if self._pid != os.getpid():
            return
        with self._changed:
            if self._closing:
                return
            self._closing = True
        self._interrupt()
        with self._turn:
            self._flush()
            self._closed = True
            self._dealer.close()
            if self._inbox is not None:
                self._inbox.close()
        with self._changed:  # nobody is about to write to the pipe
            os.close(self._wakeup)
            os.close(self._wake)
            self._changed.notify_all()
        self._context.close()

    def check(self) -> None:
        """See whether the connection can be used here.

        Raises:
            ClusterError: it is closed, or belongs to the parent of this process.
        """
        if self._closing:
            raise _closed()
        if self._pid != os.getpid():
            raise ClusterError(
                "the connection was opened before this process was forked; open one of its own"
            )

    def _pump(self, timeout: float | None) -> None:
        self._flush()
        if self._wakeup in self._poller.wait(timeout):
            os.read(self._wakeup, 4096)
        self._flush()
        for frames in self._dealer.messages():
            self._take(frames)
        if self._inbox is not None:
            for _, frames in self._inbox.messages():
                self._take(frames)

    def _take(self, frames: Frames) -> None:
        try:
            message = decode(frames)
        except ProtocolError:
            return  # not from our cluster; whoever waits for an answer says so
        self._receive(message)

    def _flush_if_free(self) -> bool:
        """Send what is in the outbox, unless another thread has the sockets."""
        while self._outbox:
            if not self._turn.acquire(blocking=False):
                return False
            try:
                self._flush()
            finally:
                self._give_up_turn()
        return True

    def _flush(self) -> None:
        # Asked by the holder of the turn: only this answer cannot be outdated.
        if self._closed:
            raise _closed()
        while self._outbox:
            self._dealer.send(self._outbox.popleft(), Memory.OURS)

    def _release(self) -> None:
        self._give_up_turn()
        # A message left by another thread after the last flush, before the release.
        self._flush_if_free()

    def _give_up_turn(self) -> None:
        self._turn.release()
        if self._waiters:
            with self._changed:
                self._changed.notify_all()

    def _wait_for_other(self, ready: Callable[[], bool], left: float | None) -> None:
        with self._changed:
            self._waiters += 1
            try:
                # The holder releases before it notifies: if it is free now, take the turn.
                if self._turn.locked() and not ready():
                    self._changed.wait(left)
            finally:
                self._waiters -= 1

    def _interrupt(self) -> None:
        with self._changed:
            if self._closed:
                return
            try:
                os.write(self._wake, b"!")
            except BlockingIOError:
                return  # it has been woken often enough


def _closed() -> ClusterError:
    return ClusterError("the connection is closed")
