"""Messages between processes: Unix sockets on one machine, ZeroMQ between machines.

Every process binds at most one *inbox*, on which everybody reaches it, and opens one *outlet* to
each process it talks to. The scheme of an address chooses the sockets: ``ipc://`` or ``tcp://``.
Nothing here waits except `Poller.wait`, `Context.close` for what has not left yet, and, for a
moment, the first message to a new peer.

Libzmq moves every message through a thread of its own, at both ends. That is two more context
switches in each hop, which on one machine cost more than all else; hence the sockets of our own.

``unix`` and ``zeromq`` are the two implementations of ``base``. Below ``unix``: ``stream`` (one
connection), ``framing`` (messages as bytes), ``segments`` and ``descriptors`` (large frames in
shared memory), ``overflow`` (what the kernel does not take at once) and ``paths`` (the files).
``watch`` is what sources and a poller know of each other.
"""

from cloudburst.transport.base import Inbox, Memory, Outlet
from cloudburst.transport.context import Context
from cloudburst.transport.peers import Peers
from cloudburst.transport.poller import Poller
from cloudburst.transport.segments import KEEP

__all__ = ["KEEP", "Context", "Inbox", "Memory", "Outlet", "Peers", "Poller"]
