"""A private world for each test, and a look at what it leaves behind."""

import gc
import importlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest
from clusters import SOON, call, cluster_of, store_for_cluster
from example_scripts import EXAMPLES
from gates import Gate
from hands import ByHand
from records import open_runs, store_of
from watching import alive, files_under, wait_until
from zmq.utils.garbage import GarbageCollectorThread

from cloudburst import CloudburstConnection, LocalCluster
from cloudburst.cache.folder import dead_folders
from cloudburst.kvs.embedded import EmbeddedServer


@pytest.fixture
def run_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of this test's run directories, short enough for sockets."""
    directory = Path(tempfile.mkdtemp(prefix="cb-", dir="/tmp"))
    monkeypatch.setenv("CLOUDBURST_RUN_DIR", str(directory))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def leaves_nothing(run_dir: Path) -> Iterator[None]:
    """Fail a test that leaves a process, thread, file or piece of shared memory behind."""
    processes, threads, memory = _children(), _threads(), dead_folders()
    yield

    gc.collect()
    wait_until(
        lambda: not (left := _children() - processes) or print(left),
        "the test's processes end",
        5.0,
    )
    wait_until(
        lambda: not (left := _threads() - threads) or print(left),
        "the test's threads end",
        2.0,
    )
    wait_until(
        lambda: not (left := dead_folders() - memory) or print(left),
        "the test's shared memory is removed",
        2.0,
    )
    wait_until(
        lambda: not (left := files_under(run_dir)) or print(left),
        "the run directory is empty",
        2.0,
    )


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    """Executors for the tests of one file that leave them as they found them.

    Two, if the file does not say how many: ``EXECUTORS``. Not for longer: other files look at all
    the processes there are.
    """
    with cluster_of(getattr(request.module, "EXECUTORS", 2)) as started:
        yield started


@pytest.fixture
def connection(cluster: LocalCluster) -> Iterator[CloudburstConnection]:
    """A connection to `cluster`, whose executors must survive the test, and be idle after it."""
    with cluster.connect() as connected:
        executors = set(connected.status().executors)
        yield connected

        wait_until(lambda: connected.status()[2:4] == (0, 0), "all runs end", 5.0)
        for dag in connected.list_dags():
            connected.delete_dag(dag)
        for function in connected.list():
            connected.delete_function(function)
        assert set(connected.status().executors) == executors


@pytest.fixture
def ours(connection: CloudburstConnection) -> Iterator[CloudburstConnection]:
    """A function and a DAG, which must work after whatever the test did."""
    connection.register(lambda _, a: a + 1, "incr")
    connection.register(lambda _, a: a * a, "square")
    assert connection.register_dag("both", ["incr", "square"], [("incr", "square")])
    began = time.monotonic()
    yield connection

    assert time.monotonic() - began < SOON
    for number in range(4):
        assert connection.call_dag("both", {"incr": number}).get(SOON) == (number + 1) ** 2
        assert call(connection, "incr", number).get(SOON) == number + 1


@pytest.fixture
def fragile(run_dir: Path) -> Iterator[CloudburstConnection]:
    """A connection to a cluster whose executors may die, but must be two again, and idle."""
    with (
        store_for_cluster() as kvs,
        LocalCluster(2, kvs=kvs) as cluster,
        cluster.connect() as connection,
    ):
        wait_until(lambda: _is_whole(connection), "both executors are ready")
        yield connection

        wait_until(lambda: _is_whole(connection), "the pool is whole again", 20.0)
        wait_until(lambda: connection.status()[2:4] == (0, 0), "all runs end")
        works = connection.register(lambda _, n: n, "works")
        assert [works(n).get(10) for n in range(10)] == list(range(10))
        store = store_of(connection)
        wait_until(lambda: not open_runs(store), "no run is open any more")
        store.close()


@pytest.fixture
def narrow(run_dir: Path) -> Iterator[CloudburstConnection]:
    """A pool in which nobody could wait for anybody, if those who wait counted."""
    with (
        store_for_cluster() as kvs,
        LocalCluster(min=1, max=1, kvs=kvs) as cluster,
        cluster.connect() as connection,
    ):
        yield connection


@pytest.fixture(scope="module")
def example(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The example that the file of tests is named after, as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield importlib.import_module(request.module.__name__.removeprefix("test_example_"))


@pytest.fixture
def by_hand(run_dir: Path) -> Iterator[ByHand]:
    """A store, and whatever the test starts."""
    server = EmbeddedServer(run_dir)
    server.start()
    cluster = ByHand(run_dir, server.url)
    yield cluster
    cluster.end()
    server.stop()
    for left in run_dir.iterdir():
        left.unlink()


@pytest.fixture
def make_gate(tmp_path: Path) -> Iterator[Callable[[], Gate]]:
    """Makes gates, each with a name of its own; all are open after the test."""
    gates: list[Gate] = []

    def make() -> Gate:
        gates.append(Gate(tmp_path / f"gate{len(gates)}"))
        return gates[-1]

    yield make
    for gate in gates:
        gate.remove()


def _is_whole(connection: CloudburstConnection) -> bool:
    return len(connection.status().executors) == 2


def _children() -> set[psutil.Process]:
    return {child for child in psutil.Process().children(recursive=True) if alive(child)}


def _threads() -> set[threading.Thread]:
    """All but the one that pyzmq keeps for messages it does not copy, once it has sent one."""
    return {t for t in threading.enumerate() if not isinstance(t, GarbageCollectorThread)}
