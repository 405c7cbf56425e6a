"""Calls the ``close()`` of class instances that are let go.

It runs on the main thread, as all of the user's code does, because what it closes may insist on
that. Nobody waits for it, so there is an alarm that ends it after a while; what does not listen
takes its process along.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
from types import FrameType
from typing import Any

from cloudburst.cache.reader import ObjectReader
from cloudburst.errors import UsageError
from cloudburst.executor.calling import fits
from cloudburst.executor.instances import Instance
from cloudburst.executor.library import UserLibrary
from cloudburst.serialization import describe

AGAIN = 0.25
"""Seconds between two interruptions of a ``close()`` that goes on all the same."""

GRACE = 2.0
"""Seconds after the first of these until the process ends."""

SHORTEST = 0.01
"""Seconds that each ``close()`` may take in any case."""

_log = logging.getLogger(__name__)


class _OutOfTime(BaseException):
    """Raised in a ``close()``. It is no `Exception`: what retries on these must end, too."""


class _NoRun:
    """Messages and calls of code that belongs to no run."""

    def send(self, *_: object) -> Any:
        raise UsageError("close() belongs to no run: it can get and put, but not send or receive")

    wait_for = receive = send

    def flush(self) -> None:
        pass

    def call(self, *_: object) -> Any:
        raise UsageError("close() belongs to no run: it can get and put, but not call functions")

    call_dag = call


_NO_RUN = _NoRun()


class Closer:
    """Ends instances; on the main thread only.

    Args:
        objects: for the library that a ``close()`` is given if its signature accepts it.
    """

    def __init__(self, objects: ObjectReader) -> None:
        self._objects = objects
        self._runs = False
        self._interrupted = False

    def close(self, instance: Instance, patience: float) -> None:
        """Call an instance's ``close()``. Whatever it raises is logged.

        Args:
            instance: of a class that has one.
            patience: seconds after which it is interrupted.
        """
        patience = max(SHORTEST, patience)
        handler = signal.signal(signal.SIGALRM, self._interrupt)
        timer = signal.setitimer(signal.ITIMER_REAL, patience, AGAIN)
        # Without the interpreter's help, which native code may keep from everybody.
        faulthandler.dump_traceback_later(patience + GRACE, exit=True, file=2)
        problem = self._problem_with(instance)
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if self._interrupted:
            _log.warning("close() of %s took more than %g s: interrupted", instance, patience)
        elif problem:
            _log.warning("close() of %s raised %.200s", instance, problem)

    def _problem_with(self, instance: Instance) -> str:
        """What its ``close()`` raised, in words; "" if nothing."""
        pid, problem = os.getpid(), ""
        self._interrupted = False
        try:
            try:
                self._runs = True
                self._call(instance)
            finally:
                self._runs = False
        except BaseException as error:  # noqa: BLE001  user code; SystemExit ends nothing either
            problem = describe(error).partition("\n")[0]
        self._runs = False  # the interruption may have come instead of it
        if os.getpid() != pid:
            # User code forked and came back in the child, which must not serve as well.
            os._exit(0)
        return problem

    def _call(self, instance: Instance) -> None:
        library = UserLibrary(self._objects, _NO_RUN, _NO_RUN, "", 0, "")
        library.step = instance.step
        close = instance.value.close
        if fits(close, library):
            close(library)
        else:
            close()

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._runs:
            self._interrupted = True
            raise _OutOfTime
