"""ZeroMQ sockets, for what crosses machines: the one user of zmq besides `Poller`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import zmq

from cloudburst.core.messages import Buffer, Frames
from cloudburst.transport.base import COPY_BELOW, LINGER, Inbox, Memory, Outlet

ZmqContext: TypeAlias = zmq.Context[zmq.Socket[bytes]]

# Plain integers: combining enum members takes longer than sending a small frame.
_NOBLOCK = int(zmq.NOBLOCK)
_NOBLOCK_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_READABLE = int(zmq.POLLIN)
_LINGER = int(LINGER * 1000)


class ZmqInbox(Inbox):
    """A ROUTER socket.

    Args:
        context: the process's context.
        address: where to bind; ``tcp://ip:*`` takes any free port.

    Raises:
        OSError: the address is taken or cannot be bound.
    """

    def __init__(self, context: ZmqContext, address: str) -> None:
        self.socket = _socket(context, zmq.ROUTER)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        try:
            self.socket.bind(address)
        except zmq.ZMQError as error:
            self.socket.close(0)
            raise OSError(error.errno, f"cannot bind {address}: {error}") from error
        self.address = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def messages(self) -> Iterator[tuple[str, list[Buffer]]]:
        """See `Inbox.messages`."""
        while _is_readable(self.socket):
            frames = _receive(self.socket)
            yield bytes(frames[0]).decode("utf-8", "backslashreplace"), frames[1:]

    def send(self, peer: str, frames: Frames, memory: Memory = Memory.OURS) -> bool:
        """See `Inbox.send`."""
        try:
            return _send(self.socket, [peer.encode(), *frames], memory)
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            raise

    def close(self) -> None:
        """Close the socket; what was sent has a second to leave."""
        self.socket.close(_LINGER)


class ZmqOutlet(Outlet):
    """A DEALER socket.

    Args:
        context: the process's context.
        address: where the peer is bound.
        identity: by which the peer knows this end; without one it cannot answer.
        only_connected: send nothing while there is no connection.

    Raises:
        OSError: this is not an address.
    """

    def __init__(
        self, context: ZmqContext, address: str, identity: str, *, only_connected: bool
    ) -> None:
        self.socket = _socket(context, zmq.DEALER)
        if identity:
            self.socket.setsockopt_string(zmq.IDENTITY, identity)
        if only_connected:
            self.socket.setsockopt(zmq.IMMEDIATE, 1)
        try:
            self.socket.connect(address)
        except zmq.ZMQError as error:
            self.socket.close(0)
            raise OSError(error.errno, f"cannot connect to {address}: {error}") from error

    def messages(self) -> Iterator[list[Buffer]]:
        """See `Outlet.messages`."""
        while _is_readable(self.socket):
            yield _receive(self.socket)

    def send(self, frames: Frames, memory: Memory = Memory.BORROWED) -> bool:
        """See `Outlet.send`."""
        return _send(self.socket, frames, memory)

    def wait_connected(self, seconds: float) -> bool:
        """See `Outlet.wait_connected`."""
        return bool(self.socket.poll(int(seconds * 1000), zmq.POLLOUT))

    def close(self) -> None:
        """Close the socket; what was sent has a second to leave."""
        self.socket.close(_LINGER)


def _socket(context: ZmqContext, kind: int) -> zmq.Socket[bytes]:
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, _LINGER)
    # Bounded by the scheduler's admission: a full queue would stop or, in a ROUTER, lose.
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    # A peer behind a broken TCP path is noticed within half a minute, not never.
    socket.setsockopt(zmq.HEARTBEAT_IVL, 10_000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 30_000)
    return socket


def _is_readable(socket: zmq.Socket[bytes]) -> bool:
    # Asking costs a sixth of the exception that reading from an empty socket raises.
    events: Any = socket.getsockopt(zmq.EVENTS)
    return bool(events & _READABLE)


def _receive(socket: zmq.Socket[bytes]) -> list[Buffer]:
    frames: list[Buffer] = []
    while True:
        frame = socket.recv(_NOBLOCK, copy=False)
        frames.append(frame.bytes if len(frame) < COPY_BELOW else frame.buffer)
        if not frame.more:
            return frames


def _send(socket: zmq.Socket[bytes], frames: Frames, memory: Memory) -> bool:
    last = len(frames) - 1
    try:
        for number, frame in enumerate(frames):
            flags = _NOBLOCK_MORE if number < last else _NOBLOCK
            socket.send(frame, flags, copy=_must_copy(frame, memory))
    except zmq.Again:
        return False
    return True


def _must_copy(frame: Buffer, memory: Memory) -> bool:
    if len(frame) < COPY_BELOW:  # arrays come as flat bytes, so this is their size
        return True
    return memory is Memory.BORROWED and not isinstance(frame, bytes)
