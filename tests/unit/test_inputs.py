"""Which of the results that lead to a step count, if the first that does fires it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from executing import job

from cloudburst.cache.reader import ObjectReader
from cloudburst.core.messages import Frames
from cloudburst.core.plan import Plan
from cloudburst.core.wire import pack_context
from cloudburst.errors import KeyNotFound, NoValidResult, SerializationError
from cloudburst.executor import inputs as module
from cloudburst.executor.events import Input, Local, Work
from cloudburst.executor.inputs import DoesNotCount, Inputs, StepFailed
from cloudburst.executor.share import make_route
from cloudburst.kvs.memory import MemoryStore
from cloudburst.serialization import (
    failure_in,
    join,
    pack,
    pack_cluster_failure,
    pack_failure,
    unpack,
)


def inputs_of() -> Inputs:
    """Nothing has to be waited for."""
    return Inputs(ObjectReader(MemoryStore()), lambda _ready, _seconds: None)


def work_of(value: Input, *invalid: Any, others: int = 0) -> Work:
    """A step that is fired by the first of two results, and one of them."""
    call = job("ac bc", "AAA", first_of="c")
    packed = bytes(join(pack(list(invalid)).frames))
    plan = _with_invalid(call.plan, packed)
    route = make_route(call.context, pack_context(call.context), plan, "A")
    return Work("run", 1, route, 2, (), [value], others)


def _with_invalid(plan: Plan, invalid: bytes) -> Plan:
    steps = tuple(step._replace(invalid=invalid) if step.invalid else step for step in plan.steps)
    return replace(plan, steps=steps)


def counts(value: Any, *invalid: Any) -> bool:
    """Whether a value fires the step, be it handed over in memory or packed."""
    found = {_counts(given, *invalid) for given in (Local(value), _frames(value))}
    assert len(found) == 1
    return found.pop()


def _counts(value: Input, *invalid: Any) -> bool:
    try:
        inputs_of().upstream(work_of(value, *invalid, others=1))
    except DoesNotCount:
        return False
    return True


def _frames(value: Any) -> Frames:
    return [bytes(frame) for frame in pack(value).frames]


def failed(value: Input, *invalid: Any) -> BaseException:
    """What the run fails with if the last of the results is this one."""
    with pytest.raises(StepFailed) as caught:
        inputs_of().upstream(work_of(value, *invalid))
    failure = failure_in(unpack(caught.value.frames))
    assert failure is not None
    assert str(caught.value) == str(failure.error)
    return failure.exception()


VALUES: list[Any] = [
    None,
    0,
    1,
    1.5,
    "",
    "none",
    b"",
    (),
    [],
    {},
    set(),
    False,
    True,
    [None],
    (1, 2),
]


@pytest.mark.parametrize("value", VALUES)
def test_every_value_counts_if_nothing_was_said(value: Any) -> None:
    assert counts(value)


@pytest.mark.parametrize("value", VALUES)
def test_a_value_that_was_listed_does_not_and_others_do(value: Any) -> None:
    assert not counts(value, value)
    assert not counts(value, "something else", value)
    assert [other for other in VALUES if not counts(other, value)] == [value]


@pytest.mark.parametrize(
    ("value", "invalid"), [(0, False), (1, True), (1, 1.0), (0.0, 0), ((), []), (b"a", "a")]
)
def test_a_value_of_another_type_is_another_value(value: Any, invalid: Any) -> None:
    assert counts(value, invalid)
    assert counts(invalid, value)


def test_what_is_no_number_equals_nothing() -> None:
    assert counts(float("nan"), float("nan"))


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((2, 2)), np.zeros(0)])
def test_arrays_count_as_their_comparison_is_no_truth_value(array: Any) -> None:
    assert counts(array, array)
    assert counts(array, None, [], 0)
    assert counts(None, array)


def test_an_array_of_another_shape_counts() -> None:
    assert counts(np.zeros(2), np.zeros(3))


class Prickly:
    """Its comparison raises."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def __eq__(self, other: object) -> bool:
        raise self.error("do not compare me")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "error", [TypeError, ValueError, RuntimeError, AttributeError, ZeroDivisionError, KeyError]
)
def test_a_value_whose_comparison_raises_counts(error: type[Exception]) -> None:
    assert counts(Prickly(error), Prickly(error))
    assert not counts(None, Prickly(error), None)


