"""The zygote: a process that has imported everything and does nothing but fork executors.

It has one thread and never makes a ZeroMQ context, so that its children are sound. It watches
them, kills them when it is told to or when something stops them, and reports each death. When the
host is gone, or lets go of the zygote, it ends them all.
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
from typing import NamedTuple, NoReturn, Protocol

from cloudburst.child import describe_exit
from cloudburst.config import CONFIG_VARIABLE, ExecutorConfig, HostConfig, usable_cores
from cloudburst.executor.board import Board
from cloudburst.executor.control import Channel
from cloudburst.executor.standby import Standby
from cloudburst.life import Life, noted
from cloudburst.restarts import Restarts
from cloudburst.transport import Poller

STOP_GRACE = 0.5
"""Seconds executors have to end after SIGTERM."""

STANDSTILL = 0.05
"""Seconds that a process may take to stop once it was told to."""

THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_OUR_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_LIBC = ctypes.CDLL(None)  # here, so that no executor has to

PREPARE_AFTER = 0.02
"""Seconds without a word from the host after which another executor is forked ahead."""


class Trade(Protocol):
    """What executors do."""

    def rehearse(self, kvs_url: str) -> None:
        """What every one begins with, whatever its name will be."""

    def perform(self, config: ExecutorConfig, life_fd: int) -> None:
        """Be one, until the other end of ``life_fd`` is closed."""


class _Verdict(NamedTuple):
    """Why an executor was killed, and whether the host had wanted it."""

    reason: str
    ordered: bool


class Zygote:
    """Starts executors on command and reaps them.

    Args:
        life: the pipe to the host, whose end ends the zygote and its executors.
        channel: where commands come from.
        board: where executors say what they run.
        trade: what forked executors do, or None to start a fresh interpreter for each.
        kvs_url: the store of executors that may be wanted at any time, or "" if none are.
    """

    def __init__(
        self, life: Life, channel: Channel, board: Board, trade: Trade | None, kvs_url: str = ""
    ) -> None:
        self._life = life
        self._channel = channel
        self._board = board
        self._trade = trade
        self._kvs_url = kvs_url
        self._standby: Standby | None = None
        self._standby_due = 0.0
        self._standby_restarts = Restarts()
        self._executors: dict[int, ExecutorConfig] = {}
        self._verdicts: dict[int, _Verdict] = {}
        signal.signal(signal.SIGCHLD, noted)

    def serve(self) -> None:
        """Serve until the host ends or lets go."""
        poller = Poller(self._life, self._channel)
        while not self._life.ended() and not self._channel.ended:
            # After `ended`, which takes the note of a SIGCHLD away, and before the wait.
            self.reap()
            pause = self._pause()
            if not poller.wait(pause) and pause is not None:
                self.prepare()
            for verb, *words in self._channel.receive():
                match verb:
                    case "fork":
                        self.start(*words)
                    case "kill":
                        self.kill(*words)
                    case "ping":
                        self._channel.send("pong")

    def _pause(self) -> float | None:
        """Seconds of silence after which one more is to be prepared; None if none is."""
        if self._trade is None or not self._kvs_url or self._standby is not None:
            return None
        return max(PREPARE_AFTER, self._standby_due - time.monotonic())

    def start(self, name: str, config: str) -> None:
        """Start an executor and report it."""
        told = ExecutorConfig.from_json(config)
        try:
            pid = self._begin(config, told)
        except OSError as error:
            how = _Verdict(f"it could not be started: {error}", ordered=False)
            self._channel.send("died", name, *how)
            return
        self._executors[pid] = told
        self._channel.send("started", name, pid)

    def prepare(self) -> None:
        """Fork an executor ahead, which waits to be told who it is."""
        trade = self._trade
        assert trade is not None
        standby = Standby()

        def wait(life_fd: int) -> None:
            _call_itself("standby")
            trade.rehearse(self._kvs_url)
            if config := standby.wait():
                _call_itself("executor")
                trade.perform(ExecutorConfig.from_json(config), life_fd)

        standby.forked(self._fork(wait))
        self._standby = standby

    def kill(self, name: str, run_id: str, reason: str) -> None:
        """Kill an executor, unless there is a ``run_id`` and it does not run that run now."""
        for pid, config in list(self._executors.items()):
            if config.name == name and (not run_id or self._is_caught(pid, config.slot, run_id)):
                self._verdicts[pid] = _Verdict(reason, ordered=True)
                _kill_group(pid)

    def reap(self) -> None:
        """Report every executor that has ended, and end every one that was stopped."""
        while self._executors or self._standby is not None:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            if pid == 0:
                return
            self._take_note(pid, status)

    def stop(self) -> None:
        """End all executors: SIGTERM, then SIGKILL."""
        if self._standby is not None:
            _kill_group(self._standby.pid)
        for pid in self._executors:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_GRACE
        while self._executors and time.monotonic() < deadline:
            self.reap()
            # The pipe has ended and would end every wait at once.
            time.sleep(0.005)
        for pid in self._executors:
            _kill_group(pid)
            os.waitpid(pid, 0)
        self._executors.clear()

    def _take_note(self, pid: int, status: int) -> None:
        """Act on what `os.waitpid` said."""
        # What its functions started ends with it; they cannot be told to.
        _kill_group(pid)
        if os.WIFSTOPPED(status):
            name = signal.Signals(os.WSTOPSIG(status)).name
            self._verdicts.setdefault(pid, _Verdict(f"stopped by {name}", ordered=False))
            return
        if self._standby is not None and pid == self._standby.pid:
            self._standby.close()
            now = time.monotonic()
            self._standby_due = now + self._standby_restarts.delay(now - self._standby.since)
            self._standby = None
            return
        config = self._executors.pop(pid, None)
        how = _Verdict(describe_exit(os.waitstatus_to_exitcode(status)), ordered=False)
        verdict = self._verdicts.pop(pid, how)
        if config is not None:
            at_work = bool(self._board.read(config.slot))
            self._channel.send("died", config.name, *verdict, at_work)

    def _is_caught(self, pid: int, slot: int, run_id: str) -> bool:
        """Whether the executor runs that run, and is stopped so that this stays true."""
        if not self._board.shows(slot, run_id):
            return False
        os.kill(pid, signal.SIGSTOP)
        deadline = time.monotonic() + STANDSTILL
        while time.monotonic() < deadline:
            stopped, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
            if stopped and os.WIFSTOPPED(status):
                break
            if stopped:
                self._take_note(pid, status)
                return False
            time.sleep(0.0005)
        if self._board.shows(slot, run_id):
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    def _begin(self, config: str, told: ExecutorConfig) -> int:
        trade = self._trade
        if trade is None:
            return self._spawn(config)
        standby, self._standby = self._standby, None
        if standby is not None and standby.begin(config):
            return standby.pid

        def perform(life_fd: int) -> None:
            _call_itself("executor")
            trade.perform(told, life_fd)

        return self._fork(perform)

    def _fork(self, act: Callable[[int], None]) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        _reseed()
        # A SIGTERM for the child must not meet the zygote's handler, which would forget it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _OUR_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._become(act)
            with suppress(OSError):  # the child does it too; one of the two is late
                os.setpgid(pid, pid)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _OUR_SIGNALS)
        return pid

    def _spawn(self, config: str) -> int:
        line = ["-P", "-m", "cloudburst", "executor", "--life"]
        return os.posix_spawn(
            sys.executable,
            [sys.executable, *line],
            os.environ | {CONFIG_VARIABLE: config},
            file_actions=[(os.POSIX_SPAWN_DUP2, self._life.pipe, 0)],
            setpgroup=0,
            setsigmask=[],
            setsigdef=_OUR_SIGNALS,
        )

    def _become(self, act: Callable[[int], None]) -> NoReturn:
        code = 1
        try:
            life_fd = self._life.detach()
            self._channel.close()
            self._board.close()
            if self._standby is not None:
                self._standby.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setpgid(0, 0)
            _die_with_parent()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _OUR_SIGNALS)
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(line_buffering=True)  # what functions print is seen at once
            act(life_fd)
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


def warm_up(load: Callable[[], Trade], threads: int) -> Trade:
    """Import what executors need, so that each of them has it without a cost.

    Args:
        load: imports the executor.
        threads: how many threads numerical libraries may use in each executor, unless the user
            has said so in the environment.
    """
    for name in THREAD_LIMITS:
        os.environ.setdefault(name, str(threads))
    import numpy.random  # noqa: F401  (BLAS reads the limits when it is loaded)

    trade = load()
    gc.collect()
    # Collections in a child would touch, and so copy, all these pages.
    gc.freeze()
    return trade


def main(
    config: HostConfig, life: Life, channel: Channel, board_fd: int, load: Callable[[], Trade]
) -> None:
    """Run a zygote until its host ends or lets go of it."""
    trade = None
    if config.start_method == "fork":
        trade = warm_up(load, max(1, usable_cores() // max(1, config.min_executors)))
        from cloudburst.kvs.connection import check_url  # by now it is loaded

        check_url(config.kvs_url)  # so that no executor has to
    # A copy: the executors inherit the descriptor under the number that their host told them.
    ahead = config.kvs_url if config.most > config.min_executors else ""
    zygote = Zygote(life, channel, Board.open(os.dup(board_fd)), trade, ahead)
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
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != zygote:  # it died before we asked
        os._exit(1)


def _call_itself(name: str) -> None:
    """What ``ps`` and ``top`` say that this process is, where that can be said."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_NAME, name.encode())


def _reseed() -> None:
    """The next child's random numbers are its own, and those of `random` are in any case.

    Before the fork: in the child it would take a millisecond, most of it to copy memory.
    """
    import numpy.random  # loaded after the thread limits were set

    numpy.random.seed([random.getrandbits(32) for _ in range(4)])
