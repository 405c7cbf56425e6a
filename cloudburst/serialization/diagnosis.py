"""Why a value cannot be pickled: which part of it, where that is, and what to do.

Runs only after pickling has failed. It follows the value the way pickle does, into the first
part that fails on its own, down to one whose parts all pickle.
"""

from __future__ import annotations

import _thread
import dis
import functools
import io
import time
import types
import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from cloudburst.serialization.pickling import PROTOCOL, by_value_reducer, describe, dump_by_value

MAX_SECONDS = 2.0
MAX_DEPTH = 50
Parts: TypeAlias = Iterator[tuple[str, Any]]

_ATOMS = (bool, bytes, float, int, str, types.NoneType)
_GLOBAL_OPS = ("LOAD_GLOBAL", "LOAD_NAME")
_LOCKS = (_thread.LockType, _thread.RLock)
_RAW = (types.FrameType, types.TracebackType, types.CodeType)


def explain(value: object, what: str, error: Exception, *, max_seconds: float = MAX_SECONDS) -> str:
    """The message for a value that could not be pickled. Never raises.

    Args:
        value: the value.
        what: what it is to the caller: ``"argument 2 of 'incr'"``.
        error: what pickling raised.
        max_seconds: how long to search; one attempt at pickling is not interrupted.
    """
    if isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError):
        return f"{what} cannot be pickled: it is nested too deeply. Make it flatter."
    try:
        culprit = _Search(time.monotonic() + max_seconds).descend(value, error, ())
        return _sentence(what, culprit or _Culprit((), value, error))
    except Exception:  # noqa: BLE001  user code is run; the first error is the one to report
        return f"{what} cannot be pickled: {describe(error)}"


class NotAValue(TypeError):
    """Raised by the ``__reduce__`` of what belongs to one process, and cannot be sent to another.

    Args:
        kind: what it is: ``"a connection"``.
        advice: what to do instead, as a sentence.
    """

    def __init__(self, kind: str, advice: str) -> None:
        super().__init__(f"{kind} cannot be pickled. {advice}")
        self.kind = kind
        self.advice = advice


class _Culprit(NamedTuple):
    path: tuple[str, ...]
    value: object
    error: Exception


