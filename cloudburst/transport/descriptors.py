"""Descriptors of shared memory, on their way from one process to another.

A descriptor is a number. Nobody would close it if an exception of a signal handler came while it
is on its way from one call to the next; so it is put into a queue, and taken out of it, in C, where
no handler runs. What is left in a queue when its connection is closed is closed too.
"""

from __future__ import annotations

import fcntl
import os
import socket
from array import array
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from socket import SocketType
from typing import Any

from cloudburst.core.messages import Buffer
from cloudburst.mapping import map_file
from cloudburst.transport.framing import Malformed

MOST = 64
"""Descriptors that a message may have with it; the kernel allows 253."""

SHRINK = 0x2
"""The seal of memory that nobody can make smaller."""

_F_GET_SEALS = 1034
_ANCILLARY = socket.CMSG_SPACE(MOST * array("i").itemsize)
_RECEIVED = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
# A plain number: the enum's operators are in Python, and this is done for each message.
_TRUNCATED = int(socket.MSG_CTRUNC)


class Descriptors:
    """Descriptors in a row that are ours, until they are passed on, mapped or closed.

    Attributes:
        are_short: whether some have not come: they were too many, or we can have no more.
    """

    __slots__ = ("_came", "_fds", "are_short")

    def __init__(self) -> None:
        self.are_short = False
        self._fds: deque[int] = deque()
        # What the kernel has given, for the moment in which it is taken apart.
        self._came: list[tuple[bytes, list[Any], int, Any]] = []

    def __len__(self) -> int:
        return len(self._fds)

    def create(self) -> int:
        """Add one of new memory, which is private to whoever has a descriptor.

        Raises:
            OSError: we can have no more.
        """
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        self._fds.extend(map(os.memfd_create, ("cloudburst",), (flags,)))
        return self._fds[-1]

    def reopen(self, fd: int, flags: int) -> int:
        """Add another one of the file that is open as ``fd``.

        Raises:
            OSError: we can have no more.
        """
        self._fds.extend(map(os.open, (f"/proc/self/fd/{fd}",), (flags | os.O_CLOEXEC,)))
        return self._fds[-1]

    def send(self, connection: SocketType, pieces: Iterable[Buffer], flags: int) -> int:
        """Send bytes, and all descriptors with the first of them.

        Returns:
            How many bytes were sent; at least one.

        Raises:
            OSError: nothing was sent.
        """
        passed = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", self._fds))
        return connection.sendmsg(pieces, (passed,), flags)

    def receive(self, connection: SocketType, size: int) -> bytes:
        """Receive bytes, and keep the descriptors that come with them.

        Raises:
            OSError: see `socket.recvmsg`.
        """
        came = self._came
        came.extend(map(connection.recvmsg, (size,), (_ANCILLARY,), (_RECEIVED,)))
        data, ancillary, flags, _ = came[0]
        if ancillary:
            self._fds.extend(_descriptors_in(ancillary))
        came.clear()
        if flags & _TRUNCATED:
            self.are_short = True
        return data

    def claim(self, size: int) -> memoryview:
        """Map the memory of the first, for us alone, and close it.

        Raises:
            Malformed: there is none, or it is not what was announced.
            OSError: it cannot be mapped.
        """
        if not self._fds:
            raise Malformed("a frame came without its descriptor")
        fd = self._fds[0]
        try:
            # If it became shorter, whoever reads what is not there any more would be killed.
            if not fcntl.fcntl(fd, _F_GET_SEALS) & SHRINK:
                raise Malformed("a frame came in memory that may shrink")
            if not 0 < size <= os.fstat(fd).st_size:
                raise Malformed(f"a frame of {size} bytes came in memory of another size")
            return map_file(fd, size, writable=True, private=True)
        finally:
            self._close_first()

    def close(self) -> None:
        """Close all that are left."""
        if self._came:  # interrupted before, or after, they were put to the others
            given = _descriptors_in(self._came[0][1])
            self._fds.extend([fd for fd in given if fd not in self._fds])
            self._came.clear()
        while self._fds:
            self._close_first()

    def _close_first(self) -> None:
        # Taken out and closed by one call.
        with suppress(OSError):  # of whatever file a peer has passed
            next(map(os.close, iter(self._fds.popleft, None)))


def _descriptors_in(ancillary: Iterable[tuple[int, int, bytes]]) -> list[int]:
    found = array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return found.tolist()
