"""Batches run: what a function that takes several calls at once gets, and what each call gets."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from running import Stage, given

from cloudburst.core.options import Batch
from cloudburst.core.plan import Plan
from cloudburst.errors import FunctionError, KeyNotFound, SerializationError
from cloudburst.executor.events import Local
from cloudburst.executor.library import UserLibrary
from cloudburst.serialization import CloudburstReference

MANY = Batch(8, 0.0)


@pytest.fixture
def stage() -> Stage:
    """Functions that take up to eight calls at once."""
    stage = Stage()
    stage.register(
        MANY,
        double=lambda _, numbers: [2 * number for number in numbers],
        given=lambda _, *lists, **named: [(lists, named)] * len([*lists, *named.values()][0]),
        whatever=lambda _, values: values[0](),
    )
    stage.register(one=lambda _: 1, all=lambda _, *values: values)
    return stage


def outcomes(stage: Stage, name: str, *own: Any) -> list[Any]:
    """What calls come to that could all be in one batch."""
    stage.begin(stage.lone(name), *own)
    return stage.outcomes()


def raised(error: object) -> tuple[type, str]:
    """What was raised, as user code that has done so."""
    assert isinstance(error, BaseException)
    assert isinstance(error.__cause__, FunctionError)
    return type(error), str(error)


# what the function gets


def test_each_call_gets_its_own_value(stage: Stage) -> None:
    assert outcomes(stage, "double", *map(given, range(5))) == [0, 2, 4, 6, 8]


def test_the_function_is_called_once_with_a_list_for_each_parameter(stage: Stage) -> None:
    seen = outcomes(stage, "given", given(1, "a", k=None), given(2, "b", k=[]))

    assert seen == [(([1, 2], ["a", "b"]), {"k": [None, []]})] * 2


def test_a_batch_of_one_gets_lists_too(stage: Stage) -> None:
    assert outcomes(stage, "given", given([1], k=2)) == [((([[1]]),), {"k": [2]})]
    assert outcomes(stage, "double", given(4)) == [8]


def test_more_calls_than_fit_into_it_are_several_batches(stage: Stage) -> None:
    seen = outcomes(stage, "given", *map(given, range(10)))

    assert [len(lists[0]) for lists, _ in seen] == [8] * 8 + [2] * 2


def test_calls_of_different_shapes_are_calls_of_their_own(stage: Stage) -> None:
    own = [given(1), given(2, 3), given(4), given(5, k=6), given(k=7), given(8, 9)]

    assert outcomes(stage, "given", *own) == [
        (([1, 4],), {}),
        (([2, 8], [3, 9]), {}),
        (([1, 4],), {}),
        (([5],), {"k": [6]}),
        ((), {"k": [7]}),
        (([2, 8], [3, 9]), {}),
    ]


def test_calls_without_arguments_are_made_one_by_one(stage: Stage) -> None:
    stage.register(MANY, none=lambda _: ["nothing"])

    assert outcomes(stage, "none", *[given()] * 3) == ["nothing"] * 3


def test_the_library_is_that_of_the_first(stage: Stage) -> None:
    stage.register(MANY, where=lambda library, xs: [(library.step, library.run_id)] * len(xs))

    assert outcomes(stage, "where", given(1), given(2)) == [("where", "run-1")] * 2


def test_references_are_resolved(stage: Stage) -> None:
    stage.put(a=10, b=20)
    own = [given(CloudburstReference("a")), given(3), given(CloudburstReference("b"))]

    assert outcomes(stage, "double", *own) == [20, 6, 40]


def test_upstream_values_come_last_in_lists(stage: Stage) -> None:
    plan = stage.dag("one>given")
    for number in (10, 20):
        stage.start(plan, given=given(number))

    assert stage.outcomes() == [(([10, 20], [1, 1]), {})] * 2


def test_steps_around_it_are_run_one_by_one(stage: Stage) -> None:
    stage.register(same=lambda _, value: value)
    plan = stage.dag("first>double double>last", first="same", last="all")
    for number in (1, 2, 3):
        stage.start(plan, first=given(number))

    assert stage.outcomes() == [(2,), (4,), (6,)]


def test_arrays_are_lists_as_well(stage: Stage) -> None:
    stage.register(MANY, rows=lambda _, xs: np.array(xs) * 2)

    first, second = outcomes(stage, "rows", given([1, 2]), given([3, 4]))
    assert (first.tolist(), second.tolist()) == ([2, 4], [6, 8])


def test_an_instance_of_a_lone_class_is_made_for_each_batch() -> None:
    class Counter:
        def __init__(self) -> None:
            self.calls = 0

        def run(self, values: list[Any]) -> list[int]:
            self.calls += 1
            return [self.calls] * len(values)

    stage = Stage()
    stage.register(Batch(2, 0.0), count=Counter)

    assert outcomes(stage, "count", *map(given, range(4))) == [1] * 4
    for number in range(4):
        stage.start(stage.dag("count"), count=given(number))
    assert stage.outcomes() == [1, 1, 2, 2], "of a step of a DAG it is kept"


def test_time_is_shared(stage: Stage) -> None:
    stage.begin(stage.lone("double"), given(1), given(2))
    dones = stage.batch()

    assert dones[0].seconds == dones[1].seconds > 0.0


# failures


def test_an_exception_fails_all(stage: Stage) -> None:
    seen = outcomes(stage, "double", given(1), given(None), given(3))

    assert {raised(error) for error in seen} == {
        (TypeError, "unsupported operand type(s) for *: 'int' and 'NoneType'")
    }
    assert len(seen) == 3


def test_but_not_the_calls_of_another_shape(stage: Stage) -> None:
    stage.register(MANY, add=lambda _, xs, ys=(0,): [x + y for x, y in zip(xs, ys, strict=True)])

    first, second, third = outcomes(stage, "add", given(1, 2), given(3, None), given(4))
    assert (raised(first)[0], raised(second)[0], third) == (TypeError, TypeError, 4)


def test_an_exception_in_place_of_a_value_fails_its_own_run(stage: Stage) -> None:
    def invert(_: UserLibrary, numbers: list[float]) -> list[Any]:
        return [1 / n if n else ZeroDivisionError(f"{n} is nothing") for n in numbers]

    stage.register(MANY, invert=invert)

    first, second, third = outcomes(stage, "invert", given(1), given(0), given(2))
    assert (first, third) == (1, 0.5)
    assert raised(second) == (ZeroDivisionError, "0 is nothing")
    assert second.__cause__.run_id == "run-2"


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, StopIteration])
def test_whatever_exception_it_is(stage: Stage, error: type[BaseException]) -> None:
    stage.register(MANY, f=lambda _, kinds: [kind() if kind else "v" for kind in kinds])

    first, second = outcomes(stage, "f", given(error), given(None))
    assert second == "v"
    assert isinstance(first, FunctionError)
    assert error.__name__ in str(first)


@pytest.mark.parametrize(("values", "said"), [(1, "1 values for 2"), (3, "3 values for 2")])
def test_a_list_of_another_length_fails_all_and_says_so(
    stage: Stage, values: int, said: str
) -> None:
    stage.register(MANY, short=lambda _, xs: xs[:1] * xs[0])
    seen = outcomes(stage, "short", given(values), given(5))

    for error in seen:
        kind, text = raised(error)
        assert kind is ValueError
        assert f"step 'short' returned {said} calls" in text
        assert "returns a list with a value for each call" in text
    assert [error.__cause__.run_id for error in seen] == ["run-1", "run-2"]


@pytest.mark.parametrize("value", [None, 7, "ab", {"a": 1, "b": 2}, {1, 2}])
def test_what_is_no_list_fails_all_and_says_so(stage: Stage, value: Any) -> None:
    stage.register(MANY, wrong=lambda _, xs: xs[0])
    for error in outcomes(stage, "wrong", given(value), given(2)):
        kind, text = raised(error)
        assert kind is TypeError
        assert f"step 'wrong' returned {type(value).__name__} for 2 calls" in text


def test_a_generator_is_no_list(stage: Stage) -> None:
    stage.register(MANY, lazy=lambda _, xs: (x for x in xs))
    first, second = outcomes(stage, "lazy", given(1), given(2))

    assert raised(first) == raised(second)
    assert "returned generator for 2 calls" in str(first)


class Sour:
    """As long as it should be, but there is nothing to be had of it."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, number: int) -> int:
        raise RuntimeError("no")


