"""Every value survives on every way it can take: argument, edge, result, store."""

import pickle
import subprocess
import sys
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest

from cloudburst import CloudburstConnection, CloudburstReference

MEGABYTE = 1_000_000
Point = namedtuple("Point", "x y")


@dataclass
class Account:
    """Defined in a module that executors cannot import."""

    owner: str
    balance: Decimal


def deep(depth: int) -> list[Any]:
    """A list inside a list inside a list ..."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


PLAIN: dict[str, Any] = {
    "empty list": [],
    "none": None,
    "empty tuple": (),
    "empty dict": {},
    "empty text": "",
    "empty bytes": b"",
    "false": False,
    "zero": 0,
    "nested tuples": ((1, (2, ())), [(3,)], ((),)),
    "set": {1, "two", (3,)},
    "frozenset": frozenset({frozenset({1}), 2}),
    "large int": 2**4096 - 1,
    "float": 0.1 + 0.2,
    "infinity": float("inf"),
    "complex": 1 - 2j,
    "unicode": "\0 ü 𝄞 \ud800",
    "bytearray": bytearray(b"\0\xff"),
    "range": range(10, 0, -3),
    "slice": slice(1, None, 2),
    "ellipsis": ...,
    "type": OrderedDict,
    "builtin": len,
    "dates": [datetime(2026, 1, 1, tzinfo=UTC), Fraction(1, 3), Decimal("1.10")],
    "namedtuple": Point(1, (2, 3)),
    "ordered": OrderedDict([("b", 1), ("a", 2)]),
    "keys of all kinds": {1: "a", "1": "b", (1,): "c", None: "d"},
    "deep": deep(200),
    "dataclass": Account("ann", Decimal("12.5")),
    "pickle": pickle.dumps([1, 2, {"a": None}]),
    "pickle of a reference": pickle.dumps(CloudburstReference("x")),
    "looks like a head": b"\xcb\x01\x00\x00\x00\x00\x00\x00" + bytes(64),
    "marker": b"\x80",
    "large pickle": pickle.dumps(list(range(100_000))),
    "large text": "x" * MEGABYTE,
}

ARRAYS: dict[str, Any] = {
    "0-d": np.array(3.5),
    "scalar": np.float32(1.5),
    "empty": np.empty((0, 3)),
    "small": np.arange(6).reshape(2, 3),
    "large": np.arange(MEGABYTE),
    "fortran": np.asfortranarray(np.arange(40_000.0).reshape(100, 400)),
    "slice": np.arange(60_000)[::3],
    "structured": np.array([(1, 2.5, "a"), (2, 3.5, "b")], dtype="i4, f8, U3"),
    "object": np.array([{"a": 1}, [2], None], dtype=object),
    "text": np.array(["ä", "bcd"]),
    "time": np.array(["2026-01-01"], dtype="M8[D]"),
    "complex": np.ones(20_000, dtype=complex) * 1j,
    "big endian": np.arange(10, dtype=">i8"),
    "boolean": np.zeros(100_000, dtype=bool),
    "masked": np.ma.masked_array([1, 2, 3], mask=[False, True, False]),
}

FRAMES: dict[str, Any] = {
    "empty": pd.DataFrame(),
    "mixed": pd.DataFrame({"i": [1, 2], "f": [0.5, None], "s": ["a", None], "o": [[1], {}]}),
    "large": pd.DataFrame(np.arange(300_000.0).reshape(-1, 3), columns=list("abc")),
    "index": pd.DataFrame({"v": range(4)}, index=pd.date_range("2026-01-01", periods=4, tz="UTC")),
    "categories": pd.DataFrame({"c": pd.Categorical(["x", "y", "x"])}),
    "series": pd.Series([1.5, 2.5], name="s", index=["a", "b"]),
}


@pytest.fixture
def ways(connection: CloudburstConnection) -> CloudburstConnection:
    """Functions that take a value along every way; see `journeys`."""

    def branch(_: object, value: Any) -> Any:
        import time

        # Long enough to be placed on another executor than its sibling.
        end = time.perf_counter() + 0.001
        while time.perf_counter() < end:
            pass
        return value

    connection.register(lambda _, value: value, "same")
    connection.register(branch, "branch")
    connection.register(lambda _, *values: list(values), "join")
    connection.register(lambda library, key, value: library.put(key, value), "put")
    connection.register(lambda library, key: library.get(key), "get")
    connection.register_dag("chain", ["same", "branch"], [("same", "branch")])
    steps: list[Any] = ["same", ("left", "branch"), ("right", "branch"), "join"]
    edges = [("same", "left"), ("same", "right"), ("left", "join"), ("right", "join")]
    connection.register_dag("fan", steps, edges)
    return connection


def journeys(ways: CloudburstConnection, value: Any) -> dict[str, Any]:
    """What arrives when the value goes along each way."""
    same, put, get = (ways.get_function(name) for name in ("same", "put", "get"))
    assert same is not None
    assert put is not None
    assert get is not None
    future = same(value)
    arrived = {
        "stored result": future.get(30),
        "result in the store": ways.get_object(future.obj_id),
        "direct result": same.options(direct_response=True, timeout=30.0)(value),
        "step argument": ways.call_dag("chain", {"same": [value]}).get(30),
        "future": same(future).get(30),
    }
    left, right = ways.call_dag("fan", {"same": [value]}).get(30)
    arrived |= {"left edge": left, "right edge": right}
    ways.put_object("from client", value)
    arrived |= {
        "object": ways.get_object("from client"),
        "object to function": get("from client").get(30),
        "reference": same(CloudburstReference("from client")).get(30),
    }
    put("from function", value).get(30)
    return arrived | {"object of a function": ways.get_object("from function")}


def assert_all_equal(arrived: dict[str, Any], equal: Callable[[Any], bool]) -> None:
    assert [way for way, value in arrived.items() if not equal(value)] == []


@pytest.mark.parametrize("name", PLAIN)
def test_plain_values(ways: CloudburstConnection, name: str) -> None:
    value = PLAIN[name]

    assert_all_equal(
        journeys(ways, value), lambda found: type(found) is type(value) and found == value
    )


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(ways: CloudburstConnection, name: str) -> None:
    array = ARRAYS[name]

    def equal(found: Any) -> bool:
        np.testing.assert_array_equal(found, array)
        same_order = found.flags.f_contiguous == array.flags.f_contiguous or name == "slice"
        return type(found) is type(array) and found.dtype == array.dtype and same_order

    assert_all_equal(journeys(ways, array), equal)


@pytest.mark.parametrize("size", [10, MEGABYTE])
def test_read_only_arrays_stay_read_only_and_others_writable(
    ways: CloudburstConnection, size: int
) -> None:
    fixed, loose = np.arange(size), np.arange(size)
    fixed.setflags(write=False)

    assert_all_equal(journeys(ways, fixed), lambda found: not found.flags.writeable)
    arrived = journeys(ways, loose)
    if size == MEGABYTE:  # functions share what is read from the store
        shared = [arrived.pop(way) for way in ("future", "object to function", "reference")]
        assert not any(found.flags.writeable for found in shared)
    assert_all_equal(arrived, lambda found: found.flags.writeable)


@pytest.mark.parametrize("size", [10, MEGABYTE])
def test_arrays_that_arrive_are_the_functions_own(ways: CloudburstConnection, size: int) -> None:
    def spoil(_: object, array: Any) -> int:
        array[:] = -1
        return int(array.sum())

    ways.register(spoil, "branch")
    array = np.zeros(size)

    assert ways.call_dag("fan", {"same": [array]}).get(30) == [-size, -size]
    ways.put_object("array", array)
    branch = ways.get_function("branch")
    assert branch is not None
    if size == MEGABYTE:
        with pytest.raises(ValueError, match="read-only"):  # it may be others' as well
            branch(CloudburstReference("array")).get(30)
    else:
        assert branch(CloudburstReference("array")).get(30) == -size
    assert branch(array).get(30) == -size
    assert array.sum() == 0
    assert ways.get_object("array").sum() == 0


def test_arguments_are_what_they_were_at_the_call(ways: CloudburstConnection) -> None:
    same = ways.get_function("same")
    assert same is not None
    array, items = np.zeros(MEGABYTE), [1]

    future = same([array, items])
    array[:] = 1
    items.append(2)

    found, listed = future.get(30)
    assert found.sum() == 0
    assert listed == [1]


@pytest.mark.parametrize("name", FRAMES)
def test_data_frames(ways: CloudburstConnection, name: str) -> None:
    frame = FRAMES[name]
    compare = pd.testing.assert_series_equal if name == "series" else None
    compare = compare or pd.testing.assert_frame_equal

    assert_all_equal(journeys(ways, frame), lambda found: compare(found, frame) is None)


def test_a_hundred_megabytes(ways: CloudburstConnection) -> None:
    value = np.random.default_rng(1).bytes(100 * MEGABYTE)
    same = ways.get_function("same")
    assert same is not None

    future = same(value)
    assert future.get(60) == value
    assert (
        same.options(direct_response=True, timeout=60.0)(CloudburstReference(future.obj_id))
        == value
    )
    left, right = ways.call_dag("fan", {"same": value}, direct_response=True, timeout=60.0)
    assert left == right == value
    ways.put_object("big", value)
    assert ways.get_object("big") == value
    for key in ("big", future.obj_id):
        assert ways.delete_object(key)


def test_exceptions_are_values_when_they_are_returned(ways: CloudburstConnection) -> None:
    class Odd(ValueError):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")
            self.one = one

        def __reduce__(self) -> Any:
            return Odd, (self.one, 2)

    for error in (KeyError("k"), Odd(1, 2)):
        found = journeys(ways, error)
        assert_all_equal(found, lambda e: type(e) is type(error) and e.args == error.args)  # noqa: B023


def test_lambdas_and_closures(ways: CloudburstConnection) -> None:
    offset = 10

    def total(n: int) -> int:
        return 0 if n == 0 else n + offset + total(n - 1)

    assert_all_equal(journeys(ways, total), lambda found: found(3) == 36)


def test_two_branches_run_on_two_executors(ways: CloudburstConnection) -> None:
    """The proof that `journeys` takes a value from one executor to another."""

    def branch(_: object, value: Any) -> tuple[int, Any]:
        import os
        import time

        end = time.perf_counter() + 0.001
        while time.perf_counter() < end:
            pass
        return os.getpid(), value

    ways.register(branch, "branch")

    found = [ways.call_dag("fan", {"same": number}).get(30) for number in range(20)]

    assert [(one, two) for (_, one), (_, two) in found] == [(n, n) for n in range(20)]
    assert any(left != right for (left, _), (right, _) in found)


SCRIPT = """
import sys
from dataclasses import dataclass
from cloudburst import CloudburstConnection, CloudburstReference

