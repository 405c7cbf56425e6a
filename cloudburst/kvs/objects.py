"""Users' objects in a store: values under keys, for clients and running functions alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloudburst.core.ids import check_key
from cloudburst.core.messages import Buffer, Frames
from cloudburst.errors import ValueTooLarge
from cloudburst.kvs import keys
from cloudburst.kvs.base import Delete, Get, KeyValueStore, Put
from cloudburst.serialization import failure_in, join_for_store, pack, split, unpack

MAX_VALUE = 511 * 1024 * 1024
"""Bytes of one value; Redis-protocol servers take 512 MiB, with what is stored beside it."""


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


def result_of(store: KeyValueStore, run_id: str) -> Frames | None:
    """The frames of a run's result; None if it is not there."""
    (blob,) = store.execute([Get(keys.object_key(run_id))])
    return None if blob is None else split(blob)


def delete_run(store: KeyValueStore, run_id: str) -> None:
    """Delete a run's result and its record."""
    store.execute([Delete(keys.object_key(run_id)), Delete(keys.run_key(run_id))])


def check_size(size: int, what: str) -> None:
    """See that so many bytes fit into one value of the store.

    Raises:
        ValueTooLarge: they do not.
    """
    if size > MAX_VALUE:
        raise ValueTooLarge(
            f"{what} has {size:,} bytes, and the key-value store takes at most {MAX_VALUE:,} in "
            "one value: divide it, or pass it with direct_response=True, which stores nothing"
        )


def write_objects(store: KeyValueStore, items: Mapping[str, Any], ttl: float = 0.0) -> None:
    """Write objects in one round trip; nothing is written if one cannot be.

    Raises:
        SerializationError: a value cannot be pickled.
        ValueTooLarge: one is too large for the store.
    """
    puts = []
    for name, value in items.items():
        frames = pack(value, f"value of {name!r}").frames
        check_size(sum(map(len, frames)), f"value of {name!r}")
        puts.append(Put(keys.object_key(check_key(name)), join_for_store(frames), ttl))
    store.execute(puts)
