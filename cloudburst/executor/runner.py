"""Runs segments: unpacks what they need, calls the user's functions one after another."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import GeneratorType
from typing import Any, NamedTuple

from cloudburst.cache.reader import ObjectReader
from cloudburst.core.messages import TALKING, Buffer
from cloudburst.core.plan import PlanStep
from cloudburst.errors import (
    CloudburstError,
    InvocationCancelledError,
    InvocationTimedOutError,
    KVSUnavailable,
    SerializationError,
)
from cloudburst.executor.batching import Call, alike, apart, together
from cloudburst.executor.calling import Called, arity_problem
from cloudburst.executor.doorbell import Doorbell
from cloudburst.executor.events import Done, Ending, Input, Local, Work
from cloudburst.executor.functions import Functions, NotLoaded
from cloudburst.executor.inputs import (
    DoesNotCount,
    Given,
    Inputs,
    NotThereYet,
    StepFailed,
    There,
)
from cloudburst.executor.library import UserLibrary
from cloudburst.executor.nested import NestedCalls
from cloudburst.executor.post import PostOffice
from cloudburst.serialization import (
    describe,
    pack,
    pack_cluster_failure,
    pack_failure,
    unpack,
)

_IMMUTABLE = (int, float, complex, str, bytes, bool, type(None))
_HERE = Path(__file__).parent


class _Made(NamedTuple):
    """What a segment came to, as in `Done`."""

    value: Input
    ending: Ending = Ending.SUCCEEDED
    reason: str = ""


_UNWANTED = _Made((), Ending.FAILED)


class Runner:
    """Runs one segment at a time on the calling thread.

    Args:
        name: the executor's name, for failures.
        address: the executor's address, part of the ids that steps receive messages under.
        objects: what references name, and the user library reads.
        post: carries the steps' messages.
        nested: makes the steps' calls.
        functions: the loaded user code.
        doorbell: interrupts it.
        snapshot: makes copies of large frames.
    """

    def __init__(  # noqa: PLR0917  an executor's parts, put together once
        self,
        name: str,
        address: str,
        objects: ObjectReader,
        post: PostOffice,
        nested: NestedCalls,
        functions: Functions,
        doorbell: Doorbell,
        snapshot: Callable[[Buffer], Buffer] = bytes,
    ) -> None:
        self._snapshot = snapshot
        self._name = name
        self._address = address
        self._objects = objects
        self._inputs = Inputs(objects, post.wait_for)
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
        self._nested.abandoned = self._post.has_talked = False
        try:
            try:
                self._doorbell.open()
                if _takes_lists(works[0]):
                    made = self._batch(works)
                else:
                    made = [self._judged(_made(lambda: self._segment(works[0])))]
            finally:
                self._doorbell.shut()
        except BaseException as error:  # noqa: BLE001  it was interrupted, or is out of memory
            made = [_failure(error)] * len(works)
        self._doorbell.shut()  # the interruption may have come instead of it
        self._functions.instances.settle()
        seconds = (time.perf_counter() - begin) / len(works)
        if self._post.has_talked:
            seconds = max(seconds, TALKING)
        return [
            Done(work, value, outcome, seconds, reason)
            for work, (value, outcome, reason) in zip(works, made, strict=True)
        ]

    def _judged(self, made: _Made) -> _Made:
        """What it is worth, now that its code has ended."""
        return made._replace(ending=Ending.ABANDONED) if self._nested.abandoned else made

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
                given = self._inputs.given(work, number)
                there = self._inputs.read([given]) if given.wanted else {}
                own, keywords = self._inputs.resolved(given, there)
                values = own + values
            library.step = step.name
            values = [self._call(plan.dag, step, library, values, keywords)]
            if self._nested.abandoned:
                raise StepFailed((), "the run goes on without this attempt")
            if type(values[0]) is GeneratorType:
                raise self._failed(work.run_id, step, _no_generators(step))
            if step.is_class and plan.dag and not isinstance(values[0], _IMMUTABLE):
                values = [self._severed(work, step, values[0])]
        return self._leaving(work, step, values[0])

    def _batch(self, works: Sequence[Work]) -> list[_Made]:
        """Run the one step of a segment for several runs, in as few calls as their shapes allow."""
        made: dict[int, _Made] = {}
        calls = self._gathered(works, made)
        for group in alike(calls):
            # If it was interrupted, nobody wants any of it.
            unwanted = self._doorbell.has_interrupted
            found = [_UNWANTED] * len(group) if unwanted else self._made_by(group)
            for call, one in zip(group, found, strict=True):
                made[id(call.work)] = one if unwanted else self._judged(one)
        return [made[id(work)] for work in works]

    def _gathered(self, works: Sequence[Work], made: dict[int, _Made]) -> list[Call]:
        """The arguments of each; ``made`` is told what becomes of those that cannot have theirs.

        What they refer to is read together, and must be there, unless there is only one.
        """
        inputs, calls = self._inputs, list[Call]()
        (number,) = works[0].route.plan.segments[works[0].segment].steps
        came: list[tuple[list[Any], Given]] = []
        for work in works:
            try:
                came.append((inputs.upstream(work), inputs.given(work, number)))
            except BaseException as error:  # noqa: BLE001  see `_caught`
                made[id(work)] = _caught(error)
        there: There = {}
        with suppress(KVSUnavailable):  # perhaps for one of them: it will see
            there = inputs.read(given for _, given in came)
        for upstream, given in came:
            try:
                own, keywords = inputs.resolved(given, there, waits=len(works) == 1)
                calls.append(Call(given.work, own + upstream, keywords))
            except BaseException as error:  # noqa: BLE001  see `_caught`
                made[id(given.work)] = _caught(error)
        return calls

    def _made_by(self, calls: Sequence[Call]) -> list[_Made]:
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
                _made(partial(self._item, call.work, step, value, alone=seen[id(value)] == 1))
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
            self._objects,
            self._post,
            self._nested,
            work.run_id,
            work.epoch,
            self._address,
            fresh=work.route.context.fresh,
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
        if len(frames) == 1:
            return frames
        with self._doorbell.shut_meanwhile():
            return [self._snapshot(frame) for frame in frames]

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


def _made(make: Callable[[], Input]) -> _Made:
    """What becomes of a segment whose value is made so."""
    try:
        return _Made(make())
    except BaseException as error:  # noqa: BLE001  unpickling runs a value's own methods
        return _caught(error)


def _caught(error: BaseException) -> _Made:
    """What an error makes of a segment.

    Raises:
        InvocationCancelledError, InvocationTimedOutError: it is one: nothing more is to run.
    """
    match error:
        case DoesNotCount():
            return _Made((), Ending.VOID)
        case NotThereYet():
            return _Made((), Ending.PUT_OFF)
        case InvocationCancelledError() | InvocationTimedOutError():
            raise error
    return _failure(error)


def _failure(error: BaseException) -> _Made:
    """What a segment comes to that raised, or could not get what it needs."""
    match error:
        case StepFailed():
            return _Made(error.frames, Ending.FAILED, str(error))
        case CloudburstError():
            return _Made(pack_cluster_failure(error), Ending.FAILED, str(error))
    reason = f"unpickling a value raised {describe(error):.200}"
    return _Made(pack_cluster_failure(SerializationError(reason)), Ending.FAILED, reason)


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