def test_a_list_that_raises_is_the_steps_failure(stage: Stage) -> None:
    stage.register(MANY, sour=lambda _, xs: Sour())

    assert [raised(error) for error in outcomes(stage, "sour", given(1), given(2))] == [
        (RuntimeError, "no")
    ] * 2


def test_a_value_that_cannot_be_pickled_fails_its_own_run(stage: Stage) -> None:
    stage.register(MANY, f=lambda _, xs: [threading.Lock() if x else x for x in xs])

    first, second, third = outcomes(stage, "f", given(0), given(1), given(0))
    assert (first, third) == (0, 0)
    assert isinstance(second, SerializationError)
    assert "cannot be pickled" in str(second)


class Wicked:
    """Its unpickling raises."""

    def __reduce__(self) -> Any:
        return _raise, ()


def _raise() -> None:
    raise ValueError("out of a pickle")


def test_an_argument_that_cannot_be_unpickled_fails_its_own_run(stage: Stage) -> None:
    first, second, third = outcomes(stage, "double", given(1), given(Wicked()), given(3))

    assert (first, third) == (2, 6)
    assert type(second) is SerializationError


def test_so_does_a_reference_to_nothing(stage: Stage) -> None:
    missing = given(CloudburstReference("missing"))
    first, second, third = outcomes(stage, "double", missing, given(2), given(3))

    assert type(first) is KeyNotFound
    assert (second, third) == (4, 6)


