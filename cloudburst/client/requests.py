"""Questions to the scheduler that have one answer each."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TypeVar

from cloudburst.client.link import Link
from cloudburst.core.ids import VERSION, python_version
from cloudburst.core.messages import PROTOCOL, Hello, Message, Welcome
from cloudburst.core.requests import (
    ClusterStatus,
    DagFound,
    Done,
    FunctionFound,
    Names,
    Refused,
    Reply,
    Request,
)
from cloudburst.errors import (
    CloudburstError,
    DagError,
    SchedulerUnavailable,
    VersionMismatch,
    rebuild,
)

_Kind = TypeVar("_Kind", bound=Reply)


class Requests:
    """Sends requests and waits for their replies.

    Args:
        link: the way to the scheduler.
        timeout: seconds to wait for each.
    """

    def __init__(self, link: Link, timeout: float) -> None:
        self._link = link
        self._timeout = timeout
        self._numbers = itertools.count(1)
        self._replies: dict[int, Reply | None] = {}
        self._welcome: Welcome | None = None

    def receive(self, message: Message) -> None:
        """Take in a reply; one that nobody waits for any more is dropped."""
        match message:
            case Welcome():
                self._welcome = message
            case Done() | Refused() | Names() | FunctionFound() | DagFound() | ClusterStatus():
                # The first counts: another is the answer to a repetition, when all is done.
                if self._replies.get(message.request, message) is None:
                    self._replies[message.request] = message

    def greet(self) -> Welcome | None:
        """Introduce this client. Returns None if nobody answers in time.

        Raises:
            VersionMismatch: the cluster speaks another protocol or another Python.
        """
        hello = Hello(PROTOCOL, VERSION, python_version())
        self._link.ask(hello, lambda: self._welcome is not None, self._timeout)
        welcome = self._welcome
        if welcome is None:
            return None
        if welcome.protocol != PROTOCOL:
            raise VersionMismatch(
                f"this is Cloudburst {VERSION} (protocol {PROTOCOL}), the cluster runs "
                f"{welcome.version} (protocol {welcome.protocol}); install the same version"
            )
        if welcome.python != python_version():
            raise VersionMismatch(
                f"this is Python {python_version()}, the cluster runs {welcome.python}; functions "
                "are shipped as bytecode, so both need the same minor version"
            )
        return welcome

    def ask(self, make: Callable[[int], Request], kind: type[_Kind]) -> _Kind:
        """Send a request and wait for its reply.

        Args:
            make: makes the request of its number.
            kind: the reply expected.

        Raises:
            SchedulerUnavailable: there was no reply in time.
            CloudburstError: the request was refused; the class says why.
        """
        number = next(self._numbers)
        request = make(number)
        self._replies[number] = None
        try:
            self._link.ask(request, lambda: self._replies[number] is not None, self._timeout)
            reply = self._replies[number]
        finally:
            del self._replies[number]
        match reply:
            case None:
                raise SchedulerUnavailable(
                    f"the scheduler has not answered a {type(request).__name__} within "
                    f"{self._timeout:g} seconds"
                )
            case Refused(error=error, reasons=reasons):
                raise _refusal(error, reasons)
            case kind():
                return reply
        raise SchedulerUnavailable(f"the scheduler answered with a {type(reply).__name__}")


def _refusal(error: str, reasons: tuple[str, ...]) -> CloudburstError:
    if error == DagError.__name__:
        return DagError(reasons)
    return rebuild(error, " ".join(reasons))
