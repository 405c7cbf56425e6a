"""A store in one server of the Redis protocol, or in the primary that sentinels name.

A connection belongs to the process that made it: make stores and writers after a fork.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from cloudburst.kvs.base import Operation, Place
from cloudburst.kvs.channel import Channel, Lost, Refused, ReplyError, Unreachable
from cloudburst.kvs.commands import MISSING, Command, answers, encode, is_repeatable
from cloudburst.kvs.connection import (
    TRANSIENT,
    Patience,
    check_url,
    code_of,
    doubt,
    open_scripted_channel,
    refusal,
)

_FAILED = (Unreachable, Refused, Lost)


class RedisStore:
    """A `KeyValueStore` in a server, over one connection made when it is first needed.

    Threads may share it; they take turns. While there is no connection, or the server asks for
    patience, commands are tried again with growing pauses until ``timeout``. A connection lost
    half-way is made again too, but only for operations that may be carried out twice
    (`commands.is_repeatable`): for others that would be a guess, and they fail.

    Operations whose scripts the server has forgotten (SCRIPT FLUSH) come after all others.

    Args:
        url: of a server or of sentinels, see `cloudburst.kvs.urls`.
        timeout: seconds to wait for a connection, and for any progress on it.

    Raises:
        UsageError: the URL cannot be read.
    """

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        check_url(url)
        self._url = url
        self._timeout = timeout
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._place: Place | None = None

    def execute(self, operations: Sequence[Operation], place: Place | None = None) -> list[Any]:
        """See `KeyValueStore.execute`, and with a place `LoadingStore.load`."""
        if not operations:
            return []
        commands = encode(operations)
        with self._lock:
            self._place = place
            replies = self._carry_out(commands, is_repeatable(operations))
        return answers(commands, replies)

    load = execute

    def eviction_policy(self) -> str:
        """What the server deletes when memory is short: ``"noeviction"`` means nothing.

        Raises:
            KVSUnavailable: it did not answer, or refused.
        """
        with self._lock:
            (reply,) = self._carry_out([Command(("INFO", "memory"), None)], repeatable=True)
        return eviction_in(reply)

    def close(self) -> None:
        """Give back the connection; it is made again if the store is used again."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _carry_out(self, commands: Sequence[Command], repeatable: bool) -> list[Any]:
        began = time.monotonic()
        try:
            replies = self._attempt(commands, repeatable, self._timeout)
        except _FAILED as error:
            patience = Patience(self._url, self._timeout, began)
            self._bear(error, repeatable, patience)
            replies = [MISSING] * len(commands)
        else:
            if ReplyError not in map(type, replies):
                return replies
            patience = Patience(self._url, self._timeout, began)
        return self._persist(commands, repeatable, replies, patience)

    def _persist(
        self,
        commands: Sequence[Command],
        repeatable: bool,
        replies: list[Any],
        patience: Patience,
    ) -> list[Any]:
        """Send again what has no good reply, until all have one or patience is at its end."""
        while missing := self._missing(replies, patience):
            try:
                new = self._attempt([commands[i] for i in missing], repeatable, patience.left())
            except _FAILED as error:
                self._bear(error, repeatable, patience)
                continue
            for index, reply in zip(missing, new, strict=True):
                replies[index] = reply
        return replies

    def _missing(self, replies: Sequence[Any], patience: Patience) -> list[int]:
        """Which commands to send again; after a pause, if the server asks for one."""
        errors = {code_of(reply): reply for reply in replies if isinstance(reply, ReplyError)}
        for code in errors.keys() - TRANSIENT - {"NOSCRIPT"}:
            raise refusal(self._url, errors[code])
        if "READONLY" in errors:
            self._drop()  # after a failover, sentinels name another
        if transient := errors.keys() & TRANSIENT:
            patience.wait(errors[min(transient)])
        elif errors:
            patience.try_again(errors["NOSCRIPT"])
            self._drop()  # a new connection begins with the scripts
        return [
            index
            for index, reply in enumerate(replies)
            if reply is MISSING or isinstance(reply, ReplyError)
        ]

    def _bear(self, error: Exception, repeatable: bool, patience: Patience) -> None:
        """Wait after a failed attempt, or raise if another would not be right."""
        match error:
            case Refused():
                raise refusal(self._url, error) from error
            case _ if repeatable or isinstance(error, Unreachable):
                patience.wait(error)
            case _:
                raise doubt(self._url, error) from error

    def _attempt(self, commands: Sequence[Command], repeatable: bool, left: float) -> list[Any]:
        channel = self._channel
        # A connection that ended since it was last used is best noticed before anything is sent.
        if channel is None or not (repeatable or channel.is_quiet()):
            channel = self._connect(left)
        channel.set_timeout(left)
        try:
            return channel.exchange(commands, self._place)
        except BaseException:
            # Also when the caller is interrupted: a reply that comes later must never be read
            # as the answer to a later command.
            self._drop()
            raise

    def _connect(self, left: float) -> Channel:
        self._drop()
        channel = open_scripted_channel(self._url, left)
        self._channel = channel
        return channel


def eviction_in(facts: bytes | memoryview) -> str:
    """What ``INFO memory`` says that the server deletes when memory is short."""
    lines = (line.partition(":") for line in bytes(facts).decode().splitlines())
    known = {name: value for name, _, value in lines}
    if known.get("maxmemory", "0") == "0":
        return "noeviction"
    return known.get("maxmemory_policy", "noeviction")
