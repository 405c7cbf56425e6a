"""How results reach clients: straight, through the scheduler, or from the store."""

from __future__ import annotations

from collections.abc import Callable

from cloudburst.core.messages import Frames, Message, Relay, Result, RunStatus
from cloudburst.core.wire import encode
from cloudburst.executor.events import Deliver
from cloudburst.executor.reports import Reports
from cloudburst.transport import Peers

BACKLOG = 32 << 20
"""Bytes that may wait here for a client that does not read them, before it is to read the stored
results from the KVS."""


class Delivery:
    """Sends what executors send to others directly.

    Args:
        peers: the ways to clients and other executors.
        to_scheduler: sends to the scheduler.
        reports: what the scheduler is told.
    """

    def __init__(
        self, peers: Peers, to_scheduler: Callable[[Message], None], reports: Reports
    ) -> None:
        self._peers = peers
        self._to_scheduler = to_scheduler
        self._reports = reports

    def tell(self, item: Deliver) -> None:
        """Tell a client how its run has ended, and then the scheduler."""
        context, (run_id, epoch, state, _) = item.context, item.finished
        if context.store and self._peers.backlog(context.reply_to) > BACKLOG:
            # The client is told where to look, instead of its results piling up here.
            self.send(context.reply_to, encode(RunStatus(run_id, state)))
        else:
            result = Result(run_id, epoch, item.failed, item.frames)
            if not (context.reply_to and self.send(context.reply_to, encode(result))):
                self._to_scheduler(Relay(context.client, *result))
        self._reports.finished(item.finished)

    def send(self, address: str, frames: Frames) -> bool:
        """Send to a peer. Returns whether it could be reached."""
        try:
            return self._peers.send(address, frames)
        except OSError:  # whoever said so, this is not an address
            return False
