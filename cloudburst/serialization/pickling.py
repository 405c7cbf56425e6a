"""Pickling by value what executors cannot import, and unpickling with errors that help."""

from __future__ import annotations

import enum
import functools
import io
import pickle
import sys
import threading
import types
import weakref
from collections import ChainMap
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeAlias

import cloudpickle

from cloudburst.core.messages import Buffer
from cloudburst.errors import SerializationError
from cloudburst.serialization import own_modules
from cloudburst.serialization.exceptions import needs_help, reduce_exception
from cloudburst.serialization.slots import with_slots
from cloudburst.serialization.wrappers import (
    CachedFunction,
    reduce_cached_function,
    reduce_cached_property,
)

PROTOCOL = 5
BufferCallback: TypeAlias = Callable[[pickle.PickleBuffer], bool]
ClassState: TypeAlias = tuple[Callable[[type, Any], object], Any]
SetClass: TypeAlias = Callable[[type, ClassState], type]

_IMPORT_MACHINERY = frozenset(("__builtins__", "__cached__", "__loader__", "__spec__"))


class _Origin(enum.Enum):
    HERE = enum.auto()
    ELSEWHERE = enum.auto()


_origins: weakref.WeakKeyDictionary[type, _Origin] = weakref.WeakKeyDictionary()
_origins_lock = threading.Lock()


def finish_class(cls: type, state: ClassState) -> type:
    """Fill a class that arrived by value inside a value, unless it is known here already.

    cloudpickle finds the class again by an id, and would then overwrite its attributes and
    methods with the sender's on every value: the client's own class would be changed by an
    instance that comes back, and counters on a class would start again with every call.
    """
    if cls not in _origins:
        _fill(cls, state)
    return cls


def update_class(cls: type, state: ClassState) -> type:
    """Fill a class that arrived by value with a function: newly registered code is the truth.

    A class that was defined in this process stays as it is.
    """
    if _origins.get(cls) is not _Origin.HERE:
        _fill(cls, state)
    return cls


def _fill(cls: type, state: ClassState) -> None:
    set_state, attributes = state
    set_state(cls, attributes)
    # Noted only now: another thread that meets the class half filled must fill it too.
    with _origins_lock:
        _origins[cls] = _Origin.ELSEWHERE


def _reduce_module(module: types.ModuleType) -> Any:
    reduced = _CLOUDPICKLES[types.ModuleType](module)
    if module.__name__ not in own_modules.own_modules():
        return reduced
    # Unlike cloudpickle's, this form is memoized before its contents: modules may be cyclic.
    contents = {k: v for k, v in vars(module).items() if k not in _IMPORT_MACHINERY}
    return types.ModuleType, (module.__name__,), contents


def _reduce_text_file(file: io.TextIOWrapper) -> Any:
    if file in (sys.stdout, sys.stderr):
        return _CLOUDPICKLES[io.TextIOWrapper](file)
    raise TypeError("cannot pickle an open file")  # cloudpickle would send a copy of its text


_CLOUDPICKLES = cloudpickle.Pickler.dispatch_table
_OURS = {
    types.ModuleType: _reduce_module,
    io.TextIOWrapper: _reduce_text_file,
    functools.cached_property: reduce_cached_property,
    CachedFunction: reduce_cached_function,
}


class _ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    dispatch_table: ClassVar[Any] = ChainMap(_OURS, _CLOUDPICKLES)
    set_class: ClassVar[SetClass] = staticmethod(finish_class)

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, BaseException) and needs_help(type(obj)):
            return reduce_exception(obj)
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and isinstance(reduced, tuple) and len(reduced) == 6:
            with _origins_lock:
                _origins.setdefault(obj, _Origin.HERE)
            make, arguments, state, *_, set_state = reduced
            if "__slots__" in vars(obj) and not isinstance(obj, enum.EnumMeta):
                arguments, state = with_slots(obj, arguments, state)
            return make, arguments, (set_state, state), None, None, self.set_class
        return reduced


class _CodePickler(_ByValuePickler):
    set_class: ClassVar[SetClass] = staticmethod(update_class)


def dump_by_value(
    value: object, buffer_callback: BufferCallback | None = None, *, as_code: bool = False
) -> bytes:
    """Pickle with all that is defined in `__main__` and the user's own modules included.

    Args:
        value: anything.
        buffer_callback: as for `pickle.dumps`.
        as_code: the pickle is a registered function: its classes replace earlier versions.

    Raises:
        Exception: whatever the value's own methods raise.
    """
    own_modules.register()
    kind = _CodePickler if as_code else _ByValuePickler
    with io.BytesIO() as file:
        kind(file, protocol=PROTOCOL, buffer_callback=buffer_callback).dump(value)
        return file.getvalue()


def by_value_reducer(kind: type) -> Callable[[Any], Any] | None:
    """How instances of exactly that class are pickled, unless by their own methods."""
    reducer: Callable[[Any], Any] | None = _ByValuePickler.dispatch_table.get(kind)
    return reducer


def load(data: Buffer, buffers: Iterable[Buffer] = (), *, what: str = "a value") -> Any:
    """Unpickle.

    Args:
        data: the pickle.
        buffers: its out-of-band buffers.
        what: the thing unpickled, for the message.

    Raises:
        SerializationError: a module is missing, or anything else goes wrong.
    """
    try:
        return pickle.loads(data, buffers=buffers)
    except Exception as error:
        raise SerializationError(f"{what} cannot be unpickled here: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    match error:
        case ModuleNotFoundError(name=str(name)):
            return (
                f"it needs the module {name!r}, which this process cannot import. Install it "
                "where the cluster and its clients run, or define what is needed in the program."
            )
        case AttributeError() | ImportError() if _is_missing_name(error):
            return (
                f"{error}. A module has another version here than where the pickle was made; "
                "use the same versions in the cluster and its clients."
            )
        case _:
            return describe(error)


def _is_missing_name(error: Exception) -> bool:
    """Whether it was raised by looking up a name in a module, not by anybody's own code."""
    return str(error).startswith(("Can't get attribute ", "cannot import name "))


def describe(error: BaseException) -> str:
    """Class name and message of an exception, whatever its ``__str__`` does."""
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001  user code; there is a message all the same
        return f"{name}: <its __str__ raised>"
    return f"{name}: {text}" if text else name
