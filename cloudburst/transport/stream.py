"""Messages over a connected Unix socket."""

from __future__ import annotations

import fcntl
import socket
import termios
from collections import deque
from contextlib import suppress
from socket import SocketType
from typing import NamedTuple

from cloudburst.core.messages import Buffer, Frames
from cloudburst.transport.base import COPY_BELOW, LINGER, Memory
from cloudburst.transport.descriptors import MOST, Descriptors
from cloudburst.transport.framing import Cutter, Given, Malformed, to_pieces, unsent
from cloudburst.transport.overflow import Left, Overflow
from cloudburst.transport.segments import SHARE_FROM, Segments

_BUFFER = 1 << 20
"""Bytes that the kernel is asked to hold for a connection, if it allows so much: what fits in
there leaves at once, and needs no thread."""

_READ = COPY_BELOW
_PIECES = 512
"""Pieces handed to the kernel at once; it takes at most 1,024."""
_FAIR = 32
"""Times the thread sends for one connection before it looks at the others."""

_SHARED = 256 << 20
"""Bytes of shared memory that may wait for a peer to read of them; one message always may."""

# A user's function may have made the signal deadly. MacOS has no such flag.
_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)


class Means(NamedTuple):
    """What the sockets of a process share.

    Attributes:
        overflow: sends what the kernel does not take at once.
        segments: where large frames go.
    """

    overflow: Overflow
    segments: Segments


class Lost(Exception):
    """The connection has ended, or its peer does not speak our language."""


