"""Waiting for sockets and files."""

from __future__ import annotations

import time
from typing import Protocol, TypeAlias

import zmq

from cloudburst.transport.unix import RETRY, UnixSource, Watch
from cloudburst.transport.zeromq import ZmqInbox, ZmqOutlet

_FOR_EVER = -1


class File(Protocol):
    """Something with a file descriptor."""

    def fileno(self) -> int:
        """The file descriptor to wait for."""


Source: TypeAlias = UnixSource | ZmqInbox | ZmqOutlet | File | int


class Poller:
    """Waits for any of several inboxes, outlets or files to become readable.

    While there is no ZeroMQ socket among them, the kernel is asked directly.
    """

    def __init__(self, *sources: object) -> None:
        self._watch = Watch()
        self._unix: list[UnixSource] = []
        self._zmq: list[ZmqInbox | ZmqOutlet] = []
        for source in sources:
            self.add(source)

    def add(self, source: object) -> None:
        """Wait for this one too: an inbox, an outlet, or a file by descriptor or `fileno`."""
        if isinstance(source, UnixSource):
            self._unix.append(source)
            source.attach(self._watch)
        elif isinstance(source, ZmqInbox | ZmqOutlet):
            self._zmq.append(source)
        else:
            self._watch.add(_fd(source), None)

    def discard(self, source: object) -> None:
        """Wait for this one no longer."""
        if isinstance(source, UnixSource):
            self._unix.remove(source)
            source.detach()
        elif isinstance(source, ZmqInbox | ZmqOutlet):
            self._zmq.remove(source)
        else:
            self._watch.discard(_fd(source))

    def wait(self, timeout: float | None) -> list[int]:
        """Wait until something is readable.

        Args:
            timeout: seconds, or None to wait for ever.

        Returns:
            The descriptors of files that are readable; inboxes and outlets are not listed, ask
            them.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while [source for source in self._unix if not source.retry()]:
            events = self._poll(RETRY if timeout is None else min(RETRY, timeout))
            if events or (deadline is not None and time.monotonic() >= deadline):
                return self._sorted(events)
            timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        return self._sorted(self._poll(timeout))

    def _poll(self, timeout: float | None) -> list[int]:
        # Rounded up: a wait that ends just before its deadline would spin until it.
        limit = _FOR_EVER if timeout is None else max(0, int(timeout * 1000 + 0.999))
        if not self._zmq:
            return [fd for fd, _ in self._watch.poll.poll(limit)]
        poller = zmq.Poller()
        for source in self._zmq:
            poller.register(source.socket, zmq.POLLIN)
        for fd in self._watch.owners:
            poller.register(fd, zmq.POLLIN)
        return [item if isinstance(item, int) else _FOR_EVER for item, _ in poller.poll(limit)]

    def _sorted(self, events: list[int]) -> list[int]:
        """Tell the Unix sources which of their descriptors are readable; return the others."""
        files = []
        for fd in events:
            owner = self._watch.owners.get(fd)
            if owner is not None:
                owner.ready.append(fd)
            elif fd >= 0:
                files.append(fd)
        return files


def _fd(source: object) -> int:
    if isinstance(source, int):
        return source
    fd: int = source.fileno()  # type: ignore[attr-defined]
    return fd
