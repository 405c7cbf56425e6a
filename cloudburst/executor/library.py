"""What a running function can ask of the cluster: its first argument."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, Unpack

from cloudburst.cache.reader import ObjectReader
from cloudburst.calls.chain import Then
from cloudburst.calls.future import CloudburstFuture
from cloudburst.core.ids import check_key, check_text
from cloudburst.core.options import OptionsSaid, RunOptions, check_ttl, check_wait, make_options
from cloudburst.errors import UsageError
from cloudburst.kvs import keys
from cloudburst.kvs.base import Delete, KeyValueStore
from cloudburst.kvs.objects import checked, is_one_key, write_objects
from cloudburst.kvs.shared import SharedState
from cloudburst.serialization import NotAValue

_ID = re.compile(
    r"[^/]+/\d+/[A-Za-z0-9_.\-]+@(?:ipc://[^\0]+|tcp://[^\s/]+:(?P<port>\d{1,5}))", re.DOTALL
)
MAX_PORT = 65535
_log = logging.getLogger("cloudburst.user")


class Post(Protocol):
    """What carries the messages of a running step."""

    def send(self, recipient: str, sender: str, value: Any) -> None:
        """Send a value to a step, directly or through its inbox in the KVS."""

    def flush(self) -> None:
        """Send what waits for more to be sent with it."""

    def wait_for(self, ready: Callable[[], bool], timeout: float) -> None:
        """Wait until it is ready, up to ``timeout`` seconds."""

    def receive(self, recipient: str, timeout: float) -> list[tuple[str, Any]]:
        """The messages that have come, waiting up to ``timeout`` seconds for the first."""


class Caller(Protocol):
    """What carries the calls of a running step."""

    def call(
        self, parent: str, name: str, args: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> CloudburstFuture:
        """Call a function on behalf of a run."""

    def call_dag(  # noqa: PLR0917  all that is said of it
        self,
        parent: str,
        name: str,
        arg_map: Mapping[str, Any],
        then: Then | Sequence[Then] | None,
        output_key: str | None,
        said: RunOptions,
    ) -> CloudburstFuture:
        """Call a DAG, or a chain of DAGs, on behalf of a run."""


class UserLibrary(SharedState):
    """The library argument of every function: state beside it, messages, and further calls.

    Attributes:
        run_id: the run this call belongs to.
        step: the step of the DAG that is running, or the function's name.
    """

    __slots__ = (
        "_address", "_caller", "_epoch", "_fresh", "_id", "_id_of", "_objects", "_post",
        "_recipient", "_to", "run_id", "step",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917  all that it stands for
        self,
        objects: ObjectReader,
        post: Post,
        caller: Caller,
        run_id: str,
        epoch: int,
        address: str,
        *,
        fresh: bool = False,
    ) -> None:
        self._objects = objects
        self._fresh = fresh
        self._post = post
        self._caller = caller
        self._epoch = epoch
        self._address = address
        self._recipient = self._to = self._id = ""
        self._id_of: str | None = None
        self.run_id = run_id
        self.step = ""

    def _shared_store(self) -> KeyValueStore:
        self._post.flush()
        return self._objects.store

    def _read(self, keys: list[str], default: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.get(keys, default)
        return found

    def _has_written(self, keys: Iterable[str]) -> None:
        self._objects.changed(keys)

    def get(
        self,
        key: str | Iterable[str],
        default: Any = None,
        timeout: float = 0.0,
        *,
        fresh: bool = False,
    ) -> Any:
        """Read a value from the KVS.

        Args:
            key: one key, or several for a dict of key to value, in one round trip.
            default: what stands for a missing value.
            timeout: seconds to wait until none is missing; by default it does not wait. While it
                waits, this function's executor does not count as busy.
            fresh: get the newest value there is. By default, what others have written on other
                machines may be missed for a moment, and at most a second; never what was written
                by this run, or on this machine.

        Returns:
            The value, a snapshot. Arrays of 16 KiB and more are read-only, because others may
            share their memory: ``.copy()`` them to change them. All else is the function's own.

        Raises:
            InvalidName: nothing can be stored under a key.
            UsageError: the timeout is no number.
            SerializationError: a value cannot be unpickled here.
            KVSUnavailable: the store does not answer.
            Exception: the key is that of a run that failed; its error is raised.
        """
        self._post.flush()
        names = [check_key(name) for name in ([key] if is_one_key(key) else key)]
        found: dict[str, Any] = {}

        def all_are_there() -> bool:
            rest = [name for name in names if name not in found]
            read = self._objects.read(rest, fresh=fresh or self._fresh)
            found.update((n, checked(s.load())) for n, s in zip(rest, read, strict=True) if s)
            return len(found) == len(set(names))

        if not all_are_there() and timeout:
            self._post.wait_for(all_are_there, check_wait("timeout", timeout))
        if is_one_key(key):
            return found.get(key, default)
        return {name: found.get(name, default) for name in names}

    def put(
        self,
        key: str | Mapping[str, Any] | Sequence[str],
        value: Any = None,
        ttl: float | None = None,
    ) -> None:
        """Write a value to the KVS, or several in one round trip.

        Args:
            key: one key, or a mapping of keys to values, or a list of keys.
            value: the value; a list of as many values if ``key`` is a list.
            ttl: seconds after which it is gone; by default it stays until it is deleted.

        Raises:
            InvalidName: nothing can be stored under a key.
            UsageError: there are not as many values as keys, or ``ttl`` is no number above 0.
            SerializationError: a value cannot be pickled.
            ValueTooLarge: the store takes no value of that size.
            KVSUnavailable: the store does not answer.
        """
        if isinstance(key, Mapping):
            items: Mapping[str, Any] = key
        elif is_one_key(key):
            items = {check_key(key): value}
        else:
            names, values = [check_key(name) for name in key], _values(value)
            if len(names) != len(values):
                raise UsageError(f"put got {len(names)} keys, but {len(values)} values")
            items = dict(zip(names, values, strict=True))
        with self._writing(*items) as store:
            write_objects(store, items, check_ttl(ttl))

    def delete(self, key: str) -> bool:
        """Delete a value, a counter or a set from the KVS. Returns whether there was one.

        Args:
            key: its key.

        Raises:
            InvalidName: nothing can be stored under the key.
            KVSUnavailable: the store does not answer.
        """
        with self._writing(key) as store:
            (existed,) = store.execute([Delete(keys.object_key(key))])
        return bool(existed)

    get_object = get
    put_object = put

    def get_id(self) -> str:
        """The id under which other functions can `send` to this step, while it runs."""
        if self._id_of != self.step:
            self._id_of = self.step
            self._id = f"{self.run_id}/{self._epoch}/{self.step}@{self._address}"
        return self._id

    getid = get_id

    def send(self, recipient: str, message: Any) -> None:
        """Send a message to a running step.

        Args:
            recipient: what `get_id` returned there.
            message: any value.

        Raises:
            UsageError: the recipient is not such an id.
            SerializationError: the message cannot be pickled.
            KVSUnavailable: the step could not be reached, nor the store, where it would wait.
        """
        if recipient != self._recipient:
            self._to = self._now(_check_id(recipient))
            self._recipient = recipient
        self._post.send(self._to, self.get_id(), message)

    def _now(self, recipient: str) -> str:
        """The id that a step of this run has in this attempt: an earlier one may have said its own.

        It has no address, as the step may be anywhere by now.
        """
        own = f"{self.run_id}/"
        if not recipient.startswith(own):
            return recipient
        epoch, _, step = recipient.removeprefix(own).partition("/")
        if int(epoch) >= self._epoch:
            return recipient
        return f"{own}{self._epoch}/{step.partition('@')[0]}@"

    def recv(self, timeout: float = 0.0) -> list[tuple[str, Any]]:
        """The messages that were sent to this step and not received before.

        Args:
            timeout: seconds to wait for the first; by default it does not wait.

        Returns:
            A list of (sender's id, message), oldest first; empty if there is none.

        Raises:
            UsageError: the timeout is no number.
            SerializationError: a message cannot be unpickled here; it is dropped.
            KVSUnavailable: the store does not answer.
        """
        return self._post.receive(self.get_id(), check_wait("timeout", timeout))

    def call(self, name: str, /, *args: Any, **keywords: Any) -> CloudburstFuture:
        """Call a registered function, which runs elsewhere meanwhile.

        While this function waits for the value, its executor counts as free: functions may call
        each other, and themselves, as deep as they like. If the run that this function belongs to
        is cancelled, fails or is started again, so are the calls that it has made cancelled; if
        it succeeds, those that it has not waited for go on.

        Args:
            name: the function.
            args: its arguments, without the library.
            keywords: its keyword arguments.

        Returns:
            A future: ``get()`` gives the value. As an argument of another call it stands for it.

        Raises:
            InvalidName: no function can have that name.
            SerializationError: an argument cannot be pickled.
            KVSUnavailable: a large argument could not be stored.
        """
        self._post.flush()
        return self._caller.call(self.run_id, name, args, keywords)

    def call_dag(
        self,
        name: str,
        arg_map: Mapping[str, Any],
        *,
        then: Then | Sequence[Then] | None = None,
        output_key: str | None = None,
        **options: Unpack[OptionsSaid],
    ) -> CloudburstFuture:
        """Call a registered DAG, or a chain of them, as `call` does a function.

        Args:
            name: the DAG.
            arg_map: arguments by step name. A list is the list of a step's arguments, anything
                else is its one argument.
            then: a DAG that is called with this one's result, or a list of DAGs, as for
                `CloudburstConnection.call_dag`. The future is that of the last.
            output_key: a key under which the result is stored besides its own.
            options: of this run, as for `CloudburstConnection.register`.

        Returns:
            A future, as of `call`.

        Raises:
            UsageError: ``arg_map`` is no mapping, or something else cannot be used.
            InvalidName, SerializationError, KVSUnavailable: as `call`.
        """
        self._post.flush()
        said = make_options(**options)
        return self._caller.call_dag(self.run_id, name, arg_map, then, output_key, said)

    def log(self, message: str, *args: object) -> None:
        """Write a line to the executor's log, marked with step and run.

        Args:
            message: the line; a format for ``args``, if there are any, as for `logging`.
            args: what to put into it.
        """
        if args:
            _log.info(f"[%s %s] {message}", self.step, self.run_id, *args)
        else:  # the message is not a format, and a per cent sign in it just that
            _log.info("[%s %s] %s", self.step, self.run_id, message)

    def __reduce__(self) -> Any:
        raise NotAValue(
            "the user library",
            "It is good for one call only: use it there, and pass on the values it gave.",
        )

    def __repr__(self) -> str:
        return f"<UserLibrary of step {self.step!r} in run {self.run_id}>"


def _check_id(recipient: object) -> str:
    if isinstance(recipient, str):
        text = check_text(recipient, "recipient")
        found = _ID.fullmatch(text)
        if found is not None and 0 < int(found["port"] or MAX_PORT) <= MAX_PORT:
            return text
    raise UsageError(f"{recipient!r:.200} is not what get_id() returns in a running function")


def _values(value: object) -> list[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise UsageError(f"put got several keys, but not a list of values: {value!r:.80}")
    return list(value)
