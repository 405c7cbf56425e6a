"""What cannot be pickled is named, with the path to it and what to do instead."""

from __future__ import annotations

import asyncio
import functools
import io
import pickle
import socket
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cloudburst.errors import SerializationError
from cloudburst.serialization import NotAValue, pack, unpack
from cloudburst.serialization.diagnosis import MAX_DEPTH, explain

guard = threading.Lock()


def message(value: object, what: str = "argument 1") -> str:
    """What the caller of `pack` is told."""
    with pytest.raises(SerializationError) as caught:
        pack(value, what)
    return str(caught.value)


@dataclass
class Config:
    name: str
    lock: Any = None


class Slotted:
    __slots__ = ("handle",)

    def __init__(self, handle: object) -> None:
        self.handle = handle


class LeavesLockOut:
    """Fails for another reason than the lock it never pickles."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.items = (item for item in "abc")

    def __getstate__(self) -> dict[str, Any]:
        return {"items": self.items}


class Table:
    """A mapping that is no dict, pickled by the items it gives."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}

    def __setitem__(self, key: str, row: object) -> None:
        self.rows[key] = row

    def __reduce__(self) -> Any:
        return Table, (), None, None, iter(self.rows.items())


class ReprRaises:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __reduce__(self) -> Any:
        raise ValueError("no reduce")

    def __hash__(self) -> int:
        return 1


class Chain:
    def __init__(self, following: object) -> None:
        self.following = following


# What it is, and what to do


def test_generator() -> None:
    assert message(x for x in "ab").startswith(
        "argument 1 cannot be pickled: it is a generator. Pass a list of its items."
    )


def test_coroutine() -> None:
    coroutine = asyncio.sleep(0)
    try:
        assert "it is a coroutine. Pass what it returns." in message(coroutine)
    finally:
        coroutine.close()


def test_async_generator() -> None:
    async def numbers() -> Any:
        yield 1

    assert "it is an async generator" in message(numbers())


@pytest.mark.parametrize("lock", [threading.Lock(), threading.RLock()])
def test_lock(lock: object) -> None:
    assert "it is a lock. Create it inside the function" in message(lock)


def test_what_is_made_of_locks() -> None:
    assert ".mutex is a lock" in message(__import__("queue").Queue())
    assert "is a lock" in message(threading.Event())
    assert "is a lock" in message(threading.Condition())


@pytest.mark.parametrize("mode", ["r", "w", "rb", "ab", "r+"])
def test_open_file(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "file"
    path.write_text("content")
    with path.open(mode) as file:
        assert "it is an open file. Pass its path or its content" in message(file)


def test_files_in_memory_are_values() -> None:
    assert unpack(pack(io.StringIO("text")).frames).getvalue() == "text"
    assert unpack(pack(io.BytesIO(b"data")).frames).getvalue() == b"data"


def test_socket() -> None:
    with socket.socket() as connection:
        text = message({"connection": connection})
    assert "['connection'] is a socket. Pass its address" in text


def test_weak_reference() -> None:
    target = Config("c")
    assert "it is a weak reference. Pass the object itself." in message(weakref.ref(target))


def test_what_belongs_to_one_process_says_so_itself_wherever_it_is() -> None:
    class Connection:
        def __reduce__(self) -> Any:
            raise NotAValue("a connection", "Open another one.")

    class Job:
        def __init__(self) -> None:
            self.connections = [Connection()]

    job = Job()

    assert message(Connection()) == (
        "argument 1 cannot be pickled: it is a connection. Open another one."
    )
    assert message({"job": job}).endswith(
        "['job'].connections[0] is a connection. Open another one."
    )
    assert message(lambda: job, "f").endswith(
        "f -> closure 'job' -> .connections[0] is a connection. Open another one."
    )


def test_anything_else_is_named_with_the_error() -> None:
    text = message(ReprRaises(), "value of 'k'")
    assert text.startswith("value of 'k' cannot be pickled: it is of type ")
    assert "ReprRaises. Leave it out" in text
    assert text.endswith("(ValueError: no reduce)")


# Where it is


def generator() -> Iterator[str]:
    yield "item"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ([1, [2, generator()]], "[1][1]"),
        ((1, (generator(),)), "[1][0]"),
        ({"cfg": Config("c", guard)}, "['cfg'].lock"),
        ({"a": {"b": {"c": guard}}}, "['a']['b']['c']"),
        (OrderedDict(x=guard), "['x']"),
        (SimpleNamespace(a=SimpleNamespace(b=guard)), ".a.b"),
        (Slotted(guard), ".handle"),
        (functools.partial(pow, guard), ".args[0]"),
        (functools.partial(print, end=guard), ".keywords['end']"),
        (ValueError("text", guard), ".args[1]"),
        (Config("c", guard).__repr__, ".__self__.lock"),
        (LeavesLockOut(), ".items"),
        ([Chain(Chain(Chain(guard)))], "[0].following.following.following"),
    ],
    ids=lambda item: item if isinstance(item, str) else type(item).__name__,
)
def test_the_path_is_told(value: object, path: str) -> None:
    assert f"cannot be pickled: argument 1 -> {path} is a " in message(value)


