"""Unit tests: pure, no processes, and the same every time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from scheduling import Cluster
from scripted import SOON, Client, Scheduler, client_of, scheduler_in
from sockets import short_folder
from transporting import World, world_of

from cloudburst.calls import open_calls
from cloudburst.client.client import CloudburstConnection
from cloudburst.transport import Context, Inbox

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


@pytest.fixture
def cluster() -> Cluster:
    """Executors ``a`` and ``b`` of one host, and a function ``f`` that never ran."""
    cluster = Cluster()
    cluster.join("a", "b")
    cluster.register("f")
    return cluster


@pytest.fixture
def fork(cluster: Cluster) -> Cluster:
    """A DAG ``fork`` of two sources and their join: a run of it goes to ``a``, ``b`` and ``a``."""
    cluster.dag("fork", [("x", "f"), ("y", "f"), ("z", "f")], [("x", "z"), ("y", "z")])
    return cluster


@pytest.fixture
def folder() -> Iterator[str]:
    with short_folder() as folder:
        yield folder


@pytest.fixture
def context() -> Iterator[Context]:
    context = Context()
    yield context
    context.close()


@pytest.fixture
def inbox(context: Context, folder: str) -> Iterator[Inbox]:
    """Bound to a Unix socket."""
    with context.bind(f"ipc://{folder}/s") as inbox:
        yield inbox


@pytest.fixture(params=["ipc", "tcp"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Sockets of each transport."""
    with world_of(request.param) as world:
        yield world


@pytest.fixture
def scheduler(folder: str) -> Iterator[Scheduler]:
    """One that greets, and answers nothing else until the test gives it a script."""
    with scheduler_in(folder) as scheduler:
        yield scheduler


@pytest.fixture
def client(scheduler: Scheduler) -> Iterator[Client]:
    """The parts of a connection to `scheduler`."""
    with client_of(scheduler.address, scheduler.address + ".c") as client:
        yield client


@pytest.fixture
def connection(scheduler: Scheduler) -> Iterator[CloudburstConnection]:
    """A whole connection to `scheduler`."""
    with CloudburstConnection(scheduler.address, timeout=5.0) as connection:
        yield connection


@pytest.fixture
def asks_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a run asks for it again and again."""
    monkeypatch.setattr(open_calls, "ASK_EVERY", SOON)
