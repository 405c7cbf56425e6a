"""Errors: their tree, their sentences, and that they survive pickling and the wire."""

from __future__ import annotations

import pickle

import pytest

from cloudburst import errors
from cloudburst.errors import (
    CloudburstError,
    ClusterError,
    ConnectionFailed,
    DagError,
    ExecutorDiedError,
    FunctionError,
    KeyNotFound,
    Overloaded,
    RunError,
    RunTimeoutError,
    SerializationError,
    UnknownDag,
    UnknownFunction,
    UnknownStep,
    UsageError,
    rebuild,
)

ALL = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, CloudburstError)
]


def example(kind: type[CloudburstError]) -> CloudburstError:
    if kind is FunctionError:
        return FunctionError("step", "run", "executor", "ValueError: no", "Traceback ...")
    return kind("what happened")


@pytest.mark.parametrize("kind", ALL)
def test_every_error_survives_pickling(kind: type[CloudburstError]) -> None:
    error = example(kind)

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is kind
    assert str(copy) == str(error)
    assert copy.args == error.args
    assert vars(copy) == vars(error)


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind is not FunctionError])
def test_every_error_can_be_rebuilt_from_its_name_and_message(kind: type[CloudburstError]) -> None:
    error = rebuild(kind.__name__, "what happened")

    assert type(error) is kind
    assert str(error) == "what happened"


def test_an_error_this_version_does_not_know_is_a_cluster_error() -> None:
    for name in ("FutureError", "ValueError", "object", "", "__class__"):
        error = rebuild(name, "what happened")
        assert type(error) is ClusterError
        assert str(error) == "what happened"


def test_a_function_error_cannot_be_rebuilt_from_a_message_alone() -> None:
    error = rebuild("FunctionError", "step 's' failed")

    assert type(error) is RunError
    assert str(error) == "step 's' failed"


def test_the_tree_in_the_docstring_names_every_error() -> None:
    assert errors.__doc__ is not None
    drawn = [line.strip("│├└─ ") for line in errors.__doc__.splitlines()]
    names = {line.split()[0] for line in drawn if line}

    assert {kind.__name__ for kind in ALL} <= names


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (UsageError, ValueError),
        (UnknownFunction, LookupError),
        (UnknownDag, LookupError),
        (UnknownStep, LookupError),
        (SerializationError, TypeError),
        (KeyNotFound, KeyError),
        (ConnectionFailed, ConnectionError),
        (RunTimeoutError, TimeoutError),
    ],
)
def test_errors_can_be_caught_as_the_builtin_they_resemble(
    kind: type[CloudburstError], builtin: type[Exception]
) -> None:
    with pytest.raises(builtin, match="what happened"):
        raise kind("what happened")


def test_only_the_callers_mistakes_are_usage_errors() -> None:
    for kind in (Overloaded, KeyNotFound, ExecutorDiedError, RunTimeoutError):
        assert not issubclass(kind, UsageError)


def test_a_missing_key_reads_as_a_sentence() -> None:
    assert str(KeyNotFound("nothing is stored under 'k'")) == "nothing is stored under 'k'"


def test_a_dag_error_lists_its_problems() -> None:
    error = DagError(["a is not a step.", "the steps form a cycle."])

    assert error.problems == ["a is not a step.", "the steps form a cycle."]
    assert str(error) == "a is not a step. the steps form a cycle."
    assert DagError("just one.").problems == ["just one."]
    assert pickle.loads(pickle.dumps(error)).problems == error.problems


def test_a_function_error_says_where_and_shows_the_traceback() -> None:
    error = FunctionError("square", "c-1", "executor-2", "ValueError: no", "Traceback:\n  line\n")

    assert str(error) == (
        "step 'square' of run c-1 failed on executor executor-2: ValueError: no\n\n"
        "Traceback:\n  line"
    )


def test_a_function_error_without_a_traceback_has_no_empty_lines() -> None:
    assert str(FunctionError("s", "r", "e", "ValueError", "")).endswith("e: ValueError")
