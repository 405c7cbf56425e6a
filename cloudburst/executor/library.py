"""What a running function can ask of the cluster: its first argument."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from cloudburst.core.ids import check_key
from cloudburst.errors import UsageError
from cloudburst.kvs import keys
from cloudburst.kvs.base import Delete, KeyValueStore
from cloudburst.kvs.objects import read_objects, write_objects

_log = logging.getLogger("cloudburst.user")


class Post(Protocol):
    """What carries the messages of a running step."""

    def send(self, recipient: str, sender: str, value: Any) -> None:
        """Send a value to a step, directly or through its inbox in the KVS."""

    def receive(self, recipient: str, timeout: float) -> list[tuple[str, Any]]:
        """The messages that have come, waiting up to ``timeout`` seconds for the first."""


class UserLibrary:
    """The library argument of every function: state beside the function, and messages.

    Attributes:
        run_id: the run this call belongs to.
        step: the step of the DAG that is running, or the function's name.
    """

    __slots__ = ("_address", "_epoch", "_post", "_store", "run_id", "step")

    def __init__(
        self, store: KeyValueStore, post: Post, run_id: str, epoch: int, address: str
    ) -> None:
        self._store = store
        self._post = post
        self._epoch = epoch
        self._address = address
        self.run_id = run_id
        self.step = ""

    def get(self, key: str | Iterable[str], default: Any = None) -> Any:
        """Read a value from the KVS.

        Args:
            key: one key, or several for a dict of key to value, in one round trip.
            default: what stands for a missing value.

        Returns:
            The value. It is a snapshot of its own: changing it changes nothing in the KVS.

        Raises:
            KVSUnavailable: the store does not answer.
            Exception: the key is that of a run that failed; its error is raised.
        """
        if isinstance(key, str):
            return read_objects(self._store, [key], default)[key]
        return read_objects(self._store, list(key), default)

    def put(self, key: str | Mapping[str, Any] | Sequence[str], value: Any = None) -> None:
        """Write a value to the KVS, or several in one round trip.

        Args:
            key: one key, or a mapping of keys to values, or a list of keys.
            value: the value; a list of as many values if ``key`` is a list.

        Raises:
            SerializationError: the value cannot be pickled.
            KVSUnavailable: the store does not answer.
        """
        if isinstance(key, str):
            items: Mapping[str, Any] = {key: value}
        elif isinstance(key, Mapping):
            items = key
        else:
            if len(key) != len(value):
                raise UsageError(f"put got {len(key)} keys, but {len(value)} values")
            items = dict(zip(key, value, strict=True))
        write_objects(self._store, items)

    def delete(self, key: str) -> bool:
        """Delete a value from the KVS. Returns whether there was one."""
        (existed,) = self._store.execute([Delete(keys.object_key(check_key(key)))])
        return bool(existed)

    get_object = get
    put_object = put

    def get_id(self) -> str:
        """The id under which other functions can `send` to this step, while it runs."""
        return f"{self.run_id}/{self._epoch}/{self.step}@{self._address}"

    getid = get_id

    def send(self, recipient: str, message: Any) -> None:
        """Send a message to a running step.

        Args:
            recipient: what `get_id` returned there.
            message: any value.

        Raises:
            UsageError: the recipient is not such an id.
            SerializationError: the message cannot be pickled.
        """
        self._post.send(recipient, self.get_id(), message)

    def recv(self, timeout: float = 0.0) -> list[tuple[str, Any]]:
        """The messages that were sent to this step and not received before.

        Args:
            timeout: seconds to wait for the first; by default it does not wait.

        Returns:
            A list of (sender's id, message), oldest first; empty if there is none.
        """
        return self._post.receive(self.get_id(), timeout)

    def log(self, message: str, *args: object) -> None:
        """Write a line to the executor's log, marked with step and run."""
        if args:
            _log.info("[%s %s] " + message, self.step, self.run_id, *args)
        else:  # the message is not a format, and a per cent sign in it just that
            _log.info("[%s %s] %s", self.step, self.run_id, message)

    def __repr__(self) -> str:
        return f"<UserLibrary of step {self.step!r} in run {self.run_id}>"
