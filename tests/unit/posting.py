"""Post offices of executors, with their sockets."""

from __future__ import annotations

from running import no_calls

from cloudburst.cache.reader import ObjectReader
from cloudburst.core.messages import Mail, Mails
from cloudburst.core.wire import decode
from cloudburst.executor.doorbell import Doorbell
from cloudburst.executor.library import UserLibrary
from cloudburst.executor.post import PostOffice
from cloudburst.executor.waiting import Waiting
from cloudburst.kvs.base import KeyValueStore
from cloudburst.transport import Context, Peers, Poller


class Office:
    """The post office of one executor with its sockets, and the steps that run there."""

    def __init__(self, address: str, store: KeyValueStore) -> None:
        self.context = Context()
        self.inbox = self.context.bind(address)
        self.poller = Poller(self.inbox)
        self.peers = Peers(self.context)
        self.store = store
        doorbell = Doorbell(self.look)
        waiting = Waiting(self.pump, self.tell, doorbell)
        self.post = PostOffice(self.inbox.address, self.peers, store, waiting, doorbell)
        self.waits: list[float] = []
        self.told: list[bool] = []

    def tell(self, *, waits: bool) -> None:
        """What the scheduler is told."""
        self.told.append(waits)

    def pump(self, timeout: float) -> bool:
        """What an executor does while a function waits."""
        self.waits.append(timeout)
        self.poller.wait(timeout)
        came = False
        for _, frames in self.inbox.messages():
            message = decode(frames)
            assert isinstance(message, Mail | Mails)
            self.post.deliver(message)
            came = True
        return came

    def look(self) -> bool:
        """What an executor does when it is knocked at."""
        self.pump(0.0)
        return False

    def mailbox(self) -> int:
        """How many messages wait for the running step, after a look at what has come."""
        self.pump(0.01)
        return len(self.post._mailbox)

    def library(self, step: str, run_id: str = "run") -> UserLibrary:
        library = UserLibrary(
            ObjectReader(self.store), self.post, no_calls(self.store), run_id, 1, self.inbox.address
        )
        library.step = step
        return library

    def run(self, step: str, run_id: str = "run") -> UserLibrary:
        """A step runs from now on, until the next one does."""
        self.post.close()
        library = self.library(step, run_id)
        self.post.open(library)
        return library

    def close(self) -> None:
        self.peers.close()
        self.inbox.close()
        self.context.close()
