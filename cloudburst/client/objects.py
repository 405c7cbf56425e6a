"""Objects in the KVS, as a connection gets at them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from cloudburst.cache.changes import LocalCaches
from cloudburst.core.options import check_ttl
from cloudburst.kvs import keys
from cloudburst.kvs.base import Delete, KeyValueStore
from cloudburst.kvs.objects import read_objects, write_objects
from cloudburst.kvs.shared import SharedState


class Objects(SharedState):
    """Reads and writes objects. The part of a connection that does so.

    Args:
        store: gives the KVS, when it is needed.
    """

    def __init__(self, store: Callable[[], KeyValueStore]) -> None:
        self._objects_in = store
        self._caches = LocalCaches()

    def _shared_store(self) -> KeyValueStore:
        return self._objects_in()

    def _read(self, keys: list[str], default: Any) -> dict[str, Any]:
        return read_objects(self._objects_in(), keys, default)

    def _has_written(self, keys: Iterable[str]) -> None:
        self._caches.drop_written([*keys])

    def get_object(self, key: str, default: Any = None) -> Any:
        """Read an object from the KVS: one that was put, a counter, a set, or a run's result.

        Args:
            key: its key, or a run's id.
            default: what stands for a missing object.

        Raises:
            InvalidName: nothing can be stored under the key.
            SerializationError: it cannot be unpickled here.
            KVSUnavailable: the store does not answer.
            Exception: the run failed; its error is raised.
        """
        return self._read([key], default)[key]

    def put_object(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Write an object to the KVS.

        Args:
            key: a string of 1 to 1,000 characters.
            value: anything that can be pickled.
            ttl: seconds after which it is gone; by default it stays until it is deleted.

        Raises:
            UsageError: ``ttl`` is no number above 0.
            InvalidName: nothing can be stored under the key.
            SerializationError: the value cannot be pickled.
            ValueTooLarge: the store takes no value of that size.
            KVSUnavailable: the store does not answer.
        """
        with self._writing(key) as store:
            write_objects(store, {key: value}, check_ttl(ttl))

    def delete_object(self, key: str) -> bool:
        """Delete an object, a counter or a set from the KVS. Returns whether there was one.

        Args:
            key: its key.

        Raises:
            InvalidName: nothing can be stored under the key.
            KVSUnavailable: the store does not answer.
        """
        with self._writing(key) as store:
            (existed,) = store.execute([Delete(keys.object_key(key))])
        return bool(existed)
