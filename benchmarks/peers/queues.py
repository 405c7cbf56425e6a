"""What task queues have in common: a server, workers that are a command, and a caller of tasks."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks.counters import Roles, this_process
from benchmarks.measure import Contender
from benchmarks.ours.calls import results_of
from benchmarks.store import Commands, QueueServer
from benchmarks.system import System
from benchmarks.tasks import composed, same
from benchmarks.work import Burst, Chain, Fan, Noop, TwoFunctions, Work

ROOT = Path(__file__).parents[2]
SOCKET = "BENCHMARKS_SOCKET"
"""Environment variable with the path of the server's socket, for the workers."""

LONGEST = 100
"""Steps of a chain, and branches of a fan."""


class Queue(System):
    """Workers that take tasks out of a server, and put results into it."""

    def __init__(self) -> None:
        self._server: QueueServer | None = None
        self._commands: Commands | None = None
        self._workers: subprocess.Popen[bytes] | None = None
        self._tasks: Any = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """What starts the workers, after the interpreter."""

    @abstractmethod
    def tasks(self, path: str) -> Any:
        """The tasks, for a caller.

        Args:
            path: of the server's socket.
        """

    @abstractmethod
    def send(self, name: str, *arguments: Any) -> Any:
        """Put a task into the queue. Returns what stands for its result."""

    @abstractmethod
    def result(self, sent: Any) -> Any:
        """The result of what was sent."""

    @abstractmethod
    def two(self, number: int) -> Any:
        """Have ``square(increment(number))`` computed."""

    def chain(self, steps: int, number: int) -> Any:
        """``increment`` so many times; here, each by itself."""
        for _ in range(steps):
            number = self.result(self.send("increment", number))
        return number

    def fan(self, branches: int, number: int) -> Any:
        """``increment`` in so many branches, and their sum; here, the caller adds up."""
        first = self.result(self.send("increment", number))
        sent = [self.send("increment", first) for _ in range(branches)]
        return sum(self.result(each) for each in sent)

    def start(self) -> None:
        self._server = QueueServer()
        self._commands = Commands(self._server.url)
        environment = {**os.environ, SOCKET: self._server.path}
        self._workers = subprocess.Popen(
            [sys.executable, *self.command()],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._tasks = self.tasks(self._server.path)
        if self.result(self.send("same", 7)) != 7:
            raise RuntimeError("the workers do not work")

    def stop(self) -> None:
        gc.collect()  # results that are forgotten later would look for the server
        if self._workers is not None:
            self._workers.terminate()
            try:
                self._workers.wait(10)
            except subprocess.TimeoutExpired:
                self._workers.kill()
                self._workers.wait()
        for part in (self._commands, self._server):
            if part is not None:
                part.close()
        self._workers = self._commands = self._server = None

    def roles(self) -> Roles:
        if self._workers is None or self._server is None:
            raise RuntimeError("it was not started")
        family = psutil.Process(self._workers.pid).children(recursive=True)
        workers = (self._workers.pid, *(each.pid for each in family))
        return {**this_process(), "workers": workers, "store": (self._server.pid,)}

    def contenders(self, work: Work) -> list[Contender]:
        match work:
            case Noop():
                return [self._contender(lambda n: self.result(self.send("same", n)), same)]
            case TwoFunctions():
                return [self._contender(self.two, composed)]
            case Chain(steps) if steps <= LONGEST:
                found = self._contender(partial(self.chain, steps), lambda n: n + steps)
                return [found._replace(each=steps)]
            case Fan(branches) if branches <= LONGEST:
                return [self._contender(partial(self.fan, branches), lambda n: branches * (n + 2))]
            case Burst(jobs, 1):
                expected = partial(results_of, same, jobs)
                return [self._contender(partial(self._burst, jobs), expected)._replace(each=jobs)]
            case _:
                return []

    def _contender(
        self, call: Callable[[int], object], expected: Callable[[int], object]
    ) -> Contender:
        return Contender(self.name, call, expected, self.roles, commands=self._commands)

    def _burst(self, jobs: int, number: int) -> list[Any]:
        sent = [self.send("same", n) for n in range(number, number + jobs)]
        return [self.result(each) for each in sent]
