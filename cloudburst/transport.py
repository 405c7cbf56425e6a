"""Sockets: the one user of ZeroMQ.

Every process binds at most one ROUTER, on which everybody reaches it, and connects one DEALER to
each process it talks to. Nothing here blocks except `Poller.wait` and, for at most
``CONNECT_WAIT``, the first message to a new peer.

Frames under 64 KiB are copied, because that is cheaper than keeping count of them; larger ones
are not, neither on their way in (they arrive as writable memoryviews of ZeroMQ's own memory) nor
out, unless they are somebody's memory that may change after the call.
"""

from __future__ import annotations

import enum
import time
from collections import OrderedDict
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol, Self

import zmq

from cloudburst.core.messages import Buffer, Frames

COPY_BELOW = 64 * 1024
LINGER = 1000
CONNECT_WAIT = 500
MAX_PEERS = 256
AVOID = 10.0
"""Seconds for which a peer that could not be reached is not tried again: a client that was killed
with a thousand calls under way must not cost a thousand waits."""

_FOR_EVER = -1
# Plain integers: combining enum members takes longer than sending a small frame.
_NOBLOCK = int(zmq.NOBLOCK)
_NOBLOCK_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_READABLE = int(zmq.POLLIN)


class Memory(enum.Enum):
    """Whose memory the frames to be sent are."""

    OURS = enum.auto()  # nobody changes it: large frames leave without a copy
    BORROWED = enum.auto()  # only bytes objects are safe to leave uncopied


class Source(Protocol):
    """Something a `Poller` can wait for."""

    def fileno(self) -> int:
        """The file descriptor to wait for."""


class _Closing:
    """Sockets as context managers."""

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Router(_Closing):
    """A bound socket on which any number of peers, each under its identity, reach this process.

    Args:
        context: the process's context.
        address: where to bind: ``ipc://path``, ``tcp://ip:port``, or ``tcp://ip:*`` for any port.

    Attributes:
        address: where peers reach it, the port filled in.

    Raises:
        OSError: the address is taken or cannot be bound.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        self.socket = _socket(context, zmq.ROUTER)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        try:
            self.socket.bind(address)
        except zmq.ZMQError as error:
            self.socket.close(0)
            raise OSError(error.errno, f"cannot bind {address}: {error}") from error
        self.address: str = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def receive(self) -> tuple[str, list[Buffer]] | None:
        """The next message as (identity, frames), or None if there is none now."""
        frames = _receive(self.socket)
        if frames is None:
            return None
        return bytes(frames[0]).decode("utf-8", "backslashreplace"), frames[1:]

    def messages(self) -> Iterator[tuple[str, list[Buffer]]]:
        """All messages there are now."""
        while _is_readable(self.socket) and (message := self.receive()) is not None:
            yield message

    def send(self, peer: str, frames: Frames, memory: Memory = Memory.OURS) -> bool:
        """Send to a connected peer. Returns False if it is not connected (any more)."""
        try:
            return _send(self.socket, [peer.encode(), *frames], memory)
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            raise

    def close(self) -> None:
        """Close the socket; what was sent has a second to leave."""
        self.socket.close(LINGER)


class Dealer(_Closing):
    """A connection to one peer, which reconnects by itself and keeps what cannot leave yet."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        identity: str = "",
        *,
        only_connected: bool = False,
    ) -> None:
        self.socket = _socket(context, zmq.DEALER)
        if identity:
            self.socket.setsockopt_string(zmq.IDENTITY, identity)
        if only_connected:
            self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self.socket.connect(address)

    def receive(self) -> list[Buffer] | None:
        """The next message, or None if there is none now."""
        return _receive(self.socket)

    def messages(self) -> Iterator[list[Buffer]]:
        """All messages there are now."""
        while _is_readable(self.socket) and (message := self.receive()) is not None:
            yield message

    def send(self, frames: Frames, memory: Memory = Memory.BORROWED) -> bool:
        """Send, or queue while disconnected. Returns False if it can do neither."""
        return _send(self.socket, frames, memory)

    def wait_connected(self, milliseconds: int) -> bool:
        """Wait until a message could leave at once."""
        return bool(self.socket.poll(milliseconds, zmq.POLLOUT))

    def close(self) -> None:
        """Close the socket; what was sent has a second to leave."""
        self.socket.close(LINGER)


