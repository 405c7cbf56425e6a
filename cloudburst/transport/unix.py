"""Unix sockets, for what stays on one machine.

An outlet's first message is its identity, the frames of all others are the sender's.
"""

from __future__ import annotations

import errno
import itertools
import logging
import socket
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from operator import itemgetter
from socket import SocketType
from typing import Generic, TypeVar

from cloudburst.core.messages import Buffer, Frames
from cloudburst.transport.base import COPY_BELOW, Inbox, Memory, Outlet
from cloudburst.transport.framing import check, kept
from cloudburst.transport.paths import inode, listen, path_of, remove
from cloudburst.transport.stream import Lost, Means, Stream
from cloudburst.transport.watch import Source, Watch

_BUSY = 0.001
"""Seconds between two tries to connect to a peer with a full backlog."""

_NO_MORE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_log = logging.getLogger(__name__)
_Given = TypeVar("_Given")


class _UnixSource(Source, Generic[_Given]):
    """What inbox and outlet have in common: connections are read, messages given out."""

    received: deque[_Given]

    def __init__(self, means: Means) -> None:
        self.ready = set()
        self.received = deque()
        self._means = means

    def messages(self) -> Iterator[_Given]:
        """See `Inbox.messages` and `Outlet.messages`."""
        # The state is complete at each yield: the caller may leave, or ask again meanwhile.
        received, ready = self.received, self.ready
        while True:
            while received:
                yield received.popleft()
            if not ready:
                return
            self._read(ready.pop())

    @abstractmethod
    def _read(self, fd: int) -> None:
        """Read from a connection that is readable."""

    def _forget(self, stream: Stream) -> None:
        # Closed first: interrupted after that, it is found to be lost once more.
        stream.close(0.0)
        self.ready.discard(stream.fd)
        if self.watch is not None:
            self.watch.discard(stream.fd, self)


class UnixInbox(_UnixSource[tuple[str, list[Buffer]]], Inbox):
    """A listening socket and the connections it accepted.

    When the process has no descriptors left, connections wait in the kernel until it has.

    Args:
        address: ``ipc://`` and a path. A socket there that nobody listens on is replaced.
        means: what it shares with the process's other sockets.

    Raises:
        OSError: somebody listens there, or it cannot be bound.
    """

    def __init__(self, address: str, means: Means) -> None:
        super().__init__(means)
        self.address = address
        self._path = path_of(address)
        self._peers: dict[str, Stream] = {}
        self._streams: dict[int, Stream] = {}
        self._nameless: dict[Stream, None] = {}  # in the order in which they came
        self._anonymous = itertools.count(1)
        self._paused = False
        try:
            self._listener = listen(self._path)
        except OSError as error:
            raise OSError(error.errno, f"cannot bind {address}: {error.strerror}") from error
        self._file = inode(self._path)

    def attach(self, watch: Watch) -> None:
        """See `Source.attach`."""
        self.watch = watch
        if self._paused:
            watch.restless.add(self)
        else:
            watch.add(self._listener.fileno(), self)
        for fd in self._streams:
            watch.add(fd, self)

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

    def retry(self) -> bool:
        """Accept connections again, if there are descriptors for them now."""
        if self._paused and self._accept_all() is None:
            self._paused = False
            if self.watch is not None:
                self.watch.add(self._listener.fileno(), self)
        return not self._paused

    def close(self) -> None:
        """See `Inbox.close`."""
        if self.closed:
            return
        self.closed = True
        self.detach()
        self._listener.close()
        remove(self._path, self._file)
        while self._streams:
            _, stream = self._streams.popitem()
            stream.close()
        self._peers.clear()

    def _read(self, fd: int) -> None:
        stream = self._streams.get(fd)
        if stream is None:
            self._accept()
        else:
            self._read_from(stream)

    def _read_from(self, stream: Stream) -> bool:
        """Read once. Returns whether there may be more."""
        came: list[list[Buffer]] = []
        try:
            more = stream.receive(came)
            self._take(stream, came)
        except Lost:
            self._take(stream, came)
            self._drop(stream)
            return False
        except BaseException:
            if self._peers.get(stream.peer) is not stream:
                # What it says next would be taken for its name, and before what it said earlier.
                self._drop(stream)
            raise
        return more

    def _take(self, stream: Stream, came: list[list[Buffer]]) -> None:
        if not stream.peer and came:
            self._greet(stream, came.pop(0))
        peer = stream.peer
        self.received.extend([(peer, frames) for frames in came])

    def _greet(self, stream: Stream, frames: list[Buffer]) -> None:
        said = bytes(frames[0][:COPY_BELOW]).decode("utf-8", "backslashreplace")
        peer = said or f"anonymous-{next(self._anonymous)}"
        # A peer that comes back takes the place of what it was before, and what it said then
        # comes first. Of that one not even the name may have been read.
        for earlier in list(self._nameless):
            if earlier is stream:
                break
            self._read_from(earlier)
        before = self._peers.get(peer)
        while before is not None and self._read_from(before):
            pass
        stream.peer = peer
        self._peers[peer] = stream
        self._nameless.pop(stream, None)

    def _accept(self) -> None:
        problem = self._accept_all()
        if problem is None:
            return
        _log.warning("%s accepts no connections for now: %s", self.address, problem.strerror)
        self._paused = True
        if self.watch is not None:
            # It stays readable; to be told so again and again would be all that we do.
            self.watch.discard(self._listener.fileno(), self)
            self.watch.restless.add(self)

    def _accept_all(self) -> OSError | None:
        """Accept whoever waits. Returns why the process can have no more connections."""
        while True:
            try:
                self._accept_one()
            except BlockingIOError:
                return None
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno in _NO_MORE:
                    return error
                raise

    def _accept_one(self) -> None:
        came: list[SocketType] = []
        try:
            came.extend(_next_of(self._listener))
            stream = Stream(came[0], self._means)
            if self.watch is not None:
                self.watch.add(stream.fd, self)
            # What it has to say has often come with it.
            self.ready.add(stream.fd)
        except BaseException:
            for connection in came:
                self._forget(Stream(connection, self._means))
            raise
        self._streams[stream.fd] = stream
        self._nameless[stream] = None

    def _drop(self, stream: Stream) -> None:
        if self._peers.get(stream.peer) is stream:
            del self._peers[stream.peer]
        # Found once more only by its number, which another one may have when it is closed.
        self._nameless.pop(stream, None)
        self._forget(stream)
        self._streams.pop(stream.fd, None)


