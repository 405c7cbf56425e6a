"""The host: keeps the executors of one machine running and tells the scheduler how they are.

It starts a zygote, which forks the executors; what is to be done, and when, `Pool` decides.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import assert_never

from cloudburst.child import Child, start_role
from cloudburst.config import ExecutorConfig, HostConfig
from cloudburst.core.ids import new_id
from cloudburst.core.messages import PROTOCOL, ExecutorDied, Heartbeat
from cloudburst.core.wire import encode
from cloudburst.errors import ClusterError
from cloudburst.executor.control import Channel
from cloudburst.executor.pool import (
    Beat,
    Command,
    Event,
    ExecutorGone,
    Fork,
    Forked,
    Kill,
    Pool,
    ReportDeath,
    StartZygote,
    Tick,
    ZygoteGone,
    ZygoteReady,
    ZygoteState,
)
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
        self._life = life
        self._pool = Pool(self.name, config.executors)
        # Nothing waits for a connection: an old heartbeat would belie executors that came since.
        self._dealer = context.connect(config.scheduler, self.name, only_connected=True)
        self._poller = Poller(self._dealer, life)
        self._zygote: Child | None = None
        self._channel: Channel | None = None
        self._deaths: deque[ExecutorDied] = deque(maxlen=MAX_UNREPORTED)
        self._said_ready = False
        self._zygote_was_ready = False

    def serve(self) -> None:
        """Serve until the parent ends or asks to stop.

        Raises:
            ClusterError: executors cannot be started at all.
        """
        self._feed(Tick())
        while not self._life.ended():
            self._poller.wait(max(0.0, self._pool.next_deadline() - time.monotonic()))
            self._hear_zygote()
            for frames in self._dealer.messages():
                _log.debug("the scheduler said %d frames, which this host ignores", len(frames))
            self._feed(Tick())
            if self._pool.complete and not self._said_ready:
                self._said_ready = True
                self._life.ready(self.name)

    def stop(self) -> None:
        """End the executors."""
        if self._zygote is not None:
            self._zygote.stop(ZYGOTE_GRACE)
            for pid in self._pool.pids:
                self._kill(pid)

    def _feed(self, event: Event) -> None:
        for command in self._pool.handle(event, time.monotonic()):
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case StartZygote():
                self._start_zygote()
            case Fork(name=name):
                self._fork(name)
            case Kill(pid=pid):
                self._kill(pid)
            case ReportDeath(name=name, reason=reason):
                _log.warning("executor %s died: %s", name, reason)
                self._deaths.append(ExecutorDied(self.name, name, reason))
                self._report_deaths()
                self._remove_socket(name)
            case Beat(names=names):
                self._report_deaths()
                self._dealer.send(encode(Heartbeat(PROTOCOL, self.name, names)))
            case _:
                assert_never(command)

    def _report_deaths(self) -> None:
        # Unlike heartbeats they are true for ever, and wait for a connection.
        while self._deaths and self._dealer.send(encode(self._deaths[0])):
            self._deaths.popleft()

    def _start_zygote(self) -> None:
        ours, theirs = socket.socketpair()
        end = theirs.fileno()
        with theirs:
            flags = ("--control-fd", str(end))
            self._zygote = start_role("zygote", self._config.to_json(), *flags, fds=[end])
        self._channel = Channel(ours)
        self._poller.add(self._zygote)
        self._poller.add(self._channel)

    def _fork(self, name: str) -> None:
        if self._channel is not None:
            config = ExecutorConfig(
                name=name,
                host=self.name,
                scheduler=self._config.scheduler,
                kvs_url=self._config.kvs_url,
                bind=self._config.bind,
            )
            self._channel.send("fork", name, config.to_json())

    def _kill(self, pid: int) -> None:
        # Only the zygote may wait for it, so the number could be somebody else's by now; a
        # member of the zygote's session it is not then.
        with suppress(ProcessLookupError, PermissionError):
            if self._zygote is not None and os.getsid(pid) == self._zygote.pid:
                os.killpg(pid, signal.SIGKILL)

    def _remove_socket(self, executor: str) -> None:
        if self._config.bind.startswith("ipc://"):
            path = Path(self._config.bind.removeprefix("ipc://"), executor)
            path.unlink(missing_ok=True)

    def _hear_zygote(self) -> None:
        zygote, channel = self._zygote, self._channel
        if zygote is None or channel is None:
            return
        for verb, name, detail in channel.receive():
            self._feed(Forked(name, detail) if verb == "started" else ExecutorGone(name, detail))
        if self._pool.zygote is ZygoteState.STARTING and not self._ask_zygote(zygote):
            return
        if zygote.ended() or channel.ended:
            self._lose_zygote(zygote, channel, zygote.how_it_ended())

    def _ask_zygote(self, zygote: Child) -> bool:
        """Whether the zygote has become ready."""
        try:
            if zygote.answer() is None:
                return False
        except ClusterError as error:
            # One that never worked will not work the next time either.
            if not self._zygote_was_ready:
                raise
            _log.error("%s", error)
            return True
        self._zygote_was_ready = True
        self._feed(ZygoteReady())
        return True

    def _lose_zygote(self, zygote: Child, channel: Channel, reason: str) -> None:
        _log.error("the zygote died: %s", reason)
        self._poller.discard(zygote)
        self._poller.discard(channel)
        self._feed(ZygoteGone(reason))
        # Executors forked in its last moment are known to nobody; their pipe ends here.
        zygote.stop(0.0)
        channel.close()


def main(config: HostConfig, life: Life) -> None:
    """Run a host until its parent ends or it is told to stop.

    Raises:
        ClusterError: executors cannot be started at all.
    """
    context = Context()
    host = Host(config, context, life)
    try:
        host.serve()
    finally:
        host.stop()
        # What was not sent yet is of no interest to anybody; the scheduler may be gone.
        context.abandon()
