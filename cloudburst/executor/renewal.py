"""A host's entry in the KVS: proof, for others and for itself, that it is not cut off."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress

from cloudburst.errors import CloudburstError
from cloudburst.kvs import keys
from cloudburst.kvs.base import Put

PATIENCE = 1.0
"""Seconds after which a store that does not answer is asked anew."""

_log = logging.getLogger(__name__)


class Renewal:
    """Renews the entry when it is told to, on a thread of its own, which never ends.

    The host's loop must not wait for a store that is not there: to look its name up alone may
    take longer than others wait for the host.

    Args:
        host: name of the host.
        kvs_url: the store.
        ttl: seconds that the entry lives.
    """

    def __init__(self, host: str, kvs_url: str, ttl: float) -> None:
        self._put = Put(keys.host_key(host), host.encode(), ttl)
        self._url = kvs_url
        self._asked = threading.Event()
        self._answers, self._answer = os.pipe()
        os.set_blocking(self._answers, False)
        os.set_blocking(self._answer, False)
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)

    def fileno(self) -> int:
        """Readable when it is time to ask `succeeded`."""
        return self._answers

    def renew(self) -> None:
        """Renew the entry soon; does not wait."""
        self._asked.set()
        if self._thread.ident is None:
            self._thread.start()

    def succeeded(self) -> bool:
        """Whether the store has renewed the entry since this was last asked."""
        try:
            return bool(os.read(self._answers, 4096))
        except BlockingIOError:
            return False

    def _run(self) -> None:
        # It takes 0.1 s to load, which the host has once its executors run.
        from cloudburst.kvs.opening import open_store

        store = open_store(self._url, timeout=PATIENCE)
        while self._asked.wait():
            self._asked.clear()
            try:
                store.execute([self._put])
            except CloudburstError as error:
                _log.info("the entry in the store is not renewed: %s", error)
                continue
            with suppress(BlockingIOError):  # enough of them wait to be read
                os.write(self._answer, b".")
