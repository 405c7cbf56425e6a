"""The executor's process: one thread that polls, runs user code and flushes, around the state."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import FrameType

from cloudburst.cache.reader import reader_of
from cloudburst.config import ExecutorConfig, resources_in
from cloudburst.core.messages import (
    PROTOCOL,
    Accepted,
    Bounce,
    DropDag,
    ExecutorReady,
    ExecutorUnknown,
    Finished,
    Frames,
    Mail,
    Mails,
    Message,
    Probe,
    Rejected,
    Result,
    RunStatus,
    Standing,
    Start,
    Stop,
    Trigger,
)
from cloudburst.core.wire import decode, encode
from cloudburst.errors import ProtocolError
from cloudburst.executor.board import writer_of
from cloudburst.executor.closer import Closer
from cloudburst.executor.commits import commit
from cloudburst.executor.delivery import Delivery
from cloudburst.executor.doorbell import Doorbell
from cloudburst.executor.events import (
    Command,
    Deliver,
    Ending,
    Event,
    FetchPlan,
    Interrupt,
    Leave,
    Report,
    SendTrigger,
    Undelivered,
    Waits,
    Work,
)
from cloudburst.executor.functions import Functions
from cloudburst.executor.instances import LAST_MOMENTS, Instances
from cloudburst.executor.nested import NestedCalls, NestedLink
from cloudburst.executor.plans import fetch_plan
from cloudburst.executor.post import PostOffice
from cloudburst.executor.reports import SHORT, Reports
from cloudburst.executor.runner import Runner
from cloudburst.executor.state import ExecutorState
from cloudburst.executor.waiting import Waiting
from cloudburst.kvs.base import KeyValueStore
from cloudburst.kvs.opening import ServedStore, open_store
from cloudburst.serialization import has_references
from cloudburst.transport import KEEP, Context, Peers, Poller

ASK_EVERY = 10.0
"""Seconds between two looks for shares of runs that wait for something since the last one."""

_log = logging.getLogger(__name__)


class _Stop(BaseException):
    """Raised by the signal handler to leave the poll."""


class ExecutorServer:
    """Carries messages to the state, its work to the runner, and its commands out.

    Args:
        config: names and addresses.
        context: the process's transports.
        store: the cluster's.
    """

    def __init__(self, config: ExecutorConfig, context: Context, store: ServedStore) -> None:
        self.config = config
        self.context = context
        self.inbox = context.bind(config.own_address)
        self.scheduler = context.connect(config.scheduler, config.name)
        self.peers = Peers(context)
        self.poller = Poller(self.inbox, self.scheduler)
        self.store = store
        self.spare_store = open_store(config.kvs_url)
        self.state = ExecutorState(self.inbox.address)
        self.doorbell = Doorbell(self.look)
        budget = config.executor_memory << 20
        self.objects = reader_of(
            self.store, config.cache, config.name, self.doorbell.shut_meanwhile
        )
        self.instances = Instances(Closer(self.objects).close, config.instance_idle, budget)
        address = self.inbox.address
        self.waiting = Waiting(self.pump, self._say_waits, self.doorbell)
        self.post = PostOffice(address, self.peers, self.store, self.waiting, self.doorbell)
        self.nested = NestedLink(address, self._to_scheduler, self.waiting, self.doorbell)
        calls = NestedCalls(self.nested, self.store)
        about = (config.name, address, self.objects, self.post, calls)
        functions = Functions(self.store, self.instances)
        self.runner = Runner(*about, functions, self.doorbell, context.snapshot)
        self.says_running = writer_of(config.board_fd, config.slot)
        self.finished: list[Deliver] = []
        self.idle: set[tuple[str, int]] = set()
        self.ask_at = 0.0
        self.reports = Reports(self._to_scheduler)
        self.delivery = Delivery(self.peers, self._to_scheduler, self.reports)
        self.postponed: deque[Frames] = deque()
        self.seconds: dict[tuple[str, int], float] = {}
        self.interruptible = False
        self.leaving = False

    def serve(self) -> None:
        """Serve until the process is asked to end."""
        self._introduce()
        while not self.leaving:
            timeout = SHORT if self.reports else self._idle_time()
            self.interruptible = True
            if not self.leaving:  # a signal may just have said so
                self.poller.wait(timeout)
            self.interruptible = False
            self._take_in()
            self._ask_after_idle()
            if not self._has_work():
                self._commit(self.store)  # a run whose plan is lost has ended without any work
                self.reports.flush()
            while self._has_work() and not self.leaving:
                self._turn()
                self.poller.wait(0.0)
                self._take_in()

    def _idle_time(self) -> float | None:
        """Seconds until something is due without a message; None if nothing is."""
        looks = (self.instances.look(), self.objects.look(), self.context.look())
        seconds = min([seconds for seconds in looks if seconds is not None], default=None)
        if not self.state.shares:
            return seconds
        due_at = self.state.ready.due_at()
        next_at = self.ask_at if due_at is None else min(self.ask_at, due_at)
        asking = max(0.0, next_at - time.monotonic())
        return asking if seconds is None else min(seconds, asking)

    def _has_work(self) -> bool:
        due_at = self.state.ready.due_at()
        return due_at is not None and (not due_at or time.monotonic() >= due_at)

    def _ask_after_idle(self) -> None:
        """Tell the scheduler of shares for which nothing comes: perhaps it knows better."""
        now = time.monotonic()
        if not self.state.shares or now < self.ask_at:
            return
        before, self.idle = self.idle, self.state.idle()
        self.ask_at = now + ASK_EVERY
        for share in before & self.idle:
            self.reports.add(Standing(*share, active=False))

    def leave(self) -> None:
        """Hand what has not begun back to the scheduler, and close what classes keep open."""
        self._take_in()
        self._commit(self.store)
        self._feed(Leave())
        self.reports.flush()
        self.instances.close()

    def pump(self, timeout: float) -> bool:
        """For a function that waits: take in what comes within so many seconds.

        Returns:
            Whether anything came.

        Raises:
            InvocationCancelledError, InvocationTimedOutError: its run is over.
        """
        # It may wait for what others do when they have these.
        self._commit(self.store)
        self.reports.flush()
        self.poller.wait(timeout)
        came = self._take_in()
        self.doorbell.raise_if_rung()
        return came

    def _say_waits(self, *, waits: bool) -> None:
        self._feed(Waits(waits))

    def look(self) -> bool:
        """Take in what cannot wait for the end of the user code that runs; keep the rest.

        The code may be anywhere, in the middle of a command to the store even, or of a line to
        the log: nothing is done here that needs its connection, and nothing is said.

        Returns:
            Whether there was something to knock for.
        """
        heard = False
        self.poller.wait(0.0)
        for frames in self._arrived():
            try:
                message = decode(frames)
                if not self._take_in_now(message):
                    self.postponed.append(frames)
                heard |= isinstance(message, Stop | Bounce | ExecutorUnknown)
            except ProtocolError:
                self.postponed.append(frames)  # to be refused again, with a word
        self.nested.flush()
        self.post.flush_by_the_way()
        if not self.doorbell.is_rung:
            # The code that runs was expected to be short, and results wait for its end.
            self._commit(self.spare_store)
        self.reports.flush()
        return heard

    def _take_in_now(self, message: Message) -> bool:
        match message:
            case Stop() | Probe() | Bounce():
                self._feed(message)
            case ExecutorUnknown():
                self._introduce()
            case Start() | Trigger() if self.state.routes.knows(message.context):
                self._feed(message)
            case Mail() | Mails() if self.post.is_for_running(message.recipient):
                self.post.deliver(message)
            case Result() | RunStatus() | Accepted() | Rejected():
                self.nested.put(message)
            case _:
                return False
        return True

    def _take_in(self) -> bool:
        """Act on all that has come. Returns whether anything has."""
        came = bool(self.postponed)
        while self.postponed:
            self._receive(self.postponed.popleft())
        for frames in self._arrived():
            self._receive(frames)
            came = True
        return came

    def _receive(self, frames: Frames) -> None:
        try:
            self._handle(decode(frames))
        except ProtocolError as error:
            _log.warning("dropped a message: %s", error)

    def _arrived(self) -> Iterator[Frames]:
        yield from self.scheduler.messages()
        for _, frames in self.inbox.messages():
            yield frames

    def _handle(self, message: Message) -> None:
        match message:
            case Start() | Trigger() | Stop() | Probe() | Bounce():
                self._feed(message)
            case Mail() | Mails():
                self.post.deliver(message)
            case Result() | RunStatus() | Accepted() | Rejected():
                self.nested.put(message)
            case DropDag(dag=dag):
                self.instances.drop_dag(dag)
            case ExecutorUnknown():
                self._introduce()
            case _:
                _log.warning("an executor is not sent a %s", type(message).__name__)

    def _turn(self) -> None:
        """Run what is ready, at most until results that are done have waited long enough."""
        end = time.perf_counter() + SHORT
        while time.perf_counter() < end and (works := self.state.next_work(time.monotonic())):
            work = works[0]
            if (self.finished or self.reports) and not self._is_short(works):
                self._commit(self.store)
                self.reports.flush()
            # Of a batch nobody can say whose fault it is if the process dies.
            self.says_running(work.run_id if len(works) == 1 else "")
            dones = self.runner.run(works)
            if dones[0].ending not in (Ending.VOID, Ending.PUT_OFF):
                self.seconds[work.route.plan.id, work.segment] = dones[0].seconds
            for done in dones:
                self._feed(done)
        self.says_running("")
        self._commit(self.store)

    def _is_short(self, works: Sequence[Work]) -> bool:
        for work in works:
            if any(has_references(argument.frames) for argument in work.arguments):
                return False  # it may wait for the results that are to be stored
        work = works[0]
        each = self.seconds.get((work.route.plan.id, work.segment), SHORT)
        return each * len(works) < SHORT

    def _feed(self, event: Event) -> None:
        if isinstance(event, Probe) and self._is_uncommitted(event.run_id):
            self.reports.add(Standing(event.run_id, event.epoch, active=True))
            return
        for command in self.state.handle(event):
            self._carry_out(command)

    def _is_uncommitted(self, run_id: str) -> bool:
        return any(item.finished.run_id == run_id for item in self.finished)

    def _carry_out(self, command: Command) -> None:
        match command:
            case Deliver():
                self.finished.append(command)
            case SendTrigger(address=address, trigger=trigger):
                if not self.delivery.send(address, encode(trigger)):
                    reason = f"executor {address} could not be reached"
                    self._feed(Undelivered(trigger.run_id, trigger.epoch, reason))
            case Report(message=Finished() as finished):
                self.reports.finished(finished)
            case Report(message=message):
                self.reports.add(message)
                self.reports.flush()
            case Interrupt(run_id=run_id, state=state):
                self.says_running(run_id)  # of a batch the last, which may have to be killed
                self.doorbell.ring(run_id, state)
            case FetchPlan(plan_id=plan_id):
                self._feed(fetch_plan(plan_id, self.store))

    def _commit(self, store: KeyValueStore) -> None:
        """Store the results that are to be stored, in one round trip, and tell of all."""
        finished, self.finished = self.finished, []
        for outcome in commit(finished, store, self.config.name) if finished else ():
            if isinstance(outcome, Deliver):
                if outcome.context.output_key and outcome.context.store:
                    self.objects.changed([outcome.context.output_key])
                self.delivery.tell(outcome)
            else:
                self._feed(outcome)

    def _to_scheduler(self, message: Message) -> None:
        self.scheduler.send(encode(message))

    def _introduce(self) -> None:
        name, host, address = self.config.name, self.config.host, self.inbox.address
        resources = resources_in(self.config.resources)
        about = (PROTOCOL, name, host, address, os.getpid())
        ready = ExecutorReady(*about, self.state.holds(), resources)
        self.scheduler.send(encode(ready))

    def close(self) -> None:
        """Close sockets and store connection."""
        self.inbox.close()
        self.scheduler.close()
        self.peers.close()
        self.objects.close()
        self.store.close()
        self.spare_store.close()


def main(config: ExecutorConfig, life_fd: int, store: ServedStore) -> None:
    """Run an executor until SIGTERM, or until nobody holds the other end of ``life_fd``.

    On the main thread of a process that has no ZeroMQ context.
    """
    context = Context(KEEP)
    server = ExecutorServer(config, context, store)
    gc.freeze()

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.leaving = True
        if server.interruptible:
            server.interruptible = False  # a second signal must not interrupt what follows
            raise _Stop

    signal.signal(signal.SIGTERM, stop)
    server.doorbell.listen()
    life = (life_fd, threading.get_ident(), server.instances)
    threading.Thread(target=_end_with, args=life, name="life", daemon=True).start()
    try:
        with suppress(_Stop):
            server.serve()
        server.interruptible = False
        server.leave()
    finally:
        server.close()
        context.close()


def _end_with(life_fd: int, main_thread: int, instances: Instances) -> None:
    os.read(life_fd, 1)
    if instances.are_to_be_closed:
        signal.pthread_kill(main_thread, signal.SIGTERM)
        time.sleep(2 * LAST_MOMENTS)  # its zygote, if there is one, waits less
    os._exit(0)
