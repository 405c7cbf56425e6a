"""Nonsense in a name, a key, a time or an address is told at once, and nothing is lost over it."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cloudburst import (
    CloudburstConnection,
    CloudburstReference,
    FunctionError,
    InvalidName,
    SerializationError,
    UnknownStep,
    UsageError,
)

AT_ONCE = 1.0
HALF = "\ud800"
NO_KEYS = [5, None, b"x", [], "", "x" * 1001, HALF, f"a{HALF}b"]
NO_NAMES = [5, None, b"x", [], HALF]
NO_SECONDS = ["x", [], math.nan, object, True]


@pytest.fixture
def ours(connection: CloudburstConnection) -> Iterator[CloudburstConnection]:
    """The functions ``echo`` and ``use``, which must work at once after whatever the test did."""
    connection.register(lambda _, *args, **kwargs: [*args, kwargs], "echo")
    connection.register(lambda library, use: use(library), "use")
    assert connection.register_dag("dag", ["echo"], [])
    began = time.monotonic()
    yield connection

    assert time.monotonic() - began < AT_ONCE * 5
    connection.flush(AT_ONCE)
    assert connection.call_dag("dag", {"echo": 1}).get(AT_ONCE) == [1, {}]


def refused(kind: type[Exception], action: Callable[[], object]) -> str:
    """What the caller is told, which must be soon, and short enough to be read."""
    began = time.monotonic()
    with pytest.raises(kind) as raised:
        action()
    assert time.monotonic() - began < AT_ONCE
    assert len(str(raised.value)) < 400
    return str(raised.value)


def in_function(connection: CloudburstConnection, use: Callable[[Any], object]) -> Any:
    """What a function gets that uses its library so."""
    function = connection.get_function("use")
    assert function is not None
    return function(use).get(AT_ONCE * 5)


@pytest.mark.parametrize("key", NO_KEYS, ids=lambda key: ascii(key)[:12])
def test_what_is_no_key(ours: CloudburstConnection, key: Any) -> None:
    for use in (
        lambda: CloudburstReference(key),
        lambda: ours.put_object(key, 1),
        lambda: ours.get_object(key),
        lambda: ours.delete_object(key),
        lambda: ours.future(key),
    ):
        assert "key" in refused(InvalidName, use)
    if key is not None:
        assert "key" in refused(
            InvalidName, lambda: ours.call_dag("dag", {"echo": 1}, output_key=key)
        )


@pytest.mark.parametrize("name", NO_NAMES, ids=ascii)
def test_what_is_no_name(ours: CloudburstConnection, name: Any) -> None:
    for use in (
        lambda: ours.exec_func(name),
        lambda: ours.get_function(name),
        lambda: ours.delete_function(name),
        lambda: ours.delete_dag(name),
        lambda: ours.call_dag(name, {}),
    ):
        assert "name" in refused(UsageError, use)
    assert "name" in refused(UsageError, lambda: ours.register(lambda _: 1, name))
    with pytest.warns(UserWarning, match="is not registered"):
        assert not ours.register_dag(name, ["echo"], [])
    with pytest.warns(UserWarning, match="is not registered"):
        assert not ours.register_dag("d", [name], [])
    if name is not None:
        assert "prefix" in refused(UsageError, lambda: ours.list(name))


def test_what_cannot_be_sent_in_other_places(ours: CloudburstConnection) -> None:
    echo = ours.get_function("echo")
    assert echo is not None

    refused(UnknownStep, lambda: ours.call_dag("dag", {HALF: 1}))
    assert "half of a surrogate" in refused(
        UsageError, lambda: ours.check_dag(["echo"], [(HALF,) * 2])
    )
    assert "half of a surrogate" in refused(UsageError, lambda: echo(**{HALF: 1}))
    assert "not empty" in refused(UsageError, lambda: echo(**{"": 1}))
    assert echo(HALF).get(AT_ONCE) == [HALF, {}], "in a value it is a character like any other"


@pytest.mark.parametrize("args", [5, None, "text", b"bytes", {1: 2}, {1}], ids=repr)
def test_what_is_no_list_of_arguments(ours: CloudburstConnection, args: Any) -> None:
    assert "args is a list of arguments" in refused(
        UsageError, lambda: ours.exec_func("echo", args)
    )


@pytest.mark.parametrize("seconds", NO_SECONDS, ids=repr)
def test_what_is_no_time(ours: CloudburstConnection, seconds: Any) -> None:
    echo = ours.get_function("echo")
    assert echo is not None
    pending, done = echo(1), echo(2)
    done.get(AT_ONCE)

    for use in (
        lambda: pending.get(seconds),
        lambda: pending.exception(seconds),
        lambda: done.get(seconds),
        lambda: ours.flush(seconds),
        lambda: echo.options(timeout=seconds),
        lambda: ours.register(lambda _: 1, "timed", timeout=seconds),
        lambda: ours.register_dag("timed", ["echo"], [], timeout=seconds),
        lambda: ours.call_dag("dag", {"echo": 1}, timeout=seconds),
        lambda: in_function(ours, lambda library: library.recv(timeout=seconds)),
    ):
        assert "timeout is a number of seconds" in refused(UsageError, use)


def test_more_arguments_than_a_message_holds(ours: CloudburstConnection) -> None:
    echo = ours.get_function("echo")
    assert echo is not None
    many = list(range(100_001))

    text = "a call has at most 99,999 arguments, not 100,001; put them in a list"
    assert refused(UsageError, lambda: echo(*many)) == text
    assert refused(UsageError, lambda: ours.exec_func("echo", many)) == text
    assert refused(UsageError, lambda: ours.call_dag("dag", {"echo": many})) == text
    assert echo(many).get(AT_ONCE * 5) == [many, {}]


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        (lambda library: library.get(5), "a key is a string, not int: 5"),
        (lambda library: library.get(None), "a key is a string, not NoneType"),
        (lambda library: library.put(5, 1), "a key is a string, not int: 5"),
        (lambda library: library.put({5: 1}), "a key is a string, not int: 5"),
        (lambda library: library.put(["a"], 5), "not a list of values: 5"),
        (lambda library: library.put(HALF, 1), "half of a surrogate pair"),
        (lambda library: library.delete(["a"]), "a key is a string, not list"),
        (lambda library: library.send("nobody", 1), "'nobody' is not what get_id() returns"),
        (lambda library: library.send(None, 1), "None is not what get_id() returns"),
        (lambda library: library.send("r/1/f@tcp://h:99999", 1), "is not what get_id() returns"),
        (lambda library: library.send("r/1/f@ipc:///" + "x" * 200, 1), "is not what get_id()"),
        (lambda library: library.send(HALF, 1), "half of a surrogate pair"),
    ],
)
def test_misuse_of_the_library(
    ours: CloudburstConnection, use: Callable[[Any], object], reason: str
) -> None:
    with pytest.raises(UsageError) as raised:
        in_function(ours, use)

    assert reason in str(raised.value)
    assert isinstance(raised.value.__cause__, FunctionError)
    assert raised.value.__cause__.step == "use"


def test_what_belongs_to_this_process_is_named_with_what_to_do(ours: CloudburstConnection) -> None:
    echo = ours.get_function("echo")
    assert echo is not None
    future = echo(1)

    for function, what in (
        (lambda _: ours.list(), r"closure 'ours' is a connection\. .* the library argument"),
        (lambda _: future.get(), r"closure 'future' is a future\. Pass it as an argument"),
        (lambda _: echo(1), r"closure 'echo' is a registered function\. Make a DAG"),
    ):
        with pytest.raises(SerializationError, match=what):
            ours.register(function, "captures")
    with pytest.raises(SerializationError, match=r"argument 1 of 'echo' .* it is a connection"):
        echo(ours)
    with pytest.raises(SerializationError, match="closure 'library' is the user library"):
        in_function(ours, lambda library: lambda: library.get("key"))
    assert echo([future]).get(AT_ONCE) == [[[1, {}]], {}], "a future among arguments is its value"
