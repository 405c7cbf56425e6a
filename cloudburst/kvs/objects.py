"""Users' objects in a store: values under keys, for clients and running functions alike."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard

from cloudburst.core.ids import check_key
from cloudburst.core.messages import Buffer, Content, Frames
from cloudburst.errors import KVSUnavailable, ValueTooLarge
from cloudburst.kvs import keys
from cloudburst.kvs.base import Delete, Get, KeyValueStore, Look, Put, Unfit
from cloudburst.kvs.members import unpack_members
from cloudburst.serialization import failure_in, pack, pieces_for_store, split, unpack

MAX_VALUE = 511 * 1024 * 1024
"""Bytes of one value; Redis-protocol servers take 512 MiB, with what is stored beside it."""

Blob: TypeAlias = Buffer | frozenset[bytes]
"""What is under the key of an object: a pickled value, a number in decimal digits, which the
store can add to, or the members of a set."""

_NUMBER = re.compile(rb"-?[0-9]{1,19}")


def is_one_key(key: object) -> TypeGuard[str]:
    """Whether it stands for one key, be it a wrong one."""
    return isinstance(key, str | bytes) or not isinstance(key, Iterable)


def is_counted(value: object) -> bool:
    """Whether the store has it as a number: an integer of 64 bits, and of no class of its own."""
    return type(value) is int and -(2**63) <= value < 2**63


def read_objects(store: KeyValueStore, names: Sequence[str], default: Any = None) -> dict[str, Any]:
    """Read objects in one round trip; in two, if there is a set among them.

    Raises:
        Exception: one is the result of a run that failed; its error is raised.
    """
    found = find_objects(store, [check_key(name) for name in names])
    return {
        name: default if blob is None else stored_value(blob)
        for name, blob in zip(names, found, strict=True)
    }


def find_objects(store: KeyValueStore, names: Sequence[str]) -> list[Blob | None]:
    """What is stored under names, or None where there is nothing."""
    with contextlib.suppress(Unfit):  # there is a set among them
        return store.execute([Get(keys.object_key(name)) for name in names])
    return find_any(store, names)


def find_any(store: KeyValueStore, names: Sequence[str]) -> list[Blob | None]:
    """As `find_objects`; costs more, except where there are sets."""
    try:
        return store.execute([Look(keys.object_key(name)) for name in names])
    except Unfit as error:
        raise KVSUnavailable(str(error)) from error


def stored_value(blob: Blob) -> Any:
    """The value of a stored object, or the error of the failed run it is the result of."""
    return checked(value_of(blob))


def checked(value: Any) -> Any:
    """The value; raises the error of the failed run that it is the result of."""
    failure = failure_in(value)
    if failure is not None:
        raise failure.exception()
    return value


def value_of(blob: Blob) -> Any:
    """The value of a stored object, or the failure that it is."""
    if isinstance(blob, frozenset):
        return unpack_members(blob)
    return int(bytes(blob)) if is_number(blob) else unpack(split(blob))


def is_number(blob: Buffer) -> bool:
    """Whether it is stored as a number."""
    return _NUMBER.fullmatch(blob) is not None


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
    store.execute(
        [
            Put(keys.object_key(check_key(name)), _blob_of(name, value), ttl)
            for name, value in items.items()
        ]
    )


def _blob_of(name: str, value: Any) -> Content:
    if is_counted(value):
        return b"%d" % value
    frames = pack(value, f"value of {name!r}").frames
    check_size(sum(map(len, frames)), f"value of {name!r}")
    return pieces_for_store(frames)
