"""Connections to the processes this one talks to directly."""

from __future__ import annotations

import time
from collections import OrderedDict

from cloudburst.core.messages import Frames
from cloudburst.transport.base import Memory, Outlet
from cloudburst.transport.context import Context

CONNECT_WAIT = 0.5
"""Seconds that the first message to a peer may wait for it."""

MAX_PEERS = 256
AVOID = 10.0
"""Seconds for which a peer that could not be reached is not tried again: a client that was killed
with a thousand calls under way must not cost a thousand waits."""


class Peers:
    """Outlets made when first needed.

    At most ``MAX_PEERS`` are kept; the one unused longest is closed for a new one.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._outlets: OrderedDict[str, Outlet] = OrderedDict()
        self._avoided: dict[str, float] = {}

    def send(self, address: str, frames: Frames, memory: Memory = Memory.BORROWED) -> bool:
        """Send to the process bound at ``address``. Returns False if it cannot be reached.

        The first to find that out waits for `CONNECT_WAIT`; for `AVOID` seconds nobody does then.

        Raises:
            OSError: this is not an address.
        """
        outlet = self._outlets.get(address)
        if outlet is None:
            if self._is_avoided(address):
                return False
            outlet = self._connect(address)
        else:
            self._outlets.move_to_end(address)
        if outlet.send(frames, memory):
            return True
        if outlet.wait_connected(CONNECT_WAIT) and outlet.send(frames, memory):
            return True
        self._outlets.pop(address).close()
        self._avoided[address] = time.monotonic() + AVOID
        return False

    def backlog(self, address: str) -> int:
        """See `Outlet.backlog`; 0 without a connection."""
        outlet = self._outlets.get(address)
        return 0 if outlet is None else outlet.backlog()

    def _is_avoided(self, address: str) -> bool:
        if not self._avoided:
            return False
        now = time.monotonic()
        self._avoided = {peer: until for peer, until in self._avoided.items() if until > now}
        return address in self._avoided

    def _connect(self, address: str) -> Outlet:
        if len(self._outlets) >= MAX_PEERS:
            self._outlets.popitem(last=False)[1].close()
        outlet = self._context.connect(address, only_connected=True)
        self._outlets[address] = outlet
        return outlet

    def close(self) -> None:
        """Close all connections."""
        while self._outlets:
            self._outlets.popitem()[1].close()
