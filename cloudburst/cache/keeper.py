"""The keeper of a machine's cache: takes in what executors offer, drops what has changed.

An executor that has read an object offers the file it read it into. The keeper looks at the key
over its own connection to the store: if the beginning of the value is still that of the file, it
is published, and from that look on the store tells of every change. So nothing is ever published
that had changed, or whose changes would not be heard of. What is published may be believed for
`TRUST` seconds after the store was last known to have told all: readers look at the board.
"""

from __future__ import annotations

import math
import os
import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgpack

from cloudburst.cache.board import CacheBoard, clock
from cloudburst.cache.folder import OwnFolder, file_name, room_in
from cloudburst.cache.inventory import Inventory
from cloudburst.cache.loading import MOST_WORDS
from cloudburst.cache.shelf import Shelf
from cloudburst.kvs.keys import object_key, object_name
from cloudburst.kvs.tracking import HEAD, Blind, Changed, Complete, Looked, Tracking

TRUST = 1.0
"""Seconds that a cached object may be older than the one in the store, at most."""

SWEEP_EVERY = 5.0
"""Seconds between two looks for files that nobody has offered."""

ABANDONED = 60.0
"""Seconds that an executor has to offer what it has read."""

RESERVE = 0.2
"""Part of the shared memory that is not filled; executors, who read into it, leave less."""

_PAGE = 4096


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
        now: seconds of `board.clock`.
        inventory: is told what is cached.

    Raises:
        OSError: the folder is not there any more; also from `turn`.
    """

    def __init__(
        self,
        folder: OwnFolder,
        tracking: Tracking | None,
        budget: int,
        now: Callable[[], float] = clock,
        inventory: Inventory | None = None,
    ) -> None:
        self.shelf = Shelf(budget)
        self._inventory = inventory or Inventory()
        self._budget = budget
        self._folder = folder
        self._tracking = tracking
        self._clock = now
        self._board = CacheBoard(folder.board)
        self._offers = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._offers.bind(os.fspath(folder.offers))
        self._offers.settimeout(0)
        self._sweep_at = now() + SWEEP_EVERY

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
        now = self._clock()
        self._drop(self.shelf.expire(now))
        if now >= self._sweep_at:
            self._sweep()

    def next_deadline(self) -> float:
        """When to call `turn` at the latest."""
        tracked = math.inf if self._tracking is None else self._tracking.next_deadline()
        return min(self._sweep_at, self.shelf.next_expiry(), tracked)

    def close(self) -> None:
        """Remove the cache. Closing twice is harmless."""
        if self._offers.fileno() < 0:
            return
        self._board.trust(0.0)
        self._inventory.clear()
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
                case Looked(token=_Offer() as offer, head=head, left=left):
                    if head and _beginning(offer.file) == head:
                        self._publish(offer, offer.since + left)
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
                words = self._offers.recv(MOST_WORDS)
            except BlockingIOError:
                return
            for said in _read(words):
                match said:
                    case [str() as key, str() as name] if "/" not in name:
                        offer = _Offer(key, self._folder.new / name, self._clock())
                        if not self._considers(offer):
                            offer.file.unlink(missing_ok=True)

    def _considers(self, offer: _Offer) -> bool:
        size = _size_of(offer.file)
        self.shelf.budget = min(self._budget, self._room() + size)
        if not self.shelf.takes(size) or self._has(offer):
            return False
        if self._tracking is None:
            self._publish(offer, math.inf)
            return True
        return self._tracking.look(object_key(offer.key), offer)

    def _has(self, offer: _Offer) -> bool:
        """Whether another executor has offered just that before."""
        return offer.key in self.shelf and (
            _beginning(self._path(offer.key)) == _beginning(offer.file)
        )

    def _publish(self, offer: _Offer, until: float) -> None:
        size = _size_of(offer.file)
        if not self.shelf.takes(size):  # what there is room for may have changed
            offer.file.unlink(missing_ok=True)
            return
        if self._has(offer):
            offer.file.unlink(missing_ok=True)
            return
        os.utime(offer.file)
        # Others go before it comes: there is never more than the budget.
        now = _modified(offer.file)
        self._drop(self.shelf.add(offer.key, size, now, self._used, until))
        if self._moves_in(offer):
            self._inventory.add(offer.key, size)
        else:
            offer.file.unlink(missing_ok=True)
            self.shelf.drop(offer.key)
            self._drop([offer.key])  # an older one

    def _moves_in(self, offer: _Offer) -> bool:
        """Put the file where readers look, unless it was written here since it was looked at."""
        with self._folder.changing() as alone:
            # Whoever wrote it counts on it not to be published.
            if not alone or self._board.written(offer.key) >= offer.since:
                return False
            path = self._path(offer.key)
            offer.file.replace(path)
            if self._board.written(offer.key) >= offer.since:
                # By somebody who did not wait any longer, because this process was stopped.
                path.unlink(missing_ok=True)
                self._board.advance()
                return False
        return True

    def _drop(self, keys: list[str]) -> None:
        if keys:
            self._inventory.drop(keys)
            self._remove(map(self._path, keys))

    def _clear(self) -> None:
        self.shelf.clear()
        self._inventory.clear()
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

    def _room(self) -> int:
        """Bytes that there are for cached objects, and those that are."""
        return max(0, self.shelf.size + room_in(self._folder.path, RESERVE))

    def _used(self, key: str) -> float:
        return _modified(self._path(key))  # readers touch the files that they use

    def _path(self, key: str) -> Path:
        return self._folder.objects / file_name(key)


def _read(words: bytes) -> Iterator[object]:
    """The offers in a datagram, as far as it can be read."""
    unpacker = msgpack.Unpacker(unicode_errors="surrogatepass")
    unpacker.feed(words)
    try:
        yield from unpacker
    except ValueError:
        return


def _beginning(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(HEAD)
    except FileNotFoundError:
        return b""


def _size_of(file: Path) -> int:
    """Bytes of memory that it takes; 0 if it is not there any more."""
    try:
        return -(-file.stat().st_size // _PAGE) * _PAGE
    except FileNotFoundError:
        return 0


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
