"""What steps are called with: values from other steps, own arguments, and what references mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from cloudburst.cache.reader import ObjectReader, Stored
from cloudburst.core.ids import is_parked
from cloudburst.core.messages import Frames
from cloudburst.core.plan import PlanStep
from cloudburst.errors import (
    InvocationCancelledError,
    InvocationTimedOutError,
    KeyNotFound,
    NoValidResult,
)
from cloudburst.executor.events import Argument, Local, Work
from cloudburst.kvs.objects import value_of
from cloudburst.serialization import (
    CloudburstReference,
    describe,
    failure_in,
    has_references,
    pack_cluster_failure,
    references_in,
    resolve,
    split,
    unpack,
)

_KNOWN = 1000
"""Lists of values that do not count, kept unpacked."""


class StepFailed(Exception):
    """A step cannot run or raised.

    Attributes:
        frames: the failure to deliver.
        raised: what user code raised; None if it did not.
    """

    def __init__(self, frames: Frames, reason: str, raised: BaseException | None = None) -> None:
        super().__init__(reason)
        self.frames = frames
        self.raised = raised


class DoesNotCount(Exception):
    """What came for a step does not fire it, and more may come."""


class NotThereYet(Exception):
    """What a step refers to is not there, and others are not to wait for it."""


There: TypeAlias = Mapping[str, Stored | None]
"""Objects by their keys; None, or nothing, for one that is missing."""


class Given(NamedTuple):
    """A step's own arguments as they came, with references in them.

    Attributes:
        work: the segment.
        values: all of them.
        positional: where in ``values`` the positional ones are, in order.
        keywords: where the others are.
        wanted: the references in them, each with the place of its argument.
    """

    work: Work
    values: list[Any]
    positional: list[int]
    keywords: dict[str, int]
    wanted: list[tuple[int, CloudburstReference]]

    def names(self) -> list[str]:
        """The keys of all that is referred to."""
        return [reference.key for _, reference in self.wanted]


class Inputs:
    """Makes values of what came for a segment.

    Args:
        objects: reads what references name.
        wait_for: waits until something is so, up to a number of seconds, and lets others work.
    """

    def __init__(
        self, objects: ObjectReader, wait_for: Callable[[Callable[[], bool], float], None]
    ) -> None:
        self._objects = objects
        self._wait_for = wait_for
        self._invalid: dict[bytes, list[Any]] = {}

    def upstream(self, work: Work) -> list[Any]:
        """The results of the steps before a segment.

        Raises:
            DoesNotCount: it waits for another one.
            StepFailed: none of those that it waited for counts.
        """
        values = [
            value.value if isinstance(value, Local) else unpack(value) for value in work.inputs
        ]
        if work.segment in work.route.first_of:
            self._check_counts(work, values[0])
        return values

    def _check_counts(self, work: Work, value: Any) -> None:
        head = work.route.plan.head(work.segment)
        failure = failure_in(value)
        if failure is None and not any(_equal(value, other) for other in self._not_counting(head)):
            return
        if work.others:
            raise DoesNotCount
        said = _shown(value) if failure is None else describe(failure.exception())
        error = NoValidResult(
            f"no result counts of those that lead to step {head.name!r}; the last was: {said}"
        )
        raise StepFailed(pack_cluster_failure(error), str(error))

    def _not_counting(self, head: PlanStep) -> list[Any]:
        known = self._invalid.get(head.invalid)
        if known is None:
            if len(self._invalid) >= _KNOWN:
                self._invalid.clear()
            known = self._invalid[head.invalid] = unpack(split(head.invalid))
        return known

    def given(self, work: Work, step: int) -> Given:
        """A step's own arguments, as they came."""
        positional: list[int] = []
        keywords: dict[str, int] = {}
        values: list[Any] = []
        wanted: list[tuple[int, CloudburstReference]] = []
        for argument in work.arguments:
            if argument.step != step:
                continue
            value, refers = self._argument(argument, work.run_id)
            if argument.keyword:
                keywords[argument.keyword] = len(values)
            else:
                positional.append(len(values))
            if refers:
                wanted += [(len(values), reference) for reference in references_in(value)]
            values.append(value)
        return Given(work, values, positional, keywords, wanted)

    def _argument(self, argument: Argument, run_id: str) -> tuple[Any, bool]:
        """An argument, and whether there are references in it."""
        value = unpack(argument.frames)
        if not has_references(argument.frames):
            return value, False
        if isinstance(value, CloudburstReference) and is_parked(value.key, run_id):
            # An argument like others, only larger: it is the function's own.
            blob = self._objects.take(value.key)
            if blob is not None:
                return value_of(blob), False
        return value, True

    def read(self, givens: Iterable[Given]) -> There:
        """What is there of all that arguments refer to, in one round trip.

        Raises:
            KVSUnavailable: the store does not answer.
        """
        wants = [given for given in givens if given.wanted]
        fresh = any(given.work.route.context.fresh for given in wants)
        return self._read((name for given in wants for name in given.names()), fresh=fresh)

    def _read(self, names: Iterable[str], *, fresh: bool) -> There:
        once = list(dict.fromkeys(names))
        return dict(zip(once, self._objects.read(once, fresh=fresh), strict=True)) if once else {}

    def resolved(
        self, given: Given, there: There, *, waits: bool = True
    ) -> tuple[list[Any], dict[str, Any]]:
        """A step's own arguments: the positional ones, and those with keywords.

        Args:
            given: as they came.
            there: what was `read`.
            waits: whether there is time for references to appear.

        Raises:
            KeyNotFound: nothing appeared in time under what a reference names.
            NotThereYet: nothing is there now, and it does not wait.
            StepFailed: a reference is to a run that failed.
        """
        values = given.values
        if given.wanted:
            found = self._fetch(given, there, waits=waits)
            values = [
                resolve(value, found[number].__getitem__) if number in found else value
                for number, value in enumerate(values)
            ]
        keywords = {name: values[number] for name, number in given.keywords.items()}
        return [values[number] for number in given.positional], keywords

    def _fetch(
        self, given: Given, there: There, *, waits: bool
    ) -> dict[int, dict[CloudburstReference, Any]]:
        """What references of each argument stand for; keys may not be there yet, if it waits."""
        context = given.work.route.context
        missing = dict.fromkeys(given.wanted)
        # Each argument has values of its own, as if it had been sent.
        found = defaultdict[int, dict[CloudburstReference, Any]](dict)

        def take(there: There) -> bool:
            for number, reference in list(missing):
                stored = there.get(reference.key)
                if stored is not None:
                    found[number][reference] = _referenced(reference, stored)
                    del missing[number, reference]
            return not missing

        def all_are_there() -> bool:
            names = [reference.key for _, reference in missing]
            return take(self._read(names, fresh=context.fresh))

        if take(there):
            return found
        if not waits:
            raise NotThereYet
        self._wait_for(all_are_there, context.patience)
        if missing:
            names = ", ".join(dict.fromkeys(repr(reference.key) for _, reference in missing))
            raise KeyNotFound(
                f"nothing was stored under {names} within {context.patience:g} seconds"
            )
        return found


def _referenced(reference: CloudburstReference, stored: Stored) -> Any:
    if isinstance(stored.blob, frozenset):
        return stored.load()
    if not reference.deserialize:
        return bytes(stored.blob)
    value = stored.load()
    if failure_in(value) is not None:
        reason = f"the run {reference.key!r} that it refers to failed"
        raise StepFailed(split(stored.blob), reason)
    return value


def _equal(value: Any, other: Any) -> bool:
    try:
        return type(value) is type(other) and bool(value == other)
    except (InvocationCancelledError, InvocationTimedOutError):
        raise
    except Exception:  # noqa: BLE001  a comparison is user code; an array's is no truth value
        return False


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.200}"
    except (InvocationCancelledError, InvocationTimedOutError):
        raise
    except Exception:  # noqa: BLE001  user code; there is a message all the same
        return f"a {type(value).__name__}"
