"""Names, ids, and what may bear which."""

from __future__ import annotations

import itertools
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudburst.core.ids import (
    MAX_NAME,
    check_name,
    is_of_run,
    new_id,
    parked_name,
    python_version,
    run_ids,
)
from cloudburst.errors import InvalidName


@pytest.mark.parametrize(
    "name", ["f", "F2", "_private", "7up", "a.b-c_d", "x" * MAX_NAME, "0", "module.function"]
)
def test_ordinary_names_are_accepted_as_they_are(name: str) -> None:
    assert check_name(name, "function") == name


@pytest.mark.parametrize(
    "name",
    [
        "two words",
        " f",
        "f ",
        "a/b",
        "a\\b",
        "a:b",
        "{a}",
        "a\n",
        "a\0",
        "é",
        "名",
        ".hidden",
        "-f",
    ],
)
def test_names_with_other_characters_are_refused(name: str) -> None:
    with pytest.raises(InvalidName, match="characters other than letters") as refusal:
        check_name(name, "step")

    assert repr(name) in str(refusal.value)
    assert str(refusal.value).startswith("step name")


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(InvalidName, match=r"^a DAG name cannot be empty$"):
        check_name("", "DAG")


@pytest.mark.parametrize("length", [MAX_NAME + 1, 10_000])
def test_a_long_name_is_refused_in_a_short_sentence(length: int) -> None:
    with pytest.raises(InvalidName, match=f"has 1 to 200 characters, not {length}") as refusal:
        check_name("x" * length, "function")

    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("name", [None, 7, b"f", ["f"], len])
def test_what_is_not_a_string_is_refused_by_its_type(name: object) -> None:
    with pytest.raises(InvalidName, match=f"is a string, not {type(name).__name__}"):
        check_name(name, "function")


def test_a_huge_thing_given_as_a_name_makes_a_short_sentence() -> None:
    with pytest.raises(InvalidName) as refusal:
        check_name(list(range(100_000)), "function")

    assert len(str(refusal.value)) < 200


@given(st.text(max_size=300))
def test_a_name_is_returned_or_refused_and_never_anything_else(name: str) -> None:
    try:
        accepted = check_name(name, "function")
    except InvalidName:
        assert not (name.isascii() and name.isalnum() and len(name) <= MAX_NAME)
    else:
        assert accepted == name
        assert not set(name) & set(" /:{}\n\0")


def test_ids_are_sixteen_hexadecimal_digits_and_do_not_repeat() -> None:
    ids = {new_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in ids)


def test_run_ids_count_under_their_owner() -> None:
    assert list(itertools.islice(run_ids("me"), 3)) == ["me-1", "me-2", "me-3"]


def test_the_objects_of_runs_are_told_apart_by_their_names() -> None:
    (run_id,) = itertools.islice(run_ids(new_id()), 1)

    assert is_of_run(run_id)
    assert is_of_run(parked_name(run_id, 12))
    assert not is_of_run("me-1")
    for name in (f"{run_id}/weights", f"{run_id}-x", f"x{run_id}", f"my {run_id}", f"{run_id}\n"):
        assert not is_of_run(name)


def test_the_python_version_is_the_one_that_pickles_depend_on() -> None:
    assert python_version() == ".".join(map(str, sys.version_info[:2]))
