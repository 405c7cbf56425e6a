"""Runs modelled functions, as `cloudburst.executor.runner` runs users' functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from cloudburst.core.messages import Frames
from cloudburst.errors import CloudburstError, KeyNotFound, NoValidResult, RunError
from cloudburst.executor.doorbell import LONGEST_PAUSE as LONGEST_KNOCK
from cloudburst.executor.doorbell import Doorbell
from cloudburst.executor.events import Done, Ending, Input, Local, Work
from cloudburst.executor.waiting import BLOCKED_AFTER
from cloudburst.kvs import keys
from cloudburst.kvs.base import Get
from cloudburst.serialization import pack_cluster_failure

from .functions import (
    RAISED,
    WARM,
    Argument,
    Behaviour,
    Function,
    Outcome,
    applied,
    counts,
    outcome_of,
    packed,
)
from .ground import Ground
from .process import Program, Wait

if TYPE_CHECKING:
    from .executor import ExecutorProcess

SHORT = 0.001
LONGEST_PAUSE = 0.1
LOOK_EVERY = 0.05
"""Seconds between two looks of code that waits, as `recv` looks into its inbox in the store."""


class _Failed(Exception):
    """A step cannot run, or raised."""

    def __init__(self, frames: Frames, reason: str) -> None:
        super().__init__(reason)
        self.frames = frames


_Fired: TypeAlias = Sequence[tuple[Work, str]]
"""Segments that run together, and the names of their attempts."""


class Bell(Doorbell):
    """A doorbell in virtual time, without threads.

    Args:
        look: see `Doorbell`.
        knock_later: has `answer` called after so many seconds.
    """

    def __init__(self, look: Callable[[], bool], knock_later: Callable[[float], None]) -> None:
        super().__init__(look)
        self._later = knock_later

    def answer(self) -> None:
        """The signal has come."""
        self._knock(0, None)

    def open_again(self) -> None:
        """The end of `shut_meanwhile`, whose beginning is `shut`."""
        self._open = True
        self._answer()

    def _knock_again(self) -> None:
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_KNOCK)
        self._later(pause)


class Runner:
    """Runs segments on an executor.

    Args:
        ground: the world.
        process: the executor.
        bell: interrupts what runs.
        end: ends the process, for a reason.
    """

    def __init__(
        self, ground: Ground, process: ExecutorProcess, bell: Bell, end: Callable[[str], None]
    ) -> None:
        self._ground = ground
        self._process = process
        self._bell = bell
        self._end = end
        self._runs = False  # user code
        self._is_deaf = False
        self._knocked = False

    def knock(self) -> None:
        """A signal has come: user code is interrupted where it waits, other code goes on."""
        if self._runs:
            self._knocked = True
            self._process.wake()
        else:
            self._bell.answer()

    def run(self, works: Sequence[Work]) -> Program[list[Done]]:
        """Run a segment, or a batch of the same segment of several runs, however it ends."""
        begin, ended = self._ground.clock.now, dict[int, Done]()
        attempts = [self._ground.witness.takes(work) for work in works]
        fired = [pair for pair in zip(works, attempts, strict=True) if _is_fired(pair[0])]
        for work in works:
            if not _is_fired(work):
                ended[id(work)] = self._not_fired(work)
        if fired:
            values = yield from self._values(fired)
            seconds = (self._ground.clock.now - begin) / len(works)
            for (work, _), value in zip(fired, values, strict=True):
                failed = isinstance(value, _Failed)
                ending = Ending.FAILED if failed else Ending.SUCCEEDED
                frames: Input = value.frames if isinstance(value, _Failed) else value
                ended[id(work)] = Done(work, frames, ending, seconds, str(value) if failed else "")
        return [ended[id(work)] for work in works]

    def _not_fired(self, work: Work) -> Done:
        if work.others:
            return Done(work, (), Ending.VOID, 0.0)
        self._ground.witness.facts(work.run_id).raised += 1
        error = NoValidResult("none counts")
        return Done(work, pack_cluster_failure(error), Ending.FAILED, 0.0, str(error))

    def _values(self, fired: _Fired) -> Program[list[Input | _Failed]]:
        """What becomes of segments that are run together."""
        for work, attempt in fired:
            self._ground.witness.begins(work, attempt)
        try:
            try:
                self._bell.open()
                self._runs = True
                work, attempt = fired[0]
                batches = work.route.plan.head(work.segment).batch_size > 0
                if batches and not work.route.context.warms:
                    return (yield from self._batch(fired))
                return [(yield from self._segment(work, attempt))]
            finally:
                self._runs = self._knocked = self._is_deaf = False
                self._bell.shut()
        except (_Failed, CloudburstError) as error:
            return [self._failure(work, error) for work, _ in fired]

    def _failure(self, work: Work, error: _Failed | CloudburstError) -> _Failed:
        if isinstance(error, _Failed):
            return error
        if isinstance(error, KeyNotFound):
            # It has had its chance, as if its code had raised.
            self._ground.witness.facts(work.run_id).raised += 1
        return _Failed(pack_cluster_failure(error), str(error))

    def _batch(self, fired: _Fired) -> Program[list[Input | _Failed]]:
        """One call of a function for several runs; what it raises for one is that one's."""
        work, witness = fired[0][0], self._ground.witness
        (number,) = work.route.plan.segments[work.segment].steps
        step = work.route.plan.steps[number]
        function = self._ground.functions[step.function]
        given, outcomes = dict[str, list[str]](), dict[str, Input | _Failed]()
        for work, attempt in fired:
            try:
                own = yield from self._own(work, number, attempt)
            except (_Failed, KeyNotFound) as error:
                outcomes[attempt] = self._failure(work, error)
            else:
                given[attempt] = own + [_text_of(value) for value in work.inputs]
        called = [(work, attempt) for work, attempt in fired if attempt in given]
        before = {attempt: witness.behaves(w.run_id, step.name) for w, attempt in called}
        if called:
            yield from self._behave(called[0][0].run_id, function, min(before.values()))
        for work, attempt in called:
            try:
                self._check_raises(work.run_id, step.name, function, before[attempt], attempt)
            except _Failed as error:
                outcomes[attempt] = error
            else:
                outcomes[attempt] = _leaving(
                    work, applied(step.name, step.version, given[attempt]), attempt
                )
        return [outcomes[attempt] for _, attempt in fired]

    def sleep(self, seconds: float) -> Program[None]:
        """Let time pass, in user code and elsewhere.

        Raises:
            InvocationCancelledError, InvocationTimedOutError: it is user code, and is to end.
        """
        clock = self._ground.clock
        end = clock.now + seconds
        while True:
            yield Wait(max(0.0, end - clock.now), messages=False)
            if self._knocked and not self._is_deaf:
                self._knocked = False
                self._bell.answer()
            if clock.now >= end:
                return

    def _segment(self, work: Work, attempt: str) -> Program[Input]:
        plan = work.route.plan
        if work.route.context.warms:
            return _leaving(work, WARM, attempt)
        values = [_text_of(value) for value in work.inputs]
        for number in plan.segments[work.segment].steps:
            step = plan.steps[number]
            own = yield from self._own(work, number, attempt)
            function = self._ground.functions[step.function]
            before = self._ground.witness.behaves(work.run_id, step.name)
            yield from self._behave(work.run_id, function, before)
            self._check_raises(work.run_id, step.name, function, before, attempt)
            values = [applied(step.name, step.version, own + values)]
        return _leaving(work, values[0], attempt)

    def _own(self, work: Work, step: int, attempt: str) -> Program[list[str]]:
        """A step's own arguments."""
        own = []
        for argument in work.arguments:
            if argument.step == step:
                given = Argument.of(argument.frames)
                patience = work.route.context.patience
                own.append((yield from self._resolved(given, patience, attempt)))
        return own

    def _behave(self, run_id: str, function: Function, before: int) -> Program[None]:
        seconds = function.seconds * (0.5 + self._ground.dice.random())
        match function.behaviour:
            case Behaviour.KILLS:
                yield from self._die(seconds)
            case Behaviour.KILLS_ONCE if not before:
                yield from self._die(seconds)
            case Behaviour.STUBBORN:
                yield from self._ignore(seconds)
            case Behaviour.NATIVE:
                self._is_deaf = True
                yield from self.sleep(seconds)
                self._is_deaf = False
            case Behaviour.WAITS:
                yield from self._wait(run_id, seconds)
            case _:
                yield from self.sleep(seconds)

    def _check_raises(
        self, run_id: str, step: str, function: Function, before: int, attempt: str
    ) -> None:
        raises = function.behaviour is Behaviour.RAISES
        if raises or (function.behaviour is Behaviour.RAISES_ONCE and not before):
            self._ground.witness.facts(run_id).raised += 1
            raise _Failed(packed(Outcome(RAISED, step), attempt), f"step {step!r} raised")

    def _ignore(self, seconds: float) -> Program[None]:
        end = self._ground.clock.now + seconds
        while self._ground.clock.now < end:
            try:
                yield from self.sleep(end - self._ground.clock.now)
            except RunError as error:
                self._ground.trace.note(self._process.name, f"user code ignores: {error}")

    def _wait(self, run_id: str, seconds: float) -> Program[None]:
        """Wait for what others do; for all that stands ready behind it, too."""
        clock, process = self._ground.clock, self._process
        end, told = clock.now + seconds, False
        try:
            while clock.now < end or process.holds_up(run_id):
                left = end - clock.now if clock.now < end else LOOK_EVERY
                came = yield from self._pumped(min(left, LOOK_EVERY if told else BLOCKED_AFTER))
                if not (came or told) and left > BLOCKED_AFTER:
                    told = True
                    process.say_waits(waits=True)
        except RunError:
            if told:
                process.say_waits(waits=False)
            raise
        if told:
            process.say_waits(waits=False)

    def _pumped(self, seconds: float) -> Program[bool]:
        """Let the executor take in messages, behind a shut door. Returns whether any came."""
        self._bell.shut()
        self._runs = False
        try:
            came = yield from self._process.pump(seconds)
        except RunError:
            self._open_again()
            raise
        self._open_again()
        return came

    def _open_again(self) -> None:
        self._runs = True
        self._bell.open_again()

    def _die(self, seconds: float) -> Program[None]:
        yield from self.sleep(seconds)
        self._end("killed by SIGSEGV")
        yield Wait(None, messages=False)

    def _resolved(self, given: Argument, patience: float, attempt: str) -> Program[str]:
        if not given.is_reference:
            return given.text
        clock, pause = self._ground.clock, 0.001
        deadline = clock.now + patience
        while True:
            (blob,) = yield from self._process.execute([Get(keys.object_key(given.text))])
            if isinstance(blob, bytes):
                outcome = outcome_of([blob])
                self._process.caches(given.text)
                if outcome.error:
                    self._ground.witness.facts(attempt.partition("#")[0]).raised += 1
                    raise _Failed(packed(outcome, attempt), f"run {given.text} failed")
                return outcome.text
            if clock.now >= deadline:
                raise KeyNotFound(f"nothing was stored under {given.text!r}")
            yield from self.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)


def is_short(ground: Ground, works: Sequence[Work]) -> bool:
    """Whether a segment is expected to take next to no time."""
    work = works[0]
    if any(Argument.of(argument.frames).is_reference for argument in work.arguments):
        return False
    steps = [
        work.route.plan.steps[number] for number in work.route.plan.segments[work.segment].steps
    ]
    return sum(ground.functions[step.function].seconds for step in steps) < SHORT


def _leaving(work: Work, text: str, attempt: str) -> Input:
    """A value on its way out of its segment."""
    frames = packed(Outcome("", text), attempt)
    return Local(frames) if work.segment in work.route.keep_local else frames


def _is_fired(work: Work) -> bool:
    """Whether what has come for a segment makes it run."""
    if work.segment not in work.route.first_of or work.route.context.warms:
        return True
    (value,) = work.inputs
    outcome = outcome_of(value.value if isinstance(value, Local) else value)
    return not outcome.error and counts(outcome.text)


def _text_of(value: Input) -> str:
    return outcome_of(value.value if isinstance(value, Local) else value).text
