"""Users' objects in a store: values under keys, for clients and running functions alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloudburst.core.ids import check_key
from cloudburst.core.messages import Buffer
from cloudburst.kvs import keys
from cloudburst.kvs.base import Get, KeyValueStore, Put
from cloudburst.serialization import failure_in, join, pack, split, unpack


def read_objects(store: KeyValueStore, names: Sequence[str], default: Any = None) -> dict[str, Any]:
    """Read objects in one round trip.

    Raises:
        Exception: one is the result of a run that failed; its error is raised.
    """
    blobs = store.execute([Get(keys.object_key(check_key(name))) for name in names])
    return {
        name: default if blob is None else stored_value(blob)
        for name, blob in zip(names, blobs, strict=True)
    }


def stored_value(blob: Buffer) -> Any:
    """The value of a stored object, or the error of the failed run it is the result of."""
    value = unpack(split(blob))
    failure = failure_in(value)
    if failure is not None:
        raise failure.exception()
    return value


def write_objects(store: KeyValueStore, items: Mapping[str, Any], ttl: float = 0.0) -> None:
    """Write objects in one round trip; nothing is written if one cannot be pickled."""
    store.execute(
        [
            Put(
                keys.object_key(check_key(name)),
                join(pack(value, f"value of {name!r}").frames),
                ttl,
            )
            for name, value in items.items()
        ]
    )
