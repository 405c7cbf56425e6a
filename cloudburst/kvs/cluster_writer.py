"""Writing to a cluster behind the caller's back: one `Lane` to each node, and one order of all."""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

from cloudburst.errors import KVSUnavailable
from cloudburst.kvs.base import Operation
from cloudburst.kvs.channel import PolledChannel, Refused, ReplyError, Unreachable
from cloudburst.kvs.commands import MISSING
from cloudburst.kvs.connection import FIRST_PAUSE, LONGEST_PAUSE, code_of, outage, refusal
from cloudburst.kvs.redis_writer import RedisWriter, Submission
from cloudburst.kvs.rounds import UNOWNED, Errand, Rounds, commands_of
from cloudburst.kvs.topology import Topology, disagreement
from cloudburst.kvs.urls import scrubbed

_ANSWER_IN: Final = 1.0


@dataclass(slots=True, eq=False)
class _Order:
    """A submission: ``waiting`` counts the errands of this round that have no reply."""

    number: int
    token: object
    since: float
    rounds: Rounds
    waiting: int = 0
    outcome: list[Any] | KVSUnavailable | None = None


class _Share(NamedTuple):
    """What one node is to do for an order; the token of a `Lane`."""

    order: _Order
    errands: list[Errand]


class Lane(RedisWriter):
    """The way to one node: gives replies as they are, and back what the node did not answer."""

    is_lost = False

    @property
    def channel(self) -> PolledChannel | None:
        """The connection, if there is one."""
        return self._channel

    @property
    def trouble(self) -> object:
        """Why there is none."""
        return self._trouble

    def send(self, share: _Share) -> None:
        """Take over what the node is to do."""
        commands = [command for errand in share.errands for command in commands_of(errand)]
        self.submit_commands(commands, share, share.order.since)

    def withdraw(self) -> Iterator[tuple[_Share, list[Any]]]:
        """Take everything back, with the replies that there are. The pause goes on."""
        self.is_lost = False
        self._drop()
        taken = list(self._submissions)
        self.close()
        for submission in taken:
            yield cast("_Share", submission.token), submission.replies

    def _result(self, submission: Submission) -> list[Any]:
        return submission.replies

    def _connect(self, now: float) -> PolledChannel | None:
        channel = super()._connect(now)
        self.is_lost = channel is None
        return channel

    def _lose(self, cause: object) -> None:
        super()._lose(cause)
        self.is_lost = True