class UnixOutlet(_UnixSource[list[Buffer]], Outlet):
    """A connection to one inbox.

    Args:
        address: ``ipc://`` and a path.
        identity: by which the peer knows this end.
        means: what it shares with the process's other sockets.
        only_connected: send nothing while there is no connection.

    Raises:
        OSError: the path cannot be one of a socket.
    """

    def __init__(self, address: str, identity: str, means: Means, *, only_connected: bool) -> None:
        super().__init__(means)
        self._path = path_of(address)
        self._identity = identity.encode()
        self._only_connected = only_connected
        self._stream: Stream | None = None
        self._queue: deque[list[Buffer]] = deque()
        self._backlog_is_full = False
        self.retry()

    def attach(self, watch: Watch) -> None:
        """See `Source.attach`."""
        self.watch = watch
        if self._stream is None:
            watch.restless.add(self)
        else:
            watch.add(self._stream.fd, self)

    def send(self, frames: Frames, memory: Memory = Memory.BORROWED) -> bool:
        """See `Outlet.send`."""
        if self._sent(frames, memory):
            return True
        # Sent anew: of a message that was cut off the peer knows nothing.
        if self.retry() and self._sent(frames, memory):
            return True
        if self.closed:
            raise ValueError("this outlet is closed")
        if self._only_connected:
            return False
        check(frames)
        self._queue.append(kept(frames, memory))
        return True

    def backlog(self) -> int:
        """See `Outlet.backlog`."""
        return self._stream.backlog() if self._stream is not None else 0

    def wait_connected(self, seconds: float) -> bool:
        """See `Outlet.wait_connected`. The kernel knows at once whether anybody is there."""
        deadline = time.monotonic() + seconds
        while not self.retry():
            if not self._backlog_is_full or time.monotonic() >= deadline:
                return False
            time.sleep(_BUSY)
        return True

    def retry(self) -> bool:
        """Connect, if there is somebody to connect to."""
        if self._stream is None and not self.closed:
            self._connect()
        stream = self._stream
        if stream is not None and self.watch is not None:
            self.watch.add(stream.fd, self)
            self.watch.restless.discard(self)
        return stream is not None

    def close(self) -> None:
        """See `Outlet.close`. What is queued for a peer that is not there is dropped."""
        if self.closed:
            return
        self.retry()
        self.closed = True
        self.detach()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _sent(self, frames: Frames, memory: Memory) -> bool:
        stream = self._stream
        if stream is None:
            return False
        try:
            stream.send(frames, memory)
        except Lost:
            self._lose(stream)
            return False
        return True

    def _read(self, fd: int) -> None:
        stream = self._stream
        if stream is None or stream.fd != fd:
            return
        try:
            stream.receive(self.received)
        except Lost:
            self._lose(stream)

    def _connect(self) -> None:
        try:
            connection = _connected(self._path)
        except OSError as error:
            self._backlog_is_full = isinstance(error, BlockingIOError)
            return
        stream = Stream(connection, self._means)
        try:
            stream.send([self._identity], Memory.OURS)
            # Not before: the peer would take the first message for the identity.
            self._stream = stream
            while self._queue:
                stream.send(self._queue[0], Memory.OURS)
                self._queue.popleft()
        except Lost:
            self._lose(stream)

    def _lose(self, stream: Stream) -> None:
        # What the peer said before it went.
        with suppress(Lost):
            while stream.receive(self.received):
                pass
        if self.watch is not None:
            self.watch.restless.add(self)
        self._forget(stream)
        self._stream = None


def _next_of(listener: socket.socket) -> Iterator[SocketType]:
    """Accepts one connection, when it is asked for it.

    All in C, where no signal handler can raise, if it is asked by `list.extend`. A descriptor that
    got lost on its way would be of a connection that is open, belongs to nobody, and whose other
    end waits for ever. To block signals would not do: other threads get them, and the handlers run
    in this one.
    """
    accepted = map(SocketType._accept, [listener])  # type: ignore[attr-defined]
    adopt = partial(SocketType, socket.AF_UNIX, socket.SOCK_STREAM, 0)
    return map(adopt, map(itemgetter(0), accepted))


def _connected(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(0.0)  # it would wait while the peer's backlog is full
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection
