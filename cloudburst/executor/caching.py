"""The host's part in its machine's cache: a folder, and a thread that keeps it."""

from __future__ import annotations

import logging
import os
import queue
import select
import threading

from cloudburst.cache.board import clock
from cloudburst.cache.folder import OwnFolder
from cloudburst.cache.inventory import Inventory
from cloudburst.errors import UsageError

LAST_MOMENTS = 0.3
"""Seconds that the threads have to end: they may wait for a store."""

MOST_WISHES = 100
"""Lists of objects that wait to be fetched; there is no time for more."""

_log = logging.getLogger(__name__)


class HostCache:
    """The cache of one host.

    Args:
        host: its name.
        kvs_url: the store.
        budget: bytes of all objects together; 0 for no cache.

    Attributes:
        path: the folder, for executors; "" if there is none.
        inventory: what is cached.
    """

    def __init__(self, host: str, kvs_url: str, budget: int) -> None:
        self._url = kvs_url
        self._budget = budget
        self._folder = _folder_for(host, kvs_url) if budget else None
        self.path = "" if self._folder is None else os.fspath(self._folder.path)
        self.inventory = Inventory()
        self._ended, self._end = os.pipe()
        # On a thread of its own, because the host must not wait for a store.
        self._thread = threading.Thread(target=self._keep, name="cache", daemon=True)
        self._wishes: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()
        # Nor must the keeper, while a large object comes.
        self._fetching = threading.Thread(target=self._fetch, name="prefetch", daemon=True)

    def start(self) -> None:
        """Take in what executors offer, from now on."""
        if self._folder is not None:
            self._thread.start()

    def prefetch(self, names: tuple[str, ...]) -> None:
        """Bring these objects into the cache soon, if there is time; does not wait."""
        if not names or self._folder is None or self._end < 0:
            return
        if self._wishes.qsize() >= MOST_WISHES:
            return
        self._wishes.put(names)
        if self._fetching.ident is None:
            self._fetching.start()

    def close(self) -> None:
        """Remove it. Closing twice is harmless."""
        if self._end < 0:
            return
        os.close(self._end)
        self._end = -1
        self._wishes.put(())
        for thread in (self._thread, self._fetching):
            if thread.ident is not None:
                thread.join(LAST_MOMENTS / 2)
        if self._folder is not None:
            self._folder.remove()
        if not self._thread.is_alive():
            os.close(self._ended)

    def _keep(self) -> None:
        # They take 0.1 s to load, which the host has once its executors run.
        from cloudburst.cache.keeper import CacheKeeper
        from cloudburst.kvs.tracking import Tracking

        assert self._folder is not None
        try:
            tracking = Tracking(self._url, clock)
        except UsageError:  # no single server: readers look for themselves
            tracking = None
        try:
            keeper = CacheKeeper(self._folder, tracking, self._budget, inventory=self.inventory)
            try:
                while not self._wait(keeper.descriptors(), keeper.next_deadline()):
                    keeper.turn()
            finally:
                keeper.close()
        except OSError as error:  # somebody has removed the folder
            _log.warning("objects are not cached on this machine any more: %s", error)

    def _fetch(self) -> None:
        # See `_keep`.
        from cloudburst.cache.prefetching import Prefetcher
        from cloudburst.kvs.opening import open_store

        assert self._folder is not None
        store = open_store(self._url)
        prefetcher = Prefetcher(store, self._folder, self.inventory, self._budget)
        try:
            while (names := self._wishes.get()) and self._end >= 0:
                prefetcher.fetch(names)
        finally:
            prefetcher.close()
            store.close()

    def _wait(self, descriptors: list[tuple[int, int]], deadline: float) -> bool:
        """Wait for one of these, or until then. Returns whether the cache is to be closed."""
        poller = select.poll()
        poller.register(self._ended, select.POLLIN | select.POLLHUP)
        for fd, events in descriptors:
            poller.register(fd, events)
        seconds = max(0.0, deadline - clock())
        return self._ended in dict(poller.poll(seconds * 1000 + 1))


def _folder_for(host: str, kvs_url: str) -> OwnFolder | None:
    try:
        return OwnFolder(host, kvs_url=kvs_url)
    except OSError as error:
        _log.warning("objects are not cached on this machine: %s", error)
        return None
