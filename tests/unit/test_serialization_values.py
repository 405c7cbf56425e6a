"""Every value survives the way there and back, and large ones are not copied on it."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import math
import pickle
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudburst.core.messages import Buffer
from cloudburst.errors import SerializationError
from cloudburst.serialization import join, pack, split, unpack
from cloudburst.serialization.values import IN_BAND


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Config:
    name: str
    sizes: list[int] = field(default_factory=list)


def received(value: object) -> list[Buffer]:
    """The frames as the transport delivers them: large ones as writable memory of their own."""
    head, *buffers = pack(value).frames
    return [head, *(memoryview(bytearray(buffer)) for buffer in buffers)]


def round_trips(value: object) -> list[Any]:
    """The value after each way it may take: over a socket, and through the KVS."""
    blob = bytes(join(pack(value).frames))
    return [unpack(received(value)), unpack(split(blob)), unpack(split(blob), shared=True)]


VALUES: list[Any] = [
    [],
    None,
    (),
    {},
    set(),
    {1, "a", (2, 3)},
    frozenset({1, "a"}),
    True,
    0,
    -(2**70),
    1.5,
    math.inf,
    2 + 3j,
    "",
    "snow \u2603 and \U0001f600",
    "lone surrogate \udc80",
    b"",
    b"\x80\x05K\x01.",
    b"\xcb\x01",
    pickle.dumps([1, 2, 3]),
    bytearray(b"changeable"),
    ((1, (2, (3, ()))), [[], [()]]),
    {1: {2: {3: [4]}}, (5, 6): {7}, None: None},
    "__main__",
    range(3),
    slice(1, 2),
    ...,
    Color.RED,
    [Color.RED, Color.BLUE],
    Point(1, 2),
    Config("c", [1, 2]),
    collections.OrderedDict(b=1, a=2),
    collections.Counter("abca"),
    collections.deque([1, 2], maxlen=3),
    datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC),
    decimal.Decimal("1.10"),
    uuid.UUID(int=7),
    int,
    len,
    math.sqrt,
    np.float32(1.5),
    np.datetime64("2024-02-29"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_value_survives(value: Any) -> None:
    for back in round_trips(value):
        assert back == value
        assert type(back) is type(value)


nested = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(nested)
@settings(max_examples=100, deadline=None)
def test_nested_builtins_survive(value: Any) -> None:
    for back in round_trips(value):
        assert back == value
        assert repr(back) == repr(value)  # 1, 1.0 and True are equal


@given(st.lists(st.integers(0, 3 * IN_BAND), max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_mixture_of_small_and_large_buffers_survives(sizes: list[int]) -> None:
    value = [np.full(size, index, np.uint8) for index, size in enumerate(sizes)]

    frames = pack(value).frames

    assert len(frames) == 1 + sum(size >= IN_BAND for size in sizes)
    for back in round_trips(value):
        assert [array.tobytes() for array in back] == [array.tobytes() for array in value]


ARRAYS: dict[str, Callable[[], np.ndarray[Any, Any]]] = {
    "0-d": lambda: np.array(3.5),
    "empty": lambda: np.empty((0, 3)),
    "small": lambda: np.arange(10),
    "large": lambda: np.arange(40_000.0).reshape(200, 200),
    "Fortran order": lambda: np.asfortranarray(np.arange(40_000.0).reshape(200, 200)),
    "structured": lambda: np.zeros(5_000, [("a", "i4"), ("b", "f8", (2,))]),
    "objects": lambda: np.array([1, "a", None, [2]], dtype=object),
    "strings": lambda: np.array(["a", "bcd"] * 5_000),
    "not contiguous": lambda: np.arange(80_000.0).reshape(200, 400)[::2, ::2],
    "datetime64": lambda: np.arange("2000-01", "2500-01", dtype="datetime64[D]"),
    "big endian": lambda: np.arange(9_000, dtype=">f8"),
    "booleans": lambda: np.ones(20_000, bool),
    "masked": lambda: np.ma.array(np.arange(9_000.0), mask=np.arange(9_000) % 2 == 1),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_array_survives(name: str) -> None:
    array = ARRAYS[name]()
    for back in round_trips(array):
        assert type(back) is type(array)
        assert back.dtype == array.dtype
        assert back.shape == array.shape
        assert back.flags.f_contiguous == array.flags.f_contiguous or name == "not contiguous"
        assert repr(back.tolist()) == repr(array.tolist())


def test_data_frame_survives() -> None:
    frame = pd.DataFrame(
        {
            "number": np.arange(5_000.0),
            "text": ["a", "b"] * 2_500,
            "when": pd.date_range("2024-01-01", periods=5_000, freq="h"),
            "kind": pd.Categorical(["x", "y"] * 2_500),
        }
    )
    for back in round_trips(frame):
        pd.testing.assert_frame_equal(back, frame)


def test_an_exception_is_a_value_like_any_other() -> None:
    error = KeyError("a", 1)
    error.add_note("seen in step 3")

    for back in round_trips([error]):
        assert type(back[0]) is KeyError
        assert back[0].args == ("a", 1)
        assert back[0].__notes__ == ["seen in step 3"]


def test_a_lambda_is_a_value_like_any_other() -> None:
    factor = 3
    for back in round_trips({"f": lambda x: x * factor}):
        assert back["f"](4) == 12


def test_a_value_that_contains_itself_survives() -> None:
    value: list[Any] = [1]
    value.append(value)

    back = unpack(pack(value).frames)

    assert back[1] is back
    assert back[0] == 1


def nest(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_deep_nesting_survives() -> None:
    for back in round_trips(nest(300)):
        assert repr(back) == "[" * 301 + "]" * 301


def test_nesting_deeper_than_pickle_can_follow_is_refused() -> None:
    with pytest.raises(SerializationError, match=r"argument 1 of 'f' .*nested too deeply"):
        pack(nest(1_000_000), "argument 1 of 'f'")


# Where the memory is


def pointer(array: np.ndarray[Any, Any]) -> int:
    return int(array.ctypes.data)


def test_packing_a_large_array_copies_nothing() -> None:
    array = np.arange(50_000.0)

    _, buffer = pack({"x": array}).frames

    assert np.frombuffer(buffer, np.uint8).ctypes.data == pointer(array)


def test_an_array_from_the_transport_is_writable_and_not_copied() -> None:
    frames = received(np.arange(50_000.0))

    array = unpack(frames)

    assert array.flags.writeable
    assert np.shares_memory(array, np.frombuffer(frames[1], np.uint8))
    array[:] = 0.0


def test_an_array_from_read_only_memory_is_copied_once_to_be_writable() -> None:
    head, buffer = pack(np.arange(50_000.0)).frames
    stored = bytes(buffer)

    for frame in (stored, memoryview(stored)):
        array = unpack([head, frame])
        assert array.flags.writeable
        assert not np.shares_memory(array, np.frombuffer(stored, np.uint8))
        array[:] = -1.0

    assert np.frombuffer(stored)[0] == 0.0


def test_a_shared_array_is_a_read_only_view() -> None:
    for memory in (bytes, lambda buffer: memoryview(bytearray(buffer))):
        head, buffer = pack(np.arange(50_000.0)).frames
        frame = memory(buffer)

        array = unpack([head, frame], shared=True)

        assert not array.flags.writeable
        assert np.shares_memory(array, np.frombuffer(frame, np.uint8))


@pytest.mark.parametrize("count", [10, 50_000])
def test_read_only_arrays_stay_read_only(count: int) -> None:
    array = np.arange(float(count))
    array.flags.writeable = False

    for back in round_trips([array, np.arange(float(count))])[:2]:
        assert [item.flags.writeable for item in back] == [False, True]


def test_large_bytes_are_a_frame_of_their_own_and_not_copied() -> None:
    content = bytes(10_000_000)

    head, frame = pack(content).frames

    assert frame is content
    assert unpack([head, frame]) is content
    assert unpack([head, memoryview(bytearray(content))]) == content
    assert type(unpack(split(join([head, frame])))) is bytes


def test_large_bytes_inside_a_container_survive() -> None:
    content = bytes(range(256)) * 40_000
    for back in round_trips({"image": content, "copy": [content]}):
        assert back["image"] == content
        assert back["copy"][0] is back["image"]


# What is refused


class ReduceRaises:
    def __reduce__(self) -> tuple[Any, ...]:
        raise RuntimeError("not today")


class SetStateRaises:
    def __setstate__(self, state: object) -> None:
        raise RuntimeError("broken on arrival")

    def __getstate__(self) -> dict[str, int]:
        return {"x": 1}


def test_what_a_reduce_raises_is_in_the_message() -> None:
    with pytest.raises(SerializationError, match="not today") as caught:
        pack(ReduceRaises())
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_what_unpickling_raises_is_in_the_message() -> None:
    with pytest.raises(SerializationError, match="broken on arrival") as caught:
        unpack(pack(SetStateRaises()).frames)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_missing_module_is_named_with_what_to_do() -> None:
    frame = pickle.dumps(np.arange(3), 5).replace(b"numpy._core", b"numpyx_core")
    with pytest.raises(SerializationError, match=r"module 'numpyx_core.*Install it"):
        unpack([frame])


def test_a_missing_name_in_a_module_is_named_with_what_to_do() -> None:
    frame = pickle.dumps(math.sqrt, 5).replace(b"sqrt", b"sqrx")
    with pytest.raises(SerializationError, match=r"sqrx.*same versions"):
        unpack([frame])


def test_threads_do_not_disturb_each_other() -> None:
    array = np.arange(40_000.0)
    wrong: list[int] = []
    start = threading.Barrier(4)

    def work(number: int) -> None:
        start.wait()
        for turn in range(100):
            value = [number, turn, lambda: number, array, Config(str(number))]
            back = unpack(received(value))
            if (back[0], back[2](), back[4].name) != (number, number, str(number)):
                wrong.append(turn)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
