"""Large values move once: over edges, as arguments, as results, and into and out of the store."""

from __future__ import annotations

import os
import socket
import struct
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from records import plain_client
from redis.cluster import RedisCluster
from watching import family, wait_until

from cloudburst import CloudburstConnection
from cloudburst.cache.folder import file_name, folders
from cloudburst.kvs.urls import Kind, read_url
from cloudburst.transport.descriptors import Descriptors
from cloudburst.transport.framing import SHARED, to_pieces

SIZE = 16 << 20
SOON = 30.0

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="all goes through sockets")


def ones() -> Any:
    return np.ones(SIZE // 8)


@pytest.fixture
def claimed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all frames that came to this process in shared memory."""
    sizes: list[int] = []
    claim = Descriptors.claim

    def counted(self: Descriptors, size: int) -> memoryview:
        sizes.append(size)
        return claim(self, size)

    monkeypatch.setattr(Descriptors, "claim", counted)
    return sizes


@on_linux
@pytest.mark.parametrize("direct", [False, True], ids=["stored", "direct"])
def test_a_large_result_comes_in_shared_memory(
    connection: CloudburstConnection, claimed: list[int], direct: bool
) -> None:
    make = connection.register(lambda _, n: np.full(SIZE // 8, n), "make")
    make = make.options(direct_response=direct)

    for number in range(5):
        run = make(number)
        array = run if direct else run.get(SOON)
        assert (array == number).all()
        array += 1  # the caller's own

    assert claimed == [SIZE] * 5


@on_linux
def test_a_large_result_gets_to_all_readers_as_it_was(connection: CloudburstConnection) -> None:
    """One array over three edges; each reader changes its own."""
    connection.register(lambda _: (os.getpid(), np.ones(SIZE // 8)), "source")

    def change(_: Any, came: Any) -> tuple[float, bool]:
        array = came[1]
        before = float(array.sum())
        array += 1
        return before, array.flags.writeable

    connection.register(change, "change")
    connection.register(lambda _, *found: list(found), "join")
    steps: list[Any] = ["source", ("a", "change"), ("b", "change"), ("c", "change"), "join"]
    edges = [("source", name) for name in "abc"] + [(name, "join") for name in "abc"]
    assert connection.register_dag("fan", steps, edges)

    for _ in range(3):
        found = connection.call_dag("fan", {}).get(SOON)
        assert found == [(SIZE // 8, True)] * 3


def commands(connection: CloudburstConnection, name: str) -> int:
    """How often the store was asked that so far."""
    with plain_client(connection) as store:
        if isinstance(store, RedisCluster):
            about = store.info("commandstats", target_nodes=RedisCluster.PRIMARIES).values()
        else:
            about = [store.info("commandstats")]
    return sum(int(each.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for each in about)


def files_of(run_id: str) -> list[str]:
    """The files of the run's arguments in the machine's caches."""
    names = {file_name(f"{run_id}/{number}") for number in range(1, 4)}
    return [
        str(path)
        for folder in folders()
        for place in ("new", "objects")
        for path in (folder / place).glob("*")
        if path.name.partition(".")[0] in names
    ]


@on_linux
def test_a_large_argument_is_taken_out_of_the_cache(connection: CloudburstConnection) -> None:
    def change(_: Any, array: Any) -> float:
        array += 1  # the function's own
        return float(array.sum())

    changes = connection.register(change, "change")
    array = ones()
    assert changes(array).get(SOON) == SIZE // 4
    before = commands(connection, "get")

    run = changes(array)

    assert run.get(SOON) == SIZE // 4
    assert commands(connection, "get") == before
    assert (array == 1).all()
    if read_url(connection.kvs_url).kind is Kind.SERVER:  # which tells of what is deleted
        wait_until(lambda: not files_of(run.obj_id), "the argument is dropped with its run", SOON)


@on_linux
def test_an_argument_that_nobody_left_comes_from_the_store(
    connection: CloudburstConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = connection.register(lambda _, array: float(array.sum()), "total")
    monkeypatch.setattr("cloudburst.cache.changes.leave", lambda *_: None)

    assert total(ones()).get(SOON) == SIZE // 8


def test_objects_are_copied_into_and_out_of_the_socket_and_nowhere_else(
    connection: CloudburstConnection,
) -> None:
    array = ones()
    connection.put_object("array", array)
    connection.get_object("array")
    tracemalloc.start()
    try:
        connection.put_object("array", array)
        _, writing = tracemalloc.get_traced_memory()
        found = connection.get_object("array")
        _, reading = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    np.testing.assert_array_equal(found, array)
    assert writing < SIZE // 8
    assert reading < SIZE + SIZE // 8


@on_linux
def test_descriptors_of_strangers_are_closed(connection: CloudburstConnection) -> None:
    add = connection.register(lambda _, n: n + 1, "add")
    hello = b"".join(to_pieces([b"fuzz"]))
    directory = connection.address.removesuffix("/scheduler")
    addresses = [f"{directory}/{name}" for name in connection.status().executors]
    for address in (connection.address, *addresses):
        for number in range(100):
            fd = os.memfd_create("test")
            os.ftruncate(fd, 4096)
            head = struct.pack("<QQ", 1 + number % 3, SHARED | 4096 << number % 2)
            with socket.socket(socket.AF_UNIX) as end, suppress(OSError):
                end.connect(address.removeprefix("ipc://"))
                end.send(hello)
                socket.send_fds(end, [head[: 1 + number % 16]], [fd] * (1 + number % 60))
            os.close(fd)

    def none_is_left() -> bool:
        assert add(1).get(SOON) == 2
        return not strange_files()

    wait_until(none_is_left, "all of them are closed", SOON)


def strange_files() -> list[str]:
    """Where processes of the cluster have the stranger's memory open."""
    found = []
    for process in family(os.getpid()):
        with suppress(OSError):
            for file in Path(f"/proc/{process.pid}/fd").iterdir():
                with suppress(OSError):
                    if "memfd:test" in str(file.readlink()):
                        found.append(str(file))
    return found
