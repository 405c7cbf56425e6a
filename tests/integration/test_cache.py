"""What functions read is as fresh as is promised, and quick because it is already there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clusters import call
from freshness import Did, stale_reads
from records import store_of
from watching import wait_until

from cloudburst import CloudburstConnection, CloudburstReference, FunctionError
from cloudburst.cache.folder import file_name, folders
from cloudburst.kvs.base import Delete
from cloudburst.kvs.keys import object_key
from cloudburst.kvs.objects import write_objects
from cloudburst.serialization import pack

EXECUTORS = 4
LARGE = 20_000
OPERATIONS = 10_000


def chances(library: Any, seed: int, operations: int) -> list[tuple[Any, ...]]:
    """Random writes and reads of a few keys, small ones and large ones."""
    import random
    import time

    import numpy

    chance = random.Random(seed)
    history = []
    for number in range(operations):
        key = f"history {chance.randrange(4)}"
        value = None
        writes = chance.random() < 0.2
        if writes:
            value = seed * 1_000_000 + number
            # The last key's values are small.
            array = numpy.full(3 if key.endswith("3") else 20_000, value)
        began = time.monotonic()
        if writes:
            library.put(key, array)
        else:
            array = library.get(key, fresh=chance.random() < 0.1)
        ended = time.monotonic()
        if not writes and array is not None:
            value = int(array[0])
            assert (array == value).all()
        history.append((key, value, began, ended, writes))
    return history


def test_no_read_is_older_than_a_write_of_this_machine(connection: CloudburstConnection) -> None:
    """That the checker fails on broken caches is shown in `tests/unit/test_freshness.py`."""
    connection.register(chances, "chances")
    futures = [call(connection, "chances", seed, OPERATIONS // EXECUTORS) for seed in range(1, 5)]
    history = [Did(*did) for future in futures for did in future.get(90)]

    assert len(history) == OPERATIONS
    assert stale_reads(history) == []
    together = {did.key for did in history if did.wrote}
    assert len(together) == 4


def test_two_executors_that_write_by_turns_read_what_the_other_has_written(
    connection: CloudburstConnection,
) -> None:
    def ping(library: Any, mine: str, others: str) -> int:
        import numpy

        library.put("address of " + mine, library.get_id())
        other = library.get("address of " + others, timeout=20)
        last = -1
        for number in range(500):
            library.put(mine, numpy.full(10_000, number))
            library.send(other, number)
            while last < number:
                last = max([last, *(message for _, message in library.recv(timeout=20))])
            assert library.get(others)[0] >= last
        return 500

    connection.register(ping, "ping")
    futures = [call(connection, "ping", *names) for names in (("a", "b"), ("b", "a"))]
    assert [future.get(60) for future in futures] == [500, 500]


def test_a_client_that_has_written_is_read_by_the_next_call(
    connection: CloudburstConnection,
) -> None:
    def first_of(library: Any, key: str) -> Any:
        found = library.get(key)
        return None if found is None else int(found[0])

    function = connection.register(first_of, "first_of")
    for number in range(300):
        connection.put_object("k3", np.full(LARGE, number))
        assert [function("k3").get(10) for _ in range(2)] == [number] * 2
        if number % 10 == 0:
            assert connection.delete_object("k3")
            assert function("k3").get(10) is None


def test_a_result_under_a_key_of_the_users_is_read_by_the_next_call(
    connection: CloudburstConnection,
) -> None:
    connection.register(lambda _, n: np.full(20_000, n), "make")
    connection.register_dag("make", ["make"], [])
    reads = connection.register(lambda library: int(library.get("output")[0]), "reads")
    for number in range(100):
        connection.call_dag("make", {"make": number}, output_key="output").get(10)
        assert [reads().get(10) for _ in range(2)] == [number] * 2


def test_what_another_machine_writes_is_read_within_a_second(
    connection: CloudburstConnection,
) -> None:
    def waits_for(library: Any, key: str, number: int) -> float:
        import time

        began = time.monotonic()
        while library.get(key)[0] != number:
            if time.monotonic() - began > 10:
                raise TimeoutError
        return time.monotonic()

    function = connection.register(waits_for, "waits_for")
    elsewhere = store_of(connection)
    write_objects(elsewhere, {"k5": np.full(LARGE, -1)})
    for number in range(20):
        function("k5", number - 1).get(10)
        write_objects(elsewhere, {"k5": np.full(LARGE, number)})
        written = time.monotonic()
        assert function("k5", number).get(10) - written < 1.5
    elsewhere.close()


def test_the_newest_can_be_asked_for(connection: CloudburstConnection) -> None:
    newest = connection.register(lambda lib, key: int(lib.get(key, fresh=True)[0]), "newest")
    cached = connection.register(lambda lib, key: int(lib.get(key)[0]), "cached")
    elsewhere = store_of(connection)
    for number in range(100):
        write_objects(elsewhere, {"k6": np.full(LARGE, number)})
        assert newest("k6").get(10) == number
        assert cached("k6").get(10) == number  # nor is anything older read after that
    elsewhere.close()


def test_what_is_missing_what_was_deleted_and_what_expires(
    connection: CloudburstConnection,
) -> None:
    read = connection.register(lambda lib, key: lib.get(key, "nothing"), "read")
    elsewhere = store_of(connection)
    assert [read("k7").get(10) for _ in range(3)] == ["nothing"] * 3
    write_objects(elsewhere, {"k7": "small"}, ttl=0.4)
    assert [read("k7").get(10) for _ in range(3)] == ["small"] * 3
    wait_until(lambda: read("k7").get(10) == "nothing", "it has expired", 3.0)
    write_objects(elsewhere, {"k7": np.zeros(LARGE)}, ttl=0.4)
    assert [read("k7").get(10).sum() for _ in range(3)] == [0] * 3
    wait_until(lambda: isinstance(read("k7").get(10), str), "it has expired", 3.0)
    write_objects(elsewhere, {"k7": np.zeros(LARGE)})
    assert [read("k7").get(10).sum() for _ in range(3)] == [0] * 3
    elsewhere.execute([Delete(object_key("k7"))])
    wait_until(lambda: isinstance(read("k7").get(10), str), "it is deleted", 3.0)
    elsewhere.close()


def test_values_of_every_kind_come_out_of_the_cache_as_they_were_put(
    connection: CloudburstConnection,
) -> None:
    values: list[Any] = [
        np.asfortranarray(np.arange(30_000.0).reshape(100, 300)),
        np.zeros(5000, np.dtype([("a", "<i4"), ("b", "S7"), ("c", ">f8", (2, 3))])),
        np.zeros((0, 5)),
        {"nested": [np.arange(20_000), (b"x" * 100_000, "ä" * 100_000)]},
        [str(number) for number in range(30_000)],
        7.5,
        None,
    ]
    same = connection.register(lambda _, value: value, "same")
    read = connection.register(lambda library, key: library.get(key, "missing"), "read")
    for value in values:
        connection.put_object("k8", value)
        for _ in range(3):
            np.testing.assert_equal(same(CloudburstReference("k8")).get(10), value)
            np.testing.assert_equal(read("k8").get(10), value)
        raw = same(CloudburstReference("k8", deserialize=False)).get(10)
        assert isinstance(raw, bytes)
        assert len(raw) >= sum(map(len, pack(value).frames))
        np.testing.assert_equal(connection.get_object("k8"), value)


def test_a_failure_is_raised_however_often_it_is_read(connection: CloudburstConnection) -> None:
    def fails(_: Any) -> None:
        raise LookupError("x" * 100_000)

    future = connection.register(fails, "fails")()
    with pytest.raises(LookupError):
        future.get(10)
    read = connection.register(lambda library, key: library.get(key), "read")
    same = connection.register(lambda _, value: value, "same")
    for _ in range(3):
        with pytest.raises((LookupError, FunctionError)):
            read(future.obj_id).get(10)
        with pytest.raises(LookupError):
            same(CloudburstReference(future.obj_id)).get(10)
    raw = same(CloudburstReference(future.obj_id, deserialize=False)).get(10)
    assert isinstance(raw, bytes)


def test_what_a_function_gets_is_read_only_and_what_a_client_gets_is_not(
    connection: CloudburstConnection,
) -> None:
    def spoil(library: Any, key: str) -> Any:
        array = library.get(key)
        try:
            array += 1
        except ValueError:
            return library.get(key).copy() + 1
        return None

    spoils = connection.register(spoil, "spoil")
    connection.put_object("k10", np.zeros(LARGE))
    for _ in range(3):
        np.testing.assert_array_equal(spoils("k10").get(10), np.ones(LARGE))
        own = connection.get_object("k10")
        own += 1


def test_executors_share_what_they_read(connection: CloudburstConnection) -> None:
    def mapped(library: Any, key: str, file: str) -> tuple[int, list[str]]:
        from pathlib import Path

        assert library.get(key).sum() == 20_000
        lines = Path("/proc/self/maps").read_text().splitlines()
        return os.getpid(), [line.split()[4] for line in lines if line.endswith(file)]

    if not Path("/proc/self/maps").exists():
        pytest.skip("there is no list of what is mapped")
    reads = connection.register(mapped, "mapped")
    connection.put_object("k11", np.ones(LARGE))
    found: dict[int, list[str]] = {}

    def all_have_it() -> bool:
        futures = [reads("k11", file_name("k11")) for _ in range(8)]
        found.update(future.get(10) for future in futures)
        return len(found) == EXECUTORS and all(found.values())

    wait_until(all_have_it, "all executors have mapped it")
    assert len({inode for inodes in found.values() for inode in inodes}) == 1
    (folder,) = [path for path in folders() if path.name.endswith(host_of(connection))]
    assert list((folder / "new").iterdir()) == []


def host_of(connection: CloudburstConnection) -> str:
    return connection.status().executors[0].rpartition(".")[0]
