"""Warming: code is loaded and instances are made, and nothing is called."""

from __future__ import annotations

from typing import Any

import pytest
from running import Stage, given, shown

from cloudburst.core.options import Batch
from cloudburst.core.plan import Plan
from cloudburst.errors import FunctionError, KeyNotFound
from cloudburst.executor.events import Local
from cloudburst.executor.library import UserLibrary
from cloudburst.kvs import keys
from cloudburst.kvs.base import Delete
from cloudburst.serialization import pack

NAMES = ["e-1"]
"""The value of a run that warms: the executor that did so."""


NEVER: dict[str, Any] = dict.fromkeys("abcdx", "never")


class Counter:
    """Says which of its calls this is."""

    def __init__(self) -> None:
        self.calls = 0

    def run(self, *_: Any) -> int:
        self.calls += 1
        return self.calls


def never(_: UserLibrary, *values: Any) -> Any:
    raise AssertionError("it was called")


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.register(never=never, count=Counter)
    return stage


def warm(stage: Stage, plan: Plan) -> Any:
    """What the warming of a plan gives, or raises."""
    run_id = stage.send(plan, {}, warms=True)
    return shown(stage.ends()[run_id])


def forget_code(stage: Stage) -> None:
    """From now on what was not loaded is not to be had."""
    infos = stage.infos.values()
    stage.memory.execute([Delete(keys.code_key(info.version)) for info in infos])


def test_code_is_loaded_and_not_called(stage: Stage) -> None:
    stage.register(one=lambda _: 1)
    assert warm(stage, stage.lone("one")) == NAMES

    forget_code(stage)
    assert stage.run(stage.lone("one")) == 1
    assert isinstance(stage.failure(stage.lone("never")), KeyNotFound)


@pytest.mark.parametrize("edges", ["a", "a>b b>c", "a>b a>c b>d c>d", "a>d b>d c>d"])
def test_that_of_all_steps_of_a_dag(stage: Stage, edges: str) -> None:
    plan = stage.dag(edges, **NEVER)

    assert warm(stage, plan) == NAMES


def test_the_library_of_a_lone_class_is_not_needed(stage: Stage) -> None:
    assert warm(stage, stage.lone("count")) == NAMES


def test_instances_of_a_dag_are_made_and_wait_for_its_calls(stage: Stage) -> None:
    plan = stage.dag("a>b", a="count", b="count")
    assert warm(stage, plan) == NAMES
    forget_code(stage)

    assert [stage.run(plan), stage.run(plan)] == [1, 2]
    assert warm(stage, plan) == NAMES
    assert stage.run(plan) == 3, "those that there were are kept"


def test_an_init_gets_the_library_of_its_step(stage: Stage) -> None:
    class Named:
        def __init__(self, library: UserLibrary) -> None:
            self.name = library.step

        def run(self, library: UserLibrary, *_: Any) -> str:
            return self.name

    stage.register(named=Named)
    plan = stage.dag("x>y", x="named", y="named")
    warm(stage, plan)

    assert stage.run(plan) == "y"


def test_the_names_of_other_executors_are_passed_on(stage: Stage) -> None:
    plan = stage.dag("a>c b>c", **NEVER)
    stage.send(plan, {}, warms=True)
    stage.state.handle(stage.next())
    stage.state.handle(stage.next())
    work = stage.work()
    frames = [bytes(frame) for frame in pack(["e-0", "e-7"]).frames]
    (done,) = stage.runner.run([work._replace(inputs=[Local(["e-1", "e-2"]), frames])])

    (end,) = stage.state.handle(done)
    assert shown(end) == ["e-0", "e-1", "e-2", "e-7"]  # type: ignore[arg-type]


def test_a_function_that_takes_several_calls_is_not_called_either(stage: Stage) -> None:
    stage.register(Batch(8, 60.0), many=never)
    assert warm(stage, stage.lone("many")) == NAMES

    plan = stage.dag("a>b b>c", a="never", b="many", c="never")
    assert warm(stage, plan) == NAMES


def test_each_warms_by_itself(stage: Stage) -> None:
    """Each is to reach an executor of its own."""
    stage.register(Batch(8, 60.0), many=never)
    for _ in range(3):
        stage.send(stage.lone("many"), {}, warms=True)

    assert [len(stage.batch(0.0)) for _ in range(3)] == [1, 1, 1]


def test_calls_that_are_not_to_warm_do_not(stage: Stage) -> None:
    stage.register(Batch(2, 0.0), many=lambda _, xs: [x + 1 for x in xs])
    stage.start(stage.lone("many"), many=given(1))
    stage.send(stage.lone("many"), {}, warms=True)
    stage.start(stage.lone("many"), many=given(2))

    assert stage.outcomes() == [2, NAMES, 3]


def test_all_branches_are_warmed_though_the_first_would_do(stage: Stage) -> None:
    stage.register(last=never)
    plan = stage.dag("a>x b>c c>x", first_of={"x": [NAMES]}, **(NEVER | {"c": "last"}))
    assert warm(stage, plan) == NAMES

    forget_code(stage)
    with pytest.raises(AssertionError, match="it was called"):
        stage.run(stage.lone("last"))


# failures


def test_code_that_is_gone_is_a_failure(stage: Stage) -> None:
    forget_code(stage)

    assert isinstance(warm(stage, stage.lone("never")), KeyNotFound)
    stage.register(Batch(8, 60.0), many=never)
    forget_code(stage)
    assert isinstance(warm(stage, stage.lone("many")), KeyNotFound)


class Broken:
    def __init__(self) -> None:
        raise ValueError("not made")

    def run(self, *_: Any) -> None: ...


@pytest.mark.parametrize("batch", [Batch(), Batch(8, 0.0)])
def test_an_init_that_raises_is_a_failure(stage: Stage, batch: Batch) -> None:
    stage.register(batch, broken=Broken)
    error = warm(stage, stage.dag("never>broken"))

    assert (type(error), error.args) == (ValueError, ("not made",))
    assert isinstance(error.__cause__, FunctionError)
    assert error.__cause__.step == "broken"


def test_also_on_the_way_to_a_step_that_takes_the_first(stage: Stage) -> None:
    stage.register(broken=Broken)
    plan = stage.dag("a>x b>x", first_of={"x": []}, a="broken", b="never", x="never")

    assert isinstance(warm(stage, plan), ValueError)
