"""Users' objects in a store."""

from __future__ import annotations

import enum
import math

import numpy as np
import pytest

from cloudburst.errors import InvalidName, KeyNotFound, KVSUnavailable, SerializationError
from cloudburst.kvs import keys
from cloudburst.kvs.base import AddMembers, Append, Get, Put
from cloudburst.kvs.members import pack_member
from cloudburst.kvs.memory import MemoryStore
from cloudburst.kvs.objects import read_objects, stored_value, write_objects
from cloudburst.serialization import CloudburstReference, join, pack, pack_cluster_failure


class Level(enum.IntEnum):
    LOW = 1


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_values_come_back_as_they_were(store: MemoryStore) -> None:
    values = {"a": [1, {"b": (2,)}], "b": None, "c": b"\x80bytes", "d": CloudburstReference("x")}
    write_objects(store, values)

    assert read_objects(store, list(values)) == values


@pytest.mark.parametrize(
    ("value", "as_number"),
    [
        *((0, True), (-7, True), (2**63 - 1, True), (-(2**63), True)),
        *((2**63, False), (-(2**63) - 1, False), (True, False), (1.0, False), (Level.LOW, False)),
        *(("5", False), (b"5", False), (None, False)),
    ],
)
def test_what_can_be_counted_on_is_stored_as_a_number(
    store: MemoryStore, value: object, as_number: bool
) -> None:
    write_objects(store, {"n": value})
    (blob,) = store.execute([Get(keys.object_key("n"))])
    read = read_objects(store, ["n"])["n"]

    assert (read, type(read)) == (value, type(value))
    assert (blob == str(value).encode()) is as_number


@pytest.mark.parametrize("blob", [b"", b"-", b"1 ", b"+1", b"1_0", b"0x1", b"9" * 20, b"{}"])
def test_what_looks_like_a_number_is_none(blob: bytes) -> None:
    with pytest.raises(SerializationError):
        stored_value(blob)


def test_sets_are_read_with_the_rest(store: MemoryStore) -> None:
    write_objects(store, {"a": [1]})
    store.execute([AddMembers(keys.object_key("set"), [pack_member("x"), pack_member(1)])])

    assert read_objects(store, ["set", "a", "b"], 0) == {"set": {"x", 1}, "a": [1], "b": 0}


def test_what_is_none_of_ours_is_the_stores_error(store: MemoryStore) -> None:
    store.execute([Append(keys.object_key("list"), b"", 0.0)])

    with pytest.raises(KVSUnavailable, match="WRONGTYPE") as caught:
        read_objects(store, ["list"])
    assert type(caught.value) is KVSUnavailable


def test_a_set_that_is_none_of_ours() -> None:
    for member in (b"", b"\xc1", b"\x81\x01\x02", b"\x01\x02", b"\xa1\xff"):
        with pytest.raises(SerializationError, match="members that sadd did not add"):
            stored_value(frozenset([member]))


def test_missing_objects_are_the_default(store: MemoryStore) -> None:
    write_objects(store, {"none": None})

    assert read_objects(store, ["none", "missing"]) == {"none": None, "missing": None}
    assert read_objects(store, ["none", "missing"], 0) == {"none": None, "missing": 0}


def test_objects_have_keys_of_their_own(store: MemoryStore) -> None:
    write_objects(store, {"name": "value"})

    assert store.execute([Get("name"), Get(keys.object_key("name"))]) == [
        None,
        join(pack("value").frames),
    ]


def test_the_order_is_that_of_the_names(store: MemoryStore) -> None:
    write_objects(store, {"a": 1, "b": 2})

    assert list(read_objects(store, ["b", "a", "b"]).items()) == [("b", 2), ("a", 1)]


def test_nothing_to_read_or_write(store: MemoryStore) -> None:
    write_objects(store, {})
    assert read_objects(store, []) == {}


@pytest.mark.parametrize("name", ["", 5, None, "x" * 1001])
def test_names_are_checked_before_anything_happens(store: MemoryStore, name: str) -> None:
    with pytest.raises(InvalidName):
        write_objects(store, {"good": 1, name: 2})
    with pytest.raises(InvalidName):
        read_objects(store, ["good", name])

    assert read_objects(store, ["good"]) == {"good": None}


def test_all_or_nothing_is_pickled(store: MemoryStore) -> None:
    with pytest.raises(SerializationError, match="value of 'bad'"):
        write_objects(store, {"good": 1, "bad": (n for n in "x")})

    assert read_objects(store, ["good"]) == {"good": None}


def test_a_large_array_is_copied_out_and_may_be_changed(store: MemoryStore) -> None:
    array = np.arange(10_000)
    write_objects(store, {"array": array})
    array[0] = 99
    read = read_objects(store, ["array"])["array"]
    read[1] = 77

    assert (read[0], read_objects(store, ["array"])["array"][1]) == (0, 1)


def test_objects_may_expire() -> None:
    now = 1000.0
    store = MemoryStore(clock=lambda: now)
    write_objects(store, {"short": 1}, ttl=10.0)
    write_objects(store, {"long": 2})

    now = 1009.9
    assert read_objects(store, ["short", "long"]) == {"short": 1, "long": 2}
    now = 1010.0
    assert read_objects(store, ["short", "long"]) == {"short": None, "long": 2}


def test_the_object_of_a_failed_run_is_its_error(store: MemoryStore) -> None:
    blob = join(pack_cluster_failure(KeyNotFound("gone")))
    store.execute([Put(keys.object_key("run"), blob)])

    with pytest.raises(KeyNotFound, match="gone"):
        read_objects(store, ["run"], "default")
    with pytest.raises(KeyNotFound, match="gone"):
        stored_value(blob)


def test_a_view_of_stored_bytes_is_as_good_as_they() -> None:
    blob = join([bytes(frame) for frame in pack([math.pi, np.ones(10_000)]).frames])
    number, array = stored_value(memoryview(blob))

    assert (number, array.sum()) == (math.pi, 10_000)


def test_a_damaged_object_is_an_error_of_its_own(store: MemoryStore) -> None:
    blob = join([bytes(frame) for frame in pack(np.ones(10_000)).frames])
    store.execute([Put(keys.object_key("cut"), bytes(blob)[:-1])])

    with pytest.raises(SerializationError):
        read_objects(store, ["cut"])
