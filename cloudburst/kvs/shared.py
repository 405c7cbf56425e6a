"""Verbs on state that many share: the same for clients and for running functions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, overload

from cloudburst.core.ids import check_key, check_text, is_of_run
from cloudburst.core.options import check_ttl
from cloudburst.errors import UsageError
from cloudburst.kvs.base import (
    AddMembers,
    CountMembers,
    DropMembers,
    Exists,
    Increment,
    KeyValueStore,
    Operation,
    RawMembers,
    Scan,
    Unfit,
)
from cloudburst.kvs.keys import OBJECTS, object_key, object_name
from cloudburst.kvs.members import Member, pack_member, unpack_members
from cloudburst.kvs.objects import (
    check_size,
    is_counted,
    is_one_key,
    write_objects,
)


class SharedState(ABC):
    """Several objects at a time, and counters and sets, which many may change at once."""

    __slots__ = ()

    @abstractmethod
    def _shared_store(self) -> KeyValueStore:
        """The KVS, after what has to be done before it is used."""

    @abstractmethod
    def _read(self, keys: list[str], default: Any) -> dict[str, Any]:
        """Objects by their keys."""

    @abstractmethod
    def _has_written(self, keys: Iterable[str]) -> None:
        """These objects have changed, or may have: to be called when the store has done it."""

    @contextmanager
    def _writing(self, *keys: str) -> Iterator[KeyValueStore]:
        """For the KVS while these objects are written."""
        for key in keys:
            check_key(key)
        store = self._shared_store()
        try:
            yield store
        finally:  # also if it is not known whether they were
            self._has_written(keys)

    @overload
    def exists(self, key: str) -> bool: ...  # type: ignore[overload-overlap]  # not its letters

    @overload
    def exists(self, key: Iterable[str]) -> dict[str, bool]: ...

    def exists(self, key: str | Iterable[str]) -> bool | dict[str, bool]:
        """Whether something is stored: an object, counter or set, or a run's result by its id.

        Args:
            key: one key, or several for a dict of key to answer, in one round trip.

        Raises:
            InvalidName: nothing can be stored under a key.
            KVSUnavailable: the store does not answer.
        """
        names = [check_key(name) for name in ([key] if is_one_key(key) else key)]
        found = self._shared_store().execute([Exists(object_key(name)) for name in names])
        return found[0] if is_one_key(key) else dict(zip(names, found, strict=True))

    def mget(self, keys: Iterable[str], default: Any = None) -> dict[str, Any]:
        """Read several objects in one round trip.

        Args:
            keys: their keys.
            default: what stands for a missing object.

        Returns:
            A dict of key to value, in the order of the keys.

        Raises:
            UsageError: that is one key, and not several.
            InvalidName: nothing can be stored under a key.
            SerializationError: an object cannot be unpickled here.
            KVSUnavailable: the store does not answer.
            Exception: one is the result of a run that failed; its error is raised.
        """
        if is_one_key(keys):
            raise UsageError(f"mget takes several keys, not {keys!r:.80}")
        return self._read(list(keys), default)

    def mput(self, items: Mapping[str, Any], ttl: float | None = None) -> None:
        """Write several objects in one round trip; none if one cannot be pickled.

        Args:
            items: values by key.
            ttl: seconds after which the objects are gone; by default they stay.

        Raises:
            UsageError: the items are no mapping, or ``ttl`` is no number above 0.
            InvalidName: nothing can be stored under a key.
            SerializationError: a value cannot be pickled.
            ValueTooLarge: the store takes no value of that size.
            KVSUnavailable: the store does not answer.
        """
        if not isinstance(items, Mapping):
            raise UsageError(f"mput takes a dict of keys and values, not {items!r:.80}")
        ttl_seconds = check_ttl(ttl)
        with self._writing(*items) as store:
            write_objects(store, items, ttl_seconds)

    def scan(self, prefix: str = "") -> Iterator[str]:
        """Find objects by the beginning of their keys.

        Results of runs and large arguments of calls, which have keys of their own making, are
        left out. What is there all the time is found, and once; what is put or deleted meanwhile
        may be.

        Args:
            prefix: what the keys begin with, taken literally; by default anything.

        Returns:
            An iterator over the keys of objects, counters and sets, in no particular order. It
            asks the store as it goes on: every key there is is looked at, a thousand at a time.

        Raises:
            UsageError: the prefix is no string.
            KVSUnavailable: the store does not answer.
        """
        return self._scan(OBJECTS + check_text(prefix, "prefix"))

    def _scan(self, prefix: str) -> Iterator[str]:
        seen: set[str] = set()
        cursor = 0
        while True:
            ((cursor, found),) = self._shared_store().execute([Scan(prefix, cursor)])
            names = {object_name(key) for key in found} - seen
            seen |= names
            yield from (name for name in names if not is_of_run(name))
            if not cursor:
                return

    def incr(self, key: str, by: int = 1) -> int:
        """Add to a counter, which begins at 0. Whoever else does so at once, nothing is lost.

        `get` and `get_object` give its value. An integer that was put is a counter, too, if it
        has no more than 64 bits; so putting one sets it.

        Args:
            key: its key.
            by: how much to add; a negative number is subtracted.

        Returns:
            Its value after that.

        Raises:
            UsageError: ``by`` is no integer, something else is stored under the key, or the
                counter would need more than 64 bits. Nothing has changed.
            InvalidName: nothing can be stored under the key.
            KVSUnavailable: the store does not answer; if the message says that it is not known
                whether the command was carried out, the number may have been added.
        """
        if not is_counted(by):
            raise UsageError(f"by is an integer of at most 64 bits, not {by!r:.80}")
        try:
            with self._writing(key) as store:
                (value,) = store.execute([Increment(object_key(key), by)])
        except Unfit as error:
            if "overflow" in str(error):
                raise UsageError(
                    f"{by:,} cannot be added to the counter {key!r}: that needs more than 64 bits"
                ) from error
            raise UsageError(
                f"{key!r} is no counter: something else is stored there. Put an integer to make "
                "it one, or take another key"
            ) from error
        return int(value)

    def sadd(self, key: str, *members: Member) -> int:
        """Add to a set, which begins empty. Whoever else does so at once, nothing is lost.

        As in a set of Python's, equal values are one member: 1, 1.0 and True come back as 1.

        Args:
            key: its key.
            members: strings, bytes, numbers but nan, None, and tuples of these. Integers have no
                more than 64 bits.

        Returns:
            How many of them were not in the set before.

        Raises:
            UsageError: something else cannot be a member, or something else than a set is stored
                under the key.
            InvalidName: nothing can be stored under the key.
            KVSUnavailable: the store does not answer; if the message says that it is not known
                whether the command was carried out, it does no harm to add them again.
        """
        packed = _packed(key, members)
        return self._of_set(key, AddMembers(object_key(key), packed)) if packed else 0

    def srem(self, key: str, *members: Member) -> int:
        """Remove from a set. A set without members is no more.

        Args:
            key: its key.
            members: what may be in it or not.

        Returns:
            How many of them were in the set.

        Raises:
            UsageError, InvalidName, KVSUnavailable: as `sadd`.
        """
        packed = _packed(key, members)
        return self._of_set(key, DropMembers(object_key(key), packed)) if packed else 0

    def smembers(self, key: str) -> set[Any]:
        """The members of a set; none if there is no set.

        `get` and `get_object` give them too, where there is one.

        Args:
            key: its key.

        Raises:
            UsageError: something else than a set is stored under the key.
            InvalidName: nothing can be stored under the key.
            KVSUnavailable: the store does not answer.
        """
        return unpack_members(self._of_set(key, RawMembers(object_key(check_key(key)))))

    def scard(self, key: str) -> int:
        """How many members a set has.

        Args:
            key: its key.

        Raises:
            UsageError, InvalidName, KVSUnavailable: as `smembers`.
        """
        count: int = self._of_set(key, CountMembers(object_key(check_key(key))))
        return count

    def _of_set(self, key: str, operation: Operation) -> Any:
        try:
            (answer,) = self._shared_store().execute([operation])
        except Unfit as error:
            raise UsageError(
                f"{key!r} is no set that sadd made: something else is stored there. Delete it "
                "first, or take another key"
            ) from error
        return answer


def _packed(key: str, members: tuple[Member, ...]) -> list[bytes]:
    check_key(key)
    packed = [pack_member(member) for member in members]
    check_size(max(map(len, packed), default=0), f"member of {key!r}")
    return packed
