"""Several clients of one system, each a process of its own.

``python -m benchmarks.crowd`` is such a client: it is told on its standard input to make a burst
of calls, and says on its standard output how that went.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from benchmarks.counters import CLIENT, Roles
from benchmarks.measure import Contender
from benchmarks.ours.cluster import NAME, Cloudburst
from benchmarks.peers import load
from benchmarks.system import System
from benchmarks.work import Burst

ROOT = Path(__file__).parents[1]
RIGHT, WRONG = "right", "wrong"


class Crowd:
    """The clients, as a context manager.

    Args:
        system: theirs, started by somebody else.
        work: what each of them does, at the same time as the others.
    """

    def __init__(self, system: System, work: Burst) -> None:
        self._system = system
        self._work = work
        name = NAME if isinstance(system, Cloudburst) else system.name
        line = [sys.executable, "-m", "benchmarks.crowd", name, system.address]
        line += [str(work.jobs), str(work.steps)]
        pipe = subprocess.PIPE
        self._processes = [
            subprocess.Popen(line, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
            for _ in range(work.clients)
        ]

    def contenders(self) -> list[Contender]:
        """The same ways that one client has."""
        ways: list[str] = json.loads(self._hear()[0])
        return [self._contender(number, way) for number, way in enumerate(ways)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            _pipe(process.stdin).close()
        for process in self._processes:
            process.wait()
            _pipe(process.stdout).close()

    def _contender(self, way: int, name: str) -> Contender:
        jobs = self._work.jobs * self._work.clients
        call = partial(self._burst, way)
        return Contender(name, call, lambda _: {RIGHT}, self._roles, each=jobs)

    def _burst(self, way: int, number: int) -> set[str]:
        for process in self._processes:
            stdin = _pipe(process.stdin)
            stdin.write(f"{way} {number}\n")
            stdin.flush()
        return set(self._hear())

    def _hear(self) -> list[str]:
        lines = [_pipe(process.stdout).readline().strip() for process in self._processes]
        if not all(lines):
            raise RuntimeError("a client has ended")
        return lines

    def _roles(self) -> Roles:
        roles = self._system.roles()
        clients = tuple(process.pid for process in self._processes)
        return {**roles, CLIENT: (*roles[CLIENT], *clients)}


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def serve(system: System, work: Burst, say: Callable[[str], None]) -> None:
    """Be a client: make the bursts that the standard input asks for."""
    ways = system.contenders(work)
    for way in ways:
        way.call(1)
    say(json.dumps([way.name for way in ways]))
    for line in sys.stdin:
        which, number = map(int, line.split())
        way = ways[which]
        say(RIGHT if way.call(number) == way.expected(number) else WRONG)


def main() -> None:
    name, address, jobs, steps = sys.argv[1:]
    # Systems print what they like; the pipe is for answers only.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(line: str) -> None:
        answers.write(line + "\n")
        answers.flush()

    system: System = Cloudburst() if name == NAME else load(name)()
    try:
        system.attach(address)
        serve(system, Burst(int(jobs), int(steps)), say)
    finally:
        system.stop()


if __name__ == "__main__":
    main()
