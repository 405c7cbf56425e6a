"""What goes into an executor's state and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple, TypeAlias

from cloudburst.core.messages import (
    Blocked,
    Bounce,
    Finished,
    Frames,
    HandBack,
    Probe,
    RunContext,
    Standing,
    Start,
    Stop,
    Trigger,
    Yield,
)
from cloudburst.core.options import Batch
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


@dataclass(frozen=True, slots=True)
class Route:
    """A run's context, understood: what it means on this executor.

    All calls of one client to one DAG that are placed alike share one.

    Attributes:
        packed: the context as it travels on in triggers.
        missing: of each segment that runs here, how many inputs it waits for; the `Start` that
            brings a segment's own arguments, or makes a source run, counts as one.
        needs_start: the segments among them that wait for a `Start`.
        keep_local: the segments whose value has one reader, on this executor: it is handed over
            in memory, without pickling.
        first_of: the segments that are fired by the first of their inputs that counts.
        batches: of the segments that are run in batches, how these are made.
    """

    context: RunContext
    packed: bytes
    plan: Plan
    missing: dict[int, int]
    needs_start: tuple[int, ...]
    keep_local: frozenset[int]
    first_of: frozenset[int]
    batches: dict[int, Batch]

    def is_here(self, segment: int) -> bool:
        """Whether a segment runs on this executor."""
        return segment in self.missing


class Work(NamedTuple):
    """A segment whose inputs are all in.

    Of one that is fired by the first that counts, one is in, and ``others`` may still come. One
    that was ``put_off`` is not put together with others again.
    """

    run_id: str
    epoch: int
    route: Route
    segment: int
    arguments: Sequence[Argument]
    inputs: Sequence[Input]
    others: int = 0
    put_off: bool = False

    @property
    def batch(self) -> Batch | None:
        """How it is put together with others; None if it runs by itself."""
        return None if self.put_off else self.route.batches.get(self.segment)


class PlanLoaded(NamedTuple):
    """The plan that a `FetchPlan` asked for."""

    plan: Plan


class PlanMissing(NamedTuple):
    """The KVS does not have it, or does not answer; ``failure`` says so."""

    plan_id: str
    failure: Frames


class Ending(Enum):
    """What became of a segment that was to run.

    Attributes:
        SUCCEEDED: it has a value.
        FAILED: its value is a failure.
        ABANDONED: its calls were cancelled, because the run goes on, or has ended, without it. So
            its value means nothing, whatever the code has made of that.
        VOID: it was not run, because what came for it does not count.
        PUT_OFF: it was not run, because something that it refers to is not there yet, for which
            others must not wait.
    """

    SUCCEEDED = auto()
    FAILED = auto()
    ABANDONED = auto()
    VOID = auto()
    PUT_OFF = auto()


class Done(NamedTuple):
    """A segment ran, or was not to be run after all; ``reason`` says in a line why it failed."""

    work: Work
    value: Input
    ending: Ending
    seconds: float
    reason: str = ""


class Undelivered(NamedTuple):
    """A trigger could not be sent, or a result not be stored: the run must start again."""

    run_id: str
    epoch: int
    reason: str


class Stale(NamedTuple):
    """The KVS did not want a result: the run goes on without this attempt."""

    run_id: str
    epoch: int


class Waits(NamedTuple):
    """The user code that runs waits for what others do, or (``waits`` false) goes on."""

    waits: bool


class Leave(NamedTuple):
    """This process is asked to end: what it has not begun others must do."""


class FetchPlan(NamedTuple):
    """Read a plan from the KVS."""

    plan_id: str


class SendTrigger(NamedTuple):
    """Send a value to the executor at that address."""

    address: str
    trigger: Trigger


class Report(NamedTuple):
    """Tell the scheduler how a share of a run stands, or that it is done."""

    message: Finished | HandBack | Yield | Standing | Blocked


class Interrupt(NamedTuple):
    """Have the user code that runs end; ``state`` says why, as in `Stop`."""

    run_id: str
    state: str


class Deliver(NamedTuple):
    """End a run: commit the result if it is stored, send it to the client, then report.

    ``target`` is what was called.
    """

    context: RunContext
    failed: bool
    frames: Frames
    finished: Finished
    target: str = ""


Event: TypeAlias = (
    Start
    | Trigger
    | Stop
    | Probe
    | Bounce
    | Waits
    | Leave
    | Undelivered
    | Stale
    | PlanLoaded
    | PlanMissing
    | Done
)
Command: TypeAlias = FetchPlan | SendTrigger | Report | Interrupt | Deliver
