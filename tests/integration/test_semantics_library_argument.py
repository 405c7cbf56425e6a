"""What functions and classes are called with, and how long instances live."""

import functools
from collections.abc import Callable
from typing import Any

import pytest

from cloudburst import CloudburstConnection, UserLibrary

Register = Callable[[CloudburstConnection], Any]


class Plain:
    """Neither method knows the library."""

    def __init__(self, base: int) -> None:
        self.base = base

    def run(self, x: int) -> int:
        return self.base + x


class WithLibraryInInit:
    def __init__(self, library: UserLibrary, base: int) -> None:
        self.made_in = library.run_id
        self.base = base

    def run(self, x: int) -> tuple[int, bool]:
        return self.base + x, bool(self.made_in)


class WithLibraryInRun:
    def __init__(self, base: int) -> None:
        self.base = base

    def run(self, library: UserLibrary, x: int) -> tuple[int, str]:
        return self.base + x, library.step


class WithLibraryInBoth:
    def __init__(self, library: UserLibrary, base: int) -> None:
        self.library = type(library).__name__
        self.base = base

    def run(self, library: UserLibrary, x: int) -> tuple[int, str, str]:
        return self.base + x, self.library, library.step


class Anything:
    """Accepts any number of arguments, so it accepts the library too."""

    def __init__(self, *args: Any) -> None:
        self.args = [type(arg).__name__ for arg in args]

    def run(self, *args: Any) -> tuple[list[str], list[str]]:
        return self.args, [type(arg).__name__ for arg in args]


class OptionalSecond:
    """With one argument the library fits in front, with two it does not."""

    def run(self, first: Any, second: Any = None) -> tuple[str, str]:
        return type(first).__name__, type(second).__name__


class TakesTuple:
    def __init__(self, *init: Any) -> None:
        self.init = [arg for arg in init if not isinstance(arg, UserLibrary)]

    def run(self) -> list[Any]:
        return self.init


class Bare:
    def run(self, x: int) -> int:
        return -x


class Counter:
    """Counts its own calls."""

    def __init__(self) -> None:
        self.calls = 0

    def run(self, x: Any = None) -> int:
        self.calls += 1
        return self.calls


class RaisesTypeError:
    """A TypeError of its own must not be taken for a signature without the library."""

    def __init__(self) -> None:
        self.calls = 0

    def run(self, library: UserLibrary, x: int) -> int:
        self.calls += 1
        raise TypeError(f"call {self.calls} of mine")


def test_functions_receive_the_library_first(connection: CloudburstConnection) -> None:
    def names(*args: Any, **kwargs: Any) -> tuple[list[str], list[str]]:
        return [type(arg).__name__ for arg in args], list(kwargs)

    cloud_names = connection.register(names, "names")

    assert cloud_names().get() == (["UserLibrary"], [])
    assert cloud_names(1, "two").get() == (["UserLibrary", "int", "str"], [])
    assert cloud_names(1, key=2).get() == (["UserLibrary", "int"], ["key"])


@pytest.mark.parametrize(
    ("callable_", "expected"),
    [
        (lambda library, a, b=10: (library.step, a + b), ("f", 11)),
        (functools.partial(lambda prefix, library, a: prefix + str(a), "p"), "p1"),
        (functools.partial(lambda library, a, b: a + b, b=4), 5),
    ],
)
def test_any_callable_can_be_registered(
    connection: CloudburstConnection, callable_: Callable[..., Any], expected: Any
) -> None:
    assert connection.register(callable_, "f")(1).get() == expected


def test_keyword_arguments_arrive_by_name(connection: CloudburstConnection) -> None:
    minus = connection.register(lambda _, a, b: a - b, "minus")

    assert minus(b=1, a=10).get() == 9
    assert minus(10, b=1).get() == 9


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (Plain, 15),
        (WithLibraryInInit, (15, True)),
        (WithLibraryInRun, (15, "c")),
        (WithLibraryInBoth, (15, "UserLibrary", "c")),
        (Anything, (["UserLibrary", "int"], ["UserLibrary", "int"])),
    ],
)
def test_classes_receive_the_library_where_their_signature_accepts_it(
    connection: CloudburstConnection, cls: type, expected: Any
) -> None:
    assert connection.register((cls, 10), "c")(5).get() == expected


