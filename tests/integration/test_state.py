"""State beside functions: objects in the store, and what lives as long as an instance."""

import os
from typing import Any

import numpy as np
import pytest

from cloudburst import CloudburstConnection, UsageError, UserLibrary


@pytest.fixture
def store(connection: CloudburstConnection) -> CloudburstConnection:
    """Functions around the library's verbs, and two objects."""
    connection.register(lambda library, *args, **kwargs: library.get(*args, **kwargs), "get")
    connection.register(lambda library, *args: library.put(*args), "put")
    connection.register(lambda library, key: library.delete(key), "delete")
    connection.put_object("a", 1)
    connection.put_object("none", None)
    connection.delete_object("missing")
    return connection


def call(connection: CloudburstConnection, name: str, *args: Any, **kwargs: Any) -> Any:
    function = connection.get_function(name)
    assert function is not None
    return function(*args, **kwargs).get(10)


def test_get_of_a_missing_key_is_none_or_the_default(store: CloudburstConnection) -> None:
    assert call(store, "get", "missing") is None
    assert call(store, "get", "missing", "default") == "default"
    assert call(store, "get", "missing", default=[]) == []
    assert store.get_object("missing") is None
    assert store.get_object("missing", default=7) == 7


def test_default_tells_a_stored_none_apart(store: CloudburstConnection) -> None:
    assert call(store, "get", "none", "default") is None
    assert store.get_object("none", "default") is None


def test_get_of_several_keys_is_a_dict(store: CloudburstConnection) -> None:
    assert call(store, "get", ["a", "missing", "none"]) == {"a": 1, "missing": None, "none": None}
    assert call(store, "get", ("a", "missing"), default=0) == {"a": 1, "missing": 0}
    assert call(store, "get", []) == {}


def test_put_of_one_key_and_of_many(store: CloudburstConnection) -> None:
    assert call(store, "put", "p", [1]) is None
    assert call(store, "put", {"q": 2, "r": (3,)}) is None
    assert call(store, "put", ["s", "t"], [4, None]) is None

    assert call(store, "get", list("pqrst")) == {"p": [1], "q": 2, "r": (3,), "s": 4, "t": None}
    assert store.get_object("r") == (3,)


def test_put_of_keys_and_values_of_different_number(store: CloudburstConnection) -> None:
    with pytest.raises(UsageError, match="put got 2 keys, but 1 values"):
        call(store, "put", ["p", "q"], [1])


def test_delete_says_whether_there_was_something(store: CloudburstConnection) -> None:
    assert call(store, "delete", "a") is True
    assert call(store, "delete", "a") is False
    assert store.get_object("a") is None


def test_old_names_of_the_verbs(store: CloudburstConnection) -> None:
    def both(library: UserLibrary) -> Any:
        library.put_object("old", 5)
        return library.get_object("old"), library.get_object(["old"])

    assert store.register(both, "both")().get(10) == (5, {"old": 5})


def test_function_reads_what_it_wrote_and_what_others_wrote(store: CloudburstConnection) -> None:
    def append(library: UserLibrary, key: str, item: Any) -> Any:
        items = [*(library.get(key) or []), item]
        library.put(key, items)
        return library.get(key)

    cloud_append = store.register(append, "append")
    store.delete_object("list")

    assert [len(cloud_append("list", n).get(10)) for n in range(20)] == list(range(1, 21))
    assert store.get_object("list") == list(range(20))


def test_objects_are_snapshots(store: CloudburstConnection) -> None:
    def change(library: UserLibrary) -> list[Any]:
        mine = library.get("array")
        items = library.get("items")
        try:
            mine[0] = 99
        except ValueError:  # a read-only view is as good
            mine = mine.copy()
        items.append(99)
        return [library.get("array")[0], library.get("items")]

    store.put_object("array", np.zeros(100_000))
    store.put_object("items", [1])

    assert store.register(change, "change")().get(10) == [0, [1]]
    assert store.get_object("items") == [1]


def test_put_takes_a_snapshot(store: CloudburstConnection) -> None:
    def put_and_change(library: UserLibrary) -> Any:
        items = [1]
        library.put("items", items)
        items.append(2)
        return library.get("items")

    assert store.register(put_and_change, "f")().get(10) == [1]


def test_result_of_a_run_is_an_object(store: CloudburstConnection) -> None:
    future = store.register(lambda _: {"k": 1}, "f")()
    assert future.get(10) == {"k": 1}

    assert call(store, "get", future.obj_id) == {"k": 1}
    assert store.delete_object(future.obj_id)
    assert store.get_object(future.obj_id) is None


def test_object_that_is_a_failed_run_raises_in_a_function(store: CloudburstConnection) -> None:
    failed = store.register(lambda _: [0].pop(1), "fail")()
    assert isinstance(failed.exception(10), IndexError)

    with pytest.raises(IndexError):
        call(store, "get", failed.obj_id)


def test_library_says_which_run_and_step_it_is(store: CloudburstConnection) -> None:
    store.register(lambda library, *_: (library.run_id, library.step), "who")
    store.register(lambda library, *up: [*up, (library.run_id, library.step)], "all")
    steps: list[Any] = [("one", "who"), ("two", "who"), "all"]
    store.register_dag("d", steps, [("one", "all"), ("two", "all")])

    future = store.call_dag("d", {})

    assert future.get(10) == [(future.obj_id, step) for step in ("one", "two", "all")]


def test_what_functions_keep_in_globals_is_their_own(store: CloudburstConnection) -> None:
    """A function is loaded once per version and executor, its globals with it."""
    store.register(remember, "remember")

    found = [call(store, "remember") for _ in range(10)]

    for process in {process for process, _ in found}:
        counts = [count for owner, count in found if owner == process]
        assert counts == list(range(1, len(counts) + 1))
    assert REMEMBERED == []


REMEMBERED: list[int] = []


def remember(_: object) -> tuple[int, int]:
    REMEMBERED.append(len(REMEMBERED))
    return os.getpid(), len(REMEMBERED)


def test_instances_hold_on_to_large_state(store: CloudburstConnection) -> None:
    class Model:
        def __init__(self, library: UserLibrary, size: int) -> None:
            self.weights = np.ones(size)
            self.made = library.get("made", 0) + 1
            library.put("made", self.made)

        def run(self, x: float) -> tuple[int, float]:
            return self.made, float(self.weights.sum() * x)

    store.delete_object("made")
    store.register((Model, 10_000), "model")
    store.register_dag("predict", ["model"], [])

    found = [store.call_dag("predict", {"model": x}).get(10) for x in range(20)]

    assert found == [(1, 10_000.0 * x) for x in range(20)]
    assert store.get_object("made") == 1
