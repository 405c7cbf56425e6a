"""A cluster whose two executors are on two hosts, so that steps can be told where to run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from benchmarks.counters import Family, Roles, cluster_roles
from benchmarks.measure import Contender
from benchmarks.ours.cluster import wait_for_executors
from benchmarks.ours.data import edge_contender
from benchmarks.store import Commands
from benchmarks.system import PATIENCE, System
from benchmarks.tasks import composed, increment, square
from benchmarks.work import Edge, TwoFunctions, Work
from cloudburst import CloudburstConnection
from cloudburst.kvs.embedded import EmbeddedServer

ROOT = Path(__file__).parents[2]
LEFT, RIGHT = "left", "right"
"""Resources: the first host has the first, the second the second."""


class TwoHosts(System):
    """Store, scheduler and two hosts of one executor each, all on this machine."""

    name: ClassVar[str] = "cloudburst"

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._family = Family()
        self._cloud: CloudburstConnection | None = None

    def start(self) -> None:
        self._family = Family()
        directory = Path(tempfile.mkdtemp(prefix="cb-", dir="/tmp"))
        self._stack.callback(shutil.rmtree, directory, ignore_errors=True)
        store = EmbeddedServer(directory)
        store.start()
        self._stack.callback(store.stop)
        scheduler = f"ipc://{directory}/scheduler"
        self._process("scheduler", "--address", scheduler, "--kvs", store.url)
        for resource in (LEFT, RIGHT):
            self._process(
                *("host", "--scheduler", scheduler, "--kvs", store.url, "--executors", "1"),
                *("--bind", f"ipc://{directory}", "--resources", resource),
            )
        self._cloud = self._stack.enter_context(CloudburstConnection(scheduler))
        wait_for_executors(self._cloud, 2)
        self._family.settle()

    def contenders(self, work: Work) -> list[Contender]:
        if self._cloud is None:
            raise RuntimeError("it was not started")
        match work:
            case Edge(size):
                return [edge_contender(self._cloud, size, (LEFT, RIGHT), self.roles)]
            case TwoFunctions():
                return self._two_functions(self._cloud)
            case _:
                return []

    def roles(self) -> Roles:
        return cluster_roles(self._family.pids())

    def stop(self) -> None:
        self._stack.close()
        self._cloud = None

    def _two_functions(self, cloud: CloudburstConnection) -> list[Contender]:
        steps = ("increment", "square")
        cloud.register(lambda _, number: increment(number), steps[0], needs=LEFT)
        cloud.register(lambda _, number: square(number), steps[1], needs=RIGHT)
        cloud.register_dag("apart", steps, [steps])
        commands = self._stack.enter_context(Commands(cloud.kvs_url))

        def direct(number: int) -> object:
            return cloud.call_dag("apart", {"increment": number}, direct_response=True)

        def future(number: int) -> object:
            return cloud.call_dag("apart", {"increment": number}).get(PATIENCE)

        return [
            Contender(f"cloudburst, {way}, 2 executors", call, composed, self.roles)._replace(
                commands=commands
            )
            for way, call in (("direct", direct), ("future", future))
        ]

    def _process(self, *flags: str) -> None:
        process = subprocess.Popen([sys.executable, "-m", "cloudburst", *flags], cwd=ROOT)

        def end() -> None:
            process.terminate()
            process.wait(PATIENCE)

        self._stack.callback(end)
