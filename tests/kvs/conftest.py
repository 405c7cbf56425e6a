"""Stores to test: in memory, in a server for all tests, and in one that a test may break."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from stores import Admin, Bench, Clock

from cloudburst.kvs.embedded import EmbeddedServer
from cloudburst.kvs.memory import MemoryStore
from cloudburst.kvs.redis import RedisStore


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """One server for all tests that leave it in order."""
    directory = Path(tempfile.mkdtemp(prefix="cb-", dir="/tmp"))
    server = EmbeddedServer(directory)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(directory)


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose name is short enough for sockets."""
    directory = Path(tempfile.mkdtemp(prefix="cb-", dir="/tmp"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def private_server(short_dir: Path) -> Iterator[EmbeddedServer]:
    """A server that keeps its data over a restart, for one test to kill and stop."""
    server = EmbeddedServer(short_dir / "run", short_dir / "data")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def admin(private_server: EmbeddedServer) -> Admin:
    return Admin(private_server)


@pytest.fixture
def store(private_server: EmbeddedServer) -> Iterator[RedisStore]:
    """A store in the private server."""
    store = RedisStore(private_server.url, timeout=10.0)
    yield store
    store.close()


@pytest.fixture(params=["memory", "valkey"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Every kind of store, empty."""
    if request.param == "memory":
        clock = Clock()
        yield Bench(MemoryStore(clock=clock), clock)
        return
    server: EmbeddedServer = request.getfixturevalue("server")
    Admin(server)("FLUSHALL")
    store = RedisStore(server.url)
    yield Bench(store)
    store.close()
