"""Hash slots: which node of a cluster keeps which key. Pure.

As the specification has it (https://valkey.io/topics/cluster-spec/, "Key distribution model" and
"Hash tags"): CRC16 in its XMODEM variant, modulo 16384, of the key, or of what stands between its
first brace and the next closing one, unless that is empty.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from cloudburst.kvs.commands import Command

SLOTS: Final = 16384

_KEYLESS = frozenset(("PING", "TIME"))


class Range(NamedTuple):
    """Slots of one primary, both ends included."""

    first: int
    last: int
    host: str
    port: int


def slot_of(key: str) -> int:
    """The slot of a key."""
    text = key.encode("utf-8", "surrogatepass")
    start = text.find(b"{")
    if start >= 0:
        end = text.find(b"}", start + 1)
        if end > start + 1:
            text = text[start + 1 : end]
    return crc_hqx(text, 0) % SLOTS


def slot_of_command(command: Command) -> int | None:
    """The slot of the first key of a command; None if any node can carry it out."""
    parts = command.parts
    if parts[0] in _KEYLESS:
        return None
    return slot_of(str(parts[3] if parts[0] == "EVALSHA" else parts[1]))


def read_slots(reply: Sequence[Any], asked: str) -> list[Range]:
    """What a node answers to CLUSTER SLOTS.

    Args:
        reply: of first slot, last slot, primary, and its replicas, for each range.
        asked: host of the node: nodes that do not know their name say nothing, or ``?``.
    """
    ranges = []
    for first, last, (host, port, *_), *_replicas in reply:
        name = (host or b"").decode()
        ranges.append(Range(first, last, asked if name in ("", "?") else name, port))
    return ranges


def redirection(words: str) -> tuple[int, str, int]:
    """Slot, host (empty: that of who says so) and port in ``MOVED 3999 127.0.0.1:6381``."""
    _, slot, address = words.split()[:3]
    host, _, port = address.rpartition(":")
    return int(slot), host.strip("[]"), int(port)
