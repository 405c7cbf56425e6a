"""Drivers for batches: calls of one function that takes three at a time."""

from __future__ import annotations

from collections.abc import Sequence

from executing import Executor, Job, job, over, text

from cloudburst.core.messages import Finished, RunState, Stop
from cloudburst.core.options import Batch
from cloudburst.executor.events import Command, Deliver, Work

THREE = Batch(3, 1.0)


def one(run_id: str, *, retried: bool = False) -> Job:
    """A call of a function that takes three at a time."""
    return job("f", "A", batched="f", batch=THREE, run_id=run_id, retried=retried)


def stop(run_id: str, epoch: int = 1) -> Stop:
    return Stop(run_id, epoch, RunState.CANCELLED)


def runs(works: Sequence[Work]) -> list[tuple[str, int]]:
    return [(work.run_id, work.epoch) for work in works]


def ended(run_id: str, epoch: int = 1, *segments: int) -> Finished:
    return over(epoch, *segments)._replace(run_id=run_id)


class Batching(Executor):
    """On A a batch of the runs r, s and t is under way."""

    def __init__(self, *, retried: bool = False) -> None:
        super().__init__("A", one("r"))
        for name in "rst":
            self.take(one(name, retried=retried).start())
        self.works = self.batch()

    def end(self, *values: str, failed: bool = False) -> list[Command]:
        """It has run; whoever is interested or not, each of its runs has a value."""
        commands: list[Command] = []
        for work, value in zip(self.works, values or "123", strict=True):
            commands += self.finish(work, value, failed=failed)
        return commands


def delivered(commands: list[Command]) -> dict[str, str]:
    ends = [command for command in commands if isinstance(command, Deliver)]
    return {end.finished.run_id: text(end.frames) for end in ends}
