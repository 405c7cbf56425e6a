"""Segments run: what functions are called with, and what becomes of the values they return."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from running import Stage, given

from cloudburst.core.messages import Frames
from cloudburst.errors import FunctionError, SerializationError
from cloudburst.executor.events import Ending, Local
from cloudburst.executor.library import UserLibrary
from cloudburst.serialization import CloudburstReference, failure_in, unpack

LARGE = 10_000
"""Numbers in an array whose memory travels as a frame of its own."""


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.register(
        all=lambda _, *arguments, **keywords: (arguments, keywords),
        one=lambda _: 1,
        two=lambda _: 2,
        three=lambda _: 3,
    )
    return stage


def test_a_function_gets_the_library_first_and_then_its_arguments(stage: Stage) -> None:
    called = stage.call(lambda library, a, b, *, c: (type(library), a, b, c), 1, "two", c=[3])

    assert called == (UserLibrary, 1, "two", [3])


def test_arguments_of_a_steps_own_come_before_those_from_upstream(stage: Stage) -> None:
    plan = stage.dag("one>all two>all")

    assert stage.run(plan, all=given("own", "second", key="word")) == (
        ("own", "second", 1, 2),
        {"key": "word"},
    )


def test_upstream_values_come_in_the_order_of_the_connections(stage: Stage) -> None:
    assert stage.run(stage.dag("three>all one>all two>all")) == ((3, 1, 2), {})


def test_each_step_of_a_chain_gets_its_own_arguments(stage: Stage) -> None:
    plan = stage.dag("a>b b>c", a="all", b="all", c="all")
    assert len(plan.segments) == 1

    value = stage.run(plan, c=given("c", k=3), a=given("a"), b=given(k=2))
    a: Any = (("a",), {})
    b = ((a,), {"k": 2})
    assert value == (("c", b), {"k": 3})


@pytest.mark.parametrize("value", [(1, 2), [], None, {}, [(1,)], b"bytes", "text", 0])
def test_a_value_is_one_argument_downstream_whatever_it_is(stage: Stage, value: Any) -> None:
    stage.register(make=lambda _, what: what)

    assert stage.run(stage.dag("make>all"), make=given(value)) == ((value,), {})
    assert stage.run(stage.dag("make>all one>all"), make=given(value)) == ((value, 1), {})


def test_the_library_knows_which_step_runs(stage: Stage) -> None:
    stage.register(where=lambda library, *above: [*above, library.step, library.run_id])
    plan = stage.dag("a>b", a="where", b="where")

    assert stage.run(plan) == [["a", "run-1"], "b", "run-1"]


def test_a_lone_function_is_a_step_of_its_own_name(stage: Stage) -> None:
    stage.register(alone=lambda library: (library.step, library.get_id()))

    step, address = stage.run(stage.lone("alone"))
    assert (step, address) == ("alone", "run-1/1/alone@ipc:///nowhere/e-1")


def test_time_is_taken(stage: Stage) -> None:
    stage.start(stage.lone("one"))
    assert 0.0 < stage.next().seconds < 1.0


# values between steps


def test_within_a_chain_a_value_is_handed_over_as_it_is(stage: Stage) -> None:
    """A lock, which no pickle can carry, arrives locked."""

    def make(_: UserLibrary) -> Any:
        lock = threading.Lock()
        lock.acquire()
        return lock

    stage.register(make=make, look=lambda _, lock: lock.locked())

    assert stage.run(stage.dag("make>look")) is True


def test_to_its_only_reader_on_the_same_executor_too(stage: Stage) -> None:
    stage.register(make=lambda _: threading.Lock(), use=lambda _, a, b: a is not b)
    stage.start(stage.dag("x>use y>use", x="make", y="make"))

    done = stage.next()
    assert isinstance(done.value, Local)


def test_readers_of_one_value_each_get_a_value_of_their_own(stage: Stage) -> None:
    def spoil(_: UserLibrary, numbers: Any) -> float:
        numbers += 1
        return float(numbers[0])

    stage.register(make=lambda _: np.zeros(LARGE), spoil=spoil)
    plan = stage.dag("make>x make>y x>all y>all", x="spoil", y="spoil")

    assert stage.run(plan) == ((1.0, 1.0), {})


def test_a_result_does_not_change_with_what_the_instance_keeps(stage: Stage) -> None:
    class Accumulator:
        def __init__(self) -> None:
            self.total = np.zeros(LARGE)

        def run(self, number: float) -> Any:
            self.total += number
            return self.total

    stage.register(sum=Accumulator)
    plan = stage.dag("sum")
    ends = [stage.last(plan, sum=given(number)) for number in (1.0, 2.0)]

    assert [unpack(end.frames)[0] for end in ends] == [1.0, 3.0]


def test_large_arguments_are_the_steps_own_to_change(stage: Stage) -> None:
    def change(_: UserLibrary, numbers: Any) -> Any:
        numbers[0] = 7
        return numbers

    changed = stage.call(change, np.zeros(LARGE))
    assert (changed[0], changed[1], len(changed)) == (7, 0, LARGE)


def test_a_reference_that_is_returned_stays_one(stage: Stage) -> None:
    assert stage.call(lambda _: CloudburstReference("key")) == CloudburstReference("key")


def test_an_exception_that_is_returned_is_a_value(stage: Stage) -> None:
    value = stage.call(lambda _: ValueError("no harm done"))

    assert (type(value), value.args) == (ValueError, ("no harm done",))


# values that cannot be unpacked


def failure_of(stage: Stage, frames: Frames) -> BaseException:
    """Call a function with these frames in place of an argument."""
    stage.start(stage.lone("all"), all=given("argument"))
    work = stage.work()
    (argument,) = work.arguments
    (done,) = stage.runner.run([work._replace(arguments=[argument._replace(frames=frames)])])
    assert done.ending is Ending.FAILED
    assert not isinstance(done.value, Local)
    failure = failure_in(unpack(done.value))
    assert failure is not None
    return failure.exception()


@pytest.mark.parametrize("frames", [[], [b""], [b"garbage"], [b"\x80\x05garbage"], [b"\xcb"]])
def test_an_argument_that_is_no_value_fails_the_run(stage: Stage, frames: Frames) -> None:
    assert isinstance(failure_of(stage, frames), SerializationError)


def test_an_input_that_is_no_value_fails_the_run(stage: Stage) -> None:
    stage.start(stage.dag("one>all two>all"))
    stage.state.handle(stage.next())
    stage.state.handle(stage.next())
    (done,) = stage.runner.run([stage.work()._replace(inputs=[[b"garbage"], [b"garbage"]])])

    assert done.ending is Ending.FAILED


class Wicked:
    """Its unpickling does what no unpickling should."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        return _raise, (self.error,)


