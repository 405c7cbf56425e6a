"""A store in a cluster: several servers, each of which keeps a part of the keys."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from cloudburst.kvs.base import Operation, Place
from cloudburst.kvs.channel import Channel, Lost, Refused, ReplyError, Unreachable
from cloudburst.kvs.commands import MISSING, Command
from cloudburst.kvs.connection import (
    TRANSIENT,
    Patience,
    ask,
    code_of,
    doubt,
    open_scripted_channel,
    outage,
    refusal,
)
from cloudburst.kvs.redis import eviction_in
from cloudburst.kvs.rounds import UNOWNED, Errand, Rounds, commands_of
from cloudburst.kvs.topology import Topology, disagreement

_FAILED = (Unreachable, Refused, Lost)
_REDIRECTIONS: Final = 5  # that are followed at once; after more there is a pause
_ANSWER_IN: Final = 2.0


@dataclass(slots=True)
class _Share:
    """What one node is to do, and why it is not known whether it has."""

    url: str
    errands: list[Errand] = field(default_factory=list)
    failure: Exception | None = None

    @property
    def is_repeatable(self) -> bool:
        return all(errand.repeatable for errand in self.errands)

    def commands(self) -> list[Command]:
        return [command for errand in self.errands for command in commands_of(errand)]

    def take(self, replies: list[Any]) -> None:
        each = iter(replies)
        for errand in self.errands:
            *_, errand.reply = [next(each) for _ in commands_of(errand)]


class _Obstacle(NamedTuple):
    """Why a node has not done its share; ``passes`` by itself, if it is given a moment."""

    url: str
    cause: object
    passes: bool


class ClusterStore:
    """A `KeyValueStore` in a cluster, over one connection to each of its nodes that is needed.

    Operations are grouped by node; every node is sent its share before any is waited for. Writes
    to several nodes are carried out in no order, except as `cloudburst.kvs.rounds` says. While a
    node is gone, or slots are on their way from one to another, it is tried again and the cluster
    is asked who has them now, until ``timeout``. For the rest, see `RedisStore`.

    Args:
        url: ``redis+cluster://host:port,host:port`` with any of its nodes; ``rediss`` for TLS.
        timeout: seconds that a call may take while something is in its way. A node that makes
            no progress for half of it counts as gone, if it may be asked again.

    Raises:
        UsageError: the URL cannot be read.
    """

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        self._topology = Topology(url)
        self._url = url
        self._timeout = timeout
        self._lock = threading.Lock()
        self._channels: dict[str, Channel] = {}
        self._place: Place | None = None

    def execute(self, operations: Sequence[Operation], place: Place | None = None) -> list[Any]:
        """See `KeyValueStore.execute`, and with a place `LoadingStore.load`."""
        if not operations:
            return []
        patience = self._patience()
        with self._lock:
            if not self._topology.primaries:
                self._learn(patience)
            rounds = Rounds(operations, self._topology)
            self._place = place
            while errands := rounds.next():
                self._carry_out(errands, patience)
        return rounds.answers()

    load = execute

    def eviction_policy(self) -> str:
        """What any of the nodes deletes when memory is short: ``"noeviction"`` means nothing.

        Raises:
            KVSUnavailable: one did not answer, or refused.
        """
        patience = self._patience()
        with self._lock:
            self._learn(patience)
            nodes = self._topology.primaries
        policies = [eviction_in(self._ask(url, patience, "INFO", "memory")) for url in nodes]
        return next((policy for policy in policies if policy != "noeviction"), "noeviction")

    def close(self) -> None:
        """Give back the connections; they are made again if the store is used again."""
        with self._lock:
            self._drop_all()

    def _patience(self) -> Patience:
        return Patience(self._url, self._timeout, time.monotonic())

    def _ask(self, url: str, patience: Patience, *words: str) -> Any:
        try:
            return ask(url, patience.left(), *words)
        except Unreachable as error:
            raise outage(url, error, 1, self._timeout) from error
        except Refused as error:
            raise refusal(url, error) from error

    def _drop_all(self) -> None:
        for url in list(self._channels):
            self._drop(url)

    def _drop(self, url: str) -> None:
        channel = self._channels.pop(url, None)
        if channel is not None:
            channel.close()

    def _learn(self, patience: Patience) -> None:
        """Ask the cluster which node has which slot."""
        while True:
            try:
                return self._topology.refresh(min(_ANSWER_IN, patience.left()))
            except Unreachable as error:
                patience.wait(error)
            except Refused as error:
                raise refusal(self._url, error) from error

    def _carry_out(self, errands: Sequence[Errand], patience: Patience) -> None:
        tries = 0
        while missing := [errand for errand in errands if errand.reply is MISSING]:
            shares, obstacles = self._shares(missing)
            self._exchange(shares, patience)
            for share in shares:
                obstacles += self._obstacles(share)
            if not obstacles:
                continue
            tries += 1
            worst = max(obstacles, key=lambda obstacle: obstacle.passes)
            patience.url = worst.url
            if worst.passes or tries > _REDIRECTIONS:
                patience.wait(worst.cause)
                self._learn(patience)
            else:
                patience.try_again(worst.cause)

    def _shares(self, errands: Sequence[Errand]) -> tuple[list[_Share], list[_Obstacle]]:
        """What each node is to do, and whether something is left that none can."""
        shares: dict[str, _Share] = {}
        obstacles: list[_Obstacle] = []
        for errand in errands:
            url = errand.detour or self._topology.node_of(errand.slot)
            if url is None:
                obstacles = [_Obstacle(self._url, UNOWNED, passes=True)]
            else:
                shares.setdefault(url, _Share(url)).errands.append(errand)
        return list(shares.values()), obstacles

    def _exchange(self, shares: Sequence[_Share], patience: Patience) -> None:
        """Send every node its share, then take the answers."""
        try:
            for share in shares:
                self._send(share, patience)
            for share in shares:
                self._receive(share)
        except BaseException:
            # Also when the caller is interrupted: a reply that comes later must never be read
            # as the answer to a later command.
            self._drop_all()
            raise

    def _send(self, share: _Share, patience: Patience) -> None:
        left = patience.left()
        try:
            channel = self._channels.get(share.url)
            # One that ended since it was last used is best noticed before anything is sent.
            if channel is None or not (share.is_repeatable or channel.is_quiet()):
                channel = self._connect(share.url, left)
            silence = min(left, self._timeout / 2) if share.is_repeatable else left
            channel.set_timeout(silence)
            channel.send(share.commands())
        except _FAILED as error:
            share.failure = error
            self._drop(share.url)

    def _receive(self, share: _Share) -> None:
        if share.failure is not None:
            return
        try:
            replies = self._channels[share.url].receive(share.commands(), self._place)
        except _FAILED as error:
            share.failure = error
            self._drop(share.url)
        else:
            share.take(replies)

    def _connect(self, url: str, left: float) -> Channel:
        self._drop(url)
        channel = open_scripted_channel(url, min(left, _ANSWER_IN))
        self._channels[url] = channel
        return channel

    def _obstacles(self, share: _Share) -> list[_Obstacle]:
        """What is in the way of a share that is not done; raises if that will not pass."""
        url = share.url
        match share.failure:
            case None:
                return [
                    self._obstacle(errand, url)
                    for errand in share.errands
                    if isinstance(errand.reply, ReplyError)
                ]
            case Refused() as error:
                raise refusal(url, error) from error
            case error if share.is_repeatable or isinstance(error, Unreachable):
                for errand in share.errands:
                    errand.detour = ""
                return [_Obstacle(url, error, passes=True)]
            case error:
                raise doubt(url, error) from error

    def _obstacle(self, errand: Errand, url: str) -> _Obstacle:
        """What an errand was answered in place of being carried out."""
        error: ReplyError = errand.reply
        words, code = str(error), code_of(error)
        cause: object = error
        errand.reply, errand.detour = MISSING, ""
        match code:
            case "MOVED":
                self._topology.moved(words, url)
                cause = disagreement(words)
            case "ASK":
                errand.detour = self._topology.other(words, url)
            case "NOSCRIPT":
                self._drop(url)  # a new connection begins with the scripts
            case _ if code not in TRANSIENT:
                raise refusal(url, error)
        return _Obstacle(url, cause, passes=code in TRANSIENT)
