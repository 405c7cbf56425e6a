"""Runs segments: unpacks what they need, calls the user's functions one after another."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import GeneratorType
from typing import Any

from cloudburst.core.messages import Buffer, Frames
from cloudburst.core.plan import PlanStep
from cloudburst.errors import CloudburstError, KeyNotFound, SerializationError
from cloudburst.executor.calling import Called, arity_problem
from cloudburst.executor.doorbell import Doorbell
from cloudburst.executor.events import Argument, Done, Input, Local, Work
from cloudburst.executor.functions import Functions, NotLoaded
from cloudburst.executor.library import UserLibrary
from cloudburst.executor.nested import NestedCalls
from cloudburst.executor.post import PostOffice
from cloudburst.kvs import keys
from cloudburst.kvs.base import Get, KeyValueStore
from cloudburst.serialization import (
    CloudburstReference,
    describe,
    failure_in,
    has_references,
    pack,
    pack_cluster_failure,
    pack_failure,
    references_in,
    resolve,
    split,
    unpack,
)

_LONGEST_PAUSE = 0.1
_IMMUTABLE = (int, float, complex, str, bytes, bool, type(None))
_HERE = Path(__file__).parent


class _StepFailed(Exception):
    """A step cannot run or raised; ``frames`` is the failure to deliver."""

    def __init__(self, frames: Frames, reason: str) -> None:
        super().__init__(reason)
        self.frames = frames


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
        self._post = post
        self._nested = nested
        self._functions = functions
        self._doorbell = doorbell
        self._pid = os.getpid()

    def run(self, work: Work) -> Done:
        """Run a segment. Whatever the user's code raises becomes a failed `Done`.

        If the code is interrupted, nobody wants its value any more, nor its failure.
        """
        begin = time.perf_counter()
        self._nested.abandoned = False
        failed, reason = True, ""
        try:
            try:
                self._doorbell.open()
                value = self._segment(work)
            finally:
                self._doorbell.shut()
            failed = False
        except _StepFailed as error:
            value, reason = error.frames, str(error)
        except CloudburstError as error:  # what the segment needs cannot be had
            value, reason = pack_cluster_failure(error), str(error)
        except BaseException as error:  # noqa: BLE001  unpickling runs a value's own methods
            reason = f"unpickling a value raised {describe(error):.200}"
            value = pack_cluster_failure(SerializationError(reason))
        self._doorbell.shut()  # the interruption may have come instead of it
        self._functions.instances.settle()
        seconds = time.perf_counter() - begin
        return Done(work, value, failed, seconds, reason, self._nested.abandoned)

    def _segment(self, work: Work) -> Input:
        plan = work.route.plan
        library = UserLibrary(
            self._store, self._post, self._nested, work.run_id, work.epoch, self._address
        )
        values = [self._input(value) for value in work.inputs]
        for number in plan.segments[work.segment].steps:
            step = plan.steps[number]
            keywords: dict[str, Any] = {}
            if work.arguments:
                values, keywords = self._with_own_arguments(work, number, values)
            library.step = step.name
            values = [self._call(plan.dag, step, library, values, keywords)]
            if self._nested.abandoned:
                raise _StepFailed((), "the run goes on without this attempt")
            if type(values[0]) is GeneratorType:
                raise self._failed(work.run_id, step, _no_generators(step))
            if step.is_class and plan.dag and not isinstance(values[0], _IMMUTABLE):
                values = [self._severed(work, step, values[0])]
        if work.segment in work.route.keep_local:
            return Local(values[0])
        try:
            frames = pack(values[0], "the result of the function").frames
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
        arguments: list[Any],
        keywords: dict[str, Any],
    ) -> Any:
        called: Called | None = None
        try:
            self._post.open(library)
            called = self._functions.callable_for(dag, step, library)
            value = called(library, *arguments, **keywords)
            self._post.flush()
            self._nested.finish()
        except NotLoaded as missing:
            raise _StepFailed(pack_cluster_failure(missing.error), str(missing.error)) from None
        except BaseException as error:  # noqa: BLE001  whatever user code raises is a failure
            if called is not None and isinstance(error, TypeError):
                error = _explained(error, step, called, len(arguments), keywords)
            raise self._failed(library.run_id, step, error) from None
        else:
            return value
        finally:
            if os.getpid() != self._pid:
                # User code forked and came back in the child, which must not serve as well.
                os._exit(0)
            self._post.close()
            self._nested.forget()

    def _failed(self, run_id: str, step: PlanStep, error: BaseException) -> _StepFailed:
        frames = pack_failure(error, step=step.name, run_id=run_id, executor=self._name)
        return _StepFailed(frames, f"step {step.name!r} raised {describe(error):.200}")

    def _input(self, value: Input) -> Any:
        if isinstance(value, Local):
            return value.value
        return unpack(value)

    def _with_own_arguments(
        self, work: Work, number: int, upstream: list[Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        for argument in work.arguments:
            if argument.step != number:
                continue
            value = self._argument(work, argument)
            if argument.keyword:
                keywords[argument.keyword] = value
            else:
                positional.append(value)
        return positional + upstream, keywords

    def _argument(self, work: Work, argument: Argument) -> Any:
        value = unpack(argument.frames)
        if not has_references(argument.frames):
            return value
        found = self._fetch(references_in(value), work.route.context.patience)
        return resolve(value, found.__getitem__)

    def _fetch(
        self, references: list[CloudburstReference], timeout: float
    ) -> dict[CloudburstReference, Any]:
        """Read what references stand for, waiting for keys that are not there yet."""
        deadline = time.monotonic() + timeout
        pause = 0.001
        found: dict[CloudburstReference, Any] = {}
        while True:
            missing = [reference for reference in references if reference not in found]
            blobs = self._store.execute([Get(keys.object_key(r.key)) for r in missing])
            for reference, blob in zip(missing, blobs, strict=True):
                if blob is not None:
                    found[reference] = self._referenced(reference, blob)
            if len(found) == len(references):
                return found
            if time.monotonic() >= deadline:
                names = ", ".join(repr(r.key) for r in references if r not in found)
                raise KeyNotFound(f"nothing was stored under {names} within {timeout:g} seconds")
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _referenced(self, reference: CloudburstReference, blob: Buffer) -> Any:
        if not reference.deserialize:
            return bytes(blob)
        frames = split(blob)
        value = unpack(frames)
        if failure_in(value) is not None:
            raise _StepFailed(frames, f"the run {reference.key!r} that it refers to failed")
        return value


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
