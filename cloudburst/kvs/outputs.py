"""Results under an ``output_key`` in a cluster, where another node than the run's may keep that.

One script stores a result and closes the record of its run, on the node of the run; no script can
write to two nodes. So the output is stored after the commit, and the record names it until it is.
Whoever commits does that next. If that executor dies in between, the run has not been reported: it
begins again, its new commit hears that the run has ended and its output may be missing, and stores
what was committed first. If the scheduler dies as well, the next one finds the record (`finish`).
"""

from __future__ import annotations

from collections.abc import Mapping

from cloudburst.core.messages import Content
from cloudburst.kvs.base import DropField, Get, KeyValueStore, Put
from cloudburst.kvs.keys import object_key, run_key

FIELD = "output"
"""Of a run's record: the name under which its result is still to be stored."""


def put_of(output: str, value: Content) -> Put:
    """Stores the output."""
    return Put(object_key(output), value)


def get_of(run_id: str) -> Get:
    """Reads what was committed."""
    return Get(object_key(run_id))


def done_of(run_id: str) -> DropField:
    """Notes that the output is stored."""
    return DropField(run_key(run_id), FIELD)


def finish(store: KeyValueStore, run_id: str, record: Mapping[str, bytes]) -> None:
    """Store the output of a run that has ended, if its record says that it is missing.

    Raises:
        KVSUnavailable: the store did not answer, or refused.
    """
    if FIELD not in record:
        return
    (value,) = store.execute([get_of(run_id)])
    if value is not None:  # it has expired, or was deleted
        store.execute([put_of(record[FIELD].decode(), value)])
    store.execute([done_of(run_id)])
