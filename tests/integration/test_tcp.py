"""A cluster started by hand over TCP: scheduler, host and store, each with its flags."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hands import free_port
from watching import wait_until

from cloudburst import CloudburstConnection, LocalCluster, UnknownFunction
from cloudburst.kvs.embedded import EmbeddedServer


@contextmanager
def role(*flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the cluster, as a user starts it in a terminal; ended as they end it."""
    process = subprocess.Popen([sys.executable, "-m", "cloudburst", *flags])
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(10) == 0


@pytest.fixture
def address(run_dir: Path) -> Iterator[str]:
    """``host:port`` of a cluster with two executors that listen on TCP."""
    place = f"127.0.0.1:{free_port()}"
    server = EmbeddedServer(run_dir)
    server.start()
    with ExitStack() as stack:
        stack.callback(server.stop)
        stack.enter_context(role("scheduler", "--address", f"tcp://{place}", "--kvs", server.url))
        stack.enter_context(
            role(
                *("host", "--scheduler", f"tcp://{place}", "--kvs", server.url),
                *("--bind", "tcp://127.0.0.1", "--executors", "2"),
            )
        )
        yield place
    for left in run_dir.iterdir():
        left.unlink()


def run_a_diamond(connection: CloudburstConnection) -> None:
    wait_until(lambda: len(connection.status().executors) == 2, "both executors are there")
    connection.register(lambda _, a: a + 1, "incr")
    connection.register(lambda _, a, b: (a, b), "pair")
    steps = [("top", "incr"), ("left", "incr"), ("right", "incr"), ("bottom", "pair")]
    edges = [("top", "left"), ("top", "right"), ("left", "bottom"), ("right", "bottom")]
    assert connection.register_dag("diamond", steps, edges)

    futures = [connection.call_dag("diamond", {"top": n}) for n in range(100)]

    assert [future.get(20) for future in futures] == [(n + 2, n + 2) for n in range(100)]
    assert connection.call_dag("diamond", {"top": 1}, direct_response=True) == (3, 3)


def test_results_come_straight_to_a_client_that_says_where_it_is(address: str) -> None:
    with CloudburstConnection(f" {address} ", "127.0.0.1 ") as connection:
        run_a_diamond(connection)


def test_results_come_through_the_scheduler_to_a_client_that_cannot_be_reached(
    address: str,
) -> None:
    with CloudburstConnection(address) as connection:
        run_a_diamond(connection)
        with pytest.raises(UnknownFunction):
            connection.future(connection.exec_func("nothing")).get(10)


def test_two_clients_of_one_scheduler_do_not_get_each_others_results(address: str) -> None:
    with (
        CloudburstConnection(address) as relayed,
        CloudburstConnection(address, "127.0.0.1") as own,
    ):
        wait_until(lambda: own.status().executors, "an executor is there")
        square = own.register(lambda _, a: a * a, "square")
        relayed_square = relayed.get_function("square")
        assert relayed_square is not None

        pairs = [(square(n), relayed_square(-n)) for n in range(200)]

        assert [(a.get(20), b.get(20)) for a, b in pairs] == [(n * n, n * n) for n in range(200)]


def test_a_local_cluster_can_use_a_store_of_ones_own(run_dir: Path) -> None:
    server = EmbeddedServer(run_dir)
    server.start()
    try:
        with LocalCluster(2, kvs=server.url) as cluster, cluster.connect() as connection:
            connection.put_object("a", 1)
            assert connection.kvs_url == server.url
        with LocalCluster(2, kvs=server.url) as cluster, cluster.connect() as connection:
            assert connection.get_object("a") == 1
    finally:
        server.stop()
    for left in run_dir.iterdir():
        left.unlink()
