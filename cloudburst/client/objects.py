"""Objects in the KVS, as a connection gets at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloudburst.cache.changes import LocalCaches
from cloudburst.core.ids import check_key
from cloudburst.kvs import keys
from cloudburst.kvs.base import Delete, KeyValueStore
from cloudburst.kvs.objects import read_objects, write_objects


class Objects:
    """Reads and writes objects. The part of a connection that does so.

    Args:
        store: gives the KVS, when it is needed.
    """

    def __init__(self, store: Callable[[], KeyValueStore]) -> None:
        self._objects_in = store
        self._caches = LocalCaches()

    def get_object(self, key: str, default: Any = None) -> Any:
        """Read an object from the KVS: one that was put, or a run's result by its id.

        Args:
            key: its key, or a run's id.
            default: what stands for a missing object.

        Raises:
            InvalidName: nothing can be stored under the key.
            SerializationError: it cannot be unpickled here.
            KVSUnavailable: the store does not answer.
            Exception: the run failed; its error is raised.
        """
        return read_objects(self._objects_in(), [key], default)[key]

    def put_object(self, key: str, value: Any) -> None:
        """Write an object to the KVS, where it stays until it is deleted.

        Args:
            key: a string of 1 to 1,000 characters.
            value: anything that can be pickled.

        Raises:
            InvalidName: nothing can be stored under the key.
            SerializationError: the value cannot be pickled.
            ValueTooLarge: the store takes no value of that size.
            KVSUnavailable: the store does not answer.
        """
        try:
            write_objects(self._objects_in(), {check_key(key): value})
        finally:  # also if it is not known whether it was written
            self._caches.drop_written([key])

    def delete_object(self, key: str) -> bool:
        """Delete an object from the KVS. Returns whether there was one.

        Args:
            key: its key.

        Raises:
            InvalidName: nothing can be stored under the key.
            KVSUnavailable: the store does not answer.
        """
        delete = Delete(keys.object_key(check_key(key)))
        try:
            (existed,) = self._objects_in().execute([delete])
        finally:
            self._caches.drop_written([key])
        return bool(existed)
