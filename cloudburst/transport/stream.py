"""Messages over a connected Unix socket."""

from __future__ import annotations

import socket
from collections import deque
from contextlib import suppress
from socket import SocketType

from cloudburst.core.messages import Buffer, Frames
from cloudburst.transport.base import COPY_BELOW, LINGER, Memory
from cloudburst.transport.framing import Cutter, Given, Malformed, to_pieces, unsent
from cloudburst.transport.overflow import Left, Overflow

_BUFFER = 1 << 20
"""Bytes that the kernel is asked to hold for a connection, if it allows so much: what fits in
there leaves at once, and needs no thread."""

_READ = COPY_BELOW
_PIECES = 512
"""Pieces handed to the kernel at once; it takes at most 1,024."""
_FAIR = 32
"""Times the thread sends for one connection before it looks at the others."""

# A user's function may have made the signal deadly. MacOS has no such flag.
_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)


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

    __slots__ = ("_broken", "_cutter", "_overflow", "_socket", "fd", "left", "peer")

    def __init__(self, connection: SocketType, overflow: Overflow) -> None:
        connection.settimeout(0.0)
        with suppress(OSError):  # more than it allows at all
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self.fd = connection.fileno()
        self.peer = ""
        self.left: Left = deque()
        self._socket = connection
        self._overflow = overflow
        self._cutter = Cutter()
        self._broken = False

    def send(self, frames: Frames, memory: Memory) -> None:
        """Send a message; never waits.

        Raises:
            Lost: the peer is gone, or the connection has been ended.
            ValueError: this is no message.
        """
        pieces = to_pieces(frames)
        try:
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
                if data := self._socket.recv(_READ):
                    cutter.feed(data, into)
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
        """Bytes that the kernel has not taken yet."""
        # A copy, as the thread takes away from it; made in one go, under the interpreter's lock.
        return sum(map(len, tuple(self.left))) if self.left else 0

    def close(self, linger: float = LINGER) -> None:
        """Close the connection when what was sent has left, at the latest after ``linger``.

        Does not wait for that.
        """
        self._overflow.close(self, linger)

    def shut(self) -> None:
        """See `Leaking.shut`."""
        self.left.clear()
        self._socket.close()

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
