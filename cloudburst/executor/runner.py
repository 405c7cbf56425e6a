"""Runs segments: unpacks what they need, calls the user's functions one after another."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import GeneratorType
from typing import Any, NamedTuple

from cloudburst.core.plan import PlanStep
from cloudburst.errors import (
    CloudburstError,
    InvocationCancelledError,
    InvocationTimedOutError,
    SerializationError,
)
from cloudburst.executor.batching import Call, alike, apart, together
from cloudburst.executor.calling import Called, arity_problem
from cloudburst.executor.doorbell import Doorbell
from cloudburst.executor.events import Done, Input, Local, Work
from cloudburst.executor.functions import Functions, NotLoaded
from cloudburst.executor.inputs import DoesNotCount, Inputs, NotThereYet, StepFailed
from cloudburst.executor.library import UserLibrary
from cloudburst.executor.nested import NestedCalls
from cloudburst.executor.post import PostOffice
from cloudburst.kvs.base import KeyValueStore
from cloudburst.serialization import (
    describe,
    pack,
    pack_cluster_failure,
    pack_failure,
    unpack,
)

_IMMUTABLE = (int, float, complex, str, bytes, bool, type(None))
_HERE = Path(__file__).parent


class _Outcome(NamedTuple):
    """What a segment came to, as in `Done`."""

    value: Input
    failed: bool = False
    reason: str = ""
    abandoned: bool = False
    void: bool = False
    put_off: bool = False


_UNWANTED = _Outcome((), failed=True)


class Runner:
    """Runs one segment at a time on the calling thread.

    Args:
        name: the executor's name, for failures.
        address: the executor's address, part of the ids that steps receive messages under.
        store: for references and the user library.
        post: carries the steps' messages.
        nested: makes the steps' calls.
        functions: the loaded user code.
        doorbell: interrupts it.
    """

    def __init__(  # noqa: PLR0917  an executor's parts, put together once
        self,
        name: str,
        address: str,
        store: KeyValueStore,
        post: PostOffice,
        nested: NestedCalls,
        functions: Functions,
        doorbell: Doorbell,
    ) -> None:
        self._name = name
        self._address = address
        self._store = store
        self._inputs = Inputs(store)
        self._post = post
        self._nested = nested
        self._functions = functions
        self._doorbell = doorbell
        self._pid = os.getpid()

    def run(self, works: Sequence[Work]) -> list[Done]:
        """Run a segment, or a batch of the same segment of several runs.

        Whatever the user's code raises becomes a failed `Done`. If the code is interrupted,
        nobody wants its values any more, nor its failure.
        """
        begin = time.perf_counter()
        self._nested.abandoned = False
        try:
            try:
                self._doorbell.open()
                if _takes_lists(works[0]):
                    outcomes = self._batch(works)
                else:
                    outcomes = [self._judged(self._outcome(self._segment, works[0]))]
            finally:
                self._doorbell.shut()
        except BaseException as error:  # noqa: BLE001  it was interrupted, or is out of memory
            outcomes = [_failure(error)] * len(works)
        self._doorbell.shut()  # the interruption may have come instead of it
        self._functions.instances.settle()
        seconds = (time.perf_counter() - begin) / len(works)
        return [
            Done(
                work,
                outcome.value,
                outcome.failed,
                seconds,
                outcome.reason,
                outcome.abandoned,
                outcome.void,
                outcome.put_off,
            )
            for work, outcome in zip(works, outcomes, strict=True)
        ]

    def _judged(self, outcome: _Outcome) -> _Outcome:
        """What it is worth, now that its code has ended."""
        return outcome._replace(abandoned=True) if self._nested.abandoned else outcome

    def _outcome(self, make: Callable[[Work], Input], work: Work) -> _Outcome:
        """What becomes of a work when its value is made so."""
        try:
            return _Outcome(make(work))
        except DoesNotCount:
            return _Outcome((), void=True)
        except NotThereYet:
            return _Outcome((), put_off=True)
        except (InvocationCancelledError, InvocationTimedOutError):
            raise  # nothing else of it is to run, either
        except BaseException as error:  # noqa: BLE001  unpickling runs a value's own methods
            return _failure(error)

    def _segment(self, work: Work) -> Input:
        plan = work.route.plan
        library = self._library(work)
        values = self._inputs.upstream(work)
        if work.route.context.warms:
            return self._warmed(work, library, values)
        for number in plan.segments[work.segment].steps:
            step = plan.steps[number]
            keywords: dict[str, Any] = {}
            if work.arguments:
                values, keywords = self._inputs.with_own_arguments(work, number, values)
            library.step = step.name
            values = [self._call(plan.dag, step, library, values, keywords)]
            if self._nested.abandoned:
                raise StepFailed((), "the run goes on without this attempt")
            if type(values[0]) is GeneratorType:
                raise self._failed(work.run_id, step, _no_generators(step))
            if step.is_class and plan.dag and not isinstance(values[0], _IMMUTABLE):
                values = [self._severed(work, step, values[0])]
        return self._leaving(work, step, values[0])

    def _batch(self, works: Sequence[Work]) -> list[_Outcome]:
        """Run the one step of a segment for several runs, in as few calls as their shapes allow."""
        outcomes: dict[int, _Outcome] = {}
        calls: list[Call] = []
        waits = len(works) == 1
        for work in works:
            outcome = self._outcome(lambda work: Local(self._gathered(work, waits=waits)), work)
            if isinstance(outcome.value, Local):
                calls.append(outcome.value.value)
            else:
                outcomes[id(work)] = outcome
        for group in alike(calls):
            # If it was interrupted, nobody wants any of it.
            unwanted = self._doorbell.has_interrupted
            found = [_UNWANTED] * len(group) if unwanted else self._outcomes_of(group)
            for call, outcome in zip(group, found, strict=True):
                outcomes[id(call.work)] = outcome if unwanted else self._judged(outcome)
        return [outcomes[id(work)] for work in works]

    def _gathered(self, work: Work, *, waits: bool) -> Call:
        """Its arguments; what they refer to must be there, unless it is the only one."""
        (number,) = work.route.plan.segments[work.segment].steps
        values = self._inputs.upstream(work)
        return Call(work, *self._inputs.with_own_arguments(work, number, values, waits=waits))

    def _outcomes_of(self, calls: Sequence[Call]) -> list[_Outcome]:
        work = calls[0].work
        plan, library = work.route.plan, self._library(work)
        step = plan.head(work.segment)
        library.step = step.name
        values, keywords = together(calls)
        try:
            value = self._call(plan.dag, step, library, values, keywords)
            found = apart(value, len(calls), step)
        except StepFailed as failed:
            raised = failed.raised
            if raised is None:
                return [_failure(failed)] * len(calls)
        except BaseException as error:  # noqa: BLE001  taking it apart runs its own methods
            raised = error
        else:
            seen = Counter(map(id, found))
            return [
                self._outcome(
                    partial(self._item, step=step, value=value, alone=seen[id(value)] == 1),
                    call.work,
                )
                for call, value in zip(calls, found, strict=True)
            ]
        return [_failure(self._failed(call.work.run_id, step, raised)) for call in calls]

    def _item(self, work: Work, step: PlanStep, value: Any, *, alone: bool) -> Input:
        """The value of one call of a batch; ``alone`` is whether no other has the very same."""
        if isinstance(value, BaseException):
            raise self._failed(work.run_id, step, value)
        if type(value) is GeneratorType:
            raise self._failed(work.run_id, step, _no_generators(step))
        kept = step.is_class and work.route.plan.dag
        if (kept or not alone) and not isinstance(value, _IMMUTABLE):
            value = self._severed(work, step, value)
        return self._leaving(work, step, value)

    def _warmed(self, work: Work, library: UserLibrary, values: Iterable[Any]) -> Input:
        """Load code, without calling it. The value is the names of the executors that did so."""
        plan = work.route.plan
        for number in plan.segments[work.segment].steps:
            step = plan.steps[number]
            library.step = step.name
            self._call(plan.dag, step, library, None, {})
        names = sorted({self._name, *(name for names in values for name in names)})
        return self._leaving(work, step, names)

    def _library(self, work: Work) -> UserLibrary:
        return UserLibrary(
            self._store, self._post, self._nested, work.run_id, work.epoch, self._address
        )

    def _leaving(self, work: Work, step: PlanStep, value: Any) -> Input:
        """A value on its way out of its segment."""
        if work.segment in work.route.keep_local:
            return Local(value)
        try:
            frames = pack(value, "the result of the function").frames
        except BaseException as error:  # noqa: BLE001  pickling runs the value's own methods
            raise self._failed(work.run_id, step, error) from None
        # A snapshot: an instance may keep its arrays and change them before these frames have
        # left, and every reader must get arrays of its own.
        return frames if len(frames) == 1 else [bytes(frame) for frame in frames]

    def _severed(self, work: Work, step: PlanStep, value: Any) -> Any:
        """A copy, because the instance lives on and may keep what it returned."""
        try:
            return unpack([bytes(frame) for frame in pack(value, "the result").frames])
        except BaseException as error:  # noqa: BLE001  pickling runs the value's own methods
            raise self._failed(work.run_id, step, error) from None

    def _call(
        self,
        dag: str,
        step: PlanStep,
        library: UserLibrary,
        arguments: list[Any] | None,
        keywords: dict[str, Any],
    ) -> Any:
        """Call a step's code; without arguments (None) only load it."""
        called: Called | None = None
        try:
            self._post.open(library)
            called = self._functions.callable_for(dag, step, library)
            if arguments is None:
                return None
            value = called(library, *arguments, **keywords)
            self._post.flush()
            self._nested.finish()
        except NotLoaded as missing:
            raise StepFailed(pack_cluster_failure(missing.error), str(missing.error)) from None
        except BaseException as error:  # noqa: BLE001  whatever user code raises is a failure
            if called is not None and isinstance(error, TypeError):
                error = _explained(error, step, called, len(arguments or ()), keywords)
            raise self._failed(library.run_id, step, error) from None
        else:
            return value
        finally:
            if os.getpid() != self._pid:
                # User code forked and came back in the child, which must not serve as well.
                os._exit(0)
            self._post.close()
            self._nested.forget()

    def _failed(self, run_id: str, step: PlanStep, error: BaseException) -> StepFailed:
        frames = pack_failure(error, step=step.name, run_id=run_id, executor=self._name)
        return StepFailed(frames, f"step {step.name!r} raised {describe(error):.200}", error)


