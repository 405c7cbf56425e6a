"""Real sockets in one process, for tests: short addresses, and bounded waiting for messages."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from cloudburst.core.messages import Buffer
from cloudburst.transport import Inbox, Outlet, Poller

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds after which what a test waits for will not come any more."""


@contextmanager
def short_folder() -> Iterator[str]:
    """A folder of its own, whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="cb-", dir="/tmp") as folder:
        yield folder


def open_files() -> int:
    """How many descriptors this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


def wait_until(condition: Callable[[], T], what: str, timeout: float = PATIENCE) -> T:
    """The first true value of ``condition``, asked again and again until the timeout."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout:g} seconds: {what}"
        time.sleep(0.001)
    return value


def in_threads(*work: Callable[[], object]) -> list[object]:
    """Do all of it at once; what each returned. Raises what the first to fail has raised."""
    outcomes: list[object] = [None] * len(work)
    errors: list[BaseException] = []

    def attempt(number: int) -> None:
        try:
            outcomes[number] = work[number]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(6 * PATIENCE)
        assert not thread.is_alive(), "a thread waits for ever"
    for error in errors:
        raise error
    return outcomes


def heard(inbox: Inbox, poller: Poller, count: int = 1) -> list[tuple[str, list[Buffer]]]:
    """So many messages out of an inbox, with their senders."""
    messages: list[tuple[str, list[Buffer]]] = []
    deadline = time.monotonic() + PATIENCE
    while len(messages) < count:
        assert time.monotonic() < deadline, f"{count} messages, only {len(messages)} came"
        poller.wait(0.05)
        messages += inbox.messages()
    assert len(messages) == count
    return messages


def answers(outlet: Outlet, poller: Poller, count: int = 1) -> list[list[Buffer]]:
    """So many answers of the peer."""
    messages: list[list[Buffer]] = []
    deadline = time.monotonic() + PATIENCE
    while len(messages) < count:
        assert time.monotonic() < deadline, f"{count} answers, only {len(messages)} came"
        poller.wait(0.05)
        messages += outlet.messages()
    assert len(messages) == count
    return messages
