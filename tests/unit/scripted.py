"""A scheduler that answers by a script, on real sockets, and the parts of a connection to it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sockets import wait_until

from cloudburst.calls.future import CloudburstFuture
from cloudburst.calls.open_calls import Calls
from cloudburst.client.link import Link
from cloudburst.client.requests import Requests
from cloudburst.core.ids import VERSION, python_version
from cloudburst.core.messages import (
    PROTOCOL,
    Accepted,
    Call,
    Frames,
    Hello,
    Message,
    Relay,
    Result,
    RunState,
    RunStatus,
    Watch,
    Welcome,
)
from cloudburst.core.options import NOTHING_SAID
from cloudburst.core.wire import decode, encode
from cloudburst.errors import KVSUnavailable
from cloudburst.serialization import pack, pack_failure
from cloudburst.transport import Context, Peers, Poller

Answer = Callable[[Message], Iterable[Message]]
M = TypeVar("M", bound=Message)

WELCOME = Welcome(PROTOCOL, VERSION, python_version(), "redis://kvs")

SOON = 0.05
"""Seconds until runs are asked for, where a test does not wait as long as a connection would."""


class Scheduler:
    """Bound in a folder; each message is answered by what the script says to its kind.

    Attributes:
        said: what was said to it, with the senders.
        script: of each kind of message, the answers; without an entry there is none.
    """

    def __init__(self, folder: str) -> None:
        self.said: list[tuple[str, Message]] = []
        self.script: dict[type, Answer] = {Hello: lambda _: [WELCOME]}
        self._context = Context()
        self._inbox = self._context.bind(f"ipc://{folder}/scheduler")
        self.address = self._inbox.address
        self._wakeup, self._wake = os.pipe()
        self._to_say: deque[tuple[str, Frames]] = deque()
        self._over = False
        self._thread = threading.Thread(target=self._serve, name="scripted scheduler")
        self._thread.start()

    def say(self, client: str, message: Message) -> None:
        """Say something unasked."""
        self.say_frames(client, encode(message))

    def say_frames(self, client: str, frames: Frames) -> None:
        """The same, where the frames need not be a message."""
        self._to_say.append((client, frames))
        os.write(self._wake, b"!")

    def wait_for(self, kind: type[M], count: int = 1) -> list[M]:
        """The first messages of a kind; waits until there are so many."""

        def found() -> list[M]:
            return [message for _, message in list(self.said) if isinstance(message, kind)]

        wait_until(lambda: len(found()) >= count, f"{count} {kind.__name__}")
        return found()[:count]

    def count(self, kind: type[Message]) -> int:
        return sum(isinstance(message, kind) for _, message in list(self.said))

    def close(self) -> None:
        self._over = True
        os.write(self._wake, b"!")
        self._thread.join()
        self._inbox.close()
        self._context.close()
        os.close(self._wakeup)
        os.close(self._wake)

    def _serve(self) -> None:
        poller = Poller(self._inbox, self._wakeup)
        while not self._over:
            if self._wakeup in poller.wait(None):
                os.read(self._wakeup, 4096)
            for sender, frames in self._inbox.messages():
                message = decode(frames)
                for answer in self.script.get(type(message), _nothing)(message):
                    self._inbox.send(sender, encode(answer))
                # Noted after the answer: who waits for the note may stop this thread.
                self.said.append((sender, message))
            while self._to_say:
                self._inbox.send(*self._to_say.popleft())


def _nothing(_: Message) -> Iterable[Message]:
    return ()


class Client:
    """The parts of a connection, with a dict in place of the KVS.

    Args:
        address: the scheduler's.
        inbox: where to bind for results; "" to have them relayed.
        timeout: as for a connection.

    Attributes:
        read: the runs whose results were looked for in the KVS.
        dropped: the runs that were deleted from it.
        heard: every message that came.
        has_store: whether the KVS answers.
        when_read: called whenever it has.
    """

    def __init__(self, address: str, inbox: str, timeout: float = 5.0) -> None:
        self.name = "client"
        self.stored: dict[str, Frames] = {}
        self.read: list[str] = []
        self.dropped: list[str] = []
        self.heard: list[Message] = []
        self.has_store = True
        self.when_read: Callable[[], object] = lambda: None
        self.link = Link(address, self.name, inbox, self._receive)
        self.requests = Requests(self.link, timeout)
        self.calls = Calls(self.link, self._stored, self.dropped.append, timeout)
        self._context = Context()
        self._executor = Peers(self._context)

    def call(self, run_id: str, *, store: bool = True) -> Call:
        """A call of a function without arguments."""
        return Call(
            run_id=run_id,
            target="f",
            is_dag=False,
            arguments=(),
            references=(),
            reply_to=self.link.reply_to,
            store=store,
            output_key="",
            patience=1.0,
            options=NOTHING_SAID,
            frames=(),
        )

    def push(self, run_id: str, value: object) -> None:
        """An executor sends the result of a run to this client."""
        self.push_frames(run_id, pack(value).frames)

    def push_frames(self, run_id: str, frames: Frames, *, failed: bool = False) -> None:
        assert self._executor.send(self.link.reply_to, encode(Result(run_id, 1, failed, frames)))

    def keep(self, run_id: str, value: object) -> None:
        """The result of a run is in the KVS from now on."""
        self.stored[run_id] = pack(value).frames

    def waiting_for(self) -> set[str]:
        """The runs that it has not seen the end of."""
        return set(self.calls._entries)

    def has_heard_all(self) -> bool:
        """Whether, after a look at what has come, all its runs have ended."""
        self.link.look()
        return not self.waiting_for()

    def has_heard_anything(self) -> bool:
        self.link.look()
        return bool(self.heard)

    def push_after(
        self, scheduler: Scheduler, kind: type[Message], count: int, run_id: str
    ) -> None:
        """Once the scheduler was told so many times, the run's result is pushed: its own id."""
        scheduler.wait_for(kind, count)
        self.push(run_id, run_id)

    def close(self) -> None:
        self.link.close()
        self._executor.close()
        self._context.close()

    def _receive(self, message: Message) -> None:
        self.heard.append(message)
        if not self.calls.receive(message):
            self.requests.receive(message)

    def _stored(self, run_id: str) -> Frames | None:
        self.read.append(run_id)
        if not self.has_store:
            raise KVSUnavailable("the store does not answer")
        found = self.stored.get(run_id)
        self.when_read()
        return found


