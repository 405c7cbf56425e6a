"""Steps that are fired by the first result that counts, from the first source to the value."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from running import Stage, given

from cloudburst.core.options import Batch
from cloudburst.core.plan import Plan
from cloudburst.errors import NoValidResult
from cloudburst.executor.library import UserLibrary


@pytest.fixture
def stage() -> Stage:
    """Functions that give back what they are given, or raise it."""

    def make(_: UserLibrary, value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    stage = Stage()
    stage.register(make=make, all=lambda _, *values: values)
    return stage


def first_of(stage: Stage, *invalid: Any, count: int = 3) -> Plan:
    """The first of a, b and so on goes to a step ``all``."""
    sources = "abcdef"[:count]
    edges = " ".join(f"{source}>all" for source in sources)
    functions: dict[str, Any] = dict.fromkeys(sources, "make")
    return stage.dag(edges, first_of={"all": list(invalid)}, **functions)


def run(stage: Stage, plan: Plan, *values: Any) -> Any:
    own: dict[str, Any] = {name: given(v) for name, v in zip("abcdef", values, strict=False)}
    return stage.run(plan, **own)


def test_the_first_result_is_all_that_the_step_gets(stage: Stage) -> None:
    assert run(stage, first_of(stage), 1, 2, 3) == (1,)


@pytest.mark.parametrize(
    ("values", "seen"), [((None, 2, 3), 2), ((None, [], 3), 3), (([], None, 0), 0)]
)
def test_the_first_that_counts_is(stage: Stage, values: tuple[Any, ...], seen: Any) -> None:
    assert run(stage, first_of(stage, None, []), *values) == (seen,)


def test_what_raises_does_not_count(stage: Stage) -> None:
    assert run(stage, first_of(stage), ValueError("broken"), KeyError("k"), 3) == (3,)


def test_if_none_counts_the_run_fails_with_the_last(stage: Stage) -> None:
    with pytest.raises(NoValidResult, match=r"lead to step 'all'; the last was: None$"):
        run(stage, first_of(stage, None), ValueError("x"), None, None)
    with pytest.raises(NoValidResult, match=r"the last was: ValueError: broken$"):
        run(stage, first_of(stage, None), None, None, ValueError("broken"))


def test_values_that_nobody_can_compare_count(stage: Stage) -> None:
    (seen,) = run(stage, first_of(stage, np.zeros(3), None), None, np.zeros(3), 3)

    assert isinstance(seen, np.ndarray)


def test_the_steps_own_arguments_come_first(stage: Stage) -> None:
    plan = first_of(stage, None)

    own = stage.run(plan, all=given("own"), a=given(None), b=given(2), c=given(3))
    assert own == ("own", 2)


def test_a_value_that_cannot_be_pickled_is_handed_over(stage: Stage) -> None:
    stage.register(make=lambda _, x: threading.Lock(), all=lambda _, lock: lock.locked())

    assert run(stage, first_of(stage), 1, 2, 3) is False


def test_one_source_is_enough(stage: Stage) -> None:
    assert run(stage, first_of(stage, None, count=1), 1) == (1,)
    with pytest.raises(NoValidResult):
        run(stage, first_of(stage, None, count=1), None)


def test_a_step_that_was_never_fired_is_what_does_not_count_for_the_next(stage: Stage) -> None:
    plan = stage.dag(
        "a>x b>x x>y c>y",
        first_of={"x": [None], "y": []},
        a="make",
        b="make",
        c="make",
        x="all",
        y="all",
    )

    assert run(stage, plan, 1, None, ValueError("slow")) == ((1,),)
    assert run(stage, plan, None, None, 3) == (3,)
    with pytest.raises(NoValidResult, match=r"step 'y'; the last was: NoValidResult: .*step 'x'"):
        run(stage, plan, None, None, ValueError("z"))


def test_what_raises_on_its_way_to_another_step_fails_the_run(stage: Stage) -> None:
    plan = stage.dag("a>x b>x a>y x>y", first_of={"x": []}, a="make", b="make", x="all", y="all")

    with pytest.raises(ValueError, match="broken"):
        run(stage, plan, ValueError("broken"), 2)


def test_an_exception_of_the_step_itself_is_the_runs(stage: Stage) -> None:
    stage.register(raises=lambda _, value: value / 0)
    plan = stage.dag("a>x b>x", first_of={"x": []}, a="make", b="make", x="raises")

    with pytest.raises(ZeroDivisionError):
        run(stage, plan, 1, 2)


def test_what_comes_later_is_not_called_for(stage: Stage) -> None:
    stage.register(all=lambda library, value: (library.put("fired", value), value))
    plan = first_of(stage)
    stage.start(plan, a=given(1), b=given(2), c=given(3))
    ends = stage.ends()

    assert list(ends) == ["run-1"]
    assert stage.state.holds() == ()


def test_a_batched_step_may_be_fired_so(stage: Stage) -> None:
    stage.register(Batch(8, 0.0), all=lambda _, values: [[value] for value in values])
    plan = first_of(stage, None, count=2)
    pairs = [(1, 2), (None, 3), (None, None), (ValueError("x"), 4)]
    for a, b in pairs:
        stage.start(plan, a=given(a), b=given(b))

    seen = stage.outcomes()
    assert [seen[0], seen[1], seen[3]] == [[1], [3], [4]]
    assert isinstance(seen[2], NoValidResult)


def test_so_may_one_that_a_batched_step_leads_to(stage: Stage) -> None:
    stage.register(Batch(8, 0.0), make=lambda _, values: [v or ValueError("none") for v in values])
    plan = first_of(stage, count=2)
    for a, b in [(1, 2), (0, 3), (0, 0)]:
        stage.start(plan, a=given(a), b=given(b))

    seen = stage.outcomes()
    assert seen[:2] == [(1,), (3,)]
    assert isinstance(seen[2], NoValidResult)
