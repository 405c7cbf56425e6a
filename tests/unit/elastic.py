"""Clusters whose hosts grow and shrink, and what is said to these hosts."""

from __future__ import annotations

from collections.abc import Iterable

from scheduling import LONG, Cluster, sent

from cloudburst.core.hosts import PoolSize, Resize, Retire
from cloudburst.scheduler.events import Command

IDLE = 30.0
SIZE = PoolSize(least=2, most=4, ceiling=6, idle_timeout=IDLE)


def cluster_of(*names: str, size: PoolSize = SIZE) -> Cluster:
    """One host with these executors, and a function ``f`` that takes long."""
    cluster = Cluster()
    cluster.size = size
    cluster.join(*names)
    cluster.heartbeat(*names)
    cluster.register("f")
    cluster.learn("f", LONG)
    return cluster


def call(cluster: Cluster, count: int, target: str = "f") -> list[Command]:
    """Call so many runs, ``r1`` and so on."""
    return [said for number in range(count) for said in cluster.call(f"r{number + 1}", target)]


def resized(commands: Iterable[Command]) -> list[tuple[str, int]]:
    """The hosts that are asked for executors, and for how many in all."""
    return [(to, message.executors) for to, message in sent(commands, Resize)]


def retired(commands: Iterable[Command]) -> list[str]:
    """The executors that are let go."""
    return [message.executor for _, message in sent(commands, Retire)]


def fan(cluster: Cluster, width: int) -> None:
    """A DAG ``fan`` of so many branches, and their join."""
    names = [f"s{number}" for number in range(width)]
    steps = [(name, "f") for name in ("top", *names, "end")]
    edges = [("top", name) for name in names] + [(name, "end") for name in names]
    cluster.dag("fan", steps, edges)
