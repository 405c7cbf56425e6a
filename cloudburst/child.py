"""The parent's side: starting processes, and never leaving one behind.

A child is a fresh interpreter whose stdin is a pipe that only its parent can write to. The pipe
ends when the parent lets go of it or dies, and then the child ends itself (`cloudburst.life`).
Over a second pipe the child says, once, that it is ready or why it cannot be; that pipe ends with
the child. So each side learns of the other's death from the kernel, on every system.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import site
import subprocess
import sys
import sysconfig
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from cloudburst.config import CONFIG_VARIABLE
from cloudburst.errors import ClusterError
from cloudburst.life import FAREWELL

START_TIMEOUT = 30.0

_log = logging.getLogger(__name__)


class Child:
    """The parent's side of a process it started.

    Its descriptor is readable when the child said that it is ready, or is gone.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], pipe: int, ready: int) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._pipe = pipe
        self._ready = ready
        self._said = b""
        self._gone = False
        _children.add(self)

    def fileno(self) -> int:
        """For a poll loop: ask `answer` and `poll` when it is readable."""
        return self._ready

    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while the child runs."""
        return self._process.poll()

    def answer(self, timeout: float = 0.0) -> Any:
        """What the child said when it became ready, or None if it has not within ``timeout``.

        Raises:
            ClusterError: it could not get ready, in its own words, or has died.
        """
        deadline = time.monotonic() + timeout
        while b"\n" not in self._said and not self._gone:
            if not self._listen(deadline - time.monotonic()):
                return None
        line, found, _ = self._said.partition(b"\n")
        if not found:
            raise ClusterError(f"the {self.name} died at its start: {self.how_it_ended()}")
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            raise ClusterError(f"the {self.name} cannot start: {message['error']}")
        return message["ready"]

    def wait_ready(self, timeout: float = START_TIMEOUT) -> Any:
        """As `answer`, but it is an error if none comes.

        Raises:
            ClusterError: as `answer`, or the child said nothing within ``timeout`` seconds.
        """
        payload = self.answer(timeout)
        if payload is None:
            raise ClusterError(f"the {self.name} did not get ready within {timeout:g} seconds")
        return payload

    def ended(self) -> bool:
        """Whether the child is gone, as far as its pipe tells; does not wait."""
        while not self._gone and self._listen(0.0):
            pass
        return self._gone

    def wait(self, timeout: float) -> int | None:
        """The exit code, or None if the child still runs after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while not self._gone and self._listen(deadline - time.monotonic()):
            pass
        try:
            return self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return self._process.poll()

    def how_it_ended(self) -> str:
        """The signal or exit code, in words."""
        status = self.wait(1.0)
        return "it closed its pipe" if status is None else describe_exit(status)

    def let_go(self) -> None:
        """Close the pipe: the child ends itself in order. Does not wait."""
        if self._pipe >= 0:
            with suppress(BrokenPipeError):  # it is gone already
                os.write(self._pipe, FAREWELL)
            self.disown()

    def stop(self, grace: float) -> None:
        """End the child: let go of it, then SIGTERM, then SIGKILL.

        Args:
            grace: seconds it has to end in order, a quarter of that after SIGTERM.
        """
        self.let_go()
        if self.wait(grace) is None:
            _log.warning("the %s (pid %d) does not end by itself", self.name, self.pid)
            self._process.terminate()
            if self.wait(grace / 4) is None:
                self._process.kill()
                self._process.wait()
        if self._ready >= 0:
            os.close(self._ready)
            self._ready = -1
            self._gone = True

    def disown(self) -> None:
        """Close the pipe without a word: in a process forked from the parent, it only leaks."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def _listen(self, timeout: float) -> bool:
        poll = select.poll()
        poll.register(self._ready, select.POLLIN)
        if not poll.poll(max(0.0, timeout) * 1000):
            return False
        came = os.read(self._ready, 65536)
        self._said += came
        self._gone = not came
        return True


_children: weakref.WeakSet[Child] = weakref.WeakSet()


def _disown_children() -> None:
    # A forked process that kept a pipe's write end would keep the child alive with it.
    for child in _children:
        child.disown()


os.register_at_fork(after_in_child=_disown_children)


def start(name: str, command: Sequence[str], fds: Sequence[int] = (), config: str = "") -> Child:
    """Start a fresh interpreter in a session of its own, so that Ctrl-C does not reach it.

    Args:
        name: what it is, for messages.
        command: arguments of the interpreter; ``--life`` and ``--ready-fd N`` are added.
        fds: further descriptors for it to inherit.
        config: what it is told, in its environment: everybody on the machine can read command
            lines, and the URL of a store may have a password.

    Raises:
        ClusterError: the process cannot be started.
    """
    _occupy_standard_fds()
    life_end, pipe = os.pipe()
    ready, ready_end = os.pipe()
    line = [sys.executable, "-P", *command, "--life", "--ready-fd", str(ready_end)]
    try:
        process = subprocess.Popen(
            line,
            stdin=life_end,
            pass_fds=(ready_end, *fds),
            start_new_session=True,
            env=child_environment() | ({CONFIG_VARIABLE: config} if config else {}),
        )
    except OSError as error:
        os.close(pipe)
        os.close(ready)
        raise ClusterError(f"cannot start the {name}: {error}") from error
    finally:
        os.close(life_end)
        os.close(ready_end)
    return Child(name, process, pipe, ready)


def _occupy_standard_fds() -> None:
    """Where stdout is closed a pipe would take its number, and go wrong in the child."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)  # noqa: FBT003  (positional only)
    os.close(fd)


def start_role(
    role: str, config: str, *flags: str, name: str = "", fds: Sequence[int] = ()
) -> Child:
    """Start ``python -m cloudburst ROLE FLAGS``; ``name`` and ``config`` as in `start`."""
    return start(name or role, ["-m", "cloudburst", role, *flags], fds, config)


def child_environment() -> dict[str, str]:
    """This process's environment, with a PYTHONPATH that makes children import what it can."""
    own = {*sysconfig.get_paths().values(), *site.getsitepackages()}
    stdlib = sysconfig.get_path("stdlib")
    # Without what every interpreter finds by itself: functions may start other Pythons.
    extra = [
        os.path.abspath(path)  # noqa: PTH100  (an entry "" is the current directory)
        for path in sys.path
        if path not in own and not path.startswith(stdlib) and os.path.exists(path or ".")  # noqa: PTH110
    ]
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(extra))
    return environment


def describe_exit(status: int) -> str:
    """An exit code, negative for a signal, in words: ``exit code 3``, ``SIGKILL (signal 9)``."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"{signal.Signals(-status).name} (signal {-status})"
    except ValueError:
        return f"signal {-status}"
