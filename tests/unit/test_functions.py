"""User code on an executor: who gets the library, and how long instances of classes live."""

from __future__ import annotations

import gc
import time
import weakref
from typing import Any

import pytest
from running import ADDRESS, Stage, given

from cloudburst.executor.library import UserLibrary


@pytest.fixture
def stage() -> Stage:
    return Stage()


class Counter:
    """Counts the calls of its instance."""

    def __init__(self, library: UserLibrary, start: int = 0) -> None:
        self.count = start

    def run(self) -> int:
        self.count += 1
        return self.count


# who gets the library


class TakesBoth:
    def __init__(self, library: UserLibrary, base: int) -> None:
        self.had = isinstance(library, UserLibrary)
        self.base = base

    def run(self, library: UserLibrary, a: int) -> Any:
        return self.had, isinstance(library, UserLibrary), self.base + a


class TakesNone:
    def __init__(self, base: int) -> None:
        self.base = base

    def run(self, a: int) -> int:
        return self.base + a


class TakesItInRun:
    def __init__(self, base: int) -> None:
        self.base = base

    def run(self, library: UserLibrary, a: int) -> Any:
        return isinstance(library, UserLibrary), self.base + a


class TakesItInInit:
    def __init__(self, library: UserLibrary, base: int) -> None:
        self.had = isinstance(library, UserLibrary)
        self.base = base

    def run(self, a: int) -> Any:
        return self.had, self.base + a


class TakesAnything:
    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def run(self, *arguments: Any, **keywords: Any) -> Any:
        return [type(value).__name__ for value in (*self.arguments, *arguments)], keywords


@pytest.mark.parametrize(
    ("function", "value"),
    [
        ((TakesBoth, (10,)), (True, True, 11)),
        ((TakesNone, (10,)), 11),
        ((TakesItInRun, 10), (True, 11)),
        ((TakesItInInit, 10), (True, 11)),
        ((TakesAnything, (10,)), (["UserLibrary", "int", "UserLibrary", "int"], {})),
    ],
    ids=lambda item: item[0].__name__ if isinstance(item, tuple) and callable(item[0]) else "",
)
def test_the_library_is_passed_where_the_signature_accepts_it(
    stage: Stage, function: object, value: object
) -> None:
    assert stage.call(function, 1) == value


def test_optional_parameters_do_not_swallow_the_library(stage: Stage) -> None:
    class Optional:
        def run(self, a: int, b: int, c: int = 3) -> Any:
            return a, b, c

    # It fits only without: with the library there would be four arguments.
    assert stage.call(Optional, 1, 2, 3) == (1, 2, 3)


def test_keywords_decide_too(stage: Stage) -> None:
    class Keywords:
        def run(self, a: int, b: int) -> Any:
            return a, b

    assert stage.call(Keywords, a=1, b=2) == (1, 2)


@pytest.mark.parametrize("name", ["library", "arguments", "keywords", "run", "cls", "step"])
def test_any_keyword_is_the_users(stage: Stage, name: str) -> None:
    class Takes:
        def run(self, **keywords: int) -> dict[str, int]:
            return keywords

    stage.register(takes=Takes, plain=lambda _, **keywords: keywords)

    assert stage.run(stage.lone("takes"), takes=given(**{name: 1})) == {name: 1}
    assert stage.run(stage.lone("plain"), plain=given(**{name: 1})) == {name: 1}


def test_the_first_call_that_fits_decides_for_an_instance(stage: Stage) -> None:
    class Flexible:
        def run(self, first: object, second: object = None) -> str:
            return type(first).__name__

    stage.register(flexible=Flexible)
    plan = stage.dag("flexible")
    assert stage.run(plan, flexible=given(1)) == "UserLibrary"
    assert stage.last(plan, flexible=given(1, 2)).failed
    assert stage.run(plan, flexible=given(2)) == "UserLibrary"


def test_a_call_that_does_not_fit_decides_nothing(stage: Stage) -> None:
    stage.register(takes=(TakesNone, 10))
    plan = stage.dag("takes")
    assert stage.last(plan, takes=given(1, 2, 3)).failed

    assert stage.run(plan, takes=given(1)) == 11


def test_a_default_does_not_keep_the_library_out(stage: Stage) -> None:
    class Default:
        def __init__(self, start: object = 0) -> None:
            self.start = type(start).__name__

        def run(self) -> str:
            return self.start

    # It fits, so it is passed; who does not want it gives the arguments at registration.
    assert stage.call(Default) == "UserLibrary"
    assert stage.call((Default, 5)) == "int"


def test_a_callable_instance_is_a_function(stage: Stage) -> None:
    class Adder:
        def __call__(self, library: UserLibrary, a: int) -> int:
            return a + 1

    assert stage.call(Adder(), 1) == 2


def test_a_run_written_in_c_gets_no_library(stage: Stage) -> None:
    class Bare:
        run = staticmethod(max)

    assert stage.call(Bare, 1, 2) == 2