def test_keys_and_items_without_a_place_are_told() -> None:
    assert "argument 1 -> key <generator" in message({generator(): 1})
    assert "argument 1 -> item <generator" in message({generator()})


def test_items_of_other_mappings_are_told() -> None:
    table = Table()
    table["row"] = 1
    assert unpack(pack(table).frames).rows == {"row": 1}

    table["row"] = guard
    assert "argument 1 -> ['row'] is a lock" in message(table)


def test_objects_in_arrays_are_found() -> None:
    assert "is a lock" in message({"x": np.array([1, guard], dtype=object)})


def test_what_a_function_holds_is_told_by_its_name() -> None:
    config = Config("c", guard)

    def closes_over() -> object:
        return config

    def uses_global() -> object:
        return [guard for _ in range(3)]

    def has_default(x: object = guard, *, y: object = 1) -> object:
        return x

    def has_keyword(*, y: object = guard) -> object:
        return y

    assert (
        message(closes_over, "train")
        .split(": ")[1]
        .startswith("train -> closure 'config' -> .lock is a lock")
    )
    assert "train -> global 'guard' is a lock" in message(uses_global, "train")
    assert "train -> default 0 is a lock" in message(has_default, "train")
    assert "train -> default 'y' is a lock" in message(has_keyword, "train")


def test_what_a_class_holds_is_told_by_its_name() -> None:
    class Model:
        shared = guard

    class Guarded:
        @property
        def value(self) -> object:
            return guard

    assert "Model -> .shared is a lock" in message(Model())
    assert "Guarded -> .value.fget -> global 'guard' is a lock" in message(Guarded())


def test_a_cycle_does_not_hide_the_culprit() -> None:
    parent, child = Config("parent"), Config("child")
    parent.name, child.name = child, parent  # type: ignore[assignment]
    parent.lock = guard

    assert "argument 1 -> .lock is a lock" in message(parent)


# Its limits


def test_a_search_out_of_time_tells_how_far_it_came() -> None:
    value = {"a": {"b": generator()}}
    error = TypeError("the first error")

    assert "it -> ['a']['b'] is a generator" in explain(value, "it", error)
    assert explain(value, "it", error, max_seconds=0.0).endswith("(TypeError: the first error)")


def test_a_deep_search_tells_how_far_it_came() -> None:
    value: object = generator()
    for _ in range(MAX_DEPTH + 20):
        value = [value]

    text = message(value)

    assert f"argument 1 -> {'[0]' * MAX_DEPTH} is " in text


def test_the_search_never_raises() -> None:
    hostile = {ReprRaises(): 1}
    assert "cannot be pickled" in message(hostile)
    assert explain(hostile, "it", TypeError("first")) == "it cannot be pickled: TypeError: first"


def test_the_first_error_is_the_cause() -> None:
    with pytest.raises(SerializationError) as caught:
        pack({"a": generator()})
    assert isinstance(caught.value.__cause__, TypeError | pickle.PicklingError)
