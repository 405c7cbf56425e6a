"""Several calls as one: who goes together, with what, and what each gets of the outcome."""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
from executing import job
from hypothesis import given
from hypothesis import strategies as st

from cloudburst.core.wire import pack_context
from cloudburst.executor.batching import Call, alike, apart, together
from cloudburst.executor.events import Work
from cloudburst.executor.share import make_route

CALL = job("f", "A", batched="f")
ROUTE = make_route(CALL.context, pack_context(CALL.context), CALL.plan, "A")
(STEP,) = CALL.plan.steps


def call(*values: Any, **keywords: Any) -> Call:
    return Call(Work("run", 1, ROUTE, 0, (), ()), values, keywords)


def shares(calls: list[Call]) -> list[list[int]]:
    """The places of those that go together."""
    number = {id(one): place for place, one in enumerate(calls)}
    return [[number[id(one)] for one in group] for group in alike(calls)]


# who goes together


def test_calls_with_as_many_arguments_go_together() -> None:
    assert shares([call(1), call(2), call("three")]) == [[0, 1, 2]]


def test_calls_with_more_or_fewer_do_not() -> None:
    assert shares([call(1), call(1, 2), call(3), call(3, 4)]) == [[0, 2], [1, 3]]


def test_keywords_must_be_the_same_in_whatever_order() -> None:
    calls = [call(1, a=1, b=2), call(2, b=3, a=4), call(3, a=5), call(4, c=6), call(5)]

    assert shares(calls) == [[0, 1], [2], [3], [4]]


def test_an_argument_by_name_is_not_one_by_place() -> None:
    assert shares([call(1, 2), call(1, b=2)]) == [[0], [1]]


def test_calls_without_any_argument_are_made_one_by_one() -> None:
    """Nothing would tell the function how many they are."""
    assert shares([call(), call(), call(1), call()]) == [[0], [1], [2], [3]]


def test_without_calls_there_is_nothing_to_put_together() -> None:
    assert alike([]) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.sets(st.sampled_from("abc")))))
def test_each_call_is_in_one_group_and_each_group_of_one_shape(
    shapes: list[tuple[int, set[str]]],
) -> None:
    calls = [call(*range(count), **dict.fromkeys(names)) for count, names in shapes]
    groups = shares(calls)

    assert sorted(itertools.chain(*groups)) == list(range(len(calls)))
    for group in groups:
        assert group == sorted(group)
        assert len({(shapes[n][0], frozenset(shapes[n][1])) for n in group}) == 1


# what they give


def test_each_parameter_gets_a_list() -> None:
    calls = [call(1, "a", k=True), call(2, "b", k=False)]

    assert together(calls) == ([[1, 2], ["a", "b"]], {"k": [True, False]})


def test_of_one_call_too() -> None:
    assert together([call([1, 2], k=None)]) == ([[[1, 2]]], {"k": [None]})


def test_of_a_call_without_arguments_nothing() -> None:
    assert together([call()]) == ([], {})


def test_keywords_in_another_order_are_not_mixed_up() -> None:
    assert together([call(a=1, b=2), call(b=20, a=10)]) == ([], {"a": [1, 10], "b": [2, 20]})


@given(st.lists(st.tuples(st.integers(), st.text()), min_size=1))
def test_what_is_put_together_comes_apart_again(values: list[tuple[int, str]]) -> None:
    (numbers, texts), _ = together([call(*value) for value in values])

    assert list(zip(numbers, texts, strict=True)) == values
    assert apart(numbers, len(values), STEP) == numbers


# what each gets


@pytest.mark.parametrize(
    "value",
    [
        [1, 2],
        (1, 2),
        deque([1, 2]),
        range(1, 3),
        np.array([1, 2]),
        pd.Series([1, 2]),
        {"a": 1, "b": 2}.values(),
    ],
)
def test_whatever_is_as_good_as_a_list_is_one(value: Any) -> None:
    assert apart(value, 2, STEP) == [1, 2]


def test_of_an_array_each_gets_a_row() -> None:
    first, second = apart(np.arange(6).reshape(2, 3), 2, STEP)

    assert (first.tolist(), second.tolist()) == ([0, 1, 2], [3, 4, 5])


def test_values_are_not_looked_into() -> None:
    values = [None, "text", {"a": 1}, [1, 2], ValueError("one")]

    assert apart(values, 5, STEP) == values
    assert apart(values, 5, STEP)[3] is values[3]


def generator() -> Iterator[int]:
    yield from (1, 2)


@pytest.mark.parametrize(
    "value",
    [
        None,
        2,
        "ab",
        b"ab",
        bytearray(b"ab"),
        memoryview(b"ab"),
        {"a": 1, "b": 2},
        OrderedDict(a=1, b=2),
        MappingProxyType({"a": 1, "b": 2}),
        {"a": 1, "b": 2}.keys(),
        {1, 2},
        frozenset({1, 2}),
        pd.DataFrame({"a": [1, 2], "b": [3, 4]}),
        np.array(1),
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_value_for_each_call_is_refused(value: Any) -> None:
    """Of a text each would get a letter, of a dict or a table a name."""
    with pytest.raises(TypeError, match=f"'f' returned {type(value).__name__} for 2 calls: .*list"):
        apart(value, 2, STEP)


@pytest.mark.parametrize("value", [generator(), iter([1, 2]), map(int, "12"), itertools.count()])
def test_so_is_what_is_not_made_yet(value: Any) -> None:
    with pytest.raises(TypeError, match=r"for 2 calls: a function with batching takes lists"):
        apart(value, 2, STEP)


@pytest.mark.parametrize("value", [[], [1], [1, 2, 3], (1,), np.zeros(3), np.zeros((1, 2))])
def test_a_list_of_another_length_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=f"'f' returned {len(value)} values for 2 calls: .*each"):
        apart(value, 2, STEP)


def test_one_call_gets_a_list_of_one() -> None:
    assert apart([[1, 2]], 1, STEP) == [[1, 2]]
    with pytest.raises(ValueError, match="returned 2 values for 1 calls"):
        apart([1, 2], 1, STEP)
