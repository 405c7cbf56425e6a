"""Registered functions and classes: what is accepted, what is refused, what runs elsewhere."""

from __future__ import annotations

import functools
import hashlib
import math
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np
import own_code
import pytest
from fresh_interpreter import in_fresh_interpreter

from cloudburst.errors import SerializationError, UsageError
from cloudburst.serialization import (
    LoadedClass,
    LoadedFunction,
    pack_function,
    unpack_function,
)

RUN = """
    import pickle
    from cloudburst.serialization import unpack_function
    blob, arguments = pickle.loads(payload)
    loaded = unpack_function(blob)
    function = loaded.callable if hasattr(loaded, "callable") else loaded.cls(*loaded.init).run
    reply(pickle.dumps(function(*arguments)))
"""

table = {"a": 1}
guard = threading.Lock()


def run_elsewhere(function: object, *arguments: object) -> Any:
    """What it returns in a process that cannot import this module."""
    code = pack_function(function, "f")
    return pickle.loads(in_fresh_interpreter(RUN, pickle.dumps((code.blob, arguments))))


def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def looks_up(key: str) -> int:
    return table[key]


def imports_inside(x: float) -> float:
    import statistics

    return statistics.mean([x, x + 1])


def adder(amount: int) -> Callable[[int], int]:
    return lambda x: x + amount


class Scaler:
    def __init__(self, factor: float = 1.0, offset: float = 0.0) -> None:
        self.factor = factor
        self.offset = offset

    def run(self, x: float) -> float:
        return self.factor * x + self.offset

    def __call__(self, x: float) -> float:
        return self.run(x)


class Room(own_code.Square):
    def run(self) -> float:
        return self.area()


class NoRun:
    pass


CALLABLES: dict[str, tuple[Callable[..., Any], tuple[Any, ...], Any]] = {
    "function": (looks_up, ("a",), 1),
    "recursive function": (fibonacci, (10,), 55),
    "lambda": (lambda x: x * 2, (4,), 8),
    "closure": (adder(3), (4,), 7),
    "builtin": (math.sqrt, (9.0,), 3.0),
    "builtin type's method": (str.upper, ("a",), "A"),
    "installed function": (np.sum, ([1, 2],), 3),
    "ufunc": (np.add, (1, 2), 3),
    "partial": (functools.partial(pow, 2), (5,), 32),
    "bound method": (Scaler(2.0).run, (4.0,), 8.0),
    "callable instance": (Scaler(2.0, 1.0), (4.0,), 9.0),
    "import inside": (imports_inside, (1.0,), 1.5),
    "module of one's own": (own_code.mean, ([1.0, 2.0],), 1.5),
}


@pytest.mark.parametrize("kind", CALLABLES)
def test_function_is_packed_and_loaded(kind: str) -> None:
    function, arguments, expected = CALLABLES[kind]

    code = pack_function(function, "f")
    loaded = unpack_function(code.blob)

    assert isinstance(loaded, LoadedFunction)
    assert loaded.callable(*arguments) == expected
    assert not code.is_class


def test_the_version_is_the_hash_of_the_code() -> None:
    code = pack_function(fibonacci, "f")
    assert code.version == hashlib.blake2b(code.blob, digest_size=16).hexdigest()
    assert len(code.version) == 32


@pytest.mark.parametrize("kind", CALLABLES)
def test_packing_twice_gives_the_same_version(kind: str) -> None:
    function = CALLABLES[kind][0]
    assert pack_function(function, "f").version == pack_function(function, "g").version


def test_packing_a_class_twice_gives_the_same_version() -> None:
    for given in (Scaler, (Scaler, 2.0), Room):
        assert pack_function(given, "f").version == pack_function(given, "f").version


def test_other_code_or_other_arguments_give_another_version() -> None:
    versions = {
        pack_function(given, "f").version
        for given in (adder(1), adder(2), lambda x: x, Scaler, (Scaler, 1.0), (Scaler, 2.0))
    }
    assert len(versions) == 6


