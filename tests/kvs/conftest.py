"""Stores to test: in memory, in servers for all tests, and in one that a test may break."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from served import secured, secured_cluster, sentinel
from stores import Admin, Bench, Clock
from valkeys import Cluster, cluster

from cloudburst.kvs.embedded import EmbeddedServer
from cloudburst.kvs.memory import MemoryStore
from cloudburst.kvs.opening import open_store
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


@pytest.fixture(scope="session")
def valkey(server: EmbeddedServer) -> tuple[str, Callable[[], object]]:
    return server.url, lambda: Admin(server)("FLUSHALL")


@pytest.fixture(scope="session")
def nodes() -> Iterator[Cluster]:
    """Three primaries."""
    with cluster() as started:
        yield started


@pytest.fixture(scope="session")
def clustered(nodes: Cluster) -> tuple[str, Callable[[], object]]:
    return nodes.url, nodes.flush


@pytest.fixture(scope="session")
def sentinels() -> Iterator[tuple[str, Callable[[], object]]]:
    with sentinel() as served:
        yield served.url, served.flush


@pytest.fixture(scope="session")
def behind_tls() -> Iterator[tuple[str, Callable[[], object]]]:
    with secured(keys="*") as served:
        yield served.url, served.flush


@pytest.fixture(scope="session")
def cluster_behind_tls() -> Iterator[tuple[str, Callable[[], object]]]:
    with secured_cluster(keys="*") as served:
        yield served.url, served.flush


SERVED = ["valkey", "clustered", "sentinels", "behind_tls", "cluster_behind_tls"]


@pytest.fixture(params=["memory", *SERVED])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Every kind of store, empty."""
    if request.param == "memory":
        clock = Clock()
        yield Bench(MemoryStore(clock=clock), clock)
        return
    url, flush = request.getfixturevalue(request.param)
    flush()
    store = open_store(url)
    yield Bench(store, url=url)
    store.close()
