"""How user code is called: who gets the library, and what is said of a call that does not fit."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

from cloudburst.executor.library import UserLibrary

Called: TypeAlias = Callable[..., Any]


class ClassRun:
    """An instance's ``run``; its first call that fits decides whether the library is passed."""

    __slots__ = ("_run", "passes_library")

    def __init__(self, run: Called) -> None:
        self._run = run
        self.passes_library: bool | None = None

    def __call__(self, library: UserLibrary, /, *arguments: Any, **keywords: Any) -> Any:
        """Call it, with or without the library."""
        if self.passes_library is None:
            if fits(self._run, library, *arguments, **keywords):
                self.passes_library = True
            elif fits(self._run, *arguments, **keywords):
                self.passes_library = False
        if self.passes_library:
            return self._run(library, *arguments, **keywords)
        return self._run(*arguments, **keywords)

    @property
    def __wrapped__(self) -> Called:
        return self._run


def fits(target: Called, *args: Any, **keywords: Any) -> bool:
    """Whether a call with these arguments fits the signature."""
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return False  # written in C, so it cannot expect our library
    try:
        signature.bind(*args, **keywords)
    except TypeError:
        return False
    return True


def arity_problem(called: Called, count: int, keywords: dict[str, Any]) -> str | None:
    """Why a call cannot be made with so many arguments, in words; None if it can.

    Args:
        called: what `Functions.callable_for` gave.
        count: positional arguments, the library not counted.
        keywords: keyword arguments.
    """
    own: list[None] = [None] * count
    target, arguments, first = called, [None, *own], ", and the library is passed first"
    if isinstance(called, ClassRun):
        target = called.__wrapped__
        if not called.passes_library:
            arguments, first = own, ""
    try:
        inspect.signature(target).bind(*arguments, **keywords)
    except TypeError as error:
        named = f" and {', '.join(f'{name}=' for name in keywords)}" if keywords else ""
        return (
            f"it takes {inspect.signature(target)}{first}, but the call has "
            f"{count} argument(s){named}: {error}"
        )
    except ValueError:
        return None  # written in C, without a signature
    return None
