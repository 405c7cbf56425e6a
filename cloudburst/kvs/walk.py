"""Scanning a cluster: one node after the other, by cursors that say how far one has come. Pure."""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast

from cloudburst.kvs.base import Scan
from cloudburst.kvs.commands import Command, encode

_SLOT_BITS = 14
_NODE_BITS = 16


class Nodes(Protocol):
    """Who has which slot, as far as is known."""

    def node_of(self, slot: int | None) -> str | None:
        """The node that has a slot."""

    def first_slots(self) -> list[int]:
        """The first slot of every node, in ascending order."""


class _Place(NamedTuple):
    """How far a scan has come.

    Attributes:
        slot: the first slot of the node it is at.
        node: which node that was, when ``cursor`` was its own.
        cursor: of the node; 0 at its beginning.
    """

    slot: int = 0
    node: int = 0
    cursor: int = 0

    def pack(self) -> int:
        """As one number, which is not 0."""
        return ((self.cursor << _NODE_BITS | self.node) << _SLOT_BITS | self.slot) << 1 | 1


def _unpack(number: int) -> _Place:
    rest, slot = divmod(number >> 1, 1 << _SLOT_BITS)
    cursor, node = divmod(rest, 1 << _NODE_BITS)
    return _Place(slot, node, cursor)


class Step:
    """One page of a scan.

    Nodes are taken in the order of their first slots. A node that has changed in the meantime is
    begun anew: its cursors mean nothing to the replica that took over.

    Args:
        scan: with a cursor that the step before returned, or 0.
        nodes: asked now, and when the answer has come.
    """

    __slots__ = ("_nodes", "_page", "_url", "command", "slot")

    def __init__(self, scan: Scan, nodes: Nodes) -> None:
        place = _unpack(scan.cursor)
        self._nodes = nodes
        self._url = nodes.node_of(place.slot)
        cursor = place.cursor if place.node == _mark(self._url) else 0
        (command,) = encode([scan._replace(cursor=cursor)])
        self.slot = place.slot
        self._page = cast("Callable[[Any], tuple[int, list[str]]]", command.read)
        self.command = Command(command.parts, self._read)

    def _read(self, reply: Any) -> tuple[int, list[str]]:
        cursor, names = self._page(reply)
        node = self._nodes.node_of(self.slot)
        if node != self._url:
            return _Place(self.slot).pack(), names
        if cursor:
            return _Place(self.slot, _mark(node), cursor).pack(), names
        later = [slot for slot in self._nodes.first_slots() if slot > self.slot]
        return (_Place(later[0]).pack() if later else 0), names


def _mark(node: str | None) -> int:
    return crc_hqx((node or "").encode(), 0)
