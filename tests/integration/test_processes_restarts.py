"""What a local cluster does when one of its processes is killed: it starts another, or ends."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from watching import (
    alive,
    family,
    files_under,
    member,
    members,
    next_line,
    wait_gone,
    wait_until,
)

from cloudburst.config import APPENDFSYNC
from cloudburst.kvs.base import Get, Put
from cloudburst.kvs.redis import RedisStore
from cloudburst.launch import OwnedCluster, local_address, start_cluster
from cloudburst.restarts import HOPELESS
from cloudburst.transport import Context

OWNER = """
import sys
from cloudburst.launch import start_cluster
cluster = start_cluster(2, data_dir=sys.argv[1], shared=True)
print(cluster.address, flush=True)
sys.stdin.read()
"""


class Owner:
    """A program that owns a cluster, and hears nothing of its troubles."""

    def __init__(self, data_dir: Path | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, "" if data_dir is None else str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.address = next_line(self.process)

    def kill(self, role: str) -> None:
        """Kill the process of that role, once there is one."""
        (victim,) = wait_until(lambda: members(self.process.pid, role), f"there is a {role}")
        victim.kill()
        wait_gone([victim])

    def end(self) -> str:
        """Let it end its cluster and itself. Returns what the cluster logged."""
        _, errors = self.process.communicate("", timeout=10)
        return errors


@pytest.fixture
def cluster() -> Iterator[OwnedCluster]:
    cluster = start_cluster(2, shared=True)
    yield cluster
    cluster.close()


def replaced(role: str) -> psutil.Process:
    """Kill the process of that role. Returns the one that takes its place."""
    victim = member(os.getpid(), role)
    victim.kill()
    wait_gone([victim])
    (found,) = wait_until(lambda: members(os.getpid(), role), f"there is another {role}")
    return found


def test_a_host_that_is_killed_is_replaced_with_its_executors(cluster: OwnedCluster) -> None:
    directory = Path(cluster.address.removeprefix("ipc://")).parent
    old = [member(os.getpid(), "zygote"), *members(os.getpid(), "executor")]
    # Forked is one thing, bound another.
    wait_until(lambda: len(set(directory.glob("*.[12]"))) == 2, "the executors are bound")
    sockets = set(directory.glob("*.[12]"))

    host = replaced("host")

    wait_gone(old)
    wait_until(lambda: len(members(host.pid, "executor")) == 2, "two new executors run")
    wait_until(lambda: len(set(directory.glob("*.[12]")) - sockets) == 2, "they have sockets")
    assert not any(left.exists() for left in sockets)
    assert cluster.owned


def test_a_scheduler_that_is_killed_is_replaced_at_its_address(cluster: OwnedCluster) -> None:
    executors = members(os.getpid(), "executor")

    replaced("scheduler")

    context = Context()
    with context.connect(cluster.address) as outlet:
        wait_until(lambda: outlet.wait_connected(0.1), "it can be reached again")
    context.close()
    assert local_address() == cluster.address
    assert all(alive(executor) for executor in executors)


def test_a_store_with_a_folder_is_replaced_with_its_data(tmp_path: Path) -> None:
    cluster = start_cluster(1, data_dir=str(tmp_path / "data"), appendfsync="always")
    store = RedisStore(cluster.kvs_url)
    store.execute([Put("key", b"value")])

    replaced("store")

    assert store.execute([Get("key")]) == [b"value"]
    assert len(members(os.getpid(), "executor")) == 1
    store.close()
    cluster.close()


def test_a_store_without_a_folder_takes_the_cluster_along(run_dir: Path) -> None:
    owner = Owner()
    processes = family(owner.process.pid)

    owner.kill("store")

    wait_gone(processes, 5.0)
    assert files_under(run_dir) == []
    assert owner.process.poll() is None
    assert "the embedded key-value store died: SIGKILL (signal 9); what it held is gone" in (
        owner.end()
    )


@pytest.mark.parametrize("role", ["host", "scheduler", "store"])
def test_what_dies_over_and_over_takes_the_cluster_along(
    run_dir: Path, tmp_path: Path, role: str
) -> None:
    owner = Owner(tmp_path / "data")
    supervisor = member(owner.process.pid, "supervise")

    for _ in range(HOPELESS):
        owner.kill(role)

    wait_gone([supervisor], 5.0)
    assert files_under(run_dir) == []
    name = "embedded key-value store" if role == "store" else role
    errors = owner.end()
    assert errors.count("it is started again") == HOPELESS - 1
    assert f"the {name} died" in errors
    assert "that makes 5 deaths in 10 s" in errors


def test_an_owner_that_ends_while_something_waits_to_be_restarted(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "data")
    for _ in range(3):
        owner.kill("scheduler")
    processes = family(owner.process.pid)

    owner.process.kill()
    owner.process.communicate()

    wait_gone(processes, 5.0)


@pytest.mark.parametrize("choice", APPENDFSYNC)
def test_data_reaches_the_disk_as_was_asked_for(tmp_path: Path, choice: str) -> None:
    cluster = start_cluster(1, data_dir=str(tmp_path / "data"), appendfsync=choice)

    with socket.socket(socket.AF_UNIX) as store:
        store.connect(cluster.kvs_url.removeprefix("unix://"))
        store.sendall(b"CONFIG GET appendfsync\r\n")
        said = store.recv(1000)

    assert said.split()[-1].decode() == choice
    cluster.close()
