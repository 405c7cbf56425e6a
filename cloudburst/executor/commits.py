"""Results on their way to the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from cloudburst.core.messages import Frames, RunState
from cloudburst.errors import CloudburstError, KVSUnavailable, ResultTooLarge, ValueTooLarge
from cloudburst.executor.events import Deliver, Stale, Undelivered
from cloudburst.kvs import keys
from cloudburst.kvs.base import Commit, CommitRun, Get, KeyValueStore
from cloudburst.kvs.objects import check_size
from cloudburst.serialization import pack_cluster_failure, pieces_for_store, split

Outcome: TypeAlias = Deliver | Stale | Undelivered
"""What became of a result: the run's end, to be told now; or what the state is to be told."""


def commit(results: Sequence[Deliver], store: KeyValueStore, executor: str) -> Iterator[Outcome]:
    """Store the results that are to be stored, in one round trip.

    Args:
        results: the ends of runs.
        store: where.
        executor: the name of this one, for the records.
    """
    for item in results:
        if not item.context.store:
            yield item
    stored = [_fitting(item) for item in results if item.context.store]
    if not stored:
        return
    try:
        answers = _execute([_commit_of(item, executor) for item in stored], store)
    except CloudburstError as error:
        for item in stored:
            yield Undelivered(*item.finished[:2], f"its result was not stored: {error}")
        return
    for item, answer in zip(stored, answers, strict=True):
        match answer:
            case Commit.STORED:
                yield item
            case Commit.ENDED:
                yield _committed(item, store)
            case Commit.STALE:
                yield Stale(*item.finished[:2])


def _execute(commits: list[CommitRun], store: KeyValueStore) -> list[Commit]:
    try:
        return store.execute(commits)
    except KVSUnavailable:
        # The connection may have broken after the commits: then this only asks again.
        return store.execute(commits)


def _commit_of(item: Deliver, executor: str) -> CommitRun:
    finished, context = item.finished, item.context
    return CommitRun(
        run_id=finished.run_id,
        state=finished.state,
        epoch=finished.epoch,
        executor=executor,
        reason="",
        result=pieces_for_store(item.frames),
        output_key=context.output_key,
        ttl=context.ttl,
        target=item.target,
        seconds=sum([seconds for _, seconds in finished.times]),
        parent=context.parent,
    )


def _committed(item: Deliver, store: KeyValueStore) -> Deliver:
    """Another epoch of the run committed first: that is the run's result."""
    try:
        (blob,) = store.execute([Get(keys.object_key(item.finished.run_id))])
    except CloudburstError as error:
        return _failed(item, pack_cluster_failure(error))
    return item if blob is None else item._replace(frames=split(blob))


def _fitting(item: Deliver) -> Deliver:
    """A result that the store cannot hold is a failure that says so."""
    try:
        check_size(sum(map(len, item.frames)), "the result of the run")
    except ValueTooLarge as error:
        return _failed(item, pack_cluster_failure(ResultTooLarge(str(error))))
    return item


def _failed(item: Deliver, frames: Frames) -> Deliver:
    finished = item.finished._replace(state=RunState.FAILED)
    return item._replace(failed=True, frames=frames, finished=finished)
