"""Functions that fail: whatever they raise reaches the caller, and the executor lives on."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from running import Stage, given

from cloudburst.core.messages import Buffer
from cloudburst.core.plan import FunctionInfo
from cloudburst.errors import (
    FunctionError,
    KeyNotFound,
    KVSUnavailable,
    RunTimeoutError,
    SerializationError,
    UsageError,
)
from cloudburst.executor.functions import Functions
from cloudburst.executor.library import UserLibrary
from cloudburst.kvs import keys
from cloudburst.kvs.base import Delete, Get, Operation, Put


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.register(one=lambda _: 1)
    return stage


class Custom(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def raiser(error: BaseException) -> Any:
    def fail(_: UserLibrary) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        KeyError("k"),
        OSError(2, "no such file"),
        RecursionError(),
        MemoryError(),
        AssertionError(),
        Custom(3),
        ExceptionGroup("several", [ValueError("a"), TypeError("b")]),
        KeyNotFound("nothing under 'k'"),  # our own classes too, when user code raises them
        RunTimeoutError("a nested call took too long"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_caller_sees_the_functions_own_exception(stage: Stage, error: Exception) -> None:
    stage.register(fail=raiser(error))
    seen = stage.failure(stage.lone("fail"))

    assert type(seen) is type(error)
    assert str(seen) == str(error)
    cause = seen.__cause__
    assert isinstance(cause, FunctionError)
    assert (cause.step, cause.run_id, cause.executor) == ("fail", "run-1", "e-1")
    assert "raise error" in cause.remote_traceback


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(1)],
    ids=lambda error: type(error).__name__,
)
def test_exceptions_that_mean_something_to_the_interpreter_are_reported_only(
    stage: Stage, error: BaseException
) -> None:
    stage.register(fail=raiser(error))
    seen = stage.failure(stage.lone("fail"))

    assert type(seen) is FunctionError
    assert type(error).__name__ in seen.error
    assert stage.run(stage.lone("one")) == 1


def test_sys_exit_ends_the_run_and_not_the_executor(stage: Stage) -> None:
    stage.register(leave=lambda _: sys.exit("bye"))
    assert "SystemExit: bye" in str(stage.failure(stage.lone("leave")))
    assert stage.run(stage.lone("one")) == 1


def test_a_failure_names_the_step_it_happened_in(stage: Stage) -> None:
    stage.register(fail=lambda _, value: value / 0)
    cause = stage.failure(stage.dag("a>b b>c", a="one", b="fail", c="one")).__cause__

    assert isinstance(cause, FunctionError)
    assert (cause.step, cause.error) == ("b", "ZeroDivisionError: division by zero")


def test_steps_after_a_failure_do_not_run(stage: Stage) -> None:
    stage.register(fail=raiser(ValueError("no")), mark=lambda library, *_: library.put("ran", 1))
    assert stage.last(stage.dag("fail>mark")).failed
    assert stage.last(stage.dag("fail>mark one>mark")).failed

    assert stage.call(lambda library: library.get("ran")) is None


def test_the_traceback_does_not_lead_through_our_code(stage: Stage) -> None:
    stage.register(fail=raiser(ValueError("no")))
    cause = stage.failure(stage.lone("fail")).__cause__

    assert isinstance(cause, FunctionError)
    assert "executor/runner.py" not in cause.remote_traceback


# calls that do not fit


def problem(stage: Stage, function: object, *positional: Any, **keywords: Any) -> str:
    stage.register(f=function)
    error = stage.failure(stage.lone("f"), f=given(*positional, **keywords))
    assert type(error) is TypeError
    return str(error)


def test_too_many_arguments_are_explained_as_the_caller_wrote_them(stage: Stage) -> None:
    text = problem(stage, lambda _, a: a, 1, 2)

    assert "step 'f' cannot be called like this" in text
    assert "(_, a), and the library is passed first" in text
    assert "the call has 2 argument(s)" in text


def test_too_few_arguments(stage: Stage) -> None:
    assert "missing a required argument: 'b'" in problem(stage, lambda _, a, b: a, 1)


def test_keywords_that_there_are_not(stage: Stage) -> None:
    text = problem(stage, lambda _, a: a, 1, x=2, y=3)

    assert "1 argument(s) and x=, y=" in text
    assert "unexpected keyword argument 'x'" in text


def test_a_function_that_does_not_take_the_library(stage: Stage) -> None:
    assert "the library is passed first" in problem(stage, lambda: 1)


def test_a_method_of_a_class_that_does_not_take_the_library(stage: Stage) -> None:
    class Plain:
        def run(self, a):  # type: ignore[no-untyped-def]
            return a

    assert "it takes (a), but the call has 2 argument(s)" in problem(stage, Plain, 1, 2)


def test_upstream_values_count_as_arguments(stage: Stage) -> None:
    stage.register(none=lambda _: 0)
    error = stage.failure(stage.dag("one>none"))

    assert "the call has 1 argument(s)" in str(error)


def test_a_type_error_out_of_the_function_is_not_touched(stage: Stage) -> None:
    def add(_: UserLibrary, a: Any) -> Any:
        return a + 1

    assert problem(stage, add, "text") == 'can only concatenate str (not "int") to str'


def test_a_misfit_inside_the_function_is_not_touched(stage: Stage) -> None:
    def call(_: UserLibrary) -> Any:
        return len([1], [2])  # type: ignore[call-arg]

    assert "takes exactly one argument (2 given)" in problem(stage, call)
    assert "cannot be called like this" not in problem(stage, call)


def test_a_misuse_of_the_library_is_not_touched(stage: Stage) -> None:
    assert "missing 1 required positional argument" in problem(stage, lambda lib: lib.get())
    assert "cannot be called like this" not in problem(stage, lambda lib: lib.put())


def test_a_callable_written_in_c_is_not_explained(stage: Stage) -> None:
    text = problem(stage, max)  # it cannot compare a library with nothing
    assert "cannot be called like this" not in text


# what cannot be had


def test_code_that_is_gone_from_the_store(stage: Stage) -> None:
    stage.memory.execute([Delete(keys.code_key(stage.infos["one"].version))])
    error = stage.failure(stage.lone("one"))

    assert type(error) is KeyNotFound
    assert "'one'" in str(error)
    assert "register the function again" in str(error)


def test_code_is_kept_once_it_was_fetched(stage: Stage) -> None:
    assert stage.run(stage.lone("one")) == 1
    stage.memory.execute([Delete(keys.code_key(stage.infos["one"].version))])

    assert stage.run(stage.lone("one")) == 1


def test_code_that_was_missing_is_looked_for_again(stage: Stage) -> None:
    (info,) = stage.infos.values()
    (code,) = stage.memory.execute([_get(info)])
    stage.memory.execute([Delete(keys.code_key(info.version))])
    assert stage.last(stage.lone("one")).failed

    stage.memory.execute([Put(keys.code_key(info.version), code)])
    assert stage.run(stage.lone("one")) == 1


def _get(info: FunctionInfo) -> Operation:
    return Get(keys.code_key(info.version))


@pytest.mark.parametrize("blob", [b"", b"garbage", b"\x80\x05N."])
def test_code_that_is_no_code(stage: Stage, blob: Buffer) -> None:
    stage.memory.execute([Put(keys.code_key(stage.infos["one"].version), blob)])

    assert type(stage.failure(stage.lone("one"))) is SerializationError


class Deaf:
    """A store that answers nothing; what a `KeyValueStore` is when its server is gone."""

    def execute(self, operations: object) -> list[Any]:
        raise KVSUnavailable("nobody answers")

    def close(self) -> None: ...


def test_a_store_that_does_not_answer() -> None:
    stage = Stage(store=Deaf())
    stage.register(one=lambda _: 1)

    assert type(stage.failure(stage.lone("one"))) is KVSUnavailable


def test_the_same_inside_a_function_is_the_functions_failure() -> None:
    stage = Stage(store=Deaf())
    stage.register(read=lambda library: library.get("key"))
    stage.runner = stage.runner_with(Functions(stage.memory, stage.instances))

    seen = stage.failure(stage.lone("read"))
    assert type(seen) is KVSUnavailable
    assert isinstance(seen.__cause__, FunctionError)


# classes


def test_an_init_that_raises_is_the_steps_failure(stage: Stage) -> None:
    class Broken:
        def __init__(self) -> None:
            raise Custom(7)

        def run(self) -> None: ...

    stage.register(broken=Broken)
    for plan in (stage.lone("broken"), stage.dag("broken")):
        error = stage.failure(plan)
        assert type(error) is Custom
        assert isinstance(error.__cause__, FunctionError)


def test_an_init_with_other_arguments_says_what_python_says(stage: Stage) -> None:
    class Needs:
        def __init__(self, library: UserLibrary, a: int, b: int) -> None: ...

        def run(self) -> None: ...

    stage.register(needs=(Needs, (1,)))
    error = stage.failure(stage.lone("needs"))

    assert type(error) is TypeError
    assert "__init__() missing" in str(error)


def test_a_usage_error_of_the_library_reaches_the_caller(stage: Stage) -> None:
    stage.register(send=lambda lib: lib.send("nobody", 1))

    assert type(stage.failure(stage.lone("send"))) is UsageError
