"""Exceptions as values: rebuilt from what they are, not by calling their ``__init__`` again.

By default an exception is unpickled as ``Class(*args)``. That raises if the class's ``__init__``
takes other arguments than it passes on to ``args``, and runs it on its own outcome if it does not.
"""

from __future__ import annotations

import re
import sys
from types import FunctionType, MethodDescriptorType
from typing import Any, NamedTuple

from cloudburst.serialization.own_modules import string_in_pickle

_IS_HEAP_TYPE = 1 << 9


class _Scan(NamedTuple):
    """The outcome of one look at all classes, and how many modules there were."""

    modules: int
    pattern: re.Pattern[bytes]


_latest: _Scan | None = None


def mentioned_in(pickle: bytes) -> bool:
    """Whether a pickle may name a class of exceptions that `needs_help`.

    A string that equals such a name looks like it; a pickle made with care is as good.
    """
    # Two threads may both scan: they find the same, and the last one wins.
    global _latest  # noqa: PLW0603  a cache of what is global anyway
    if _latest is None or _latest.modules != len(sys.modules):
        names = {cls.__qualname__ for cls in _subclasses(BaseException) if needs_help(cls)}
        _latest = _Scan(len(sys.modules), string_in_pickle(names))
    return _latest.pattern.search(pickle) is not None


def needs_help(cls: type) -> bool:
    """Whether a class of exceptions has an ``__init__`` of its own, but no ``__reduce__``."""
    own = any(isinstance(getattr(cls, n), FunctionType) for n in ("__init__", "__new__"))
    return own and all(_is_native(getattr(cls, n)) for n in ("__reduce__", "__reduce_ex__"))


def reduce_exception(error: BaseException) -> tuple[Any, ...]:
    """What `pickle` is to write of an exception whose class `needs_help`."""
    reduced = error.__reduce__()
    assert isinstance(reduced, tuple)
    cls, arguments, state = (*reduced, None)[:3]
    if not _is_native(cls.__setstate__):
        return make_exception, (cls, *arguments), state
    content = {**(state or {}), **_slots(error)}
    return make_exception, (cls, *arguments), content, None, None, fill


def make_exception(cls: type[BaseException], *arguments: object) -> BaseException:
    """An exception with these arguments, made by what is built in of its class."""
    native: Any = cls
    while native.__flags__ & _IS_HEAP_TYPE:
        native = native.__base__
    error: BaseException = native.__new__(cls, *arguments)
    try:
        native.__init__(error, *arguments)
    except Exception:  # noqa: BLE001  they are not what it takes: the class never called it
        fill(error, {"args": arguments})
    return error


def _slots(error: BaseException) -> dict[str, Any]:
    state = object.__getstate__(error)
    return state[1] if isinstance(state, tuple) else {}


def fill(error: BaseException, state: dict[str, Any]) -> None:
    """Set attributes of an exception, whatever its class says to that."""
    for name, value in state.items():
        object.__setattr__(error, name, value)


def _is_native(method: object) -> bool:
    return isinstance(method, MethodDescriptorType)


def _subclasses(cls: type) -> set[type]:
    found: set[type] = set()
    todo = [cls]
    while todo:
        children: list[type] = todo.pop().__subclasses__()
        for child in children:
            if child not in found:
                found.add(child)
                todo.append(child)
    return found
