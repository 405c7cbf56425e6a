"""The keeper of a machine's cache: takes in what executors offer, drops what has changed.

An executor that has read an object offers the file it read it into. The keeper looks at the key
over its own connection to the store: if the beginning of the value is still that of the file, it
is published, and from that look on the store tells of every change. So nothing is ever published
that had changed, or whose changes would not be heard of. What is published may be believed for
`TRUST` seconds after the store was last known to have told all: readers look at the board.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import msgpack

from cloudburst.cache.board import CacheBoard
from cloudburst.cache.folder import OwnFolder, file_name
from cloudburst.cache.shelf import Shelf
from cloudburst.kvs.keys import object_key, object_name
from cloudburst.kvs.tracking import HEAD, Blind, Changed, Complete, Looked, Tracking

TRUST = 1.0
"""Seconds that a cached object may be older than the one in the store, at most."""

SWEEP_EVERY = 5.0
"""Seconds between two looks for files that nobody has offered."""

ABANDONED = 60.0
"""Seconds that an executor has to offer what it has read."""

_MOST_WORDS = 8192


class _Offer(NamedTuple):
    key: str
    file: Path
    since: float


class CacheKeeper:
    """Keeps the cache of one host; to be called from one thread.

    Args:
        folder: its own, which is removed at the end.
        tracking: tells of changes; None if the store cannot, and readers have to look each time.
        budget: bytes of all objects together.
        clock: monotonic seconds, those of the board.
    """

    def __init__(
        self,
        folder: OwnFolder,
        tracking: Tracking | None,
        budget: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.shelf = Shelf(budget)
        self._folder = folder
        self._tracking = tracking
        self._clock = clock
        self._board = CacheBoard(folder.board)
        self._offers = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._offers.bind(os.fspath(folder.offers))
        self._offers.settimeout(0)
        self._sweep_at = clock() + SWEEP_EVERY

    def descriptors(self) -> list[tuple[int, int]]:
        """What to poll, for which events."""
        found = [(self._offers.fileno(), select.POLLIN)]
        tracking = self._tracking
        if tracking is not None and tracking.is_open:
            events = select.POLLIN | (select.POLLOUT if tracking.wants_write else 0)
            found.append((tracking.fileno(), events))
        return found

    def turn(self) -> None:
        """Do all that there is to do."""
        self._hear()
        self._take_offers()
        if self._clock() >= self._sweep_at:
            self._sweep()

    def next_deadline(self) -> float:
        """When to call `turn` at the latest."""
        if self._tracking is None:
            return self._sweep_at
        return min(self._sweep_at, self._tracking.next_deadline())

    def close(self) -> None:
        """Remove the cache."""
        self._board.trust(0.0)
        self._offers.close()
        if self._tracking is not None:
            self._tracking.close()
        self._folder.remove()
        self._board.close()

    def _hear(self) -> None:
        if self._tracking is None:
            return
        for news in self._tracking.news():
            match news:
                case Looked(token=_Offer() as offer, head=head):
                    if offer.file.exists() and _begins_with(offer.file, head):
                        self._publish(offer)
                    else:
                        offer.file.unlink(missing_ok=True)
                case Changed(keys=keys):
                    self._drop([key for key in map(object_name, keys) if self.shelf.drop(key)])
                case Complete(until=until):
                    self._board.trust(until + TRUST)
                case Blind():
                    self._board.trust(0.0)
                    self._clear()

    def _take_offers(self) -> None:
        while True:
            try:
                words = self._offers.recv(_MOST_WORDS)
            except BlockingIOError:
                return
            key, name = msgpack.unpackb(words)
            offer = _Offer(key, self._folder.new / name, self._clock())
            if not self._considers(offer):
                offer.file.unlink(missing_ok=True)

    def _considers(self, offer: _Offer) -> bool:
        if not self.shelf.takes(_size_of(offer.file)):
            return False
        if self._tracking is None:
            self._publish(offer)
            return True
        return self._tracking.look(object_key(offer.key), offer)

    def _publish(self, offer: _Offer) -> None:
        size = _size_of(offer.file)
        with self._folder.changing() as alone:
            # Written on this machine since it was looked at: whoever wrote it counts on that.
            if not alone or self._board.written(offer.key) >= offer.since:
                offer.file.unlink(missing_ok=True)
                return
            offer.file.replace(self._path(offer.key))
        self._drop(self.shelf.add(offer.key, size, self._clock(), self._used))

    def _drop(self, keys: list[str]) -> None:
        if keys:
            self._remove(map(self._path, keys))

    def _clear(self) -> None:
        self.shelf.clear()
        self._remove([*self._folder.objects.iterdir(), *self._folder.new.iterdir()])

    def _remove(self, paths: Iterable[Path]) -> None:
        with self._folder.changing():
            for path in paths:
                path.unlink(missing_ok=True)
            self._board.advance()

    def _sweep(self) -> None:
        """Remove what was read by executors that died before they offered it."""
        self._sweep_at = self._clock() + SWEEP_EVERY
        limit = time.time() - ABANDONED
        for path in self._folder.new.iterdir():
            if _modified(path) < limit:
                path.unlink(missing_ok=True)

    def _used(self, key: str) -> float:
        # Readers touch the files that they use, by the other clock.
        return self._clock() - max(0.0, time.time() - _modified(self._path(key)))

    def _path(self, key: str) -> Path:
        return self._folder.objects / file_name(key)


def _begins_with(file: Path, head: bytes) -> bool:
    with file.open("rb") as stream:
        return bool(head) and stream.read(HEAD) == head


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