class _Search:
    """A walk in depth, to a part that fails though none of its own parts does."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.failing: dict[int, object] = {}  # holds the parts: ids of dead ones are reused

    def descend(self, value: object, error: Exception, path: tuple[str, ...]) -> _Culprit | None:
        """The culprit in a value that fails; None if it leads only to parts already seen."""
        self.failing[id(value)] = value
        deeper = False
        for label, part in _parts(value):
            if time.monotonic() > self.deadline or len(path) >= MAX_DEPTH:
                return _Culprit(path, value, error)
            if isinstance(part, _ATOMS):
                continue
            if id(part) in self.failing:
                deeper = True
                continue
            reason = _failure(part)
            if reason is not None:
                deeper = True
                if found := self.descend(part, reason, (*path, label)):
                    return found
        return None if deeper else _Culprit(path, value, error)


def _failure(value: object) -> Exception | None:
    try:
        dump_by_value(value)
    except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
        return error
    return None


def _parts(value: Any) -> Parts:
    """What pickling ``value`` leads to, each with its place."""
    match value:
        case list() | tuple():
            yield from ((f"[{index}]", item) for index, item in enumerate(value))
        case dict():
            yield from ((f"key {key!r:.60}", key) for key in value)
            yield from ((f"[{key!r:.60}]", item) for key, item in value.items())
        case set() | frozenset():
            yield from ((f"item {item!r:.60}", item) for item in value)
        case types.FunctionType():
            yield from _function_parts(value)
        case types.MethodType():
            yield from ((".__self__", value.__self__), (".__func__", value.__func__))
        case type() | types.ModuleType():
            yield from ((f".{name}", item) for name, item in list(vars(value).items()))
        case staticmethod() | classmethod():
            yield ".__func__", value.__func__
        case property():
            yield from ((f".{name}", getattr(value, name)) for name in ("fget", "fset", "fdel"))
        case functools.partial():
            yield ".func", value.func
            yield from ((f".args[{index}]", item) for index, item in enumerate(value.args))
            yield from ((f".keywords[{key!r}]", item) for key, item in value.keywords.items())
        case _:
            yield from _reduced_parts(value)


def _function_parts(function: types.FunctionType) -> Parts:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        yield from ((f"closure {name!r}", content) for content in _contents(cell))
    yield from ((f"default {index}", v) for index, v in enumerate(function.__defaults__ or ()))
    yield from ((f"default {k!r}", v) for k, v in (function.__kwdefaults__ or {}).items())
    for name in dict.fromkeys(_global_names(code)):
        if name in function.__globals__:
            yield f"global {name!r}", function.__globals__[name]
    yield from ((f".{name}", item) for name, item in vars(function).items())


def _contents(cell: types.CellType) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # not assigned yet
        return []


def _global_names(code: types.CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in _GLOBAL_OPS:
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_names(constant)


def _reduced_parts(value: Any) -> Parts:
    try:
        reducer = by_value_reducer(type(value))
        reduced = reducer(value) if reducer else value.__reduce_ex__(PROTOCOL)
    except Exception:  # noqa: BLE001  then the value itself is the culprit, and has no parts
        return
    if not isinstance(reduced, tuple):
        return
    arguments, state, items, pairs = (*reduced, None, None, None)[1:5]
    place = ".args[{}]" if isinstance(value, BaseException) else "constructor argument {}"
    for index, argument in enumerate(arguments):
        is_class = isinstance(argument, type)
        yield f"class {argument.__name__}" if is_class else place.format(index), argument
    yield from _state_parts(state)
    yield from _parts(list(items or ()))
    yield from _parts(dict(pairs or ()))


def _state_parts(state: Any) -> Parts:
    match state:
        case dict():
            yield from ((f".{name}", item) for name, item in state.items())
        case (dict() | None as attributes, dict() as slots):
            yield from _state_parts(attributes)
            yield from _state_parts(slots)
        case None:
            pass
        case _:
            yield "state", state


def _sentence(what: str, culprit: _Culprit) -> str:
    place = _spelled(what, culprit.path) if culprit.path else "it"
    if isinstance(culprit.error, NotAValue):
        kind, advice = culprit.error.kind, culprit.error.advice
        return f"{what} cannot be pickled: {place} is {kind}. {advice}"
    kind, advice = _kind_and_advice(culprit.value)
    return f"{what} cannot be pickled: {place} is {kind}. {advice} ({describe(culprit.error):.300})"


def _spelled(what: str, path: tuple[str, ...]) -> str:
    """``train -> closure 'cfg' -> .logger.lock``: what reads as one expression is one word."""
    words = [what]
    for label in path:
        if words[-1][0] in ".[" and label[0] in ".[":
            words[-1] += label
        else:
            words.append(label)
    return " -> ".join(words)


def _kind_and_advice(value: object) -> tuple[str, str]:
    match value:
        case types.GeneratorType():
            return "a generator", "Pass a list of its items."
        case types.AsyncGeneratorType():
            return "an async generator", "Pass a list of its items."
        case types.CoroutineType():
            return "a coroutine", "Pass what it returns."
        case io.IOBase():
            return "an open file", "Pass its path or its content, and open it inside the function."
        case weakref.ReferenceType():
            return "a weak reference", "Pass the object itself."
    if isinstance(value, _LOCKS):
        return "a lock", "Create it inside the function, or leave it out in __getstate__."
    if isinstance(value, _RAW):
        return f"a {type(value).__name__}", "Pass text made of it."
    if any(kind.__name__.lower() == "socket" for kind in type(value).__mro__):
        return "a socket", "Pass its address, and connect inside the function."
    return (
        f"of type {type(value).__module__}.{type(value).__qualname__}",
        "Leave it out, create it inside the function, or give its class a __reduce__.",
    )
