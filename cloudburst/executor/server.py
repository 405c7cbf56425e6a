"""The executor's process: one thread that polls, runs user code and flushes, around the state."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
import time
from types import FrameType

from cloudburst.config import ExecutorConfig
from cloudburst.core.messages import (
    PROTOCOL,
    DropDag,
    ExecutorReady,
    ExecutorUnknown,
    Finished,
    Forget,
    Frames,
    Mail,
    Relay,
    Result,
    RunState,
    Start,
    Trigger,
)
from cloudburst.core.plan import unpack_plan
from cloudburst.core.wire import decode, encode
from cloudburst.errors import CloudburstError, KeyNotFound, KVSUnavailable, ProtocolError
from cloudburst.executor.events import (
    Command,
    Deliver,
    Event,
    FetchPlan,
    PlanLoaded,
    PlanMissing,
    Report,
    SendTrigger,
    Work,
)
from cloudburst.executor.functions import Functions
from cloudburst.executor.post import PostOffice
from cloudburst.executor.runner import Runner
from cloudburst.executor.state import ExecutorState
from cloudburst.kvs import keys
from cloudburst.kvs.base import CommitRun, Get
from cloudburst.kvs.objects import check_size
from cloudburst.kvs.redis import RedisStore
from cloudburst.serialization import has_references, join, pack_cluster_failure, split
from cloudburst.transport import Context, Peers, Poller

SHORT = 0.001
"""Seconds that finished results may wait for each other to be sent in one pipeline, and that the
scheduler may wait to hear of a short run's end: it counts on such runs to end soon anyway."""

REPORTS = 8
"""Ended runs of which the scheduler is told at once, whatever comes next."""

_log = logging.getLogger(__name__)


class _Stop(BaseException):
    """Raised by the signal handler to leave the poll."""


