"""Caches while and after something is killed, stopped or used up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hands import ByHand
from records import store_of
from watching import alive, family, member, members, next_line, script, wait_gone, wait_until

from cloudburst import CloudburstConnection, LocalCluster
from cloudburst.cache.folder import folders
from cloudburst.kvs.embedded import EmbeddedServer
from cloudburst.kvs.objects import write_objects
from cloudburst.kvs.redis import RedisStore

LARGE = 20_000


def number_in(library: Any, key: str) -> int | None:
    """A function: the first number of an array."""
    array = library.get(key)
    return None if array is None else int(array[0])


def folder_of(connection: CloudburstConnection) -> Path:
    """The folder of the cluster's one host; others of this user may have theirs."""
    executors = wait_until(lambda: connection.status().executors, "there is an executor")
    (host,) = {executor.rpartition(".")[0] for executor in executors}
    found = [path for path in folders() if path.name.endswith(f"-{host}")]
    return found[0]


def cached_in(folder: Path) -> list[Path]:
    return list((folder / "objects").iterdir())


def warm(connection: CloudburstConnection, key: str, value: int) -> Callable[..., Any]:
    """A function that reads the key, whose value is cached."""
    folder = folder_of(connection)
    before = len(cached_in(folder))
    connection.put_object(key, np.full(LARGE, value))
    read: Callable[..., Any] = connection.register(number_in, "number_in")

    def is_cached() -> bool:
        assert read(key).get(10) == value
        return len(cached_in(folder)) > before

    wait_until(is_cached, "it is cached")
    return read


OWNER = """
import numpy, time
from cloudburst import LocalCluster

cluster = LocalCluster(2)
connection = cluster.connect()
connection.put_object("k", numpy.full(20_000, 1))
read = connection.register(lambda library, key: int(library.get(key)[0]), "read")
print("ready")
while True:
    assert read("k").get(10) == 1
    time.sleep(0.01)
"""


def test_killed_all_at_once_nothing_stale_is_used_or_left(run_dir: Path) -> None:
    before = folders()
    owner = script(OWNER)
    assert next_line(owner) == "ready"
    (old,) = (path for path in folders() - before if _is_of(path, owner.pid))
    wait_until(lambda: cached_in(old), "it is cached")
    everybody = _stopped(owner.pid)
    assert len(everybody) >= 6
    for process in everybody:
        with suppress(psutil.NoSuchProcess):  # some die with their parents
            process.kill()
    owner.wait()
    assert owner.stdout is not None
    owner.stdout.close()
    wait_gone([*everybody])
    assert old in folders()

    with LocalCluster(2) as cluster, cluster.connect() as connection:
        assert old not in folders()
        read = connection.register(number_in, "number_in")
        assert read("k").get(10) is None
        connection.put_object("k", np.full(LARGE, 2))
        assert [read("k").get(10) for _ in range(5)] == [2] * 5

    assert not folders() - before
    for path in run_dir.iterdir():  # what the first one left
        _remove(path)


def _stopped(pid: int) -> set[psutil.Process]:
    """A process and its descendants, who do nothing any more; some may be ending, or be born."""
    stopped: set[psutil.Process] = set()
    while new := {psutil.Process(pid), *family(pid)} - stopped:
        for process in new:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
                stopped.add(process)
    return stopped


def _is_of(folder: Path, pid: int) -> bool:
    """Whether a descendant of that process has the folder's lock."""
    inode = f":{(folder / 'owner').stat().st_ino} "
    lines = [line for line in Path("/proc/locks").read_text().splitlines() if inode in line]
    return any(int(line.split()[4]) in {p.pid for p in family(pid)} for line in lines)


def _remove(path: Path) -> None:
    if path.is_dir():
        for inner in path.iterdir():
            _remove(inner)
        path.rmdir()
    else:
        path.unlink()


def test_a_host_that_is_killed_leaves_its_cache_to_nobody(run_dir: Path) -> None:
    with LocalCluster(2) as cluster, cluster.connect() as connection:
        read = warm(connection, "k", 1)
        old = folder_of(connection)
        member(os.getpid(), "host").kill()
        wait_until(lambda: old not in folders(), "another host has its place", 20.0)
        connection.put_object("k", np.full(LARGE, 2))
        wait_until(lambda: len(connection.status().executors) == 2, "executors are back", 20.0)
        assert [read("k").get(20) for _ in range(5)] == [2] * 5


@pytest.fixture
def mortal(run_dir: Path) -> Iterator[tuple[EmbeddedServer, CloudburstConnection]]:
    """A store that may be killed and started again, and two executors."""
    server = EmbeddedServer(run_dir)
    server.start()
    by_hand = ByHand(run_dir, server.url)
    by_hand.scheduler("s")
    by_hand.host("s", 2)
    with CloudburstConnection(by_hand.address("s")) as connection:
        wait_until(lambda: len(connection.status().executors) == 2, "all are ready", 20.0)
        yield server, connection
    by_hand.end()
    server.stop()
    for left in run_dir.iterdir():
        left.unlink()