# how long instances live


def test_a_call_of_a_class_by_itself_makes_an_instance_each_time(stage: Stage) -> None:
    stage.register(counter=Counter)

    assert [stage.run(stage.lone("counter")) for _ in range(3)] == [1, 1, 1]


def test_within_a_dag_an_instance_lives_from_run_to_run(stage: Stage) -> None:
    stage.register(counter=(Counter, 10))

    assert [stage.run(stage.dag("counter")) for _ in range(3)] == [11, 12, 13]


def test_each_step_of_each_dag_has_an_instance_of_its_own(stage: Stage) -> None:
    stage.register(counter=Counter, both=lambda _, a, b: (a, b))
    one = stage.dag("x>both y>both", name="one", x="counter", y="counter")
    two = stage.dag("x>both y>both", name="two", x="counter", y="counter")

    assert [stage.run(one), stage.run(one), stage.run(two)] == [(1, 1), (2, 2), (1, 1)]


def test_the_same_class_by_itself_does_not_touch_that_of_a_dag(stage: Stage) -> None:
    stage.register(counter=Counter)
    stage.run(stage.dag("counter"))

    assert stage.run(stage.lone("counter")) == 1
    assert stage.run(stage.dag("counter")) == 2


def test_new_code_makes_a_new_instance(stage: Stage) -> None:
    stage.register(counter=(Counter, 10))
    old = stage.dag("counter")
    assert [stage.run(old), stage.run(old)] == [11, 12]

    stage.register(counter=(Counter, 20))
    assert [stage.run(stage.dag("counter")), stage.run(stage.dag("counter"))] == [21, 22]


def test_a_failed_run_does_not_cost_the_instance(stage: Stage) -> None:
    stage.register(counter=Counter)
    assert stage.run(stage.dag("counter")) == 1
    assert stage.last(stage.dag("counter"), counter=given("too many")).failed

    assert stage.run(stage.dag("counter")) == 2


def test_an_instance_that_could_not_be_made_is_tried_again(stage: Stage) -> None:
    class Needs:
        def __init__(self, library: UserLibrary) -> None:
            self.value: int = library.get("needed") + 1

        def run(self) -> int:
            return self.value

    stage.register(needs=Needs)
    assert stage.last(stage.dag("needs")).failed
    stage.put(needed=1)
    assert stage.run(stage.dag("needs")) == 2


def test_a_deleted_dag_lets_go_of_its_instances_and_no_others(stage: Stage) -> None:
    stage.register(counter=Counter)
    one, two = stage.dag("counter", name="one"), stage.dag("counter", name="two")
    stage.run(one)
    stage.run(two)

    stage.instances.drop_dag("one")
    assert (stage.run(one), stage.run(two)) == (1, 2)
    stage.instances.drop_dag("never heard of")


def instances(stage: Stage) -> int:
    """How many instances the executor keeps."""
    gc.collect()
    return len(stage.instances)


def test_an_instance_that_is_let_go_is_gone(stage: Stage) -> None:
    stage.register(counter=Counter)
    library = UserLibrary(stage.objects, stage.post, stage.nested, "run", 1, ADDRESS)
    run = stage.functions.callable_for("dag", stage.dag("counter").steps[0], library)
    assert run(library) == 1
    instance = weakref.ref(run.__wrapped__.__self__)  # type: ignore[attr-defined]

    del run
    gc.collect()
    assert instance() is not None
    stage.instances.drop_dag("dag")
    stage.instances.settle()
    gc.collect()
    assert instance() is None


def test_idle_instances_are_let_go() -> None:
    stage = Stage(idle=0.0)
    stage.register(counter=Counter)
    assert stage.run(stage.dag("counter")) == 1
    assert stage.instances.look() is None
    assert instances(stage) == 0

    assert stage.run(stage.dag("counter")) == 1


def test_instances_in_use_are_kept_and_the_next_look_is_when_the_oldest_may_be_idle() -> None:
    stage = Stage(idle=100.0)
    stage.register(counter=Counter)
    began = time.monotonic()
    stage.run(stage.dag("counter", name="one"))
    stage.run(stage.dag("counter", name="two"))

    left = stage.instances.look()
    assert left is not None
    assert 100.0 - (time.monotonic() - began) <= left <= 100.0
    assert instances(stage) == 2


def test_without_instances_there_is_nothing_to_look_for(stage: Stage) -> None:
    assert stage.instances.look() is None
    stage.register(counter=Counter)
    stage.run(stage.lone("counter"))
    assert stage.instances.look() is None


def test_only_idle_instances_are_let_go() -> None:
    stage = Stage(idle=0.05)
    stage.register(counter=Counter)
    old, new = stage.dag("counter", name="old"), stage.dag("counter", name="new")
    stage.run(old)
    began = time.monotonic()
    while time.monotonic() < began + 0.05:
        stage.run(new)

    stage.instances.look()
    assert stage.run(old) == 1
    assert stage.run(new) > 1