def test_and_one_to_a_run_that_failed(stage: Stage) -> None:
    stage.keep_failure("failed", stage.last(stage.lone("double"), double=given(None)))
    first, second = outcomes(stage, "double", given(CloudburstReference("failed")), given(2))

    assert raised(first)[0] is TypeError
    assert second == 4


def test_if_no_argument_can_be_had_nothing_is_called(stage: Stage) -> None:
    seen = outcomes(stage, "double", given(Wicked()), given(Wicked()))

    assert [type(error) for error in seen] == [SerializationError] * 2


def test_arguments_that_do_not_fit_are_said_to(stage: Stage) -> None:
    for error in outcomes(stage, "double", given(1, 2), given(3, 4)):
        kind, text = raised(error)
        assert kind is TypeError
        assert "step 'double' cannot be called like this" in text
        assert "the call has 2 argument(s)" in text


def test_code_that_is_not_to_be_had_fails_all(stage: Stage) -> None:
    stage.infos["gone"] = stage.infos["double"]._replace(name="gone", version="nowhere")
    seen = outcomes(stage, "gone", given(1), given(2))

    assert [type(error) for error in seen] == [KeyNotFound] * 2


def test_after_any_failure_the_next_batch_is_as_good_as_ever(stage: Stage) -> None:
    outcomes(stage, "double", given(None), given(Wicked()))

    assert outcomes(stage, "double", given(1), given(2)) == [2, 4]


# values that stay here


def both(stage: Stage, plan: Plan, *own: Any) -> list[Any]:
    for one in own:
        stage.start(plan, make=one)
    return stage.outcomes()


def test_a_value_is_handed_over_as_it_is(stage: Stage) -> None:
    stage.register(MANY, make=lambda _, xs: [threading.Lock() for _ in xs])
    stage.register(use=lambda _, lock: lock.acquire(blocking=False))

    assert both(stage, stage.dag("make>use"), given(1), given(2)) == [True, True]


def test_a_value_of_two_runs_is_not_one_value(stage: Stage) -> None:
    """What one of them does to it is not seen by the other."""
    stage.register(MANY, make=lambda _, xs: [[]] * len(xs))

    def use(_: UserLibrary, numbers: list[int]) -> list[int]:
        numbers.append(len(numbers))
        return numbers

    stage.register(use=use)

    assert both(stage, stage.dag("make>use"), given(1), given(2), given(3)) == [[0]] * 3


def test_a_generator_is_not_handed_over(stage: Stage) -> None:
    stage.register(MANY, make=lambda _, xs: [(n for n in [x]) if x else x for x in xs])
    first, second = both(stage, stage.dag("make>all"), given(0), given(1))

    assert first == (0,)
    assert isinstance(second, SerializationError)
    assert "it is a generator" in str(second)


class Keeper:
    """Keeps what it returned, and changes it."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def run(self, values: list[Any]) -> list[Any]:
        for item in self.kept:
            item.append("changed")
        self.kept = [[value] for value in values]
        return self.kept


def test_what_an_instance_keeps_is_a_copy(stage: Stage) -> None:
    stage.register(Batch(2, 0.0), keep=Keeper)
    stage.register(all=lambda _, *values: values)
    plan = stage.dag("keep>all")
    for number in range(2):
        stage.start(plan, keep=given(number))
    first, second = stage.batch()
    assert isinstance(first.value, Local)
    for number in (2, 3):
        stage.start(plan, keep=given(number))
    stage.batch()

    assert (first.value, second.value) == (Local([0]), Local([1]))


def test_a_copy_that_cannot_be_made_fails_its_own_run(stage: Stage) -> None:
    class Lend:
        def run(self, values: list[Any]) -> list[Any]:
            return [threading.Lock() if value else value for value in values]

    stage.register(MANY, lend=Lend)
    for value in (0, 1):
        stage.start(stage.dag("lend>all"), lend=given(value))
    first, second = stage.outcomes()

    assert first == (0,)
    assert isinstance(second, SerializationError)
