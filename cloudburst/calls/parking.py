"""Large arguments of stored calls wait in the KVS: the scheduler need not hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from cloudburst.config import DAY
from cloudburst.core.ids import parked_name
from cloudburst.core.messages import Buffer
from cloudburst.kvs import keys
from cloudburst.kvs.base import KeyValueStore, Put
from cloudburst.kvs.objects import check_size
from cloudburst.serialization import CloudburstReference, pieces_for_store

LARGE = 1024 * 1024
"""Bytes that the arguments of a call may have together before some go by reference."""

SMALL = 64 * 1024
"""Bytes below which an argument never does: the KVS would have more work with it."""


Leave: TypeAlias = Callable[[str, Sequence[Buffer]], None]


class Parking:
    """The place for one run's large arguments; the scheduler clears it when the run has ended.

    Args:
        run_id: the run.
        store: gives the KVS, when it is needed.
        leave: told of what is there, by name, for who may need it nearby.
    """

    def __init__(
        self,
        run_id: str,
        store: Callable[[], KeyValueStore],
        leave: Leave = lambda _name, _pieces: None,
    ) -> None:
        self._run_id = run_id
        self._store = store
        self._leave = leave
        self._inline = 0

    def park(self, number: int, frames: Sequence[Buffer]) -> CloudburstReference | None:
        """Put the packed argument of that number there, if it is too large for the rest.

        Raises:
            ValueTooLarge: it is too large for the KVS.
            KVSUnavailable: the KVS does not take it.
        """
        size = sum(map(len, frames))
        together = self._inline + size
        if size < SMALL or together < LARGE:
            self._inline = together
            return None
        check_size(size, f"argument {number}")
        name = parked_name(self._run_id, number)
        pieces = pieces_for_store(frames)
        self._store().execute([Put(keys.object_key(name), pieces, DAY)])
        self._leave(name, pieces)
        return CloudburstReference(name)
