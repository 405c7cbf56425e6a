"""What a running function can do to state that others change at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from running import ADDRESS, Stage

from cloudburst.cache.reader import ObjectReader
from cloudburst.errors import InvalidName, KVSUnavailable, UsageError
from cloudburst.executor.library import UserLibrary
from cloudburst.kvs.base import Operation
from cloudburst.kvs.memory import MemoryStore

VERBS: list[Callable[[UserLibrary], Any]] = [
    lambda library: library.get("k"),
    lambda library: library.put("k", 1),
    lambda library: library.delete("k"),
    lambda library: library.exists("k"),
    lambda library: library.mget(["k"]),
    lambda library: library.mput({"k": 1}),
    lambda library: library.incr("k"),
    lambda library: library.sadd("k", 1),
    lambda library: library.srem("k", 1),
    lambda library: library.smembers("k"),
    lambda library: library.scard("k"),
    lambda library: list(library.scan()),
]


def library_over(store: MemoryStore) -> UserLibrary:
    stage = Stage(store=store)
    return UserLibrary(stage.objects, stage.post, stage.nested, "run", 1, ADDRESS)


@pytest.fixture
def library() -> UserLibrary:
    return library_over(MemoryStore())


def test_what_is_put_may_expire() -> None:
    now = 1000.0
    library = library_over(MemoryStore(clock=lambda: now))
    library.put("one", 1, ttl=10)
    library.put({"two": 2}, ttl=10)
    library.put(["three", "four"], [3, 4], ttl=10)
    library.put_object("five", 5, 10)
    library.put("stays", 6)
    names = ["one", "two", "three", "four", "five", "stays"]

    now = 1009.9
    assert list(library.get(names).values()) == [1, 2, 3, 4, 5, 6]
    now = 1010.0
    assert list(library.get(names).values()) == [None] * 5 + [6]


@pytest.mark.parametrize("ttl", [0, -1, "soon", True])
def test_a_time_to_live_is_a_number_above_nothing(library: UserLibrary, ttl: Any) -> None:
    for use in (lambda: library.put("k", 1, ttl), lambda: library.put({"k": 1}, ttl=ttl)):
        with pytest.raises(UsageError, match="ttl is a number of seconds, more than 0"):
            use()
    assert not library.exists("k")


def test_counters_and_sets_are_objects(library: UserLibrary) -> None:
    library.incr("counter", 3)
    library.sadd("set", "a", 1)
    library.put("object", "x")

    assert (library.get("counter"), library.get("set")) == (3, {"a", 1})
    assert library.get(["set", "object", "none"], 0) == {"set": {"a", 1}, "object": "x", "none": 0}
    assert sorted(library.scan()) == ["counter", "object", "set"]
    assert (library.delete("counter"), library.delete("set")) == (True, True)
    assert library.exists(["counter", "set", "object"]) == {
        "counter": False,
        "set": False,
        "object": True,
    }


def test_a_counter_is_waited_for(library: UserLibrary) -> None:
    library.incr("counter")
    library.sadd("set", 1)

    assert library.get(["counter", "set"], timeout=10) == {"counter": 1, "set": {1}}


class Told:
    """A post and a store that note what comes first."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self._store = MemoryStore()

    def flush(self) -> None:
        self.order.append("flush")

    def execute(self, operations: Sequence[Operation]) -> list[Any]:
        self.order.append("execute")
        return self._store.execute(operations)

    send = receive = wait_for = call = call_dag = close = flush


@pytest.mark.parametrize("verb", VERBS)
def test_messages_leave_before_the_store_is_asked(verb: Callable[[UserLibrary], Any]) -> None:
    told: Any = Told()
    verb(UserLibrary(ObjectReader(told), told, told, "run", 1, ADDRESS))

    assert told.order == ["flush", "execute"]


class Noting(ObjectReader):
    """A reader that notes what it is told to have changed."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.noted: list[str] = []

    def changed(self, names: Iterable[str]) -> None:
        self.noted += names


@pytest.mark.parametrize(
    ("verb", "names"),
    [
        (lambda library: library.put("k", 1), ["k"]),
        (lambda library: library.put({"k": 1, "l": 2}), ["k", "l"]),
        (lambda library: library.mput({"k": 1, "l": 2}), ["k", "l"]),
        (lambda library: library.delete("k"), ["k"]),
        (lambda library: library.incr("k"), ["k"]),
        (lambda library: library.get("k"), []),
        (lambda library: library.put("", 1), []),
    ],
)
def test_whatever_is_written_is_told_to_the_caches(
    verb: Callable[[UserLibrary], Any], names: list[str]
) -> None:
    stage, reader = Stage(), Noting()
    with suppress(InvalidName):
        verb(UserLibrary(reader, stage.post, stage.nested, "run", 1, ADDRESS))

    assert reader.noted == names


def test_also_if_nobody_knows_whether_it_was_written() -> None:
    stage, reader = Stage(), Noting()
    library = UserLibrary(reader, stage.post, stage.nested, "run", 1, ADDRESS)
    reader.store = Lost()
    for write in (lambda: library.put("k", 1), lambda: library.incr("l")):
        with pytest.raises(KVSUnavailable):
            write()

    assert reader.noted == ["k", "l"]


class Lost(MemoryStore):
    """A store whose connection is always lost half-way."""

    def execute(self, operations: Sequence[Operation]) -> list[Any]:
        super().execute(operations)
        raise KVSUnavailable("the connection was lost")