@contextmanager
def scheduler_in(folder: str) -> Iterator[Scheduler]:
    scheduler = Scheduler(folder)
    try:
        yield scheduler
    finally:
        scheduler.close()


@contextmanager
def client_of(address: str, inbox: str, timeout: float = 5.0) -> Iterator[Client]:
    client = Client(address, inbox, timeout)
    try:
        yield client
    finally:
        client.close()


def result_of(value: object) -> Answer:
    """An answer to a call: its result."""

    def answer(message: Message) -> Iterable[Message]:
        assert isinstance(message, Call | Relay)
        return [Result(message.run_id, 1, failed=False, frames=pack(value).frames)]

    return answer


def stands(state: RunState) -> Answer:
    """An answer to every question for a run: how it stands."""

    def answer(message: Message) -> Iterable[Message]:
        assert isinstance(message, Watch)
        return [RunStatus(message.run_id, state)]

    return answer


def accepted(message: Message) -> Iterable[Message]:
    """An answer to a call: the scheduler has it."""
    assert isinstance(message, Call)
    return [Accepted((message.run_id,))]


def start(client: Client, *names: str) -> list[CloudburstFuture]:
    """A call of a function without arguments for each name, which is that of its run."""
    return [client.calls.start(client.call(name)) for name in names]


def fail(client: Client, run_id: str, error: Exception) -> None:
    """An executor sends this client what a run has raised."""
    frames = pack_failure(error, step="f", run_id=run_id, executor="e")
    client.push_frames(run_id, frames, failed=True)
