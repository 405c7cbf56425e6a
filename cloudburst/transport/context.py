"""Where inboxes and outlets come from."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from cloudburst.core.messages import Buffer
from cloudburst.transport.base import LINGER, Inbox, Outlet
from cloudburst.transport.overflow import Overflow
from cloudburst.transport.paths import UNIX
from cloudburst.transport.segments import Segments
from cloudburst.transport.stream import Means
from cloudburst.transport.unix import UnixInbox, UnixOutlet

if TYPE_CHECKING:
    from cloudburst.transport.zeromq import ZmqTransport

_AnySource = TypeVar("_AnySource", bound=Inbox | Outlet)


class Context:
    """A process's transports. ZeroMQ is loaded, and its threads start, once it is needed.

    To be made after a fork: a process and its child would take each other's messages. Used by
    one thread at a time, as all that comes from it.

    Args:
        keep: bytes of shared memory that may be kept for large frames; then `look` is to be
            called now and then.
    """

    def __init__(self, keep: int = 0) -> None:
        self._means = Means(Overflow(), Segments(keep))
        self._sources: list[Inbox | Outlet] = []
        self._zmq: ZmqTransport | None = None

    def bind(self, address: str) -> Inbox:
        """Bind an inbox.

        Args:
            address: ``ipc://path``, ``tcp://ip:port``, or ``tcp://ip:*`` for any free port.

        Raises:
            OSError: the address is taken or cannot be bound.
        """
        if address.startswith(UNIX):
            return self._keep(UnixInbox(address, self._means))
        return self._keep(self._zmq_transport().bind(address))

    def connect(self, address: str, identity: str = "", *, only_connected: bool = False) -> Outlet:
        """Open an outlet to the process bound at ``address``, which need not be there yet.

        Args:
            address: as the other process bound it.
            identity: by which it knows this end; without one it cannot answer.
            only_connected: send nothing while there is no connection, rather than queue it.

        Raises:
            OSError: this is not an address.
        """
        if not address.startswith(UNIX):
            zmq = self._zmq_transport()
            return self._keep(zmq.connect(address, identity, only_connected=only_connected))
        return self._keep(UnixOutlet(address, identity, self._means, only_connected=only_connected))

    def snapshot(self, frame: Buffer) -> Buffer:
        """A copy of a frame that nobody can change; it may be where others find it, too."""
        if isinstance(frame, bytes):
            return frame
        with suppress(OSError):  # bytes do as well
            held = self._means.segments.hold(frame)
            if held is not None:
                return held
        return bytes(frame)

    def look(self) -> float | None:
        """Give back what was kept and is not used.

        Returns:
            Seconds until the next time; None if there is nothing to give back.
        """
        return self._means.segments.look()

    def close(self) -> None:
        """Close what is still open, and wait until what was sent has left, at most `LINGER`."""
        self._close_all()
        self._means.overflow.finish(LINGER)
        if self._zmq is not None:
            self._zmq.close()

    def abandon(self) -> None:
        """Close what is still open, without waiting for anything."""
        if self._zmq is not None:
            self._zmq.abandon()
        self._close_all()
        self._means.overflow.finish(0.0)

    def _close_all(self) -> None:
        while self._sources:
            self._sources.pop().close()
        self._means.segments.close()

    def _keep(self, source: _AnySource) -> _AnySource:
        self._sources = [kept for kept in self._sources if not kept.closed]
        self._sources.append(source)
        return source

    def _zmq_transport(self) -> ZmqTransport:
        if self._zmq is None:
            # On one machine nobody needs it, and it takes longer to load than all the rest.
            from cloudburst.transport.zeromq import ZmqTransport

            self._zmq = ZmqTransport()
        return self._zmq
