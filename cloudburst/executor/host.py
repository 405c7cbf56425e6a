"""The host: keeps the executors of one machine running and tells the scheduler how they are.

It starts a zygote, which forks the executors; what is to be done, and when, `Pool` decides.
"""

from __future__ import annotations

import logging
import signal
from collections import deque
from pathlib import Path
from typing import assert_never

from cloudburst.config import HostConfig, resources_in
from cloudburst.core.hosts import (
    NOBODY,
    Drained,
    Draining,
    ExecutorDied,
    Fence,
    Heartbeat,
    Knock,
    PoolSize,
    Prefetch,
    Recount,
    Replace,
    Resize,
    Retire,
)
from cloudburst.core.ids import new_id
from cloudburst.core.messages import PROTOCOL, Frames
from cloudburst.core.wire import decode, encode
from cloudburst.errors import ClusterError, ProtocolError
from cloudburst.executor.board import Board
from cloudburst.executor.caching import HostCache
from cloudburst.executor.lease import TERM, Lease, clock
from cloudburst.executor.pool import RETIRED, Pool, judged
from cloudburst.executor.pool_events import (
    Beat,
    Command,
    Dismiss,
    DrainAsked,
    DropZygote,
    End,
    Event,
    Fork,
    Kill,
    LeaseBack,
    LeaseLost,
    Leave,
    Nudge,
    Ping,
    ReportDeath,
    SayDraining,
    StartZygote,
    Tick,
    ZygoteReady,
)
from cloudburst.executor.renewal import Renewal
from cloudburst.executor.zygote_link import ZygoteLink
from cloudburst.life import Life
from cloudburst.transport import Context, Poller

ZYGOTE_GRACE = 0.8
"""Seconds the zygote has to end its executors and itself."""

MAX_UNREPORTED = 1000
"""Deaths remembered for a scheduler that cannot be reached."""

_log = logging.getLogger(__name__)