@pytest.mark.parametrize(
    ("given", "init"),
    [
        (Scaler, ()),
        ((Scaler, ()), ()),
        ((Scaler, (2.0, 1.0)), (2.0, 1.0)),
        ((Scaler, 2.0), (2.0,)),
        ((Scaler, None), (None,)),
        ((Scaler, [1, 2]), ([1, 2],)),
        ((Scaler, "text"), ("text",)),
    ],
)
def test_a_class_comes_with_the_arguments_of_its_instances(
    given: object, init: tuple[Any, ...]
) -> None:
    code = pack_function(given, "scale")
    loaded = unpack_function(code.blob)

    assert code.is_class
    assert isinstance(loaded, LoadedClass)
    assert loaded.cls is Scaler  # this process is where it was defined
    assert loaded.init == init


# In another process


def test_function_of_this_module_runs_elsewhere() -> None:
    assert run_elsewhere(looks_up, "a") == 1


def test_recursive_closure_over_an_array_runs_elsewhere() -> None:
    weights = np.arange(100_000.0)

    def predict(depth: int) -> float:
        return float(weights.sum()) if depth == 0 else predict(depth - 1)

    assert run_elsewhere(predict, 3) == float(weights.sum())


def test_class_with_arguments_runs_elsewhere() -> None:
    assert run_elsewhere((Scaler, (2.0, 1.0)), 4.0) == 9.0


def test_functions_of_a_program_run_elsewhere() -> None:
    script = """
        import numpy as np
        import pickle
        from cloudburst.serialization import pack_function

        LIMIT = 3

        def factorial(n):
            return 1 if n < 2 else n * factorial(n - 1)

        class Counter:
            def __init__(self, start):
                self.value = start
            def run(self, step):
                self.value += step
                return self.value

        functions = [lambda x: x + LIMIT, factorial, (Counter, 5), lambda x: float(np.sqrt(x))]
        reply(pickle.dumps([pack_function(f, "f").blob for f in functions]))
    """
    blobs = pickle.loads(in_fresh_interpreter(script))
    run_all = """
        import pickle
        from cloudburst.serialization import unpack_function
        one, two, three, four = map(unpack_function, pickle.loads(payload))
        counter = three.cls(*three.init)
        reply(repr((one.callable(4), two.callable(5), counter.run(2), four.callable(9))).encode())
    """
    assert in_fresh_interpreter(run_all, pickle.dumps(blobs)) == b"(7, 120, 7, 3.0)"


# What is refused


def generator(x: int) -> Iterator[int]:
    yield x


async def coroutine(x: int) -> int:
    return x


async def async_generator(x: int) -> AsyncIterator[int]:
    yield x


class CallGenerates:
    def __call__(self, x: int) -> Iterator[int]:
        yield x


class RunIsAsync:
    async def run(self, x: int) -> int:
        return x


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (generator, "function 'train' is a generator function.* Return a list"),
        (functools.partial(generator, 1), "generator function"),
        (CallGenerates(), "generator function"),
        (coroutine, r"function 'train' is async.* asyncio\.run"),
        (async_generator, "function 'train' is async"),
        (RunIsAsync, r"RunIsAsync\.run of 'train' is async"),
        (NoRun, "class NoRun cannot be registered as 'train': it has no run method"),
        ((NoRun, 1), "no run method"),
        (int, "no run method"),
        (3, "'train' cannot be registered: a value of type int"),
        (None, "NoneType"),
        ("train", "type str"),
        ((fibonacci, 1), "type tuple"),
        ((Scaler, 1, 2), "type tuple"),
    ],
)
def test_what_executors_cannot_run_is_refused(given: object, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        pack_function(given, "train")
    assert not isinstance(caught.value, SerializationError)


def guarded(x: int) -> int:
    with guard:
        return x


def test_what_cannot_be_pickled_is_refused_with_the_path_to_it() -> None:
    with pytest.raises(SerializationError, match=r"'train' -> global 'guard' is a lock"):
        pack_function(guarded, "train")
    with pytest.raises(SerializationError, match=r"class 'train' -> \[1\]\[0\] is a lock"):
        pack_function((Scaler, (threading.Lock(),)), "train")


def test_damaged_code_is_reported() -> None:
    blob = pack_function(fibonacci, "f").blob
    for damaged in (b"", b"junk", blob[: len(blob) // 2], pickle.dumps(1), pickle.dumps((1,))):
        with pytest.raises(SerializationError):
            unpack_function(damaged)
