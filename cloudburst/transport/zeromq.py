"""ZeroMQ sockets, for what crosses machines: the one user of zmq."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, TypeAlias

import zmq

from cloudburst.core.messages import Buffer, Frames
from cloudburst.transport.base import (
    COPY_BELOW,
    LINGER,
    MAX_MESSAGE,
    Inbox,
    Memory,
    Outlet,
)
from cloudburst.transport.framing import check
from cloudburst.transport.watch import Source, Watch

_Socket: TypeAlias = zmq.Socket[bytes]
_Leaving: TypeAlias = deque[tuple[zmq.MessageTracker, int]]

# Plain integers: combining enum members takes longer than sending a small frame.
_NOBLOCK = int(zmq.NOBLOCK)
_NOBLOCK_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_READABLE = int(zmq.POLLIN)
_LINGER = int(LINGER * 1000)

_LARGEST_IDENTITY = 255


class ZmqTransport:
    """A ZeroMQ context, which has threads of its own."""

    def __init__(self) -> None:
        self._context: zmq.Context[_Socket] = zmq.Context()

    def bind(self, address: str) -> ZmqInbox:
        """See `Context.bind`."""
        return ZmqInbox(_socket(self._context, zmq.ROUTER), address)

    def connect(self, address: str, identity: str, *, only_connected: bool) -> ZmqOutlet:
        """See `Context.connect`."""
        socket = _socket(self._context, zmq.DEALER)
        return ZmqOutlet(socket, address, identity, only_connected=only_connected)

    def close(self) -> None:
        """Wait until what was sent has left, as long as each closed socket lingers."""
        self._context.term()

    def abandon(self) -> None:
        """Close all sockets at once."""
        self._context.destroy(0)


class _ZmqSource(Source):
    """What inbox and outlet have in common."""

    socket: _Socket

    def __init__(self, socket: _Socket) -> None:
        self.ready = set()
        self.socket = socket

    def attach(self, watch: Watch) -> None:
        """See `Source.attach`."""
        self.watch = watch
        watch.poll_with(zmq.Poller())
        watch.add(self.socket, self)

    def close(self) -> None:
        """See `Inbox.close` and `Outlet.close`."""
        self.closed = True
        self.detach()
        self.socket.close(_LINGER)

    def _receive(self) -> Iterator[list[Buffer]]:
        # Asking costs a sixth of the exception that reading from an empty socket raises.
        while not self.closed and _is_readable(self.socket):
            yield _receive(self.socket)


class ZmqInbox(_ZmqSource, Inbox):
    """A ROUTER socket.

    Args:
        socket: to be bound.
        address: where; ``tcp://ip:*`` takes any free port.

    Raises:
        OSError: the address is taken or cannot be bound.
    """

    def __init__(self, socket: _Socket, address: str) -> None:
        super().__init__(socket)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        # A peer that lost its connection comes back before the loss is noticed here.
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        _allow_ipv6(socket, address)
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            socket.close(0)
            raise OSError(error.errno, f"cannot bind {address}: {error}") from error
        self.address = socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def messages(self) -> Iterator[tuple[str, list[Buffer]]]:
        """See `Inbox.messages`."""
        for frames in self._receive():
            yield bytes(frames[0]).decode("utf-8", "backslashreplace"), frames[1:]

    def send(self, peer: str, frames: Frames, memory: Memory = Memory.OURS) -> bool:
        """See `Inbox.send`."""
        identity = peer.encode()
        if not 0 < len(identity) <= _LARGEST_IDENTITY:
            return False  # nobody can have it
        check(frames)
        try:
            return _send(self.socket, [identity, *frames], memory)
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            raise


class ZmqOutlet(_ZmqSource, Outlet):
    """A DEALER socket.

    Args:
        socket: to be connected.
        address: where the peer is bound.
        identity: by which the peer knows this end; without one it cannot answer.
        only_connected: send nothing while there is no connection.

    Raises:
        OSError: this is not an address, or the identity is too long.
    """

    def __init__(
        self, socket: _Socket, address: str, identity: str, *, only_connected: bool
    ) -> None:
        super().__init__(socket)
        self._leaving: _Leaving = deque()
        _allow_ipv6(socket, address)
        try:
            if identity:
                socket.setsockopt_string(zmq.IDENTITY, identity)
            if only_connected:
                socket.setsockopt(zmq.IMMEDIATE, 1)
            socket.connect(address)
        except zmq.ZMQError as error:
            socket.close(0)
            raise OSError(error.errno, f"cannot connect to {address}: {error}") from error

    def messages(self) -> Iterator[list[Buffer]]:
        """See `Outlet.messages`."""
        return self._receive()

    def send(self, frames: Frames, memory: Memory = Memory.BORROWED) -> bool:
        """See `Outlet.send`."""
        check(frames)
        self._forget_gone()
        return _send(self.socket, frames, memory, self._leaving)

    def backlog(self) -> int:
        """See `Outlet.backlog`."""
        self._forget_gone()
        return sum([size for _, size in self._leaving])

    def _forget_gone(self) -> None:
        leaving = self._leaving
        while leaving and leaving[0][0].done:
            leaving.popleft()

    def wait_connected(self, seconds: float) -> bool:
        """See `Outlet.wait_connected`."""
        return bool(self.socket.poll(int(seconds * 1000), zmq.POLLOUT))


def _socket(context: zmq.Context[_Socket], kind: int) -> _Socket:
    try:
        socket = context.socket(kind)
    except zmq.ZMQError as error:
        raise OSError(error.errno, f"cannot make a socket: {error}") from error
    socket.setsockopt(zmq.LINGER, _LINGER)
    # Bounded by the scheduler's admission: a full queue would stop or, in a ROUTER, lose.
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
    # A peer behind a broken TCP path is noticed within half a minute, not never.
    socket.setsockopt(zmq.HEARTBEAT_IVL, 10_000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 30_000)
    return socket


def _allow_ipv6(socket: _Socket, address: str) -> None:
    # Only where it is meant: with it, a name like localhost may lead to where nobody is bound.
    if "[" in address:
        socket.setsockopt(zmq.IPV6, 1)


def _is_readable(socket: _Socket) -> bool:
    events: Any = socket.getsockopt(zmq.EVENTS)
    return bool(events & _READABLE)


def _receive(socket: _Socket) -> list[Buffer]:
    frames: list[Buffer] = []
    while True:
        frame = socket.recv(_NOBLOCK, copy=False)
        frames.append(frame.bytes if len(frame) < COPY_BELOW else frame.buffer)
        if not frame.more:
            return frames


def _send(socket: _Socket, frames: Frames, memory: Memory, leaving: _Leaving | None = None) -> bool:
    last = len(frames) - 1
    try:
        for number, frame in enumerate(frames):
            flags = _NOBLOCK_MORE if number < last else _NOBLOCK
            size = len(frame)  # arrays come as flat bytes
            if size < COPY_BELOW:
                socket.send(frame, flags)
            elif leaving is None:
                socket.send(_kept(frame, memory), flags, copy=False)
            else:
                tracker = socket.send(_kept(frame, memory), flags, copy=False, track=True)
                leaving.append((tracker, size))
    except zmq.Again:
        return False
    return True


def _kept(frame: Buffer, memory: Memory) -> Buffer:
    """The frame, as nobody will change it."""
    if memory is Memory.OURS or isinstance(frame, bytes):
        return frame
    return bytes(frame)
