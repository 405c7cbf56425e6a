"""Waiting for sockets and files."""

from __future__ import annotations

import time
from typing import Protocol

from cloudburst.transport.watch import Source, Watch

RETRY = 0.02
"""Seconds between two tries to reach a peer that is not there."""


class File(Protocol):
    """Something with a file descriptor."""

    def fileno(self) -> int:
        """The file descriptor to wait for."""


class Poller:
    """Waits for any of several inboxes, outlets or files to become readable.

    A source belongs to one poller at a time, and leaves it when it is closed.
    """

    def __init__(self, *sources: Source | File | int) -> None:
        self._watch = Watch()
        self._sources: list[Source] = []
        for source in sources:
            self.add(source)

    def add(self, source: Source | File | int) -> None:
        """Wait for this one too: an inbox, an outlet, or a file by descriptor or `fileno`."""
        if isinstance(source, Source):
            self._sources.append(source)
            source.attach(self._watch)
        else:
            self._watch.add(_fd(source), None)

    def discard(self, source: Source | File | int) -> None:
        """Wait for this one no longer; nothing if it was not waited for."""
        if not isinstance(source, Source):
            self._watch.discard(_fd(source), None)
        elif source in self._sources:
            self._sources.remove(source)
            source.detach()

    def wait(self, timeout: float | None) -> list[int]:
        """Wait until something is readable.

        Args:
            timeout: seconds, or None to wait for ever.

        Returns:
            The descriptors of files that are readable; inboxes and outlets are not listed, ask
            them.
        """
        if self._watch.restless:
            return self._retry_and_wait(timeout)
        for source in self._sources:
            if source.received:
                return self._watch.look(0.0)
        return self._watch.look(timeout)

    def _retry_and_wait(self, timeout: float | None) -> list[int]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            for source in list(self._watch.restless):
                if source.retry():
                    self._watch.restless.discard(source)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if any(source.received for source in self._sources):
                left = 0.0
            if not self._watch.restless:
                return self._watch.look(left)
            files = self._watch.look(RETRY if left is None else min(RETRY, left))
            if files or left == 0.0 or any(source.ready for source in self._sources):
                return files


def _fd(source: File | int) -> int:
    return source if isinstance(source, int) else source.fileno()
