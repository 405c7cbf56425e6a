"""What is done wrongly is said so, in time, and the next call works."""

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import SOON, call

from cloudburst import (
    CloudburstConnection,
    FunctionError,
    InvalidName,
    RunError,
    RunTimeoutError,
    SerializationError,
    UnknownDag,
    UnknownFunction,
    UnknownStep,
    UsageError,
)

# what does not exist


def test_unknown_function(ours: CloudburstConnection) -> None:
    assert ours.get_function("inrc") is None
    with pytest.raises(UnknownFunction, match="did you mean 'incr'"):
        ours.exec_func("inrc", [1])
    assert ours.delete_function("inrc") is False


def test_function_that_was_deleted(ours: CloudburstConnection) -> None:
    gone = ours.register(lambda _: 0, "gone")
    assert ours.delete_function("gone")

    with pytest.raises(UnknownFunction, match="no function 'gone' is registered"):
        gone().get(SOON)
    with pytest.raises(UnknownFunction):
        gone.options(direct_response=True)()


def test_unknown_dag(ours: CloudburstConnection) -> None:
    with pytest.raises(UnknownDag, match="did you mean 'both'"):
        ours.call_dag("bot", {})
    assert ours.delete_dag("bot") is False


def test_dag_that_another_client_deleted(ours: CloudburstConnection) -> None:
    with CloudburstConnection(ours.address) as other:
        ours.register_dag("shared", ["incr"], [])
        assert ours.call_dag("shared", {"incr": 1}).get(SOON) == 2
        assert other.delete_dag("shared")

    with pytest.raises(UnknownDag, match="no DAG 'shared' is registered"):
        ours.call_dag("shared", {"incr": 1}).get(SOON)


def test_unknown_step(ours: CloudburstConnection) -> None:
    with pytest.raises(UnknownStep, match="'both' has no step 'sqare'; did you mean 'square'"):
        ours.call_dag("both", {"incr": 1, "sqare": 2})


@pytest.mark.parametrize("arg_map", [None, [1], "incr", {("incr",): 1}, {1: 1}])
def test_arg_map_that_is_none(ours: CloudburstConnection, arg_map: Any) -> None:
    with pytest.raises(UsageError):
        ours.call_dag("both", arg_map)


def test_consistency_that_does_not_exist(ours: CloudburstConnection) -> None:
    level: Any = "strong"

    with pytest.raises(UsageError, match="a member of Consistency, not 'strong'"):
        ours.call_dag("both", {"incr": 1}, consistency=level)


# names

BAD_NAMES = ["", "a b", "a/b", "../a", "ä", "a\n", "-a", ".a", "x" * 10_000, "a\0", None, 3, b"a"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names(ours: CloudburstConnection, name: Any) -> None:
    with pytest.raises(InvalidName) as raised:
        ours.register(lambda _: 0, name)
    assert len(str(raised.value)) < 300
    with pytest.warns(UserWarning, match="is not registered"):
        assert ours.register_dag(name, ["incr"], []) is False


@pytest.mark.parametrize("name", ["a", "A.b-c_d", "_", "0", "x" * 200])
def test_good_names(ours: CloudburstConnection, name: str) -> None:
    assert ours.register(lambda _, a: a, name)(1).get(SOON) == 1
    assert ours.register_dag(name, [name], [])
    assert ours.call_dag(name, {name: 2}).get(SOON) == 2


@pytest.mark.parametrize("key", ["", "x" * 10_000, None, 3, b"k"])
def test_bad_keys(ours: CloudburstConnection, key: Any) -> None:
    ours.register(lambda library, key: library.put(key, 1), "put")

    with pytest.raises(InvalidName):
        ours.put_object(key, 1)
    with pytest.raises(InvalidName):
        ours.get_object(key)
    with pytest.raises((InvalidName, TypeError)) as raised:
        call(ours, "put", key).get(SOON)
    assert isinstance(raised.value.__cause__, FunctionError)


@pytest.mark.parametrize("key", ["a b", "a/b", "{a}b", "ä\n", "cb:run:x"])
def test_keys_may_be_any_text(ours: CloudburstConnection, key: str) -> None:
    ours.put_object(key, 1)

    assert ours.get_object(key) == 1
    assert ours.delete_object(key) is True
    assert ours.delete_object(key) is False


# what cannot be registered


def numbers(_: object) -> Iterator[int]:
    yield 1


async def later(_: object) -> int:
    return 1


class NoRun:
    pass


class YieldingRun:
    def run(self) -> Iterator[int]:
        yield 1


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (3, "type int cannot be called"),
        (None, "type NoneType cannot be called"),
        ((1, 2), "type tuple cannot be called"),
        ((NoRun, ()), "has no run method"),
        (NoRun, "has no run method"),
        (numbers, "generator function"),
        (YieldingRun, "generator function"),
        (later, "is async"),
    ],
)
def test_what_executors_cannot_run(ours: CloudburstConnection, function: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        ours.register(function, "wrong")
    assert ours.get_function("wrong") is None


def test_function_that_cannot_be_pickled(ours: CloudburstConnection) -> None:
    lock = threading.Lock()

    with pytest.raises(SerializationError, match=r"function 'locks'.*closure 'lock' is a lock"):
        ours.register(lambda _: lock, "locks")


# arguments and results


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: threading.Lock(), "argument 2 of 'incr' cannot be pickled: it is a lock"),
        (
            lambda: [1, {"k": (n for n in (1, 2))}],
            r"argument 2 of 'incr' -> \[1\]\['k'\] is a generator",
        ),
        (lambda: iter(numbers(None)), "is a generator"),
    ],
)
def test_argument_that_cannot_be_pickled(
    ours: CloudburstConnection, make: Callable[[], Any], reason: str
) -> None:
    with pytest.raises(SerializationError, match=reason):
        call(ours, "incr", 1, make())
    with pytest.raises(SerializationError, match="of 'incr'"):
        ours.call_dag("both", {"incr": make()})


