"""Ends of runs that the scheduler itself brings about, until the KVS has them. No I/O.

A client is told of such an end once it is committed: another one may have been before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cloudburst.core.messages import Call, Frames, Result, RunState
from cloudburst.core.options import RunOptions
from cloudburst.errors import CloudburstError
from cloudburst.kvs import keys
from cloudburst.kvs.base import Commit, CommitRun, DropMember
from cloudburst.scheduler.events import Restored, Write
from cloudburst.scheduler.run import Run, stop_error
from cloudburst.serialization import join_for_store, pack_cluster_failure


class Ending(NamedTuple):
    """The end of a run, and what its client is to be told."""

    run: Run
    reason: str
    frames: Frames

    def result(self) -> Result:
        """The message for the client."""
        return Result(self.run.run_id, self.run.epoch, failed=True, frames=self.frames)


class Endings:
    """Ends that are being written.

    Args:
        tokens: where the tokens of writes come from.
    """

    def __init__(self, tokens: Iterator[int]) -> None:
        self._tokens = tokens
        self._writing: dict[int, Ending] = {}
        self._refused: dict[str, Ending] = {}

    def __len__(self) -> int:
        return len(self._writing) + len(self._refused)

    def commit(self, ending: Ending) -> Write:
        """Write an end, which is the run's unless another was committed before."""
        run = ending.run
        token = next(self._tokens)
        self._writing[token] = ending
        ttl = run.options.result_ttl
        return _write(run.call, run.state, run.epoch, (ending.reason, ending.frames), ttl, token)

    def again(self, run_id: str) -> Write:
        """Write an end anew that the store had refused."""
        return self.commit(self._refused.pop(run_id))

    def written(self, token: int, outcome: object) -> tuple[Ending, Commit | None] | None:
        """A write has ended: that of which end, if any, and how; None if the store refused."""
        ending = self._writing.pop(token, None)
        if ending is None:
            return None
        if isinstance(outcome, list):
            return ending, outcome[0]
        self._refused[ending.run.run_id] = ending
        return ending, None


def ending_of(run: Run, error: CloudburstError) -> Ending:
    """The end of a run with an error."""
    return Ending(run, str(error), pack_cluster_failure(error))


def stop_reason(run: Run, state: RunState) -> str:
    """What the record of a run says that is to end in that state; see `stopping_in`."""
    return f"{state}: {run.stop_error(state)}"


def stopping_in(reasons: str) -> str:
    """How a run is to end that is CANCELLING, by the reasons in its record."""
    *_, last = reasons.splitlines() or [""]
    return last.partition(" ")[2].partition(":")[0]


def stopping_of(event: Restored, options: RunOptions) -> RunState:
    """How a run is to end that was CANCELLING when the scheduler before died."""
    late = event.stopping == RunState.TIMED_OUT or 0.0 < options.timeout <= event.age
    return RunState.TIMED_OUT if late else RunState.CANCELLED


def orphan_end(event: Restored, error: CloudburstError, defaults: RunOptions) -> Write:
    """End a run that cannot even be made, because what it calls is not there any more.

    Its client finds the end in the KVS, when it asks and hears that the run is not known.
    """
    call, options = event.call, RunOptions(*event.call.options).over(defaults)
    state = RunState.FAILED
    if event.state == RunState.CANCELLING:  # there is no other end for it any more
        state = stopping_of(event, options)
        error = stop_error(call, options, state)
    told = (str(error), pack_cluster_failure(error))
    write = _write(call, state, event.epoch + 1, told, options.result_ttl, token=0)
    return Write((*write.operations, DropMember(keys.OPEN_RUNS, call.run_id)))


def _write(  # noqa: PLR0917  what a commit consists of
    call: Call, state: RunState, epoch: int, told: tuple[str, Frames], ttl: float, token: int
) -> Write:
    reason, frames = told
    commit = CommitRun(
        run_id=call.run_id,
        state=state,
        epoch=epoch,
        executor="",
        reason=reason,
        result=join_for_store(frames),
        output_key=call.output_key,
        ttl=ttl,
        target=call.target,
        parent=call.parent,
    )
    return Write((commit,), token)
