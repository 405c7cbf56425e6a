"""Objects brought into a machine's cache before anybody there asks for them.

They are read into files and offered to the keeper, as executors do with what they read: so what is
cached by this is as fresh as all else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress

from cloudburst.cache.folder import CacheFolder
from cloudburst.cache.inventory import LEAST, Inventory
from cloudburst.cache.loading import Loader
from cloudburst.errors import CloudburstError
from cloudburst.kvs.base import LoadingStore, Peek, Unfit
from cloudburst.kvs.keys import object_key
from cloudburst.kvs.tracking import HEAD
from cloudburst.serialization import size_in_store

PART = 4
"""At most this part of the cache's memory is fetched at a time."""

_log = logging.getLogger(__name__)


class Prefetcher:
    """Fetches objects that are cached once they are here.

    Args:
        store: where they are.
        folder: the machine's cache.
        inventory: what it holds already.
        budget: bytes that it may hold.
    """

    def __init__(
        self, store: LoadingStore, folder: CacheFolder, inventory: Inventory, budget: int
    ) -> None:
        self._store = store
        self._inventory = inventory
        self._most = budget // PART
        self._loader = Loader(store, folder, "prefetch", nullcontext)

    def fetch(self, names: Iterable[str]) -> None:
        """Fetch those of these objects that are worth it. What goes wrong does no harm."""
        missing = [name for name in dict.fromkeys(names) if name not in self._inventory]
        try:
            for together in self._in_parts(missing) if missing else ():
                self._loader.load(together)
        except (CloudburstError, OSError) as error:
            _log.info("not fetched before they are needed: %s", error)

    def close(self) -> None:
        """Give back what it has, but for the store."""
        self._loader.close()

    def _in_parts(self, names: Sequence[str]) -> Iterator[list[str]]:
        """Those of a size that is cached, as many at a time as there is memory for."""
        part: list[str] = []
        left = self._most
        for name, head in zip(names, self._heads(names), strict=True):
            size = size_in_store(head) or 0
            if not LEAST <= size <= self._most:
                continue
            if size > left:
                yield part
                part, left = [], self._most
            part.append(name)
            left -= size
        if part:
            yield part

    def _heads(self, names: Sequence[str]) -> list[bytes]:
        """How the objects begin; b"" if there is none, or a set."""
        with suppress(Unfit):
            return self._store.execute([Peek(object_key(name), HEAD) for name in names])
        return [self._head(name) for name in names]

    def _head(self, name: str) -> bytes:
        with suppress(Unfit):
            (head,) = self._store.execute([Peek(object_key(name), HEAD)])
            return bytes(head)
        return b""