def test_a_store_that_dies_and_comes_back_with_other_content(
    mortal: tuple[EmbeddedServer, CloudburstConnection],
) -> None:
    """The cache does not outlive the connection by which changes are told."""
    server, connection = mortal
    warm(connection, "k", 1)
    folder = folder_of(connection)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
    wait_until(lambda: not cached_in(folder), "the cache is empty")
    server.start()
    elsewhere = RedisStore(server.url)
    write_objects(elsewhere, {"k": np.full(LARGE, 2)})
    elsewhere.close()
    # The store has lost what was registered before.
    read = connection.register(lambda library, key: int(library.get(key)[0]), "again")

    assert [read("k").get(20) for _ in range(5)] == [2] * 5


def test_a_host_that_stands_still(run_dir: Path) -> None:
    """Its executors go on, and look for themselves once they have not heard of it for a second."""

    def waits_for(library: Any, key: str, number: int) -> float:
        import time

        while library.get(key)[0] != number:
            time.sleep(0.0005)
        return time.monotonic()

    with LocalCluster(2) as cluster, cluster.connect() as connection:
        warm(connection, "k", 1)
        waits = connection.register(waits_for, "waits")
        elsewhere = store_of(connection)
        future = waits("k", 2)
        wait_until(lambda: connection.status().running, "it runs")
        host = member(os.getpid(), "host")
        host.suspend()
        write_objects(elsewhere, {"k": np.full(LARGE, 2)})
        written = time.monotonic()

        seen = future.get(10)

        host.resume()
        assert seen - written < 1.5
        elsewhere.close()


def test_the_cache_keeps_its_budget_and_nothing_is_left(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDBURST_CACHE_MEMORY", "8")
    with LocalCluster(2) as cluster, cluster.connect() as connection:
        read = connection.register(number_in, "number_in")
        folder = folder_of(connection)
        sizes: list[int] = []
        used: list[int] = []
        for number in range(120):
            connection.put_object(f"k{number}", np.full(100_000, number))
            futures = [read(f"k{max(0, number - back)}") for back in (0, 0, 1, 2)]
            assert [future.get(10) for future in futures][:2] == [number] * 2
            sizes.append(sum(_size_of(path) for path in cached_in(folder)))
            executors = members(os.getpid(), "executor")
            used.append(sum(process.memory_info().rss for process in executors))
        assert 4 << 20 < max(sizes) <= 8 << 20
        assert max(used[60:]) - max(used[20:60]) < 24 << 20
    assert not folder.exists()


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_without_memory_for_it_there_is_no_cache(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDBURST_CACHE_MEMORY", "0")
    with LocalCluster(2) as cluster, cluster.connect() as connection:
        read = connection.register(number_in, "number_in")
        for number in range(20):
            connection.put_object("k", np.full(LARGE, number))
            assert [read("k").get(10) for _ in range(3)] == [number] * 3
        host = connection.status().executors[0].rpartition(".")[0]
        assert not [path for path in folders() if path.name.endswith(host)]


def test_an_executor_that_is_killed_leaves_no_lock_and_no_files(run_dir: Path) -> None:
    with LocalCluster(2) as cluster, cluster.connect() as connection:
        read = warm(connection, "k", 1)
        for process in members(os.getpid(), "executor"):
            process.kill()
        for number in range(20):
            connection.put_object("k", np.full(LARGE, number))
            assert read("k").get(20) == number
        assert all(map(alive, members(os.getpid(), "host")))
        wait_until(lambda: len(connection.status().executors) == 2, "executors are back", 20.0)


def test_several_hosts_of_one_machine_have_caches_of_their_own(by_hand: ByHand) -> None:
    """What one of their executors writes is dropped from the caches of all."""
    by_hand.scheduler("s")
    by_hand.host("s", 1)
    by_hand.host("s", 1)
    with CloudburstConnection(by_hand.address("s")) as connection:
        wait_until(lambda: len(connection.status().executors) == 2, "both are ready", 20.0)
        hosts = {executor.rpartition(".")[0] for executor in connection.status().executors}
        assert {path.name.rpartition("-")[2] for path in folders()} >= hosts
        assert len(hosts) == 2
        read = connection.register(number_in, "number_in")

        def put(library: Any, key: str, number: int) -> None:
            import numpy

            library.put(key, numpy.full(20_000, number))

        write = connection.register(put, "put")
        for number in range(200):
            write("k", number).get(10)
            futures = [read("k") for _ in range(4)]
            assert [future.get(10) for future in futures] == [number] * 4