class ClusterWriter:
    """Carries out operations in a cluster, without waiting for it. See `RedisWriter`.

    What was submitted first is sent first to every node. If a node says that a slot has moved, or
    is lost, nothing new is sent until what is under way is answered or taken back: so nothing
    overtakes what went to the wrong node. Then the cluster is asked who has which slot.

    Making a connection takes time, as with `RedisWriter`, and so does asking the cluster: together
    at most two seconds or so, while nodes are silent.

    Args:
        url: as for `ClusterStore`.
        timeout: as for `RedisWriter`.
        clock: monotonic seconds.

    Raises:
        UsageError: the URL cannot be read.
    """

    def __init__(
        self, url: str, *, timeout: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._topology = Topology(url)
        self._url = url
        self._timeout = timeout
        self._clock = clock
        self._orders: deque[_Order] = deque()
        self._count = 0
        self._lanes: dict[str, Lane] = {}
        self._unsent: list[_Share] = []
        self._settled = False
        self._not_before = clock()
        self._pause = FIRST_PAUSE
        self._trouble: object = "no connection was made yet"
        self._watched: dict[Lane, tuple[PolledChannel, int, int]] = {}
        self._selector: selectors.DefaultSelector | None = None

    @property
    def pending(self) -> int:
        """How many submissions have not been collected."""
        return len(self._orders)

    @property
    def wants_write(self) -> bool:
        """Never: what is to be written is behind the one descriptor, too."""
        return False

    def fileno(self) -> int:
        """A descriptor that is readable when any connection is ready, or -1 without one."""
        return self._selector.fileno() if self._selector and self._watched else -1

    def submit(self, operations: Sequence[Operation], token: object) -> None:
        """See `Writer.submit`."""
        order = _Order(self._count, token, self._clock(), Rounds(operations, self._topology))
        self._count += 1
        self._orders.append(order)
        self._go_on(order)

    def flush(self) -> None:
        """See `Writer.flush`."""
        if not self._orders:
            return
        self._settle(self._clock())
        if self._settled:
            self._assign()
        for lane in self._lanes.values():
            lane.flush()
        self._watch()

    def collect(self) -> list[tuple[Any, list[Any] | KVSUnavailable]]:
        """See `Writer.collect`."""
        for url, lane in self._lanes.items():
            for share, outcome in lane.collect():
                if not isinstance(outcome, KVSUnavailable):
                    self._take(url, share, outcome)
                elif share.order.outcome is None:
                    share.order.outcome = outcome
        finished = []
        while self._orders:
            ended = self._outcome(self._orders[0])
            if ended is None:
                break
            finished.append((self._orders.popleft().token, ended))
        self.flush()
        return finished

    def next_deadline(self) -> float | None:
        """See `Writer.next_deadline`."""
        if not self._orders:
            return None
        if self._orders[0].outcome is not None:
            return self._clock()
        deadlines = [self._orders[0].since + self._timeout]
        under_way = [lane.next_deadline() for lane in self._lanes.values()]
        deadlines += [deadline for deadline in under_way if deadline is not None]
        if self._unsent and len(deadlines) == 1:
            deadlines.append(self._not_before if not self._settled else self._clock())
        return min(deadlines)

    def close(self) -> None:
        """See `Writer.close`."""
        for lane in self._lanes.values():
            lane.close()
        self._lanes.clear()
        self._orders.clear()
        self._unsent.clear()
        self._watched.clear()
        if self._selector is not None:
            self._selector.close()
            self._selector = None

    def _go_on(self, order: _Order) -> None:
        """Begin the next round of an order, or end it."""
        errands = order.rounds.next()
        if errands:
            order.waiting = len(errands)
            self._unsent.append(_Share(order, errands))
        else:
            order.outcome = order.rounds.answers()

    def _settle(self, now: float) -> None:
        """Find out who has which slot, unless that is known; not before all is answered."""
        for url, lane in self._lanes.items():
            if lane.is_lost:
                self._trouble = f"{scrubbed(url)}: {lane.trouble}"
                self._settled = False
                self._take_back(url, lane)
        if self._settled:
            return
        for url, lane in self._lanes.items():
            if lane.pending and lane.channel is None:
                self._take_back(url, lane)
        if now < self._not_before or any(lane.pending for lane in self._lanes.values()):
            return
        self._not_before = now + self._next_pause()
        try:
            self._topology.refresh(min(_ANSWER_IN, self._timeout))
        except (Unreachable, Refused) as error:
            self._trouble = error
            return
        self._settled = True
        for url in self._lanes.keys() - set(self._topology.primaries):
            self._lanes.pop(url).close()

    def _take_back(self, url: str, lane: Lane) -> None:
        for share, replies in lane.withdraw():
            self._take(url, share, replies)

    def _assign(self) -> None:
        """Give every lane what its node is to do, in the order in which that was submitted."""
        unsent, self._unsent = sorted(self._unsent, key=lambda share: share.order.number), []
        for order, errands in unsent:
            if order.outcome is not None:  # it was given up
                continue
            parts: dict[str | None, list[Errand]] = {}
            for errand in errands:
                node = errand.detour or self._topology.node_of(errand.slot)
                parts.setdefault(node, []).append(errand)
            for node, part in parts.items():
                share = _Share(order, part)
                if node is None:
                    self._unsent.append(share)
                    self._trouble = UNOWNED
                    self._settled = False
                else:
                    self._lane(node).send(share)

    def _lane(self, url: str) -> Lane:
        lane = self._lanes.get(url)
        if lane is None:
            lane = self._lanes[url] = Lane(url, timeout=self._timeout, clock=self._clock)
        return lane

    def _take(self, url: str, share: _Share, replies: list[Any]) -> None:
        """Note what a node has answered, and keep what it has not done for another."""
        order, each = share.order, iter(replies)
        left = []
        for errand in share.errands:
            *_, reply = [next(each) for _ in commands_of(errand)]
            errand.detour = ""
            if reply is MISSING or (
                isinstance(reply, ReplyError) and self._redirect(errand, reply, url)
            ):
                left.append(errand)
            elif isinstance(reply, ReplyError):
                order.outcome = order.outcome or refusal(url, reply)
            else:
                self._pause = FIRST_PAUSE
                errand.reply = reply
                order.waiting -= 1
        if order.outcome is not None:
            return
        if left:
            self._unsent.append(_Share(order, left))
        if not order.waiting:
            self._go_on(order)

    def _redirect(self, errand: Errand, reply: ReplyError, url: str) -> bool:
        """Whether a node says that another one has the slot; noted, if so."""
        words = str(reply)
        self._trouble = disagreement(words)
        match code_of(reply):
            case "MOVED":
                self._topology.moved(words, url)
                self._settled = False
            case "ASK":
                errand.detour = self._topology.other(words, url)
            case _:
                return False
        return True

    def _outcome(self, order: _Order) -> list[Any] | KVSUnavailable | None:
        waited = self._clock() - order.since
        if order.outcome is None and waited >= self._timeout:
            order.outcome = outage(self._url, self._trouble, 1, waited)
        return order.outcome

    def _next_pause(self) -> float:
        pause = self._pause
        self._pause = min(2 * pause, LONGEST_PAUSE)
        return pause

    def _watch(self) -> None:
        """Have the one descriptor stand for all connections that there are."""
        wanted = {}
        for lane in self._lanes.values():
            if (channel := lane.channel) is not None:
                write = selectors.EVENT_WRITE if channel.is_full else 0
                wanted[lane] = (channel, channel.fileno(), selectors.EVENT_READ | write)
        if wanted == self._watched:
            return
        if self._selector is None:
            self._selector = selectors.DefaultSelector()
        # First all that is gone: its number may be another connection's by now.
        for lane, entry in self._watched.items():
            if wanted.get(lane) != entry:
                self._selector.unregister(entry[1])
        for lane, entry in wanted.items():
            if self._watched.get(lane) != entry:
                self._selector.register(entry[1], entry[2])
        self._watched = wanted
