"""Processes: programs that wait, and that can be stopped, continued and killed."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

from .clock import Clock

_Returned = TypeVar("_Returned")


class Wait(NamedTuple):
    """What a program yields: it goes on after so many seconds, or when something has come.

    ``seconds`` None: it has all the time in the world. Without ``messages`` it does not look into
    its inbox meanwhile.
    """

    seconds: float | None = None
    messages: bool = True


Program: TypeAlias = Generator[Wait, None, _Returned]
"""Part of a program; its value is what it returns."""


class Process:
    """One process; to be derived from.

    Args:
        clock: the world's.
        name: by which others know it, also over its death.
        machine: where it runs.
    """

    def __init__(self, clock: Clock, name: str, machine: str) -> None:
        self.clock = clock
        self.name = name
        self.machine = machine
        self.alive = True
        self.inbox: deque[Any] = deque()
        self._program: Program[None] | None = None
        self._waits = Wait(None, messages=False)
        self._token = 0
        self._paused = 0
        self._runs = False
        self._due = False

    def main(self) -> Program[None]:
        """What the process does."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin."""
        self._program = self.main()
        self._go_on()

    def deliver(self, item: Any) -> None:
        """Something has come for it."""
        if self.alive:
            self.inbox.append(item)
            if self._waits.messages:
                self.wake()

    def wake(self) -> None:
        """It has no more to wait for."""
        if self._paused or self._runs:
            self._due = True
        elif self.alive:
            self._go_on()

    def pause(self) -> None:
        """SIGSTOP."""
        self._paused += 1

    def resume(self) -> None:
        """SIGCONT, which counts when it comes as often as SIGSTOP did."""
        self._paused -= 1
        if not self._paused and self._due and self.alive:
            self._go_on()

    def kill(self) -> None:
        """SIGKILL: nothing more is done, and nothing more received."""
        self.alive = False
        self.inbox.clear()

    def _go_on(self) -> None:
        assert self._program is not None
        self._due = self._runs = True
        while self._due and self.alive and not self._paused:
            self._due = False
            try:
                self._waits = next(self._program)
            except StopIteration:
                self.kill()
        self._runs = False
        self._token += 1
        if self._waits.seconds is not None and self.alive:
            self.clock.after(self._waits.seconds, partial(self._ring, self._token))

    def _ring(self, token: int) -> None:
        if token == self._token and self.alive:
            self.wake()
