"""A scheduler: the real state in a model of `cloudburst.scheduler.server`."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from cloudburst.core.hosts import ExecutorDied
from cloudburst.core.messages import PROTOCOL, Rejected, Relay, Result, Welcome
from cloudburst.errors import KVSUnavailable
from cloudburst.kvs import keys
from cloudburst.kvs.base import Increment, KeyValueStore, Operation
from cloudburst.scheduler.events import Event, Received, Send, Tick, Undelivered, Write, Written
from cloudburst.scheduler.server import SchedulerServer
from cloudburst.scheduler.state import SchedulerState

from .ground import SCHEDULER, Ground
from .kvs import Collected, Replay, Writer
from .network import Letter
from .process import Process, Program, Wait

WELCOME = Welcome(PROTOCOL, "1.2.3", "3.11", "redis://store")
HOST_TIMEOUT = 3.0
MAX_WAITING = 30
TTL = 86_400.0


class SchedulerProcess(Process):
    """One scheduler, from its start to its death.

    Args:
        ground: the world.
    """

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground.clock, SCHEDULER, machine=SCHEDULER)
        self.ground = ground
        self.state = SchedulerState(
            WELCOME, max_waiting=MAX_WAITING, host_timeout=HOST_TIMEOUT, ttl=TTL
        )
        self.writer = Writer(ground.kvs, self)
        self.is_serving = False

    def main(self) -> Program[None]:
        yield from self._take_over()
        self.is_serving = True
        while True:
            deadline = self.state.next_deadline()
            yield Wait(None if deadline is None else deadline - self.clock.now)
            while self.inbox:
                match self.inbox.popleft():
                    case Letter(sender=sender, message=message):
                        self.feed(Received(sender, message))
                    case Collected(token=token, outcome=outcome) if token:
                        self.feed(Written(token, outcome))
            deadline = self.state.next_deadline()
            if deadline is not None and self.clock.now >= deadline:
                self.feed(Tick())

    def kill(self) -> None:
        super().kill()
        self.writer.close()
        self.ground.network.leave(self)

    def feed(self, event: Event) -> None:
        """Handle an event and whatever follows from it."""
        self.ground.trace.note("scheduler takes", event)
        members = self.state.members
        before = len(members.all())
        commands = self.state.handle(event, self.clock.now)
        if self.clock.events % self.ground.validate_every == 0:
            self.state.validate()
        if not _names_a_run(event):
            self.ground.witness.unexplained += max(0, before - len(members.all()))
        for command in commands:
            match command:
                case Send(to=to, message=message):
                    if isinstance(message, Result) and not _is_relayed(event):
                        self.ground.witness.told(message.run_id, message.frames)
                    if isinstance(message, Rejected):
                        self.ground.witness.facts(message.run_id).rejected = True
                    if not self.ground.network.send(self, to, message):
                        self.feed(Undelivered(to, message))
                case Write(operations=operations, token=token):
                    self.writer.submit(operations, token)

    def _take_over(self) -> Program[None]:
        """The shipped code, with a store that takes its time."""
        replay, restored = Replay(), list[Event]()
        server = SimpleNamespace(
            store=replay,
            lease=SimpleNamespace(acquire=_next_term),
            state=self.state,
            feed=restored.append,
        )
        yield from replay.run(lambda: SchedulerServer.take_over(cast("Any", server)), self._execute)
        for event in restored:
            self.feed(event)

    def _execute(self, operations: Sequence[Operation]) -> Program[list[Any]]:
        while True:
            try:
                return (yield from self.ground.kvs.ask(self, operations, _sleep))
            except KVSUnavailable:
                yield Wait(1.0, messages=False)  # a supervisor starts it again


def _next_term(store: KeyValueStore) -> int:
    (term,) = store.execute([Increment(keys.TERM)])
    return int(term)


def _sleep(seconds: float) -> Program[None]:
    yield Wait(seconds, messages=False)


def _is_relayed(event: Event) -> bool:
    return isinstance(event, Received) and isinstance(event.message, Relay)


def _names_a_run(event: Event) -> bool:
    """Whether an executor is lost, and it is known what it ran."""
    return (
        isinstance(event, Received)
        and isinstance(event.message, ExecutorDied)
        and bool(event.message.running)
    )