def _raise(error: type[BaseException]) -> None:
    raise error("out of a pickle")


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_an_argument_whose_unpickling_raises_fails_the_run(
    stage: Stage, error: type[BaseException]
) -> None:
    failure = stage.failure(stage.lone("all"), all=given(Wicked(error)))

    assert type(failure) is SerializationError
    assert error.__name__ in str(failure)


class Stubborn:
    """Refuses to be pickled."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error("I stay here")


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_result_that_cannot_be_pickled_fails_its_step(
    stage: Stage, error: type[BaseException]
) -> None:
    stage.register(make=lambda _, kind: Stubborn(kind), pass_on=lambda _, value: value)
    plan = stage.dag("first>last", first="make", last="pass_on")

    told = stage.failure(plan, first=given(error))
    if not isinstance(told, FunctionError):
        told = told.__cause__  # type: ignore[assignment]
    assert isinstance(told, FunctionError)
    assert (told.step, told.run_id, told.executor) == ("last", "run-1", "e-1")


def test_what_cannot_be_pickled_is_named(stage: Stage) -> None:
    with pytest.raises(SerializationError, match=r"the result of 'f' cannot be pickled.*generator"):
        stage.call(lambda _: (number for number in range(3)))


def test_the_executor_is_as_good_as_new_after_any_failure(stage: Stage) -> None:
    for value in (Wicked(SystemExit), Wicked(MemoryError)):
        assert stage.last(stage.lone("all"), all=given(value)).failed

    assert stage.call(lambda _, a: a + 1, 1) == 2
