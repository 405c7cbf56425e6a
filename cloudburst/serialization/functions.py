"""Registered functions and classes: checked, named by the hash of their code, and back."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from cloudburst.errors import SerializationError, UsageError
from cloudburst.serialization.diagnosis import explain
from cloudburst.serialization.pickling import dump_by_value, load


class FunctionCode(NamedTuple):
    """A function or class as kept in the KVS under its version, the hash of ``blob``."""

    version: str
    blob: bytes
    is_class: bool


class LoadedFunction(NamedTuple):
    callable: Callable[..., Any]


class LoadedClass(NamedTuple):
    """A class, and the arguments its instances are made with."""

    cls: type
    init: tuple[Any, ...]


def pack_function(function: object, name: str) -> FunctionCode:
    """Pickle what is to be registered. The same code gives the same version in one process.

    Args:
        function: a function or other callable, a class with a ``run`` method, or
            ``(class, init)`` where ``init`` is a tuple of arguments or one bare argument.
        name: what it will be registered as, for messages.

    Raises:
        UsageError: executors could not run it.
        SerializationError: it cannot be pickled; the message says which part and what to do.
    """
    match function:
        case type():
            return _pack_class(function, (), name)
        case tuple((type() as cls, init)):
            return _pack_class(cls, init if isinstance(init, tuple) else (init,), name)
    if not callable(function):
        raise UsageError(
            f"{name!r} cannot be registered: a value of type {type(function).__name__} cannot be "
            "called. Pass a function, a class with a run method, or (class, init)."
        )
    _check_plain(function, f"function {name!r}")
    return _code((function,), f"function {name!r}", is_class=False)


def unpack_function(blob: bytes) -> LoadedFunction | LoadedClass:
    """The function or class that `pack_function` packed.

    Raises:
        SerializationError: the blob is damaged, or something it needs is missing here.
    """
    match load(blob, what="a function"):
        case (function,) if callable(function):
            return LoadedFunction(function)
        case (type() as cls, tuple() as init):
            return LoadedClass(cls, init)
    raise SerializationError("this blob is not that of a function")


def _pack_class(cls: type, init: tuple[Any, ...], name: str) -> FunctionCode:
    run = getattr(cls, "run", None)
    if not callable(run):
        raise UsageError(
            f"class {cls.__name__} cannot be registered as {name!r}: it has no run method, "
            "which is what executors call on its instance."
        )
    _check_plain(run, f"{cls.__name__}.run of {name!r}")
    return _code((cls, init), f"class {name!r}", is_class=True)


def _check_plain(function: Callable[..., Any], what: str) -> None:
    # inspect looks through partials and methods, but not into instances.
    for form in (function, getattr(function, "__call__", function)):  # noqa: B004  not a test
        if inspect.isgeneratorfunction(form):
            raise UsageError(
                f"{what} is a generator function, whose items cannot be sent one by one. "
                "Return a list instead of yielding."
            )
        if inspect.iscoroutinefunction(form) or inspect.isasyncgenfunction(form):
            raise UsageError(
                f"{what} is async; executors run plain functions. "
                "Wrap it: def f(...): return asyncio.run(async_f(...))"
            )


def _code(payload: tuple[Any, ...], what: str, *, is_class: bool) -> FunctionCode:
    try:
        blob = dump_by_value(payload, as_code=True)
    except Exception as error:
        culprit = payload if is_class else payload[0]
        raise SerializationError(explain(culprit, what, error)) from error
    version = hashlib.blake2b(blob, digest_size=16).hexdigest()
    return FunctionCode(version, blob, is_class)
