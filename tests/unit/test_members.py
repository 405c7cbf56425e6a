"""What can be in a set, and which of it is one member."""

from __future__ import annotations

import enum
import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudburst.errors import UsageError
from cloudburst.kvs.members import DEEPEST, pack_member, unpack_members

numbers: st.SearchStrategy[float] = (
    st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.integers(-3, 3)
    | st.floats(allow_nan=False)
    | st.integers(-3, 3).map(float)
    | st.sampled_from([2.0**53, 2**53, 2**53 + 1, 2.0**63, 2**63, 2.0**64, -(2.0**63), math.inf])
)
texts: st.SearchStrategy[str] = st.text() | st.text(alphabet=st.characters())
scalars: st.SearchStrategy[Any] = numbers | texts | st.binary() | st.none()
members: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5
)


@given(members)
def test_a_member_comes_back_as_what_it_is_equal_to(value: Any) -> None:
    assert unpack_members([pack_member(value)]) == {value}


@given(members, members)
def test_equal_values_are_one_member_and_others_are_not(one: Any, other: Any) -> None:
    assert (pack_member(one) == pack_member(other)) is (one == other)


@given(st.lists(members, max_size=8))
def test_a_set_is_the_one_that_python_makes(values: list[Any]) -> None:
    assert unpack_members(map(pack_member, values)) == set(values)


@given(numbers, numbers)
def test_equal_numbers_are_one(one: float, other: float) -> None:
    assert (pack_member(one) == pack_member(other)) is (one == other)


@pytest.mark.parametrize(
    ("value", "packed"),
    [
        *((None, b"\xc0"), ("a", b"\xa1a"), (b"a", b"\xc4\x01a"), (5, b"\x05"), (-1, b"\xff")),
        *((1.0, b"\x01"), (True, b"\x01"), (0.5, b"\xcb?\xe0" + bytes(6)), ((), b"\x90")),
        (("a", (1, None)), b"\x92\xa1a\x92\x01\xc0"),
        ("\udce9", b"\xa3\xed\xb3\xa9"),
    ],
    ids=repr,
)
def test_what_is_stored_stays_readable_for_ever(value: Any, packed: bytes) -> None:
    """Sets outlive the version of Cloudburst that made them."""
    assert pack_member(value) == packed
    assert unpack_members([packed]) == {value}


class Colour(enum.StrEnum):
    RED = "red"


class Point(NamedTuple):
    x: int


@pytest.mark.parametrize(
    "value",
    [
        *([1], {1}, {"a": 1}, frozenset(), bytearray(b"x"), memoryview(b"x"), 1j, object, ...),
        *(Colour.RED, Point(1), np.int64(1), np.float64(1), np.str_("x"), np.zeros(1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_a_member(value: Any) -> None:
    for given_value in (value, ("a", value)):
        with pytest.raises(UsageError, match="or a tuple of these, not a ") as caught:
            pack_member(given_value)
        assert f"not a {type(value).__name__}: " in str(caught.value)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**30])
def test_integers_have_64_bits(value: int) -> None:
    with pytest.raises(UsageError, match="at most 64 bits"):
        pack_member(value)


@pytest.mark.parametrize("value", [math.nan, (1, math.nan)])
def test_nan_is_no_member(value: Any) -> None:
    with pytest.raises(UsageError, match="nan cannot be in a set"):
        pack_member(value)


def test_tuples_are_not_endlessly_deep() -> None:
    value: Any = "core"
    for _ in range(DEEPEST):
        value = (value,)

    assert unpack_members([pack_member(value)]) == {value}
    for _ in range(100_000):
        value = (value,)
    with pytest.raises(UsageError, match="at most 32 tuples inside each other"):
        pack_member(value)
