"""User code, loaded once and called in the way its signature asks for."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from cloudburst.core.plan import PlanStep
from cloudburst.errors import CloudburstError, KeyNotFound
from cloudburst.executor.library import UserLibrary
from cloudburst.kvs import keys
from cloudburst.kvs.base import Get, KeyValueStore
from cloudburst.serialization import LoadedClass, LoadedFunction, unpack_function

Called: TypeAlias = Callable[..., Any]


@dataclass(slots=True)
class _Instance:
    """A class instance that lives from one run of its DAG to the next."""

    version: str
    run: Called
    last_used: float


class _InstanceKey(NamedTuple):
    dag: str
    step: str


class NotLoaded(Exception):
    """A function's code cannot be had; ``error`` says why."""

    def __init__(self, error: CloudburstError) -> None:
        super().__init__(error)
        self.error = error


class Functions:
    """The functions and class instances of one executor.

    Args:
        store: where code is fetched from, once per version.
        idle: seconds after which an unused instance is let go.
    """

    def __init__(self, store: KeyValueStore, idle: float) -> None:
        self._store = store
        self._idle = idle
        self._plain: dict[str, Called] = {}
        self._classes: dict[str, LoadedClass] = {}
        self._instances: dict[_InstanceKey, _Instance] = {}

    def callable_for(self, dag: str, step: PlanStep, library: UserLibrary) -> Called:
        """What to call for a step, as ``f(library, *arguments)``.

        For a class it is an instance's ``run``: a new instance for a lone call, the one that
        this executor keeps for the step within a DAG.

        Raises:
            NotLoaded: the code is not in the KVS, or cannot be loaded here.
            Exception: the class's own ``__init__`` raised.
        """
        plain = self._plain.get(step.version)
        if plain is not None:
            return plain
        loaded = self._classes.get(step.version) or self._load(step)
        if isinstance(loaded, LoadedFunction):
            return loaded.callable
        if not dag:
            return _instantiate(loaded, library)
        key = _InstanceKey(dag, step.name)
        instance = self._instances.get(key)
        if instance is None or instance.version != step.version:
            instance = _Instance(step.version, _instantiate(loaded, library), 0.0)
            self._instances[key] = instance
        instance.last_used = time.monotonic()
        return instance.run

    def drop_dag(self, dag: str) -> None:
        """Let go of a deleted DAG's instances."""
        for key in [key for key in self._instances if key.dag == dag]:
            del self._instances[key]

    def drop_idle(self) -> float | None:
        """Let go of idle instances. Returns the seconds until another may be idle."""
        now = time.monotonic()
        for key, instance in list(self._instances.items()):
            if now >= instance.last_used + self._idle:
                del self._instances[key]
        oldest = min((item.last_used for item in self._instances.values()), default=None)
        return None if oldest is None else oldest + self._idle - now

    def _load(self, step: PlanStep) -> LoadedFunction | LoadedClass:
        try:
            (blob,) = self._store.execute([Get(keys.code_key(step.version))])
            if blob is None:
                raise KeyNotFound(
                    f"the code of function {step.function!r} is not in the KVS any more; "
                    "register the function again"
                )
            loaded = unpack_function(blob)
        except CloudburstError as error:
            raise NotLoaded(error) from error
        if isinstance(loaded, LoadedFunction):
            self._plain[step.version] = loaded.callable
        else:
            self._classes[step.version] = loaded
        return loaded


def _instantiate(loaded: LoadedClass, library: UserLibrary) -> Called:
    if _fits(loaded.cls, library, *loaded.init):
        instance = loaded.cls(library, *loaded.init)
    else:
        instance = loaded.cls(*loaded.init)
    return _ClassRun(instance.run)


class _ClassRun:
    """An instance's ``run``; its first call that fits decides whether the library is passed."""

    __slots__ = ("_run", "passes_library")

    def __init__(self, run: Called) -> None:
        self._run = run
        self.passes_library: bool | None = None

    def __call__(self, library: UserLibrary, /, *arguments: Any, **keywords: Any) -> Any:
        if self.passes_library is None:
            if _fits(self._run, library, *arguments, **keywords):
                self.passes_library = True
            elif _fits(self._run, *arguments, **keywords):
                self.passes_library = False
        if self.passes_library:
            return self._run(library, *arguments, **keywords)
        return self._run(*arguments, **keywords)

    @property
    def __wrapped__(self) -> Called:
        return self._run


def _fits(target: Called, *args: Any, **keywords: Any) -> bool:
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
    if isinstance(called, _ClassRun):
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