def test_whether_a_class_receives_the_library_is_decided_once(
    connection: CloudburstConnection,
) -> None:
    connection.register(OptionalSecond, "optional")
    connection.register_dag("kept", ["optional"], [])

    assert connection.call_dag("kept", {"optional": 1}).get() == ("UserLibrary", "int")
    with pytest.raises(TypeError, match="'optional' cannot be called like this"):
        connection.call_dag("kept", {"optional": [1, 2]}).get()


def test_a_call_that_cannot_be_made_decides_nothing(connection: CloudburstConnection) -> None:
    connection.register((WithLibraryInRun, 10), "c")
    connection.register_dag("kept", ["c"], [])

    with pytest.raises(TypeError, match="'c' cannot be called like this"):
        connection.call_dag("kept", {"c": [1, 2, 3]}).get()
    assert connection.call_dag("kept", {"c": 5}).get() == (15, "c")


def test_a_type_error_of_the_class_is_its_own(connection: CloudburstConnection) -> None:
    raises = connection.register(RaisesTypeError, "raises")

    with pytest.raises(TypeError, match="call 1 of mine"):
        raises(1).get()


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        ((1, 2), [1, 2]),
        ((), []),
        (7, [7]),
        ("text", ["text"]),
        (None, [None]),
        ([1, 2], [[1, 2]]),
        ({"k": 1}, [{"k": 1}]),
        (((1, 2),), [(1, 2)]),
    ],
)
def test_init_is_a_tuple_of_arguments_or_one_bare_value(
    connection: CloudburstConnection, init: Any, expected: list[Any]
) -> None:
    assert connection.register((TakesTuple, init), "takes")().get() == expected


def test_bare_class_is_made_without_arguments(connection: CloudburstConnection) -> None:
    assert connection.register(Bare, "bare")(3).get() == -3


def test_one_shot_call_of_a_class_is_a_fresh_instance(connection: CloudburstConnection) -> None:
    counter = connection.register(Counter, "counter")

    assert [counter().get() for _ in range(4)] == [1, 1, 1, 1]
    assert [future.get() for future in [counter(i) for i in range(20)]] == [1] * 20


def test_instance_in_a_dag_lives_until_the_dag_is_deleted(
    connection: CloudburstConnection,
) -> None:
    counter = connection.register(Counter, "counter")
    connection.register_dag("counting", ["counter"], [])

    assert [connection.call_dag("counting", {}).get() for _ in range(5)] == [1, 2, 3, 4, 5]
    assert counter().get() == 1
    assert connection.call_dag("counting", {}, direct_response=True) == 6

    assert connection.delete_dag("counting")
    assert connection.register_dag("counting", ["counter"], [])
    assert [connection.call_dag("counting", {}).get() for _ in range(3)] == [1, 2, 3]


def test_instance_in_a_dag_ends_when_its_function_is_registered_again(
    connection: CloudburstConnection,
) -> None:
    connection.register((Counter, ()), "counter")
    connection.register(lambda _, n: n * 10, "tenfold")
    connection.register_dag("counting", ["counter", "tenfold"], [("counter", "tenfold")])
    assert [connection.call_dag("counting", {}).get() for _ in range(3)] == [10, 20, 30]

    class Countdown(Counter):
        def run(self, x: Any = None) -> int:
            return -super().run(x)

    connection.register(Countdown, "counter")

    assert [connection.call_dag("counting", {}).get() for _ in range(3)] == [-10, -20, -30]


def test_each_dag_and_each_step_has_an_instance_of_its_own(
    connection: CloudburstConnection,
) -> None:
    connection.register(Counter, "counter")
    connection.register(lambda _, a, b: (a, b), "both")
    steps: list[Any] = [("left", "counter"), ("right", "counter"), "both"]
    edges = [("left", "both"), ("right", "both")]
    assert connection.register_dag("two", steps, edges)
    assert connection.register_dag("one", [("left", "counter")], [])

    assert [connection.call_dag("two", {}).get() for _ in range(3)] == [(1, 1), (2, 2), (3, 3)]
    assert connection.call_dag("one", {}).get() == 1
