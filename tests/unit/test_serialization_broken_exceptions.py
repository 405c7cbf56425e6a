"""Exceptions that cannot be rebuilt at the caller, or must not be raised there."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from failing import at_the_caller, raised, reported_only

from cloudburst.errors import FunctionError


class ReduceRaises(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("no pickling")


class ReduceExits(Exception):
    def __reduce__(self) -> Any:
        raise SystemExit(3)


class StrRaises(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class HoldsLock(Exception):
    def __init__(self) -> None:
        super().__init__("locked")
        self.lock = threading.Lock()


class SetstateRaises(Exception):
    def __setstate__(self, state: object) -> None:
        raise RuntimeError("no state")


class Frozen(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("frozen")


@dataclass(frozen=True)
class FrozenFields(Exception):
    code: int


class BecomesText(Exception):
    def __reduce__(self) -> Any:
        return str, ("not an exception",)


class BecomesExit(Exception):
    def __reduce__(self) -> Any:
        return SystemExit, (3,)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (HoldsLock(), "HoldsLock: locked"),
        (BecomesExit("e"), "BecomesExit: e"),
        (ValueError(threading.Lock()), "ValueError: <unlocked"),
        (ValueError(x for x in [1]), "ValueError: <generator"),
    ],
    ids=lambda item: type(item).__name__,
)
def test_exception_that_cannot_be_rebuilt_is_reported(error: Exception, text: str) -> None:
    assert reported_only(error).error.startswith(text)


def test_a_broken_reduce_does_not_hide_the_class() -> None:
    for error in (ReduceRaises("a"), ReduceExits("b"), BecomesText("c"), SetstateRaises("d")):
        got = at_the_caller(error)
        assert type(got) is type(error)
        assert got.args == error.args


@pytest.mark.parametrize("error", [Frozen("f"), FrozenFields(404)], ids=repr)
def test_an_exception_that_cannot_be_changed_has_its_notes_and_its_cause(error: Exception) -> None:
    def fail() -> None:
        raise error

    object.__setattr__(error, "__notes__", ["while training"])
    got = at_the_caller(raised(fail))

    assert type(got) is type(error)
    assert got.args == error.args
    assert got.__notes__ == ["while training"]
    assert isinstance(got.__cause__, FunctionError)
    assert "raise error" in got.__cause__.remote_traceback


def test_a_broken_str_does_not_hide_the_class() -> None:
    got = at_the_caller(StrRaises("s"))

    assert type(got) is StrRaises
    assert isinstance(got.__cause__, FunctionError)
    assert got.__cause__.error == "StrRaises: <its __str__ raised>"


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(1),
        KeyboardInterrupt(),
        GeneratorExit(),
        StopIteration(1),
        StopAsyncIteration(),
        asyncio.CancelledError("stop"),
        concurrent.futures.CancelledError(),
        type("Exit", (SystemExit,), {})(2),
        BaseExceptionGroup("g", [ValueError(), BaseExceptionGroup("h", [KeyboardInterrupt()])]),
        ExceptionGroup("g", [StopIteration()]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_exceptions_with_a_meaning_of_their_own_are_only_reported(error: BaseException) -> None:
    assert type(error).__name__ in reported_only(error).error