class Whole:
    """Its comparison is neither true nor false."""

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise RuntimeError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


def test_so_does_one_whose_comparison_is_no_truth_value() -> None:
    assert counts(Whole(), Whole())


# failures


def test_a_failure_does_not_count() -> None:
    failure = pack_failure(ValueError("broken"), step="a", run_id="run", executor="e")

    assert not _counts(failure)
    assert not _counts(pack_cluster_failure(KeyNotFound("nothing there")))


def test_an_exception_that_was_returned_counts() -> None:
    assert counts(ValueError("no harm done"))


def test_if_no_other_can_come_the_run_fails_and_says_of_what() -> None:
    error = failed(Local(None), None)

    assert type(error) is NoValidResult
    assert str(error) == ("no result counts of those that lead to step 'c'; the last was: None")


def test_a_failure_that_is_the_last_is_named() -> None:
    failure = pack_failure(ValueError("broken"), step="a", run_id="run", executor="e")

    assert str(failed(failure)).endswith("the last was: ValueError: broken")


def test_so_is_one_of_the_cluster() -> None:
    error = failed(pack_cluster_failure(KeyNotFound("nothing there")))

    assert "KeyNotFound: " in str(error)
    assert "nothing there" in str(error)


def test_a_long_value_is_named_in_short() -> None:
    assert len(str(failed(Local("x" * 10_000), "x" * 10_000))) < 300


class Nameless:
    """Nobody can say what it is."""

    def __eq__(self, other: object) -> bool:
        return type(other) is Nameless

    def __repr__(self) -> str:
        raise RuntimeError("I have no name")

    __hash__ = None  # type: ignore[assignment]


def test_a_value_that_cannot_be_named_is_no_reason_to_fail_otherwise() -> None:
    assert type(failed(Local(Nameless()), Nameless())) is NoValidResult


def test_the_last_fires_it_like_any_other_if_it_counts() -> None:
    assert inputs_of().upstream(work_of(Local("v"), None)) == ["v"]


# the lists of what does not count


def test_a_list_is_unpacked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[Any] = []

    def noted(frames: Frames) -> Any:
        unpacked.append(frames)
        return unpack(frames)

    monkeypatch.setattr(module, "unpack", noted)
    inputs = inputs_of()
    for _ in range(3):
        inputs.upstream(work_of(Local("v"), None))

    assert len(unpacked) == 1


def test_each_step_has_its_own() -> None:
    inputs = inputs_of()
    inputs.upstream(work_of(Local(1), 2, others=1))

    with pytest.raises(DoesNotCount):
        inputs.upstream(work_of(Local(1), 1, others=1))
    assert inputs.upstream(work_of(Local(1), 2, others=1)) == [1]


def test_no_more_of_them_are_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KNOWN", 3)
    inputs = inputs_of()
    for number in [*range(10), 0, 0]:
        with pytest.raises(DoesNotCount):
            inputs.upstream(work_of(Local(number), number, others=1))
        assert len(inputs._invalid) <= 3


def test_a_list_that_cannot_be_unpacked_fails_the_run() -> None:
    work = work_of(Local(1), others=1)
    plan = _with_invalid(work.route.plan, b"garbage")
    route = make_route(work.route.context, work.route.packed, plan, "A")

    with pytest.raises(SerializationError):
        inputs_of().upstream(work._replace(route=route))


# steps that wait for all


def test_a_step_that_waits_for_all_gets_all() -> None:
    call = job("ac bc", "AAA")
    route = make_route(call.context, pack_context(call.context), call.plan, "A")
    work = Work("run", 1, route, 2, (), [Local(None), _frames([1])])

    assert inputs_of().upstream(work) == [None, [1]]