class ExecutorServer:
    """Carries messages to the state, its work to the runner, and its commands out.

    Args:
        config: names and addresses.
        context: the process's transports.
    """

    def __init__(self, config: ExecutorConfig, context: Context) -> None:
        self.config = config
        self.inbox = context.bind(_own_address(config))
        self.scheduler = context.connect(config.scheduler, config.name)
        self.peers = Peers(context)
        self.poller = Poller(self.inbox, self.scheduler)
        self.store = RedisStore(config.kvs_url)
        self.state = ExecutorState(self.inbox.address)
        self.functions = Functions(self.store, config.instance_idle)
        self.post = PostOffice(self.inbox.address, self.peers, self.store, self.pump)
        self.runner = Runner(config.name, self.inbox.address, self.store, self.post, self.functions)
        self.finished: list[Deliver] = []
        self.reports: list[Finished] = []
        self.seconds: dict[tuple[str, int], float] = {}
        self.interruptible = False

    def serve(self) -> None:
        """Serve until `_Stop`."""
        self._introduce()
        while True:
            timeout = SHORT if self.reports else self.functions.drop_idle()
            self.interruptible = True
            self.poller.wait(timeout)
            self.interruptible = False
            self._take_in()
            if not self.state.ready:
                self._commit()  # a run whose plan is lost has ended without any work
                self._report()
            while self.state.ready:
                self._turn()
                self.poller.wait(0.0)
                self._take_in()

    def pump(self, timeout: float) -> None:
        """For a function that waits for messages: take in what comes within so many seconds."""
        # It may wait for what others do when they have these.
        self._commit()
        self._report()
        self.poller.wait(timeout)
        self._take_in()

    def _take_in(self) -> None:
        for frames in self.scheduler.messages():
            self._receive(frames)
        for _, frames in self.inbox.messages():
            self._receive(frames)

    def _receive(self, frames: Frames) -> None:
        try:
            message = decode(frames)
            match message:
                case Start() | Trigger() | Forget():
                    self._feed(message)
                case Mail():
                    self.post.deliver(message)
                case DropDag(dag=dag):
                    self.functions.drop_dag(dag)
                case ExecutorUnknown():
                    self._introduce()
                case _:
                    _log.warning("an executor is not sent a %s", type(message).__name__)
        except ProtocolError as error:
            _log.warning("dropped a message: %s", error)

    def _turn(self) -> None:
        """Run what is ready, at most until results that are done have waited long enough."""
        end = time.perf_counter() + SHORT
        while time.perf_counter() < end and (work := self.state.next_work()) is not None:
            if (self.finished or self.reports) and not self._is_short(work):
                self._commit()
                self._report()
            done = self.runner.run(work)
            self.seconds[work.route.plan.id, work.segment] = done.seconds
            self._feed(done)
        self._commit()

    def _is_short(self, work: Work) -> bool:
        if any(has_references(argument.frames) for argument in work.arguments):
            return False  # it may wait for the results that are to be stored
        return self.seconds.get((work.route.plan.id, work.segment), SHORT) < SHORT

    def _feed(self, event: Event) -> None:
        for command in self.state.handle(event):
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case Deliver():
                self.finished.append(command)
            case SendTrigger(address=address, trigger=trigger):
                if not self.peers.send(address, encode(trigger)):
                    # Its host reports the death, and the scheduler starts the run again.
                    _log.warning("executor %s cannot be reached", address)
            case Report(finished=finished):
                self._finish(finished)
            case FetchPlan(plan_id=plan_id):
                self._feed(self._fetch(plan_id))

    def _fetch(self, plan_id: str) -> Event:
        try:
            (blob,) = self.store.execute([Get(keys.plan_key(plan_id))])
        except CloudburstError as error:
            return PlanMissing(plan_id, pack_cluster_failure(error))
        if blob is None:
            lost = KeyNotFound("the KVS lost the plan of this DAG; register its functions again")
            return PlanMissing(plan_id, pack_cluster_failure(lost))
        return PlanLoaded(unpack_plan(blob))

    def _commit(self) -> None:
        """Store the results that are to be stored, in one round trip, and tell of all."""
        finished, self.finished = self.finished, []
        stored = [item for item in finished if item.context.store]
        if stored:
            self._store_results(stored)
        for item in finished:
            if not item.context.store:
                self._tell(item)

    def _store_results(self, items: list[Deliver]) -> None:
        items = [_fitting(item) for item in items]
        try:
            answers = self._execute_commits([self._commit_of(item) for item in items])
        except CloudburstError as error:
            frames = pack_cluster_failure(error)
            for item in items:
                self._tell(_failed(item, frames))
            return
        for item, first in zip(items, answers, strict=True):
            self._tell(item if first else self._committed(item))

    def _execute_commits(self, commits: list[CommitRun]) -> list[bool]:
        try:
            return self.store.execute(commits)
        except KVSUnavailable:
            # The connection may have broken after the commits: then this only asks again.
            return self.store.execute(commits)

    def _commit_of(self, item: Deliver) -> CommitRun:
        finished, context = item.finished, item.context
        return CommitRun(
            run_id=finished.run_id,
            state=finished.state,
            epoch=finished.epoch,
            executor=self.config.name,
            reason="",
            result=join(item.frames),
            output_key=context.output_key,
            ttl=context.ttl,
        )

    def _committed(self, item: Deliver) -> Deliver:
        """Another epoch of the run committed first: that is the run's result."""
        try:
            (blob,) = self.store.execute([Get(keys.object_key(item.finished.run_id))])
        except CloudburstError as error:
            return _failed(item, pack_cluster_failure(error))
        return item if blob is None else item._replace(frames=split(blob))

    def _tell(self, item: Deliver) -> None:
        run_id, context = item.finished.run_id, item.context
        result = Result(run_id, item.failed, item.frames)
        if not (context.reply_to and self.peers.send(context.reply_to, encode(result))):
            relay = Relay(context.client, run_id, item.failed, item.frames)
            self.scheduler.send(encode(relay))
        self._finish(item.finished)

    def _finish(self, finished: Finished) -> None:
        """Tell the scheduler, later if it was quick: its own work is nearer the next result."""
        self.reports.append(finished)
        if len(self.reports) >= REPORTS or sum(seconds for _, seconds in finished.times) > SHORT:
            self._report()

    def _report(self) -> None:
        for finished in self.reports:
            self.scheduler.send(encode(finished))
        self.reports.clear()

    def _introduce(self) -> None:
        ready = ExecutorReady(
            PROTOCOL, self.config.name, self.config.host, self.inbox.address, os.getpid()
        )
        self.scheduler.send(encode(ready))

    def close(self) -> None:
        """Close sockets and store connection."""
        self.inbox.close()
        self.scheduler.close()
        self.peers.close()
        self.store.close()


def main(config: ExecutorConfig, life_fd: int) -> None:
    """Run an executor until SIGTERM, or until nobody holds the other end of ``life_fd``.

    To be called on the main thread, in a process that has no ZeroMQ context.
    """
    context = Context()
    server = ExecutorServer(config, context)
    gc.freeze()

    def stop(_number: int, _frame: FrameType | None) -> None:
        if not server.interruptible:
            os._exit(0)
        raise _Stop

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=_end_with, args=(life_fd,), name="life", daemon=True).start()
    try:
        server.serve()
    except _Stop:
        _log.debug("executor %s stops", config.name)
    finally:
        server.close()
        context.close()


def _end_with(life_fd: int) -> None:
    os.read(life_fd, 1)
    os._exit(0)


def _own_address(config: ExecutorConfig) -> str:
    if config.bind.startswith("ipc://"):
        return f"{config.bind}/{config.name}"
    return f"{config.bind}:*"


def _fitting(item: Deliver) -> Deliver:
    """A result that the store cannot hold is a failure that says so."""
    try:
        check_size(sum(map(len, item.frames)), "the result of the run")
    except CloudburstError as error:
        return _failed(item, pack_cluster_failure(error))
    return item


def _failed(item: Deliver, frames: Frames) -> Deliver:
    finished = item.finished._replace(state=RunState.FAILED)
    return item._replace(failed=True, frames=frames, finished=finished)
