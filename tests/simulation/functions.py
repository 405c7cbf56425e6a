"""What users' functions are here: terms, with ways to fail; and what a run is worth.

A value is the term that made it, so the value of a run can be compared with `evaluated`. It
travels with the attempt that made it, so whoever puts values of two attempts together is caught.
"""

from __future__ import annotations

import enum
import hashlib
import pickle
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from cloudburst.core.messages import Buffer, Frames
from cloudburst.core.plan import Plan
from cloudburst.serialization import Failure

SEPARATOR = "|"
MARK = b"\x80|"
"""What begins like a pickle is taken for a value; this is none."""

LONGEST = 60


class Behaviour(enum.Enum):
    """What a function does besides returning its value."""

    PLAIN = "plain"
    RAISES = "raises"
    RAISES_ONCE = "raises once"  # in each run
    KILLS = "kills its process"
    KILLS_ONCE = "kills its process once"  # in each run
    STUBBORN = "goes on when it is interrupted"
    NATIVE = "cannot be interrupted"
    WAITS = "waits until nothing else that could run is held up by it"


class Function(NamedTuple):
    """A function of one version or another."""

    name: str
    behaviour: Behaviour
    seconds: float
    is_class: bool = False


class Argument(NamedTuple):
    """An argument: a value, or what a run is worth."""

    text: str
    is_reference: bool = False

    def frames(self) -> list[bytes]:
        """As it travels."""
        return [(("ref " if self.is_reference else "val ") + self.text).encode()]

    @classmethod
    def of(cls, frames: Frames) -> Argument:
        """The inverse of `frames`."""
        (frame,) = frames
        kind, _, text = bytes(frame).decode().partition(" ")
        return cls(text, kind == "ref")


class Outcome(NamedTuple):
    """How a run has ended: the name of an error and what it says, or "" and the value."""

    error: str
    text: str


RAISED = "raised"
"""In place of an error's name: what user code raises."""

Given: TypeAlias = Mapping[str, Sequence[Argument]]
"""Of each step its own arguments."""


def packed(outcome: Outcome, attempt: str) -> list[Buffer]:
    """An outcome as an executor sends it."""
    return [MARK + SEPARATOR.join((attempt, outcome.error, outcome.text)).encode()]


def attempt_of(frames: Frames) -> str:
    """The attempt that made a value."""
    return bytes(frames[0]).removeprefix(MARK).decode().split(SEPARATOR, 1)[0]


def outcome_of(frames: Frames) -> Outcome:
    """What packed values and the cluster's own failures say."""
    data = bytes(frames[0])
    if data.startswith(MARK):
        _, error, text = data.removeprefix(MARK).decode().split(SEPARATOR, 2)
        return Outcome(error, text)
    failure = pickle.loads(data)
    assert isinstance(failure, Failure)
    return Outcome(type(failure.error).__name__, str(failure.error))


def applied(step: str, version: str, values: Iterable[str]) -> str:
    """The value of a step."""
    term = f"{step}.{version}({','.join(values)})"
    if len(term) <= LONGEST:
        return term
    return hashlib.blake2b(term.encode(), digest_size=8).hexdigest()


def evaluated(plan: Plan, given: Given, results: Mapping[str, str]) -> str:
    """The value of a run, by plain evaluation.

    Args:
        plan: what was run.
        given: its arguments.
        results: the values of the runs that these refer to.
    """
    values: dict[int, str] = {}
    for number, segment in enumerate(plan.segments):
        upstream = [values[parent] for parent in segment.parents]
        for index in segment.steps:
            step = plan.steps[index]
            own = [
                results[argument.text] if argument.is_reference else argument.text
                for argument in given.get(step.name, ())
            ]
            upstream = [applied(step.name, step.version, own + upstream)]
        (values[number],) = upstream
    return values[plan.sink]
