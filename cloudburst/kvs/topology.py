"""What is known of a cluster: its nodes, and which of them has which slot."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from cloudburst.errors import UsageError
from cloudburst.kvs.channel import Refused, Unreachable
from cloudburst.kvs.connection import ask, check_url
from cloudburst.kvs.slots import SLOTS, read_slots, redirection
from cloudburst.kvs.urls import Kind, read_url, scrubbed

_LEAST: Final = 0.1


class Topology:
    """The nodes of one cluster, by URL. Knows none until it is told to `refresh`.

    Args:
        url: ``redis+cluster://`` or ``rediss+cluster://``.

    Attributes:
        primaries: the nodes that have slots, in a fixed order.

    Raises:
        UsageError: the URL cannot be read, or is of something else.
    """

    def __init__(self, url: str) -> None:
        self._place = read_url(url)
        if self._place.kind is not Kind.CLUSTER:
            raise UsageError(f"{scrubbed(url)!r} is not of a cluster: redis+cluster://host:port")
        check_url(url)
        self.primaries: list[str] = []
        self._owners: list[str | None] = [None] * SLOTS
        self._asked_last = ""
        self._advised = ""

    def node_of(self, slot: int | None) -> str | None:
        """The node that has a slot, or any if there is none given; None if none is known."""
        if slot is not None:
            return self._owners[slot]
        return self.primaries[0] if self.primaries else None

    def first_slots(self) -> list[int]:
        """The first slot of every node, in ascending order."""
        return sorted(self._owners.index(url) for url in self.primaries)

    def moved(self, words: str, said_by: str) -> None:
        """Note a MOVED, and ask the node that it names when it is time to `refresh`."""
        slot, _, _ = redirection(words)
        self._owners[slot] = self._advised = self.other(words, said_by)

    def other(self, words: str, said_by: str) -> str:
        """The node that a MOVED or ASK names."""
        _, host, port = redirection(words)
        return self._place.server(host or _host_of(said_by), port)

    def refresh(self, timeout: float) -> None:
        """Ask one node after the other, until one answers, who has which slot.

        Args:
            timeout: seconds for all of it; one that is silent takes its share.

        Raises:
            Unreachable: none answers.
            Refused: one wants another password, or is no node of a cluster.
        """
        deadline = time.monotonic() + timeout
        nodes = list(self._candidates())
        share = max(_LEAST, timeout / 4)
        troubles = []
        for node in nodes:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._asked_last = node
            try:
                reply = ask(node, min(share, left), "CLUSTER", "SLOTS")
            except Unreachable as error:
                troubles.append(f"{scrubbed(node)}: {error}")
                continue
            except Refused as error:
                raise Refused(f"{error} ({scrubbed(node)})") from error
            self._learn(reply, node)
            return
        raise Unreachable(f"no node of the cluster answers ({'; '.join(troubles)})")

    def _learn(self, reply: list[object], node: str) -> None:
        owners: list[str | None] = [None] * SLOTS
        for first, last, host, port in read_slots(reply, _host_of(node)):
            owners[first : last + 1] = [self._place.server(host, port)] * (last + 1 - first)
        self._owners = owners
        self.primaries = sorted({url for url in owners if url is not None})
        self._advised = ""

    def _candidates(self) -> Iterator[str]:
        """Whom to ask: who was named by another; then everybody, beginning after the last one.

        A node that was cut off from the others answers too, but what it knows is old.
        """
        if self._advised:
            yield self._advised
        nodes = list(dict.fromkeys([*self.primaries, *self._place.seeds]))
        start = nodes.index(self._asked_last) + 1 if self._asked_last in nodes else 0
        yield from (node for node in nodes[start:] + nodes[:start] if node != self._advised)


def disagreement(words: str) -> str:
    """What is wrong if MOVED or ASK is said again and again."""
    return f"the nodes of the cluster do not agree on who has a slot ({words})"


def _host_of(url: str) -> str:
    return urlsplit(url).hostname or "localhost"
