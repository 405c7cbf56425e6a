"""The host's side of its zygote: starting it, speaking with it, and having done with it."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress

from cloudburst.child import Child, start_role
from cloudburst.config import ExecutorConfig, HostConfig
from cloudburst.errors import ClusterError
from cloudburst.executor.board import Board
from cloudburst.executor.control import Channel
from cloudburst.executor.pool_events import (
    Event,
    ExecutorGone,
    Forked,
    Pong,
    ZygoteGone,
    ZygoteReady,
)
from cloudburst.transport import Poller

_log = logging.getLogger(__name__)


class ZygoteLink:
    """One zygote, which starts with this object.

    Args:
        config: the host's.
        host: name of the host.
        board: where its executors say what they run.
        cache: the folder of its cache, or "".
        poller: the host's, which is told of what to wait for.

    Raises:
        ClusterError: the process cannot be started.
    """

    def __init__(
        self, config: HostConfig, host: str, board: Board, cache: str, poller: Poller
    ) -> None:
        self._config = config
        self._host = host
        self._board = board
        self._cache = cache
        self._poller = poller
        self._ready = False
        self._lost = False
        ours, theirs = socket.socketpair()
        fds = [theirs.fileno(), board.fileno()]
        flags = ("--control-fd", str(fds[0]), "--board-fd", str(fds[1]))
        with theirs:
            self._child: Child = start_role("zygote", config.to_json(), *flags, fds=fds)
        self._channel = Channel(ours)
        poller.add(self._child)
        poller.add(self._channel)

    def hear(self, *, first: bool) -> Iterator[Event]:
        """What the zygote says, and what became of it.

        Args:
            first: no zygote has worked so far.

        Raises:
            ClusterError: the first one cannot work, and so none ever will.
        """
        for verb, *words in self._channel.receive():
            match verb:
                case "started":
                    yield Forked(*words)
                case "died":
                    yield ExecutorGone(*words)
                case "pong":
                    yield Pong()
        if not self._ready:
            yield from self._ask(first=first)
        if (self._child.ended() or self._channel.ended) and not self._lost:
            self._lost = True
            yield ZygoteGone(self._child.how_it_ended())

    def fork(self, name: str, slot: int) -> None:
        """Have an executor started."""
        config = ExecutorConfig(
            name=name,
            host=self._host,
            scheduler=self._config.scheduler,
            kvs_url=self._config.kvs_url,
            bind=self._config.bind,
            executor_memory=self._config.executor_memory,
            cache=self._cache,
            board_fd=self._board.fileno(),
            slot=slot,
            resources=self._config.resources,
        )
        self._channel.send("fork", name, config.to_json())

    def end(self, name: str, run_id: str, reason: str) -> None:
        """Have an executor killed; only if it runs that run, unless that is ""."""
        self._channel.send("kill", name, run_id, reason)

    def ping(self) -> None:
        """Have the zygote answer."""
        self._channel.send("ping")

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to an executor, and SIGKILL to all that it has started."""
        # Only the zygote may wait for it, so the number could be somebody else's by now; a
        # member of the zygote's session it is not then.
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == self._child.pid:
                send = os.killpg if number == signal.SIGKILL else os.kill
                send(pid, number)

    def close(self, grace: float = 0.0) -> None:
        """End the zygote, which has so many seconds to end its executors."""
        self._poller.discard(self._child)
        self._poller.discard(self._channel)
        # Executors forked in its last moment are known to nobody; their pipe ends here.
        self._child.stop(grace)
        self._channel.close()

    def _ask(self, *, first: bool) -> Iterator[Event]:
        try:
            if self._child.answer() is None:
                return
        except ClusterError as error:
            # One that never worked will not work the next time either.
            if first:
                raise
            _log.error("%s", error)
            return
        self._ready = True
        yield ZygoteReady()
