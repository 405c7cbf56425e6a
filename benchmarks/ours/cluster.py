"""A cluster on this machine, as users start it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar

from benchmarks.counters import Family, Roles, cluster_roles
from benchmarks.measure import Contender
from benchmarks.ours.calls import Calls
from benchmarks.ours.data import array_contenders, prediction_contenders
from benchmarks.store import Commands
from benchmarks.system import PATIENCE, WORKERS, System
from benchmarks.work import Arrays, Prediction, Work
from cloudburst import CloudburstConnection, LocalCluster

NAME = "cloudburst"
DIRECT, FUTURE = "cloudburst, direct", "cloudburst, future"


def wait_for_executors(cloud: CloudburstConnection, count: int) -> None:
    """Wait until there are so many.

    Raises:
        TimeoutError: there are not within a minute.
    """
    deadline = time.monotonic() + PATIENCE
    while len(cloud.status().executors) != count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"there are {len(cloud.status().executors)} executors, not {count}")
        time.sleep(0.01)


class Cloudburst(System):
    """A local cluster with its own store, and a connection to it.

    Args:
        executors: how many, always.
    """

    name: ClassVar[str] = NAME
    first_result: ClassVar[str] = """
import time; began = time.perf_counter()
from cloudburst import CloudburstConnection
cloudburst = CloudburstConnection(local=True)
assert cloudburst.register(lambda _, x: x + 1, "incr")(1).get(timeout=30) == 2
print(time.perf_counter() - began)
cloudburst.close()
"""

    def __init__(self, executors: int = WORKERS) -> None:
        self._executors = executors
        self._family = Family()
        self._cluster: LocalCluster | None = None
        self._cloud: CloudburstConnection | None = None
        self._commands: Commands | None = None
        self._calls: Calls | None = None

    @property
    def cloud(self) -> CloudburstConnection:
        """The connection to it."""
        if self._cloud is None:
            raise RuntimeError("it was not started")
        return self._cloud

    @property
    def address(self) -> str:
        return self.cloud.address

    def start(self) -> None:
        self._family = Family()
        self._cluster = LocalCluster(self._executors)
        self.attach(self._cluster.address)
        wait_for_executors(self.cloud, self._executors)
        self._family.settle()

    def attach(self, address: str) -> None:
        self._cloud = CloudburstConnection(address)
        self._commands = Commands(self._cloud.kvs_url)
        self._calls = Calls(self._cloud, self.roles)

    def roles(self) -> Roles:
        return cluster_roles(self._family.pids())

    def contenders(self, work: Work) -> list[Contender]:
        if self._calls is None or self._commands is None:
            raise RuntimeError("it was not started")
        match work:
            case Arrays():
                found = array_contenders(self.cloud, self._commands.client, work, self.roles)
            case Prediction():
                found = prediction_contenders(self.cloud, self.roles)
            case _:
                found = self._calls.contenders(work)
        return [each._replace(commands=self._commands) for each in found]

    def set_and_get(self, size: int) -> Callable[[int], object]:
        """A SET and a GET of so many bytes over the cluster's own store, with redis-py."""
        if self._commands is None:
            raise RuntimeError("it was not started")
        client = self._commands.client

        def call(number: int) -> int:
            client.set("benchmark", number.to_bytes(size, "big"))
            value: bytes = client.get("benchmark")
            return int.from_bytes(value, "big")

        return call

    def stop(self) -> None:
        for part in (self._calls, self._commands, self._cloud, self._cluster):
            if part is not None:
                part.close()
        self._calls = self._commands = self._cloud = self._cluster = None
