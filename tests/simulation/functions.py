"""What users' functions are here: terms, with ways to fail; and what a run is worth.

A value is the term that made it, so the value of a run can be compared with `evaluated`. It
travels with the attempt that made it, so whoever puts values of two attempts together is caught.
"""

from __future__ import annotations

import enum
import hashlib
import itertools
import pickle
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from cloudburst.core.messages import Buffer, Frames
from cloudburst.core.plan import FunctionInfo, Plan
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
    """A function of one version or another; the rest as in `FunctionInfo`."""

    name: str
    behaviour: Behaviour
    seconds: float
    is_class: bool = False
    batch_size: int = 0
    batch_wait: float = 0.0
    needs: str = ""

    def info(self, version: str) -> FunctionInfo:
        """As it is registered."""
        how = (self.batch_size, self.batch_wait, self.needs)
        return FunctionInfo(self.name, version, self.is_class, 0, 0, *how)


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


WARM = "warm"
"""The value of a run that only loads code."""

RAISED = "raised"
"""In place of an error's name: what user code raises."""

Given: TypeAlias = Mapping[str, Sequence[Argument]]
"""Of each step its own arguments."""


def packed(outcome: Outcome, attempt: str) -> list[Buffer]:
    """An outcome as an executor sends it."""
    return [MARK + SEPARATOR.join((attempt, outcome.error, outcome.text)).encode()]


def attempt_of(frames: Frames) -> str | None:
    """The attempt that made a value; None for the cluster's own failures."""
    data = bytes(frames[0])
    if not data.startswith(MARK):
        return None
    return data.removeprefix(MARK).decode().split(SEPARATOR, 1)[0]


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


def counts(text: str) -> bool:
    """Whether a value fires a step that takes the first that counts."""
    return zlib.crc32(text.encode()) % 4 != 0


class Worth(NamedTuple):
    """What a run may be worth: its values, and whether it may have none that counts."""

    values: frozenset[str]
    may_have_none: bool


def evaluated(
    plan: Plan,
    given: Given,
    results: Mapping[str, str],
    behaviour_of: Callable[[str], Behaviour],
) -> Worth:
    """What a run may be worth, by plain evaluation.

    Args:
        plan: what was run.
        given: its arguments.
        results: the values of the runs that these refer to, as far as they have one.
        behaviour_of: what a function does.
    """
    values: dict[int, frozenset[str]] = {}
    may_have_none = False
    for number, segment in enumerate(plan.segments):
        inputs = [values[parent] for parent in segment.parents]
        if plan.head(number).invalid:
            fires = frozenset(text for texts in inputs for text in texts if counts(text))
            may_have_none |= all(
                _may_not_count(plan, parent, values[parent], behaviour_of)
                for parent in segment.parents
            )
            inputs = [fires]
        found = set[str]()
        for upstream in itertools.product(*inputs):
            found |= _of_segment(plan, number, list(upstream), given, results, behaviour_of)
        values[number] = frozenset(found)
    return Worth(values[plan.sink], may_have_none)


def _may_not_count(
    plan: Plan, segment: int, values: frozenset[str], behaviour_of: Callable[[str], Behaviour]
) -> bool:
    fails = {Behaviour.RAISES, Behaviour.RAISES_ONCE}
    behaviours = {behaviour_of(plan.steps[n].function) for n in plan.segments[segment].steps}
    return bool(behaviours & fails) or not all(map(counts, values))


def _of_segment(
    plan: Plan,
    number: int,
    upstream: list[str],
    given: Given,
    results: Mapping[str, str],
    behaviour_of: Callable[[str], Behaviour],
) -> set[str]:
    for index in plan.segments[number].steps:
        step = plan.steps[index]
        if behaviour_of(step.function) in (Behaviour.RAISES, Behaviour.KILLS):
            return set()
        arguments = given.get(step.name, ())
        if any(a.is_reference and a.text not in results for a in arguments):
            return set()
        own = [results[a.text] if a.is_reference else a.text for a in arguments]
        upstream = [applied(step.name, step.version, own + upstream)]
    return set(upstream)
