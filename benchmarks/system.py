"""What can be measured: Cloudburst, what it is built on, and others that do the same work."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Self

from benchmarks.counters import Roles
from benchmarks.measure import Contender
from benchmarks.work import Work

WORKERS = 2
"""Processes that run functions, in every system."""

PATIENCE = 60.0
"""Seconds that a result may take."""


class System(ABC):
    """One system, which is a context manager: started, and stopped.

    Attributes:
        name: as on the command line; the names of its contenders begin with it.
        modules: what must be installed.
        first_result: a program that prints the seconds from before its imports to the first
            result of a system that it starts; empty if that makes no sense.
    """

    name: ClassVar[str]
    modules: ClassVar[tuple[str, ...]] = ()
    first_result: ClassVar[str] = ""

    @classmethod
    def missing(cls) -> list[str]:
        """The modules that are not installed."""
        return [name for name in cls.modules if importlib.util.find_spec(name) is None]

    @abstractmethod
    def start(self) -> None:
        """Start it, with `WORKERS` workers, and return when it can be used."""

    @abstractmethod
    def contenders(self, work: Work) -> list[Contender]:
        """The ways in which it does this work; none if it is not made for it."""

    @abstractmethod
    def roles(self) -> Roles:
        """All its processes, this one as its client included."""

    @abstractmethod
    def stop(self) -> None:
        """End all that was started."""

    @property
    def address(self) -> str:
        """Where further clients reach it, with `attach`; empty if they cannot."""
        return ""

    def attach(self, address: str) -> None:
        """In place of `start`: be one more client of one that runs."""
        raise NotImplementedError(f"{self.name} has one client")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