@dataclass
class Money:
    cents: int

    def doubled(self):
        return Money(self.cents * 2)

def double(_, money):
    assert isinstance(money, Money)
    return money.doubled()

class Purse:
    def __init__(self, money):
        self.money = money

    def run(self, money):
        self.money = Money(self.money.cents + money.cents)
        return self.money

with CloudburstConnection(sys.argv[1]) as connection:
    cloud_double = connection.register(double, "double")
    purse = connection.register((Purse, Money(1)), "purse")
    connection.register_dag("main", ["double", "purse"], [("double", "purse")])
    connection.put_object("money", Money(100))
    results = [
        cloud_double(Money(2)).get(),
        cloud_double(CloudburstReference("money")).get(),
        cloud_double(cloud_double(Money(3))).get(),
        purse(Money(4)).get(),
        connection.call_dag("main", {"double": Money(5)}).get(),
        connection.call_dag("main", {"double": Money(5)}, direct_response=True),
        connection.get_object("money"),
    ]
    assert all(type(money) is Money for money in results), results
    print([money.cents for money in results])
"""


def test_classes_of_a_script(connection: CloudburstConnection, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    done = subprocess.run(
        [sys.executable, str(script), connection.address],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout == "[4, 200, 12, 5, 11, 21, 100]\n"
    assert connection.list() == ["double", "purse"]