def test_keyword_argument_that_cannot_be_pickled(ours: CloudburstConnection) -> None:
    incr = ours.get_function("incr")
    assert incr is not None
    with pytest.raises(SerializationError, match="argument a of 'incr'"):
        incr(a=threading.Lock())


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda _: threading.Lock(), "cannot be pickled: it is a lock"),
        (lambda _: (n for n in range(3)), "it is a generator. Pass a list"),
        (lambda _: {"open": Path("/dev/null").open()}, "['open'] is an open file"),  # noqa: SIM115
    ],
)
def test_result_that_cannot_be_pickled(
    ours: CloudburstConnection, function: Callable[..., Any], reason: str, direct: bool
) -> None:
    ours.register(function, "f")

    with pytest.raises(SerializationError, match=re.escape(reason)) as raised:
        call(ours, "f", direct_response=direct).get(SOON)
    assert isinstance(raised.value.__cause__, FunctionError)
    assert raised.value.__cause__.step == "f"


def test_generator_is_refused_wherever_the_next_step_runs(ours: CloudburstConnection) -> None:
    ours.register(lambda _, n: (i for i in range(n)), "items")
    ours.register(lambda _, *items: [list(each) for each in items], "lists")
    ours.register_dag("chain", ["items", "lists"], [("items", "lists")])
    steps: list[Any] = [("a", "items"), ("b", "items"), "lists"]
    ours.register_dag("join", steps, [("a", "lists"), ("b", "lists")])

    for _ in range(5):
        for dag, arguments in (("chain", {"items": 2}), ("join", {"a": 2, "b": 2})):
            with pytest.raises(SerializationError, match="it is a generator"):
                ours.call_dag(dag, arguments).get(SOON)


@pytest.mark.parametrize("args", [(), (1, 2)])
def test_wrong_number_of_arguments(ours: CloudburstConnection, args: tuple[int, ...]) -> None:
    with pytest.raises(TypeError, match="step 'incr' cannot be called like this") as raised:
        call(ours, "incr", *args).get(SOON)
    assert isinstance(raised.value.__cause__, FunctionError)
    assert "the library is passed first" in str(raised.value)


def test_unknown_keyword_argument(ours: CloudburstConnection) -> None:
    incr = ours.get_function("incr")
    assert incr is not None
    with pytest.raises(TypeError, match="unexpected keyword argument 'b'"):
        incr(1, b=2).get(SOON)


# results that do not come


def test_run_that_nobody_knows(ours: CloudburstConnection) -> None:
    with pytest.raises(RunError, match="nothing is known of run nobody-1"):
        ours.future("nobody-1").get(SOON)


def test_result_that_does_not_come_in_time(ours: CloudburstConnection) -> None:
    slow = ours.register(lambda library: library.recv(timeout=0.5), "slow")

    future = slow()
    with pytest.raises(RunTimeoutError, match=r"has not ended within 0\.05 seconds; it goes on"):
        future.get(0.05)
    assert future.get(SOON) == []
    with pytest.raises(TimeoutError):
        slow.options(direct_response=True, timeout=0.05)()
