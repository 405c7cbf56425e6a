"""What a failed run has in place of a value."""

from __future__ import annotations

import os.path
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from cloudburst.core.messages import Buffer
from cloudburst.errors import CloudburstError, FunctionError, rebuild
from cloudburst.serialization.exceptions import fill, make_exception
from cloudburst.serialization.frames import join, split
from cloudburst.serialization.pickling import PROTOCOL, describe
from cloudburst.serialization.values import try_pack, unpack

MAX_TEXT = 64 * 1024
_PACKAGE = os.path.join(Path(__file__).absolute().parents[1], "")  # noqa: PTH118  the separator
_CONTROL = (SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, StopAsyncIteration)
_Outcome = TypeVar("_Outcome")


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """A failed run's outcome; travels and is stored as any value is.

    Attributes:
        error: what Cloudburst has to say; a `FunctionError` if user code raised.
        raised: the user's exception, packed; empty if there is none or it cannot be packed.
        notes: the exception's notes, which a ``__reduce__`` of its own may lose.
    """

    error: CloudburstError
    raised: bytes = b""
    notes: tuple[str, ...] = ()

    def exception(self) -> BaseException:
        """The exception to raise at the caller.

        The user's own, with the `FunctionError` as its cause, where its class can be rebuilt
        in this process. The `FunctionError` itself where it cannot, and for exceptions that
        mean something to the interpreter: a `SystemExit` in a function must not end the
        client, nor a `StopIteration` its loop.
        """
        raised = _attempt(self._raised, None) if self.raised else None
        return self.error if raised is None else raised

    def _raised(self) -> BaseException | None:
        raised = _load_exception(self.raised)
        if raised is None or _is_control(raised):
            return None
        has = getattr(raised, "__notes__", ())
        if len(has) < len(self.notes):
            fill(raised, {"__notes__": [*has, *self.notes[len(has) :]]})
        fill(raised, {"__cause__": self.error})
        return raised


def failure_in(value: object) -> Failure | None:
    """The value if it is a failure; an exception that was returned is a value like any other."""
    return value if isinstance(value, Failure) else None


def pack_failure(error: BaseException, *, step: str, run_id: str, executor: str) -> list[Buffer]:
    """Pack an exception raised by user code. Never raises, whatever the exception is.

    The exception's own methods are run, so call this where no interruption can arrive.

    Args:
        error: what was raised.
        step: the step whose function raised it.
        run_id: the run it belongs to.
        executor: the name of the executor it happened on.
    """
    text = _clip(describe(error))
    report = FunctionError(step, run_id, executor, text, _attempt(lambda: _formatted(error), text))
    notes = _attempt(lambda: _notes(error), tuple[str, ...]())
    return [pickle.dumps(Failure(report, _dump_exception(error), notes), PROTOCOL)]


def pack_cluster_failure(error: CloudburstError) -> list[Buffer]:
    """Pack a failure that is not user code's; `Failure.exception` gives the error itself."""
    data = _attempt(lambda: pickle.dumps(Failure(error), PROTOCOL), b"")
    if not _attempt(lambda: isinstance(pickle.loads(data), Failure), False):  # noqa: FBT003
        data = pickle.dumps(Failure(rebuild(type(error).__name__, str(error))), PROTOCOL)
    return [data]


def _attempt(action: Callable[[], _Outcome], default: _Outcome) -> _Outcome:
    """The outcome of running an exception's own code, which may raise anything at all."""
    try:
        return action()
    except BaseException:  # noqa: BLE001  a result must not be lost to a broken exception class
        return default


def _dump_exception(error: BaseException) -> bytes:
    """Tried both ways and unpacked once: what cannot be rebuilt here cannot be anywhere."""

    def packed(form: object) -> bytes:
        data = bytes(join(try_pack(form).frames))
        return data if isinstance(_load_exception(data), BaseException) else b""

    # The second form is for classes with a __reduce__ or __setstate__ that does not work.
    parts = (type(error), error.args, getattr(error, "__dict__", {}))
    return _attempt(lambda: packed(error), b"") or _attempt(lambda: packed(parts), b"")


def _load_exception(data: bytes) -> BaseException | None:
    match unpack(split(data)):
        case BaseException() as error:
            return error
        case (type() as kind, tuple() as arguments, dict() as attributes):
            bare = make_exception(kind, *arguments)
            fill(bare, attributes)
            return bare
    return None


def _is_control(error: BaseException) -> bool:
    """Whether raising it at the caller would do something else than report a failure."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(lambda one: one is not error and _is_control(one)) is not None
    # By name, because importing asyncio only to compare takes longer than all else here.
    return isinstance(error, _CONTROL) or any(
        kind.__name__ == "CancelledError" and kind.__module__.startswith(("asyncio", "concurrent"))
        for kind in type(error).__mro__
    )


def _formatted(error: BaseException) -> str:
    """The traceback from the first frame that is not Cloudburst's."""
    start: TracebackType | None = error.__traceback__
    while start is not None and start.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        start = start.tb_next
    lines = traceback.format_exception(type(error), error, start or error.__traceback__)
    return _clip("".join(lines))


def _notes(error: BaseException) -> tuple[str, ...]:
    return tuple(_clip(str(note)) for note in getattr(error, "__notes__", ()))


def _clip(text: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    half = MAX_TEXT // 2
    return f"{text[:half]}\n... {len(text) - MAX_TEXT} characters left out ...\n{text[-half:]}"
