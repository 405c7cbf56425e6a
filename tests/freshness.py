"""A checker of what was read: nothing older than the rule of a machine's cache allows.

The rule: a read returns nothing that was overwritten before the read began, by a write on this
machine that had returned by then.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple


class Did(NamedTuple):
    """One write or read, with the times at which it began and had returned.

    Attributes:
        key: the object.
        value: what was written, unique for the key; or what was read, None if it was missing.
        wrote: whether it is a write.
    """

    key: str
    value: int | None
    began: float
    ended: float
    wrote: bool = False


def stale_reads(history: Iterable[Did], lag: float = 0.0) -> list[tuple[Did, Did]]:
    """The reads that break the rule, each with a write that it should have seen.

    Args:
        history: all that was done.
        lag: seconds that a read may be behind.
    """
    writes: dict[str, list[Did]] = defaultdict(list)
    reads: list[Did] = []
    for did in history:
        (writes[did.key] if did.wrote else reads).append(did)
    stale = []
    for key, written in writes.items():
        written.sort(key=lambda did: did.ended)
        ends = [did.ended for did in written]
        latest_start = _running_maximum(written)
        by_value = {did.value: did for did in written}
        for read in (did for did in reads if did.key == key):
            known = bisect.bisect_left(ends, read.began - lag)
            if not known:
                continue
            newest = latest_start[known - 1]
            seen = by_value.get(read.value)
            if seen is None or seen.ended < newest.began or seen.began > read.ended:
                stale.append((read, newest))
    return stale


def _running_maximum(written: list[Did]) -> list[Did]:
    """Of the writes up to each, the one that began last."""
    latest: list[Did] = []
    for did in written:
        latest.append(max(latest[-1], did, key=lambda each: each.began) if latest else did)
    return latest