class Peers(_Closing):
    """Connections to the processes this one talks to directly, made when first needed.

    At most ``MAX_PEERS`` are kept; the one unused longest is closed for a new one.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._context = context
        self._dealers: OrderedDict[str, Dealer] = OrderedDict()
        self._avoided: dict[str, float] = {}

    def send(self, address: str, frames: Frames, memory: Memory = Memory.BORROWED) -> bool:
        """Send to the process bound at ``address``. Returns False if it cannot be reached.

        The first to find that out waits for `CONNECT_WAIT`; for `AVOID` seconds nobody does then.
        """
        dealer = self._dealers.get(address)
        if dealer is None:
            if self._is_avoided(address):
                return False
            dealer = self._connect(address)
        else:
            self._dealers.move_to_end(address)
        if dealer.send(frames, memory):
            return True
        if dealer.wait_connected(CONNECT_WAIT) and dealer.send(frames, memory):
            return True
        self._dealers.pop(address).close()
        self._avoided[address] = time.monotonic() + AVOID
        return False

    def _is_avoided(self, address: str) -> bool:
        if not self._avoided:
            return False
        now = time.monotonic()
        self._avoided = {peer: until for peer, until in self._avoided.items() if until > now}
        return address in self._avoided

    def _connect(self, address: str) -> Dealer:
        if len(self._dealers) >= MAX_PEERS:
            self._dealers.popitem(last=False)[1].close()
        dealer = Dealer(self._context, address, only_connected=True)
        self._dealers[address] = dealer
        return dealer

    def close(self) -> None:
        """Close all connections."""
        while self._dealers:
            self._dealers.popitem()[1].close()


class Poller:
    """Waits for any of several sockets or files to become readable."""

    def __init__(self, *sources: Router | Dealer | Source | int) -> None:
        self._poller = zmq.Poller()
        for source in sources:
            self.add(source)

    def add(self, source: Router | Dealer | Source | int) -> None:
        """Wait for this one too."""
        self._poller.register(_pollable(source), zmq.POLLIN)

    def discard(self, source: Router | Dealer | Source | int) -> None:
        """Wait for this one no longer."""
        if _pollable(source) in self._poller:
            self._poller.unregister(_pollable(source))

    def wait(self, timeout: float | None) -> list[int]:
        """Wait until something is readable.

        Args:
            timeout: seconds, or None to wait for ever.

        Returns:
            The file descriptors that are readable; sockets are not listed, ask them.
        """
        # Rounded up: a wait that ends just before its deadline would spin until it.
        limit = _FOR_EVER if timeout is None else max(0, int(timeout * 1000 + 0.999))
        return [source for source, _ in self._poller.poll(limit) if isinstance(source, int)]


def new_context() -> zmq.Context[zmq.Socket[bytes]]:
    """A context of this process's own; never inherited through a fork."""
    return zmq.Context()


def _pollable(source: Router | Dealer | Source | int) -> zmq.Socket[bytes] | int:
    if isinstance(source, Router | Dealer):
        return source.socket
    return source if isinstance(source, int) else source.fileno()


def _socket(context: zmq.Context[zmq.Socket[bytes]], kind: int) -> zmq.Socket[bytes]:
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, LINGER)
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


def _receive(socket: zmq.Socket[bytes]) -> list[Buffer] | None:
    frames: list[Buffer] = []
    try:
        frame = socket.recv(_NOBLOCK, copy=False)
    except zmq.Again:
        return None
    while True:
        frames.append(frame.bytes if len(frame) < COPY_BELOW else frame.buffer)
        if not frame.more:
            return frames
        frame = socket.recv(_NOBLOCK, copy=False)


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
