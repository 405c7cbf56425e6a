"""Unix sockets, for what stays on one machine."""

from __future__ import annotations

import errno
import itertools
import os
import select
import socket
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator
from contextlib import suppress

from cloudburst.core.messages import Buffer, Frames
from cloudburst.transport.base import LINGER, Inbox, Memory, Outlet
from cloudburst.transport.stream import Lost, Stream

BACKLOG = 1024
RETRY = 0.02
"""Seconds between two tries to reach a peer that is not there."""


class Watch:
    """The file descriptors one poller waits for, and what owns each of them."""

    def __init__(self) -> None:
        self.poll = select.poll()
        self.owners: dict[int, UnixSource | None] = {}

    def add(self, fd: int, owner: UnixSource | None) -> None:
        """Wait for this descriptor, on behalf of ``owner`` (None: it is not one of ours)."""
        self.owners[fd] = owner
        self.poll.register(fd, select.POLLIN)

    def discard(self, fd: int) -> None:
        """Wait for it no longer."""
        if self.owners.pop(fd, self) is not self:
            self.poll.unregister(fd)


class UnixSource:
    """What a `Poller` needs to know of a Unix inbox or outlet."""

    watch: Watch | None = None
    ready: deque[int]

    @abstractmethod
    def attach(self, watch: Watch) -> None:
        """Let this poller wait for all descriptors of the source, from now on."""

    def detach(self) -> None:
        """Let no poller wait for it any more."""
        watch, self.watch = self.watch, None
        if watch is not None:
            for fd in [fd for fd, owner in watch.owners.items() if owner is self]:
                watch.discard(fd)

    def retry(self) -> bool:
        """Try to reach a peer that is not there. Returns False if it should be tried again."""
        return True


class UnixInbox(UnixSource, Inbox):
    """A listening socket and the connections it accepted.

    Args:
        address: ``ipc://`` and a path. A socket there that nobody listens on is replaced.

    Raises:
        OSError: somebody listens there, or it cannot be bound.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.ready = deque()
        self._path = path_of(address)
        self._peers: dict[str, Stream] = {}
        self._streams: dict[int, tuple[Stream, str]] = {}
        self._anonymous = itertools.count(1)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _bind(self._listener, self._path)
        except OSError as error:
            self._listener.close()
            raise OSError(error.errno, f"cannot bind {address}: {error}") from error
        self._listener.listen(BACKLOG)
        self._listener.settimeout(0.0)

    def attach(self, watch: Watch) -> None:
        """See `UnixSource.attach`."""
        self.watch = watch
        watch.add(self._listener.fileno(), self)
        for fd in self._streams:
            watch.add(fd, self)

    def messages(self) -> Iterator[tuple[str, list[Buffer]]]:
        """See `Inbox.messages`."""
        while self.ready:
            fd = self.ready.popleft()
            if fd == self._listener.fileno():
                self._accept()
            elif fd in self._streams:
                yield from self._read(fd)

    def send(self, peer: str, frames: Frames, memory: Memory = Memory.OURS) -> bool:
        """See `Inbox.send`."""
        stream = self._peers.get(peer)
        if stream is None:
            return False
        try:
            stream.send(frames, memory)
        except Lost:
            # Not closed here: what the peer said before it went is still to be read.
            return False
        return True

    def close(self) -> None:
        """See `_Closing.close`."""
        self.detach()
        self._listener.close()
        with suppress(FileNotFoundError):
            os.unlink(self._path)  # noqa: PTH108  (a plain string)
        deadline = time.monotonic() + LINGER
        while self._streams:
            _, (stream, _) = self._streams.popitem()
            stream.close(deadline - time.monotonic())
        self._peers.clear()

    def _accept(self) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):
            while True:
                connection, _ = self._listener.accept()
                stream = Stream(connection)
                self._streams[stream.fd] = (stream, "")
                if self.watch is not None:
                    self.watch.add(stream.fd, self)

    def _read(self, fd: int) -> Iterator[tuple[str, list[Buffer]]]:
        stream, identity = self._streams[fd]
        try:
            for frames in stream.messages():
                if identity:
                    yield identity, frames
                else:
                    identity = self._greeted(stream, frames)
        except Lost:
            self._drop(fd)

    def _greeted(self, stream: Stream, frames: list[Buffer]) -> str:
        """The first message on a connection is the peer's identity."""
        said = bytes(frames[0]).decode("utf-8", "backslashreplace")
        identity = said or f"anonymous-{next(self._anonymous)}"
        # A peer that comes back under its identity takes the place of what it was before.
        self._peers[identity] = stream
        self._streams[stream.fd] = (stream, identity)
        return identity

    def _drop(self, fd: int) -> None:
        stream, identity = self._streams.pop(fd)
        if self._peers.get(identity) is stream:
            del self._peers[identity]
        if self.watch is not None:
            self.watch.discard(fd)
        stream.close(0.0)


