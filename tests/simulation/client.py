"""A client: a model of `cloudburst.calls.open_calls`, with a thread that waits for each run."""

from __future__ import annotations

from dataclasses import dataclass

from cloudburst.core.messages import (
    ENDED,
    Accepted,
    Call,
    Cancel,
    Message,
    Rejected,
    Result,
    RunState,
    RunStatus,
    Watch,
)
from cloudburst.core.options import RunOptions
from cloudburst.core.requests import Done, Refused, Request
from cloudburst.errors import KVSUnavailable
from cloudburst.kvs import keys
from cloudburst.kvs.base import Get, Operation

from .functions import Given, Outcome, outcome_of
from .ground import SCHEDULER, Ground, address_of
from .network import Letter
from .process import Process, Program, Wait
from .witness import AGAIN

ASK_EVERY = 1.0
LOST_AFTER = 3
TIMEOUT = 10.0
"""As in `cloudburst.calls.open_calls`, and the default of a connection."""

REJECTED = "rejected"
UNKNOWN = "unknown"
_GOING_ON = (RunState.PENDING, RunState.RUNNING, RunState.CANCELLING)


@dataclass
class Entry:
    """What a client knows of a run; see `cloudburst.calls.open_calls`."""

    run_id: str
    call: Call | None
    foreign: bool
    ask_at: float
    state: str | None = None
    unknown: int = 0
    outcome: Outcome | None = None

    @property
    def goes_as(self) -> str:
        """The id under which the run goes now."""
        return self.call.run_id if self.call else self.run_id


class ClientProcess(Process):
    """One client.

    Args:
        ground: the world.
        name: its name, and that of its machine.
        direct: whether executors can reach it.

    Attributes:
        entries: the runs that it waits for or waited for.
    """

    def __init__(self, ground: Ground, name: str, *, direct: bool) -> None:
        super().__init__(ground.clock, name, machine=name)
        self.ground = ground
        self.reply_to = address_of(name) if direct else ""
        self.entries: dict[str, Entry] = {}
        self._waiters: dict[str, Waiter] = {}

    def main(self) -> Program[None]:
        while True:
            yield Wait()
            while self.inbox:
                letter: Letter = self.inbox.popleft()
                self._receive(letter.message)

    def kill(self) -> None:
        super().kill()
        self.ground.network.leave(self)
        for waiter in self._waiters.values():
            waiter.kill()

    def call(self, call: Call, given: Given, said: RunOptions) -> None:
        """Call a function or DAG."""
        self.ground.witness.called(call, given, said)
        self._wait_for(Entry(call.run_id, call, foreign=False, ask_at=self.clock.now + ASK_EVERY))
        self.send(call)

    def join(self, run_id: str) -> None:
        """Wait for a run that was called elsewhere."""
        if run_id not in self.entries:
            self._wait_for(Entry(run_id, None, foreign=True, ask_at=self.clock.now))

    def cancel(self, run_id: str) -> None:
        """Have a run ended."""
        entry = self.entries.get(run_id)
        self.ground.witness.facts(run_id).cancelled = True
        self.send(Cancel(entry.goes_as if entry else run_id))

    def request(self, request: Request) -> None:
        """Change what is registered; nobody waits for the answer."""
        self.send(request)

    def send(self, message: Message) -> None:
        """Send to the scheduler."""
        self.ground.network.send(self, SCHEDULER, message, patient=True)

    def settle(self, entry: Entry, outcome: Outcome) -> None:
        """The run has ended, as far as this client is concerned."""
        if entry.outcome is None:
            entry.outcome = outcome
            self.ground.trace.note(self.name, f"{entry.run_id} is {outcome}")
            if outcome.error not in (REJECTED, UNKNOWN):
                self.ground.witness.ends(entry.run_id, outcome)
        self._wake(entry)

    def _wait_for(self, entry: Entry) -> None:
        self.entries[entry.run_id] = entry
        waiter = self._waiters[entry.run_id] = Waiter(self, entry)
        waiter.start()

    def _wake(self, entry: Entry) -> None:
        waiter = self._waiters[entry.run_id]
        if waiter.alive:
            waiter.wake()

    def _receive(self, message: Message) -> None:
        match message:
            case Result(run_id=run_id, frames=frames):
                if (entry := self._entry(run_id)) is not None:
                    self.settle(entry, outcome_of(frames))
            case Accepted(run_ids=run_ids):
                for run_id in run_ids:
                    if (entry := self._entry(run_id)) is not None:
                        entry.call, entry.unknown = None, 0
                        self.ground.witness.facts(run_id).accepted = True
            case Rejected(run_id=run_id, error=error):
                if (entry := self._entry(run_id)) is not None:
                    self.settle(entry, Outcome(REJECTED, error))
            case RunStatus(run_id=run_id, state=state):
                if (entry := self._entry(run_id)) is not None:
                    entry.state = state
                    self._wake(entry)
            case Done() | Refused():
                pass
            case _:
                raise AssertionError(f"a client is not sent {message}")

    def _entry(self, run_id: str) -> Entry | None:
        """That of a run that is waited for; under an older id, results are welcome too."""
        entry = self.entries.get(run_id.partition(AGAIN)[0])
        return entry if entry is not None and entry.outcome is None else None


class Waiter(Process):
    """A thread of a client that waits for one run.

    Args:
        client: whose.
        entry: the run.
    """

    def __init__(self, client: ClientProcess, entry: Entry) -> None:
        super().__init__(client.clock, f"{client.name}:{entry.run_id}", client.machine)
        self._client = client
        self._entry = entry
        self._asked_at = 0.0

    def main(self) -> Program[None]:
        entry = self._entry
        while entry.outcome is None:
            if entry.state not in ENDED and self.clock.now < entry.ask_at:
                yield Wait(entry.ask_at - self.clock.now, messages=False)
                continue
            try:
                yield from self._ask()
            except KVSUnavailable as error:
                # The user asks again.
                self._client.ground.trace.note(self.name, str(error))

    def _ask(self) -> Program[None]:
        entry = self._entry
        entry.ask_at = self.clock.now + ASK_EVERY
        if (yield from self._read()) or not (yield from self._is_answered()):
            return
        if entry.outcome is not None or entry.state in _GOING_ON:
            entry.unknown = 0
            return
        if (yield from self._read()):
            return
        entry.unknown += 1
        if entry.call is not None:
            self._send_again(entry.call)
            return
        if not entry.foreign and entry.unknown == 1:
            return
        self._client.settle(entry, Outcome(UNKNOWN, "nothing is known of it"))

    def _is_answered(self) -> Program[bool]:
        entry = self._entry
        entry.state = None
        self._client.send(Watch(entry.goes_as))
        limit = self.clock.now + TIMEOUT
        while entry.outcome is None and entry.state is None and self.clock.now < limit:
            yield Wait(limit - self.clock.now, messages=False)
        return entry.outcome is not None or entry.state is not None

    def _send_again(self, call: Call) -> None:
        if not call.store:
            if self._entry.unknown % LOST_AFTER:
                return
            call = self._entry.call = call._replace(run_id=call.run_id + AGAIN)
        self._client.send(call)

    def _read(self) -> Program[bool]:
        entry = self._entry
        if entry.call is not None and not entry.call.store:
            return False
        operations: list[Operation] = [Get(keys.object_key(entry.run_id))]
        (blob,) = yield from self._client.ground.kvs.ask(self, operations, _sleep)
        if blob is None:
            return False
        self._client.settle(entry, outcome_of([blob]))
        return True


def _sleep(seconds: float) -> Program[None]:
    yield Wait(seconds, messages=False)