class Host:
    """Carries events to the pool and its commands out.

    Args:
        config: the scheduler, and how many executors to run how.
        context: the process's transports.
        life: the pipe to the parent, whose end ends the host.
    """

    def __init__(self, config: HostConfig, context: Context, life: Life) -> None:
        self.name = new_id()[:8]
        self._config = config
        self._resources = resources_in(config.resources)
        self._life = life
        self._pool = Pool(self.name, config.min_executors, config.ceiling, config.drain_timeout)
        self._board = Board.create(config.ceiling)
        self._cache = HostCache(self.name, config.kvs_url, config.cache_memory << 20)
        self._lease = Lease()
        self._renewal = Renewal(self.name, config.kvs_url, TERM)
        # Nothing waits for a connection: an old heartbeat would belie executors that came since.
        self._dealer = context.connect(config.scheduler, self.name, only_connected=True)
        self._poller = Poller(self._dealer, life, self._renewal)
        self._zygote: ZygoteLink | None = None
        self._zygote_has_worked = False
        self._deaths: deque[ExecutorDied] = deque(maxlen=MAX_UNREPORTED)
        self._said_ready = False
        self._signals = 0
        self._leaving = False

    def serve(self) -> None:
        """Serve until the parent ends, or a signal has asked to stop and no run is left.

        Raises:
            ClusterError: executors cannot be started at all.
        """
        self._feed(Tick())
        while not self._leaving:
            self._poller.wait(max(0.0, self._next_deadline() - clock()))
            self._mind_signals()
            self._hear_zygote()
            heard = self._hear_scheduler()
            self._mind_lease(sign=self._renewal.succeeded() or heard)
            self._feed(Tick())
            if self._pool.complete and not self._said_ready:
                self._said_ready = True
                self._life.ready(self.name)
                self._cache.start()

    def stop(self) -> bool:
        """End the executors. Returns whether the scheduler may hear of it."""
        zygote = self._zygote
        if zygote is not None:
            zygote.close(ZYGOTE_GRACE)
            for pid in self._pool.pids:
                zygote.signal(pid, signal.SIGKILL)
        self._remove_sockets("*")
        self._cache.close()
        if not self._pool.draining:
            return False
        for command in self._pool.end(clock()):
            self._carry_out(command)
        return not self._deaths

    def _next_deadline(self) -> float:
        lease, pool = self._lease.next_deadline(), self._pool.next_deadline()
        return pool if lease is None else min(lease, pool)

    def _feed(self, event: Event) -> None:
        for command in judged(self._pool.handle(event, clock()), self._board.read):
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case Beat(names=names):
                self._report_deaths()
                size = PoolSize(
                    self._config.min_executors,
                    self._config.most,
                    self._config.ceiling,
                    self._config.idle_timeout,
                )
                beat = (PROTOCOL, self.name, names, *size, self._resources)
                self._dealer.send(encode(Heartbeat(*beat, *self._cache.inventory.changes())))
                if self._said_ready:
                    self._renewal.renew()
            case ReportDeath():
                self._report(command)
            case SayDraining():
                if not self._dealer.send(encode(Draining(self.name))):
                    _log.warning("the scheduler cannot be reached: its runs here end now")
                    self._leaving = True
            case Leave():
                self._leaving = True
            case StartZygote():
                self._zygote = ZygoteLink(
                    self._config, self.name, self._board, self._cache.path, self._poller
                )
            case Fork() | End() | Dismiss() | Kill() | Nudge() | Ping() | DropZygote():
                if self._zygote is not None:
                    self._command(self._zygote, command)
            case _:
                assert_never(command)

    def _command(
        self, zygote: ZygoteLink, command: Fork | End | Dismiss | Kill | Nudge | Ping | DropZygote
    ) -> None:
        match command:
            case Fork(name=name, slot=slot):
                zygote.fork(name, slot)
            case End(name=name, run_id=run_id, reason=reason):
                zygote.end(name, run_id, reason)
            case Dismiss(pid=pid):
                zygote.signal(pid, signal.SIGTERM)
            case Kill(pid=pid):
                zygote.signal(pid, signal.SIGKILL)
            case Nudge(pid=pid):
                zygote.signal(pid, signal.SIGURG)
            case Ping():
                zygote.ping()
            case DropZygote():
                self._zygote = None
                zygote.close()

    def _report(self, death: ReportDeath) -> None:
        ran = self._board.take(death.slot)
        level = logging.INFO if death.reason == RETIRED else logging.WARNING
        where = f" in {ran}" * bool(ran)
        _log.log(level, "executor %s ended%s: %s", death.name, where, death.reason)
        running = NOBODY if death.blameless else ran
        self._deaths.append(ExecutorDied(self.name, death.name, death.reason, running))
        self._report_deaths()
        self._remove_sockets(death.name.rpartition(".")[2])

    def _report_deaths(self) -> None:
        # Unlike heartbeats they are true for ever, and wait for a connection.
        while self._deaths and self._dealer.send(encode(self._deaths[0])):
            self._deaths.popleft()

    def _remove_sockets(self, number: str) -> None:
        """Of the executor of that number, or of all: one may have bound in its last moment."""
        if self._config.bind.startswith("ipc://"):
            folder = Path(self._config.bind.removeprefix("ipc://"))
            for path in folder.glob(f"{self.name}.{number}"):
                path.unlink(missing_ok=True)

    def _mind_signals(self) -> None:
        self._life.ended()
        if self._life.parted:
            self._leaving = True
        for _ in range(self._life.signals - self._signals):
            _log.info("a signal asks this host to end")
            self._feed(DrainAsked())
        self._signals = self._life.signals

    def _mind_lease(self, *, sign: bool) -> None:
        match self._lease.look(clock(), sign=sign):
            case LeaseLost() as lost:
                _log.error("%s: its executors are replaced", lost.reason)
                self._feed(lost)
            case LeaseBack() as back:
                self._feed(back)

    def _hear_zygote(self) -> None:
        if self._zygote is None:
            return
        for event in self._zygote.hear(first=not self._zygote_has_worked):
            self._zygote_has_worked |= isinstance(event, ZygoteReady)
            self._feed(event)

    def _hear_scheduler(self) -> bool:
        """Act on what the scheduler said. Returns whether it said anything."""
        heard = False
        for frames in self._dealer.messages():
            heard = True
            self._receive(frames)
        return heard

    def _receive(self, frames: Frames) -> None:
        try:
            message = decode(frames)
        except ProtocolError as error:
            _log.warning("dropped a message: %s", error)
            return
        match message:
            case Resize() | Retire() | Knock() | Replace() | Fence() | Drained():
                self._feed(message)
            case Prefetch(names=names):
                self._cache.prefetch(names)
            case Recount(number=number):
                self._cache.inventory.recount(number)
            case _:
                _log.warning("a host is not sent a %s", type(message).__name__)


def _check_bind(config: HostConfig, context: Context) -> None:
    """Rather here, once, than in every executor, again and again."""
    if config.bind.startswith("ipc://"):
        return
    try:
        context.bind(f"{config.bind}:*").close()
    except OSError as error:
        raise ClusterError(
            f"executors cannot be bound at {config.bind}: {error}; it is tcp:// and an address of "
            "this machine, with [brackets] if it is IPv6"
        ) from error


def main(config: HostConfig, life: Life) -> None:
    """Run a host until its parent ends or it is told to stop.

    Raises:
        ClusterError: executors cannot be started at all.
    """
    context = Context()
    _check_bind(config, context)
    host = Host(config, context, life)
    told = False
    try:
        host.serve()
    finally:
        try:
            told = host.stop()
        finally:
            # What was not sent yet is of interest only to a scheduler that lives on.
            context.close() if told else context.abandon()
