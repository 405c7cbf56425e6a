"""A host with real executors, and a scheduler that only hears them."""

import time
from pathlib import Path
from typing import TypeVar

from watching import wait_until

from cloudburst.child import Child, start_role
from cloudburst.config import HostConfig
from cloudburst.core.hosts import Fence, Heartbeat
from cloudburst.core.messages import Message
from cloudburst.core.wire import decode, encode
from cloudburst.transport import Context, Poller

M = TypeVar("M", bound=Message)


class Scheduler:
    """A socket that hears hosts and executors, and a host that talks to it.

    Attributes:
        answers: whether it answers heartbeats.
    """

    def __init__(
        self, directory: Path, store: str, host: Child | bool = True, **options: object
    ) -> None:
        self.context = Context()
        self.heard: list[tuple[str, Message]] = []
        self.answers = True
        self.bind_again(directory)
        told = {"bind": f"ipc://{directory}", "min_executors": 2, **options}
        config = HostConfig(scheduler=self.inbox.address, kvs_url=store, **told)  # type: ignore[arg-type]
        self._host = start_role("host", config.to_json()) if host is True else host or None

    @property
    def host(self) -> Child:
        """The host that was started with it."""
        assert self._host is not None
        return self._host

    def bind_again(self, directory: Path) -> None:
        """Begin to hear; or again, after the inbox was closed."""
        self.inbox = self.context.bind(f"ipc://{directory}/scheduler")
        self.poller = Poller(self.inbox)

    def listen(self, kind: type[M], count: int = 1, timeout: float = 10.0) -> list[M]:
        """Wait until so many messages of a kind have come in all."""

        def enough() -> list[M] | None:
            self.look()
            found = [message for _, message in self.heard if isinstance(message, kind)]
            return found if len(found) >= count else None

        return wait_until(enough, f"{count} {kind.__name__} come", timeout)

    def look(self) -> None:
        """Hear what has come, or comes within a moment."""
        self.poller.wait(0.05)
        for who, frames in self.inbox.messages():
            message = decode(frames)
            self.heard.append((who, message))
            if isinstance(message, Heartbeat) and self.answers:
                self.inbox.send(who, encode(Fence(())))

    def hear_for(self, seconds: float) -> None:
        """Go on hearing and answering that long."""
        end = time.monotonic() + seconds
        wait_until(lambda: self.look() or time.monotonic() > end, "time passes", 2 * seconds)

    def say(self, message: Message) -> None:
        """Tell the host something, once it is there."""
        host = self.listen(Heartbeat)[-1].host
        assert self.inbox.send(host, encode(message))

    def names_alive(self) -> set[str]:
        """The executors in the next heartbeat."""
        so_far = sum(isinstance(message, Heartbeat) for _, message in self.heard)
        return set(self.listen(Heartbeat, so_far + 1)[-1].executors)

    def close(self) -> None:
        if self._host is not None:
            self._host.stop(2.0)
        self.inbox.close()
        self.context.close()