class Stream:
    """One connection: frames out, frames in.

    What the kernel does not take at once is left to the `Overflow` thread, so that a sender never
    waits for a receiver who is busy; and what it does take is there for the receiver even if this
    process is killed.

    Whatever interrupts sending or reading, such as an exception raised by a signal handler, ends
    the connection, because nobody knows any more where in a message it stands.

    Attributes:
        fd: the descriptor.
        peer: the identity of the other end, "" as long as it has not said so.
        left: what the kernel has not taken yet.
    """

    __slots__ = (
        "_broken", "_came", "_cutter", "_overflow", "_passed", "_segments", "_shared", "_socket",
        "_to_pass", "fd", "left", "peer",
    )  # fmt: skip

    def __init__(self, connection: SocketType, means: Means) -> None:
        connection.settimeout(0.0)
        with suppress(OSError):  # more than it allows at all
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self.fd = connection.fileno()
        self.peer = ""
        self.left: Left = deque()
        self._socket = connection
        self._overflow, self._segments = means
        self._came = Descriptors()
        self._cutter = Cutter(self._came.claim)
        self._to_pass = Descriptors()
        # Descriptors, and bytes, that were passed since the peer had last read everything.
        self._passed = self._shared = 0
        self._broken = False

    def send(self, frames: Frames, memory: Memory) -> None:
        """Send a message; never waits.

        Raises:
            Lost: the peer is gone, or the connection has been ended.
            ValueError: this is no message.
        """
        pieces = to_pieces(frames)
        try:
            if len(pieces) > 1 and not self.left and self._share(frames, memory):
                return
            if self.left or not self._send_at_once(pieces, memory):
                self.left.extend(unsent(pieces, 0, memory))
                self._overflow.add(self)
        except (OSError, RuntimeError) as error:
            self._end_sending()
            raise Lost(str(error)) from error
        except BaseException:
            self._end_sending()
            raise

    def receive(self, into: Given) -> bool:
        """Read once, and hand on the messages that are complete by now.

        Returns:
            False if there was nothing to read.

        Raises:
            Lost: the peer is gone; what it had sent before was handed on.
        """
        if self._broken:
            raise Lost("the connection has been ended")
        cutter = self._cutter
        try:
            if cutter.room is None:
                if data := self._came.receive(self._socket, _READ):
                    cutter.feed(data, into)
                    self._check_passed()
                    return True
            elif count := self._socket.recv_into(cutter.room):
                cutter.filled(count, into)
                return True
        except BlockingIOError:
            return False
        except (OSError, MemoryError, Malformed) as error:
            raise Lost(str(error)) from error
        except BaseException:
            self._broken = True
            self._end_sending()
            raise
        raise Lost("the peer closed it")

    def _check_passed(self) -> None:
        came = self._came
        if came.are_short or len(came) > MOST or (came and not self._cutter.is_in_header):
            raise Malformed("not just those descriptors came that the messages announce")

    def flush(self) -> None:
        """See `Leaking.flush`."""
        left = self.left
        try:
            for _ in range(_FAIR):
                sent = self._socket.send(left[0], _NO_SIGNAL)
                if sent < len(left[0]):
                    left[0] = left[0][sent:]
                else:
                    left.popleft()
                    if not left:
                        return
        except BlockingIOError:
            return
        except OSError:
            self._end_sending()  # the owner finds that out
            left.clear()

    def backlog(self) -> int:
        """Bytes that the kernel has not taken yet, or that the peer has not taken out of shared
        memory."""
        # A copy, as the thread takes away from it; made in one go, under the interpreter's lock.
        left = sum(map(len, tuple(self.left))) if self.left else 0
        return left + self._unread()

    def close(self, linger: float = LINGER) -> None:
        """Close the connection when what was sent has left, at the latest after ``linger``.

        Does not wait for that.
        """
        self._overflow.close(self, linger)

    def shut(self) -> None:
        """See `Leaking.shut`."""
        # Whoever is interrupted here finds the connection to be lost once more.
        self._came.close()
        self._to_pass.close()
        self.left.clear()
        self._socket.close()

    def _share(self, frames: Frames, memory: Memory) -> bool:
        """Send a message whose large frames go through shared memory.

        Returns:
            False if it was not sent: it has no such frames, or there is a shortage of something.
        """
        numbers = [number for number, frame in enumerate(frames) if len(frame) >= SHARE_FROM][:MOST]
        size = sum([len(frames[number]) for number in numbers])
        if not numbers or (self._unread() and not self._may_share(len(numbers), size)):
            return False
        passed = self._to_pass
        try:
            shared = [n for n in numbers if self._segments.put(frames[n], passed)]
            if not shared:
                return False
            pieces = to_pieces(frames, shared)
            sent = passed.send(self._socket, pieces[:_PIECES], _NO_SIGNAL)
        except OSError:  # if it is the end of the connection, that will be found out
            return False
        finally:
            passed.close()
        self._passed += len(shared)
        self._shared += size
        if sent < sum(map(len, pieces)):
            self.left.extend(unsent(pieces, sent, memory))
            self._overflow.add(self)
        return True

    def _may_share(self, count: int, size: int) -> bool:
        return self._passed + count <= MOST and self._shared + size <= _SHARED

    def _unread(self) -> int:
        """Bytes of shared memory that may not have been taken by the peer."""
        if self._passed:
            with suppress(OSError):
                # What the peer has not read of all that went through the socket.
                if not any(fcntl.ioctl(self.fd, termios.TIOCOUTQ, bytes(4))):
                    self._passed = self._shared = 0
        return self._shared

    def _send_at_once(self, pieces: list[Buffer], memory: Memory) -> bool:
        """Returns False if nothing of it could be sent."""
        try:
            if len(pieces) == 1:
                size = len(pieces[0])
                sent = self._socket.send(pieces[0], _NO_SIGNAL)
            else:
                size = sum(map(len, pieces))
                sent = self._socket.sendmsg(pieces[:_PIECES], (), _NO_SIGNAL)
        except BlockingIOError:
            return False
        if sent < size:
            self.left.extend(unsent(pieces, sent, memory))
            self._overflow.add(self)
        return True

    def _end_sending(self) -> None:
        # What a peer said before it went is still to be read; one that is there closes its end.
        with suppress(OSError):  # it has ended by itself
            self._socket.shutdown(socket.SHUT_WR)