def _takes_lists(work: Work) -> bool:
    """Whether code is to be called that takes several calls at once."""
    return work.route.plan.head(work.segment).batch_size > 0 and not work.route.context.warms


def _failure(error: BaseException) -> _Outcome:
    """What a segment comes to that raised, or could not get what it needs."""
    match error:
        case StepFailed():
            return _Outcome(error.frames, failed=True, reason=str(error))
        case CloudburstError():
            return _Outcome(pack_cluster_failure(error), failed=True, reason=str(error))
    reason = f"unpickling a value raised {describe(error):.200}"
    return _Outcome(pack_cluster_failure(SerializationError(reason)), failed=True, reason=reason)


def _no_generators(step: PlanStep) -> SerializationError:
    # It could be handed on in memory, but only where the next step happens to run here, too.
    return SerializationError(
        f"the result of {step.name!r} cannot be pickled: it is a generator. "
        "Pass a list of its items."
    )


def _explained(
    error: TypeError, step: PlanStep, called: Called, count: int, keywords: dict[str, Any]
) -> TypeError:
    """A call that did not fit the signature says so in the caller's terms.

    Raised by the call itself, the traceback ends in this package; raised inside the user's code
    it ends there, and is not touched.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    inside = trace is not None and Path(trace.tb_frame.f_code.co_filename).parent != _HERE
    problem = None if inside else arity_problem(called, count, keywords)
    if problem is None:
        return error
    return TypeError(f"step {step.name!r} cannot be called like this: {problem}")
