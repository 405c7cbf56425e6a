"""Where inboxes and outlets come from."""

from __future__ import annotations

import zmq

from cloudburst.transport.base import Inbox, Outlet
from cloudburst.transport.unix import UnixInbox, UnixOutlet
from cloudburst.transport.zeromq import ZmqContext, ZmqInbox, ZmqOutlet

UNIX = "ipc://"


class Context:
    """A process's transports. ZeroMQ and its threads are there only once they are needed.

    To be made after a fork.
    """

    def __init__(self) -> None:
        self._zmq: ZmqContext | None = None

    def bind(self, address: str) -> Inbox:
        """Bind an inbox.

        Args:
            address: ``ipc://path``, ``tcp://ip:port``, or ``tcp://ip:*`` for any free port.

        Raises:
            OSError: the address is taken or cannot be bound.
        """
        if address.startswith(UNIX):
            return UnixInbox(address)
        return ZmqInbox(self._zmq_context(), address)

    def connect(self, address: str, identity: str = "", *, only_connected: bool = False) -> Outlet:
        """Open an outlet to the process bound at ``address``, which need not be there yet.

        Args:
            address: as the other process bound it.
            identity: by which it knows this end; without one it cannot answer.
            only_connected: send nothing while there is no connection, rather than queue it.

        Raises:
            OSError: this is not an address.
        """
        if address.startswith(UNIX):
            return UnixOutlet(address, identity, only_connected=only_connected)
        return ZmqOutlet(self._zmq_context(), address, identity, only_connected=only_connected)

    def close(self) -> None:
        """Wait until what was sent has left, within its limits."""
        if self._zmq is not None:
            self._zmq.term()

    def abandon(self) -> None:
        """Close without waiting for anything."""
        if self._zmq is not None:
            self._zmq.destroy(0)

    def _zmq_context(self) -> ZmqContext:
        if self._zmq is None:
            self._zmq = zmq.Context()
        return self._zmq
