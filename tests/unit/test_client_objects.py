"""What a connection does to objects."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cloudburst.client.objects import Objects
from cloudburst.errors import UsageError
from cloudburst.kvs.memory import MemoryStore


@pytest.fixture
def objects() -> Objects:
    store = MemoryStore()
    return Objects(lambda: store)


def test_an_object_may_expire() -> None:
    now = 1000.0
    store = MemoryStore(clock=lambda: now)
    objects = Objects(lambda: store)
    objects.put_object("short", "a", ttl=1.5)
    objects.put_object("positional", "b", 1.5)
    objects.put_object("long", "c")
    objects.mput({"number": 1}, ttl=1.5)

    now = 1001.4
    assert objects.incr("number") == 2
    now = 1001.5
    assert objects.mget(["short", "positional", "long", "number"], "gone") == {
        "short": "gone",
        "positional": "gone",
        "long": "c",
        "number": "gone",
    }


def test_putting_again_forgets_the_time_to_live() -> None:
    now = 1000.0
    store = MemoryStore(clock=lambda: now)
    objects = Objects(lambda: store)
    objects.put_object("k", 1, ttl=10)
    objects.put_object("k", 2)

    now = 1011.0
    assert objects.get_object("k") == 2


@pytest.mark.parametrize("ttl", [0, -5, math.nan, math.inf, True, "10"], ids=repr)
def test_a_time_to_live_is_a_number_above_nothing(objects: Objects, ttl: Any) -> None:
    with pytest.raises(UsageError, match="ttl is a number of seconds, more than 0 and at most"):
        objects.put_object("k", 1, ttl=ttl)
    assert not objects.exists("k")


def test_counters_and_sets_are_objects(objects: Objects) -> None:
    objects.incr("counter", -2)
    objects.sadd("set", b"x", None)

    assert (objects.get_object("counter"), objects.get_object("set")) == (-2, {b"x", None})
    assert sorted(objects.scan()) == ["counter", "set"]
    assert (objects.delete_object("counter"), objects.delete_object("set")) == (True, True)
    assert objects.exists(["counter", "set"]) == {"counter": False, "set": False}
