"""What goes into an executor's state and what comes out."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from cloudburst.core.messages import Finished, Forget, Frames, RunContext, Start, Trigger
from cloudburst.core.plan import Plan


class Local(NamedTuple):
    """A value handed over in memory, to its only reader."""

    value: Any


Input: TypeAlias = Local | Frames


class Argument(NamedTuple):
    """One of a step's own arguments; ``keyword`` is "" for a positional one."""

    step: int
    keyword: str
    frames: Frames


class Work(NamedTuple):
    """A segment whose inputs are all in.

    ``keep_local`` says that the value's only reader is on this executor, so that it needs no
    pickling.
    """

    run_id: str
    epoch: int
    plan: Plan
    segment: int
    context: RunContext
    arguments: tuple[Argument, ...]
    inputs: tuple[Input, ...]
    keep_local: bool


class PlanLoaded(NamedTuple):
    """The plan that a `FetchPlan` asked for."""

    plan: Plan


class PlanMissing(NamedTuple):
    """The KVS does not have it, or does not answer; ``failure`` says so."""

    plan_id: str
    failure: Frames


class Done(NamedTuple):
    """A segment ran. ``failed``: the value is a failure."""

    work: Work
    value: Input
    failed: bool
    seconds: float


class FetchPlan(NamedTuple):
    """Read a plan from the KVS."""

    plan_id: str


class SendTrigger(NamedTuple):
    """Send a value to the executor at that address."""

    address: str
    trigger: Trigger


class Report(NamedTuple):
    """Tell the scheduler that this executor's share of a run is done."""

    finished: Finished


class Deliver(NamedTuple):
    """End a run: commit the result if it is stored, send it to the client, then report."""

    context: RunContext
    failed: bool
    frames: Frames
    finished: Finished


Event: TypeAlias = Start | Trigger | Forget | PlanLoaded | PlanMissing | Done
Command: TypeAlias = FetchPlan | SendTrigger | Report | Deliver
