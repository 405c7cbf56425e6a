"""What users say of time and tries: what was said counts, and nonsense is refused at once."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cloudburst.core.options import (
    GIVEN_UP_AFTER,
    LARGEST_BATCH,
    LONGEST,
    NOTHING_SAID,
    Batch,
    RunOptions,
    batch,
    check_batching,
    check_limit,
    check_resource,
    check_ttl,
    check_wait,
    make_options,
)
from cloudburst.errors import InvalidName, UsageError

NO_NUMBERS = ["1", "x", b"1", [], {}, (), object, True, math.nan]
SECONDS = ["timeout", "grace_period", "result_ttl"]


def test_nothing_said_is_nothing() -> None:
    assert make_options() == NOTHING_SAID
    assert make_options(timeout=None, max_retries=None, result_ttl=None) == NOTHING_SAID


def test_what_was_said_is_kept() -> None:
    said = make_options(timeout=1, max_retries=2, grace_period=0.5, result_ttl=0)

    assert said == RunOptions(timeout=1.0, max_retries=2, grace_period=0.5, result_ttl=0.0)


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", [*NO_NUMBERS, -1, -0.1, math.inf, LONGEST * 2, 10**400], ids=repr)
def test_seconds_are_numbers_within_reason(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name} is a number of seconds"):
        make_options(**{name: value})  # type: ignore[misc]


@pytest.mark.parametrize("value", [*NO_NUMBERS, 1.5, -1, math.inf, 10**400], ids=repr)
def test_tries_are_whole_numbers(value: Any) -> None:
    with pytest.raises(UsageError, match="max_retries is a number of attempts"):
        make_options(max_retries=value)


def test_other_options_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="no option priority, retries; there are grace_period, "):
        make_options(retries=1, priority=2)  # type: ignore[call-arg]


def test_the_call_has_the_last_word_and_only_where_it_says_something() -> None:
    registered = make_options(timeout=10, max_retries=2)
    call = make_options(timeout=0, result_ttl=5)

    assert call.over(registered) == RunOptions(timeout=0.0, max_retries=2, result_ttl=5.0)
    assert NOTHING_SAID.over(registered) == registered


@pytest.mark.parametrize(
    ("said", "exceptions", "deaths"),
    [(None, 0, GIVEN_UP_AFTER), (0, 0, 1), (1, 1, 2), (100, 100, GIVEN_UP_AFTER)],
)
def test_tries_bound_both_kinds_of_failures(said: int | None, exceptions: int, deaths: int) -> None:
    options = make_options(max_retries=said)

    assert (options.retries_exceptions, options.deaths_allowed) == (exceptions, deaths)


@pytest.mark.parametrize("value", [*NO_NUMBERS, None], ids=repr)
def test_waiting_takes_a_number(value: Any) -> None:
    with pytest.raises(UsageError, match="timeout is a number of seconds, not"):
        check_wait("timeout", value)


def test_waiting_may_take_any_number() -> None:
    assert check_wait("timeout", 2) == 2.0
    assert check_wait("timeout", -5) == check_wait("timeout", -math.inf) == 0.0
    assert check_wait("timeout", math.inf) == check_wait("timeout", 10**400) == LONGEST


def test_a_batch_is_of_so_many_calls_and_waits_for_more_if_it_is_told_to() -> None:
    assert batch() == Batch(64, 0.0)
    assert batch(8, 2.5) == Batch(8, 0.0025)
    assert batch(max_size=LARGEST_BATCH, max_wait_ms=0) == Batch(LARGEST_BATCH, 0.0)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 1.5, 0, 1, -2, LARGEST_BATCH + 1, None], ids=repr)
def test_a_batch_has_a_size(value: Any) -> None:
    with pytest.raises(UsageError, match="max_size is a number of calls, 2 to 10000, not"):
        batch(value)


@pytest.mark.parametrize("value", [*NO_NUMBERS, -1, math.inf], ids=repr)
def test_a_batch_waits_for_a_number_of_milliseconds(value: Any) -> None:
    with pytest.raises(UsageError, match="max_wait_ms is a number of "):
        batch(2, value)


def test_batching_is_on_off_or_as_it_was_said() -> None:
    assert check_batching(value=False) == Batch(0, 0.0)
    assert check_batching(value=True) == batch()
    assert check_batching(batch(3, 1)) == Batch(3, 0.001)


@pytest.mark.parametrize("value", [None, 0, 1, 64, "yes", (64, 0.0), {"max_size": 3}], ids=repr)
def test_batching_is_nothing_else(value: Any) -> None:
    with pytest.raises(
        UsageError, match=r"batching is True, False or batch\(max_size, max_wait_ms"
    ):
        check_batching(value)


@pytest.mark.parametrize(
    ("ttl", "seconds"), [(None, 0.0), (1, 1.0), (0.001, 0.001), (1e-9, 1e-9), (10**9, 1e9)]
)
def test_an_object_is_kept_for_seconds_or_for_ever(ttl: float | None, seconds: float) -> None:
    assert (check_ttl(ttl), type(check_ttl(ttl))) == (seconds, float)


@pytest.mark.parametrize(
    "ttl", [0, 0.0, -1, math.nan, math.inf, 2 * 10**9, True, "1", [1]], ids=repr
)
def test_other_times_to_live_are_refused(ttl: Any) -> None:
    with pytest.raises(UsageError, match=r"^ttl is a number of seconds, more than 0 and at most"):
        check_ttl(ttl)


def test_a_resource_has_a_name_or_none_is_needed() -> None:
    assert check_resource(None) == ""
    assert check_resource("gpu") == "gpu"
    assert check_resource("a100-80GB_v2.1") == "a100-80GB_v2.1"


@pytest.mark.parametrize("value", ["", "two words", "a,b", "a/b", 5, True, b"gpu", ["gpu"]])
def test_other_resources_are_refused(value: Any) -> None:
    with pytest.raises(InvalidName, match="resource"):
        check_resource(value)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -1, 1.5, 10**10], ids=repr)
def test_a_limit_is_a_number_of_one_or_more(value: Any) -> None:
    assert (check_limit("replicas", None), check_limit("replicas", 3)) == (0, 3)
    with pytest.raises(UsageError, match="replicas is a "):
        check_limit("replicas", value)
