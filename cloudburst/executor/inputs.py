"""What steps are called with: values from other steps, own arguments, and what references mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloudburst.cache.reader import ObjectReader, Stored
from cloudburst.core.ids import is_parked
from cloudburst.core.messages import Frames, RunContext
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

    def with_own_arguments(
        self, work: Work, step: int, upstream: list[Any], *, waits: bool = True
    ) -> tuple[list[Any], dict[str, Any]]:
        """A step's positional arguments, those from other steps last, and its keywords.

        ``waits`` is whether there is time for references to appear.

        Raises:
            KeyNotFound: nothing appeared in time under what a reference names.
            NotThereYet: nothing is there now, and it does not wait.
            StepFailed: a reference is to a run that failed.
        """
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        for argument in work.arguments:
            if argument.step != step:
                continue
            value = self._argument(argument, work.route.context, work.run_id, waits=waits)
            if argument.keyword:
                keywords[argument.keyword] = value
            else:
                positional.append(value)
        return positional + upstream, keywords

    def _argument(
        self, argument: Argument, context: RunContext, run_id: str, *, waits: bool
    ) -> Any:
        value = unpack(argument.frames)
        if not has_references(argument.frames):
            return value
        patience = context.patience if waits else None
        if isinstance(value, CloudburstReference) and is_parked(value.key, run_id):
            # An argument like others, only larger: it is the function's own.
            blob = self._objects.take(value.key)
            if blob is not None:
                return value_of(blob)
        found = self._fetch(references_in(value), patience, fresh=context.fresh)
        return resolve(value, found.__getitem__)

    def _fetch(
        self, references: list[CloudburstReference], timeout: float | None, *, fresh: bool
    ) -> dict[CloudburstReference, Any]:
        """Read what references stand for; keys may not be there yet, unless that is None."""
        found: dict[CloudburstReference, Any] = {}

        def all_are_there() -> bool:
            missing = [reference for reference in references if reference not in found]
            read = self._objects.read([reference.key for reference in missing], fresh=fresh)
            for reference, stored in zip(missing, read, strict=True):
                if stored is not None:
                    found[reference] = _referenced(reference, stored)
            return len(found) == len(references)

        if all_are_there():
            return found
        if timeout is None:
            raise NotThereYet
        self._wait_for(all_are_there, timeout)
        if len(found) < len(references):
            names = ", ".join(repr(r.key) for r in references if r not in found)
            raise KeyNotFound(f"nothing was stored under {names} within {timeout:g} seconds")
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
