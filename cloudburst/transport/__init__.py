"""Messages between processes: Unix sockets on one machine, ZeroMQ between machines.

Every process binds at most one *inbox*, on which everybody reaches it, and opens one *outlet* to
each process it talks to. The scheme of an address chooses the sockets: ``ipc://`` or ``tcp://``.
Nothing here blocks except `Poller.wait`, the closing of what has not sent everything, and, for a
moment, the first message to a new peer.

Libzmq moves every message through a thread of its own, at both ends. That is two more context
switches in each hop, which on one machine cost more than all else; hence the sockets of our own.
"""

from cloudburst.transport.base import Inbox, Memory, Outlet
from cloudburst.transport.context import Context
from cloudburst.transport.peers import Peers
from cloudburst.transport.poller import Poller

__all__ = ["Context", "Inbox", "Memory", "Outlet", "Peers", "Poller"]