class UnixOutlet(UnixSource, Outlet):
    """A connection to one inbox.

    Args:
        address: ``ipc://`` and a path.
        identity: by which the peer knows this end.
        only_connected: send nothing while there is no connection.
    """

    def __init__(self, address: str, identity: str, *, only_connected: bool) -> None:
        self.ready = deque()
        self._path = path_of(address)
        self._identity = identity.encode()
        self._only_connected = only_connected
        self._stream: Stream | None = None
        self._queue: deque[list[Buffer]] = deque()
        self.retry()

    def attach(self, watch: Watch) -> None:
        """See `UnixSource.attach`."""
        self.watch = watch
        if self._stream is not None:
            watch.add(self._stream.fd, self)

    def messages(self) -> Iterator[list[Buffer]]:
        """See `Outlet.messages`."""
        stream = self._stream
        if not self.ready or stream is None:
            return
        self.ready.clear()
        try:
            yield from stream.messages()
        except Lost:
            self._lose()

    def send(self, frames: Frames, memory: Memory = Memory.BORROWED) -> bool:
        """See `Outlet.send`."""
        if self._stream is None:
            self.retry()
        if self._stream is not None:
            try:
                self._stream.send(frames, memory)
            except Lost:
                # Sent anew: of a message that was cut off the peer knows nothing.
                self._lose()
                self.retry()
                return self._send_later(frames, memory)
            return True
        return self._send_later(frames, memory)

    def wait_connected(self, seconds: float) -> bool:  # noqa: ARG002  the kernel knows at once
        """See `Outlet.wait_connected`."""
        return self.retry()

    def retry(self) -> bool:
        """Connect, if there is somebody to connect to."""
        if self._stream is not None:
            return True
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # It would wait while the peer's backlog is full.
        connection.settimeout(RETRY)
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            return False
        stream = self._stream = Stream(connection)
        if self.watch is not None:
            self.watch.add(stream.fd, self)
        try:
            stream.send([self._identity], Memory.OURS)
            while self._queue:
                stream.send(self._queue[0], Memory.OURS)
                self._queue.popleft()
        except Lost:
            self._lose()
            return False
        return True

    def close(self) -> None:
        """See `_Closing.close`."""
        self.detach()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _send_later(self, frames: Frames, memory: Memory) -> bool:
        if self._stream is not None:
            return self.send(frames, memory)
        if self._only_connected:
            return False
        ours = memory is Memory.OURS
        self._queue.append([f if ours or isinstance(f, bytes) else bytes(f) for f in frames])
        return True

    def _lose(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            if self.watch is not None:
                self.watch.discard(stream.fd)
            stream.close(0.0)


def path_of(address: str) -> str:
    """The path of an ``ipc://`` address."""
    return address.removeprefix("ipc://")


def _bind(listener: socket.socket, path: str) -> None:
    try:
        listener.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or _is_served(path):
            raise
        os.unlink(path)  # noqa: PTH108  (a plain string)
        listener.bind(path)


def _is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
