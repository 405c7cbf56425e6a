"""An executor: the real state in a model of `cloudburst.executor.server`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cloudburst.core.messages import (
    PROTOCOL,
    Blocked,
    Bounce,
    DropDag,
    ExecutorReady,
    ExecutorUnknown,
    Finished,
    HandBack,
    Message,
    Probe,
    Relay,
    Result,
    Standing,
    Start,
    Stop,
    Trigger,
    Yield,
)
from cloudburst.core.plan import unpack_plan
from cloudburst.errors import CloudburstError, KeyNotFound, ProtocolError
from cloudburst.executor.commits import commit
from cloudburst.executor.events import (
    Command,
    Deliver,
    Event,
    FetchPlan,
    Interrupt,
    Leave,
    PlanLoaded,
    PlanMissing,
    Report,
    SendTrigger,
    Stale,
    Undelivered,
    Waits,
)
from cloudburst.executor.state import ExecutorState
from cloudburst.kvs import keys
from cloudburst.kvs.base import Get, Operation
from cloudburst.serialization import pack_cluster_failure

from .ground import SCHEDULER, Ground, address_of, name_at
from .kvs import AtOnce, Replay
from .network import Letter
from .process import Process, Program, Wait
from .runner import Bell, Runner, is_short

SHORT = 0.001
REPORTS = 8
ASK_EVERY = 10.0
CONNECT_WAIT = 0.5
AVOID = 10.0
"""As in `cloudburst.executor.server` and `cloudburst.transport.peers`."""


class ExecutorProcess(Process):
    """One executor.

    Args:
        ground: the world.
        name: its name.
        host: the name of its host, on whose machine it runs.
        machine: that machine.
        says_running: writes on the host's board.
        end: ends this process, for a reason.

    Attributes:
        resources: those of its host.
        caches: tells its host of an object that was read.
    """

    def __init__(
        self,
        ground: Ground,
        name: str,
        host: str,
        machine: str,
        says_running: Callable[[str], None],
        end: Callable[[str], None],
    ) -> None:
        super().__init__(ground.clock, name, machine)
        self.ground = ground
        self.host = host
        self.resources: tuple[str, ...] = ()
        self.caches: Callable[[str], None] = lambda _: None
        self.state = ExecutorState(address_of(name))
        self.says_running = says_running
        self.doorbell = Bell(self._look, self._knock_later)
        self.runner = Runner(ground, self, self.doorbell, end)
        self.finished: list[Deliver] = []
        self.reports: list[Finished | HandBack | Yield | Standing | Blocked] = []
        self.postponed: list[Message] = []
        self.avoided: dict[str, float] = {}
        self.leaving = False
        self.idle: set[tuple[str, int]] = set()
        self.ask_at = 0.0

    def main(self) -> Program[None]:
        self._introduce()
        while not self.leaving:
            yield Wait(SHORT if self.reports else self._idle_time())
            yield from self._take_in()
            self._ask_after_idle()
            if not self._has_work():
                yield from self._commit()
                self._report()
            while self._has_work() and not self.leaving:
                yield from self._turn()
                yield from self._take_in()
        yield from self._take_in()
        yield from self._commit()
        yield from self._feed(Leave())
        self._report()

    def _idle_time(self) -> float | None:
        if not self.state.shares:
            return None
        due_at = self.state.ready.due_at()
        next_at = self.ask_at if due_at is None else min(self.ask_at, due_at)
        return max(0.0, next_at - self.clock.now)

    def _has_work(self) -> bool:
        due_at = self.state.ready.due_at()
        return due_at is not None and self.clock.now >= due_at

    def _ask_after_idle(self) -> None:
        if not self.state.shares or self.clock.now < self.ask_at:
            return
        before, self.idle = self.idle, self.state.idle()
        self.ask_at = self.clock.now + ASK_EVERY
        self.reports += [Standing(*share, active=False) for share in before & self.idle]

    def knock(self) -> None:
        """SIGURG."""
        if self.alive:
            self.runner.knock()

    def _knock_later(self, seconds: float) -> None:
        self.clock.after(seconds, self.knock)

    def terminate(self) -> None:
        """SIGTERM."""
        self.leaving = True
        if self.alive and self._waits.messages:
            self.wake()

    def _look(self) -> bool:
        heard = False
        for message in self._messages():
            if self._is_urgent(message):
                self._handle_now(message)
                heard |= isinstance(message, Stop | Bounce | ExecutorUnknown)
            else:
                self.postponed.append(message)
        if not self.doorbell.is_rung and self.finished:
            self._commit_now()
        self._report()
        return heard

    def _handle_now(self, message: Message) -> None:
        match message:
            case ExecutorUnknown():
                self._introduce()
            case Start() | Trigger() | Stop() | Probe() | Bounce():
                for command in self._decide(message):
                    self._carry_out_now(command)

    def _is_urgent(self, message: Message) -> bool:
        match message:
            case Stop() | Probe() | Bounce() | ExecutorUnknown():
                return True
            case Start() | Trigger():
                return self.state.routes.knows(message.context)
            case _:
                return False

    def pump(self, seconds: float) -> Program[bool]:
        """For code that waits: take in what comes within so many seconds.

        Returns:
            Whether anything came.

        Raises:
            InvocationCancelledError, InvocationTimedOutError: its run is over.
        """
        yield from self._commit()
        self._report()
        yield Wait(0.0 if self.inbox else seconds)
        came = yield from self._take_in()
        self.doorbell.raise_if_rung()
        return came

    def say_waits(self, *, waits: bool) -> None:
        """The code that runs waits for what others do, or goes on."""
        for command in self._decide(Waits(waits)):
            self._carry_out_now(command)

    def holds_up(self, run_id: str) -> bool:
        """Whether code of that run keeps others waiting that could run here."""
        shares = self.state.shares
        return any(
            work.run_id != run_id
            and work.run_id in shares
            and shares[work.run_id].epoch == work.epoch
            for work in self.state.ready.works
        )

    def _take_in(self) -> Program[bool]:
        came = bool(self.postponed or self.inbox)
        while self.postponed:
            yield from self._handle(self.postponed.pop(0))
        for message in self._messages():
            yield from self._handle(message)
        return came

    def _messages(self) -> Iterator[Message]:
        while self.inbox:
            letter: Letter = self.inbox.popleft()
            yield letter.message

    def _handle(self, message: Message) -> Program[None]:
        match message:
            case Start() | Trigger() | Stop() | Probe() | Bounce():
                yield from self._feed(message)
            case ExecutorUnknown():
                self._introduce()
            case DropDag():
                pass  # instances are not modelled
            case _:
                raise AssertionError(f"an executor is not sent a {type(message).__name__}")

    def _turn(self) -> Program[None]:
        end = self.clock.now + SHORT
        while self.clock.now < end and (works := self.state.next_work(self.clock.now)):
            if (self.finished or self.reports) and not is_short(self.ground, works):
                yield from self._commit()
                self._report()
            self.says_running(works[0].run_id if len(works) == 1 else "")
            dones = yield from self.runner.run(works)
            for done in dones:
                yield from self._feed(done)
        self.says_running("")
        yield from self._commit()

    def _feed(self, event: Event) -> Program[None]:
        for command in self._decide(event):
            yield from self._carry_out(command)

    def _decide(self, event: Event) -> list[Command]:
        if isinstance(event, Probe) and self._is_uncommitted(event.run_id):
            self.reports.append(Standing(event.run_id, event.epoch, active=True))
            return []
        self.ground.trace.note(f"{self.name} takes", event)
        try:
            commands = self.state.handle(event)
        except ProtocolError as error:
            self.ground.trace.note(self.name, f"dropped a message: {error}")
            commands = []
        self.state.validate()
        return commands

    def _is_uncommitted(self, run_id: str) -> bool:
        return any(item.finished.run_id == run_id for item in self.finished)

    def _carry_out(self, command: Command) -> Program[None]:
        match command:
            case SendTrigger(address=address, trigger=trigger):
                if not (yield from self._send_to_peer(address, trigger)):
                    reason = f"executor {address} could not be reached"
                    yield from self._feed(Undelivered(trigger.run_id, trigger.epoch, reason))
            case FetchPlan(plan_id=plan_id):
                yield from self._feed((yield from self._fetch(plan_id)))
            case _:
                self._carry_out_now(command)

    def _carry_out_now(self, command: Command) -> None:
        match command:
            case Deliver():
                self.finished.append(command)
            case Report(message=Finished() as finished):
                self._finish(finished)
            case Report(message=message):
                self.reports.append(message)
                self._report()
            case Interrupt(run_id=run_id, state=state):
                self.says_running(run_id)
                self.doorbell.ring(run_id, state)
            case _:
                raise AssertionError(f"{command} cannot be carried out while user code runs")

    def _fetch(self, plan_id: str) -> Program[Event]:
        try:
            (blob,) = yield from self.execute([Get(keys.plan_key(plan_id))])
        except CloudburstError as error:
            return PlanMissing(plan_id, pack_cluster_failure(error))
        if blob is None:
            return PlanMissing(plan_id, pack_cluster_failure(KeyNotFound("the plan is lost")))
        return PlanLoaded(unpack_plan(blob))

    def execute(self, operations: Sequence[Operation]) -> Program[list[Any]]:
        """Use the store, and wait for it."""
        return self.ground.kvs.ask(self, operations, self.runner.sleep)

    def _commit(self) -> Program[None]:
        finished, self.finished = self.finished, []
        if not finished:
            return
        replay = Replay()
        code = lambda: list(commit(finished, replay, self.name))
        for outcome in (yield from replay.run(code, self.execute)):
            if isinstance(outcome, Deliver):
                yield from self._tell(outcome)
            else:
                yield from self._feed(outcome)

    def _commit_now(self) -> None:
        """While user code runs; in a moment, because the model cannot wait here."""
        if not self.ground.kvs.answers_to(self.machine):
            return
        finished, self.finished = self.finished, []
        for outcome in commit(finished, AtOnce(self.ground.kvs, self.name), self.name):
            match outcome:
                case Deliver():
                    self._told(outcome, sent=self._is_sent(outcome))
                case Stale() | Undelivered():
                    for command in self._decide(outcome):
                        self._carry_out_now(command)

    def _tell(self, item: Deliver) -> Program[None]:
        address = item.context.reply_to
        sent = bool(address) and (yield from self._send_to_peer(address, _result_of(item)))
        self._told(item, sent=sent)

    def _is_sent(self, item: Deliver) -> bool:
        address = item.context.reply_to
        to = name_at(address)
        return bool(address) and self.ground.network.send(self, to, _result_of(item))

    def _told(self, item: Deliver, *, sent: bool) -> None:
        self.ground.witness.told(item.finished.run_id, item.frames)
        if not sent:
            self._to_scheduler(Relay(item.context.client, *_result_of(item)))
        self._finish(item.finished)

    def _finish(self, finished: Finished) -> None:
        self.reports.append(finished)
        if len(self.reports) >= REPORTS or sum(seconds for _, seconds in finished.times) > SHORT:
            self._report()

    def _report(self) -> None:
        for message in self.reports:
            self._to_scheduler(message)
        self.reports.clear()

    def _introduce(self) -> None:
        address, holds = self.state.address, self.state.holds()
        self._to_scheduler(
            ExecutorReady(PROTOCOL, self.name, self.host, address, 1, holds, self.resources)
        )

    def _to_scheduler(self, message: Message) -> None:
        self.ground.network.send(self, SCHEDULER, message, patient=True)

    def _send_to_peer(self, address: str, message: Message) -> Program[bool]:
        network, to = self.ground.network, name_at(address)
        if self.avoided.get(to, 0.0) > self.clock.now:
            return False
        if network.send(self, to, message):
            return True
        yield from self.runner.sleep(CONNECT_WAIT)
        if network.send(self, to, message):
            return True
        self.avoided[to] = self.clock.now + AVOID
        return False


def _result_of(item: Deliver) -> Result:
    return Result(item.finished.run_id, item.finished.epoch, item.failed, item.frames)
