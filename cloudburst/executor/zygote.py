"""The zygote: a process that has imported everything and does nothing but fork executors.

It has one thread and never makes a ZeroMQ context, so that its children are sound. It watches
them and reports each death. When the host is gone, or lets go of the zygote, it ends them all.
"""

from __future__ import annotations

import ctypes
import gc
import io
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, TypeAlias

from cloudburst.child import describe_exit
from cloudburst.config import ExecutorConfig, HostConfig, usable_cores
from cloudburst.executor.control import Channel
from cloudburst.life import Life, noted
from cloudburst.transport import Poller

STOP_GRACE = 0.5
"""Seconds executors have to end after SIGTERM."""

THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_OUR_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_PR_SET_PDEATHSIG = 1

Run: TypeAlias = Callable[[ExecutorConfig, int], None]
"""An executor's main: its configuration, and a descriptor that ends with the host."""


class Zygote:
    """Starts executors on command and reaps them.

    Args:
        life: the pipe to the host, whose end ends the zygote and its executors.
        channel: where commands come from.
        run: what forked executors do, or None to start a fresh interpreter for each.
    """

    def __init__(self, life: Life, channel: Channel, run: Run | None) -> None:
        self._life = life
        self._channel = channel
        self._run = run
        self._names: dict[int, str] = {}
        signal.signal(signal.SIGCHLD, noted)

    def serve(self) -> None:
        """Serve until the host ends or lets go."""
        poller = Poller(self._life, self._channel)
        while not self._life.ended() and not self._channel.ended:
            # After `ended`, which takes the note of a SIGCHLD away, and before the wait.
            self.reap()
            poller.wait(None)
            for verb, name, config in self._channel.receive():
                if verb == "fork":
                    self.start(name, ExecutorConfig.from_json(config))

    def start(self, name: str, config: ExecutorConfig) -> None:
        """Start an executor and report it."""
        try:
            pid = self._spawn(config) if self._run is None else self._fork(self._run, config)
        except OSError as error:
            self._channel.send("died", name, f"it could not be started: {error}")
            return
        self._names[pid] = name
        self._channel.send("started", name, pid)

    def reap(self) -> None:
        """Report every executor that has ended."""
        while self._names:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            # What its functions started ends with it; they cannot be told to.
            _kill_group(pid)
            name = self._names.pop(pid, None)
            if name is not None:
                reason = describe_exit(os.waitstatus_to_exitcode(status))
                self._channel.send("died", name, reason)

    def stop(self) -> None:
        """End all executors: SIGTERM, then SIGKILL."""
        for pid in self._names:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_GRACE
        while self._names and time.monotonic() < deadline:
            self.reap()
            # The pipe has ended and would end every wait at once.
            time.sleep(0.005)
        for pid in self._names:
            _kill_group(pid)
            os.waitpid(pid, 0)
        self._names.clear()

    def _fork(self, run: Run, config: ExecutorConfig) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        # A SIGTERM for the child must not meet the zygote's handler, which would forget it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _OUR_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._become(run, config)
            with suppress(OSError):  # the child does it too; one of the two is late
                os.setpgid(pid, pid)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _OUR_SIGNALS)
        return pid

    def _spawn(self, config: ExecutorConfig) -> int:
        line = ["-P", "-m", "cloudburst", "executor", "--config", config.to_json(), "--life"]
        return os.posix_spawn(
            sys.executable,
            [sys.executable, *line],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, self._life.pipe, 0)],
            setpgroup=0,
            setsigmask=[],
            setsigdef=_OUR_SIGNALS,
        )

    def _become(self, run: Run, config: ExecutorConfig) -> NoReturn:
        code = 1
        try:
            life_fd = self._life.detach()
            self._channel.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setpgid(0, 0)
            _die_with_parent()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _OUR_SIGNALS)
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(line_buffering=True)  # what functions print is seen at once
            _reseed()
            run(config, life_fd)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # noqa: BLE001  (the process ends here, and says why)
            traceback.print_exc()
        finally:
            # Whatever happens, a child never returns into the zygote's loop.
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            os._exit(code)


def warm_up(load: Callable[[], Run], threads: int) -> Run:
    """Import what executors need, so that each of them has it without a cost.

    Args:
        load: imports the executor and returns its main.
        threads: how many threads numerical libraries may use in each executor, unless the user
            has said so in the environment.
    """
    for name in THREAD_LIMITS:
        os.environ.setdefault(name, str(threads))
    import numpy.random  # noqa: F401  (BLAS reads the limits when it is loaded)

    run = load()
    gc.collect()
    # Collections in a child would touch, and so copy, all these pages.
    gc.freeze()
    return run


def main(config: HostConfig, life: Life, channel: Channel, load: Callable[[], Run]) -> None:
    """Run a zygote until its host ends or lets go of it."""
    run = None
    if config.start_method == "fork":
        run = warm_up(load, max(1, usable_cores() // max(1, config.executors)))
    zygote = Zygote(life, channel, run)
    life.ready()
    try:
        zygote.serve()
    finally:
        zygote.stop()


def _kill_group(leader: int) -> None:
    # PermissionError: what macOS says of a group that has only zombies.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _die_with_parent() -> None:
    """Have the kernel kill this process when the zygote dies; elsewhere its pipe must do."""
    if sys.platform != "linux":
        return
    zygote = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != zygote:  # it died before we asked
        os._exit(1)


def _reseed() -> None:
    import numpy.random  # loaded by the zygote, after the thread limits were set

    random.seed()
    numpy.random.seed()
