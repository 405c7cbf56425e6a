"""Functions that take several calls at once: what is put together, and what stays apart."""

from collections.abc import Callable
from typing import Any

import pytest
from batch_calls import LONG, SOON, at_gate, results, sized
from gates import Gate

from cloudburst import (
    CloudburstConnection,
    CloudburstReference,
    FunctionError,
    KeyNotFound,
    LocalCluster,
    UsageError,
    UserLibrary,
    batch,
)

EXECUTORS = 1
"""One: all calls come together there."""


# what is put together


def test_calls_are_put_together_and_each_gets_its_own_value(
    connection: CloudburstConnection,
) -> None:
    function = connection.register(sized, "sized", batching=batch(20, LONG))

    assert results([function(n) for n in range(20)]) == [(n, 20) for n in range(20)]


def test_a_batch_is_what_came_while_the_one_before_it_ran(
    connection: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    first, gate = make_gate(), make_gate()
    gate.stay_open()
    function = connection.register(at_gate, "at_gate", batching=True)
    running = function("first", first.path)
    first.wait_for_arrival()

    behind = [function(n, gate.path) for n in range(60)]
    connection.status()  # by now the scheduler has had all of them
    first.open()

    assert running.get(SOON) == ("first", 1)
    items, sizes = zip(*results(behind), strict=True)
    assert list(items) == list(range(60))
    assert sum(1 / size for size in sizes) < 15.5  # so many batches


def test_a_batch_is_never_larger_than_it_may_be(connection: CloudburstConnection) -> None:
    function = connection.register(sized, "sized", batching=batch(4, 50))

    items, sizes = zip(*results([function(n) for n in range(42)]), strict=True)

    assert list(items) == list(range(42))
    assert max(sizes) == 4


def test_a_call_that_no_other_joins_begins_all_the_same(connection: CloudburstConnection) -> None:
    function = connection.register(sized, "sized", batching=batch(10, 50))

    assert function("alone").get(SOON) == ("alone", 1)
    assert function.options(direct_response=True)("direct") == ("direct", 1)


def test_calls_of_different_clients_are_put_together(
    cluster: LocalCluster, connection: CloudburstConnection
) -> None:
    function = connection.register(sized, "sized", batching=batch(2, LONG))
    with cluster.connect() as other:
        theirs = other.get_function("sized")
        assert theirs is not None

        one, two = function("one"), theirs("two")

        assert (one.get(SOON), two.get(SOON)) == (("one", 2), ("two", 2))


def test_every_parameter_is_a_list(connection: CloudburstConnection) -> None:
    def shapes(_: object, *columns: list[Any], **named: list[Any]) -> list[Any]:
        return [(columns, named)] * len(columns[0])

    function = connection.register(shapes, "shapes", batching=batch(5, LONG))

    runs = [function(1, "a"), function(2), function(3, k="c"), function(4, "d"), function(5, k="e")]

    two, one, keyword = ([1, 4], ["a", "d"]), ([2],), ([3, 5],)
    assert results(runs) == [
        (two, {}),
        (one, {}),
        (keyword, {"k": ["c", "e"]}),
        (two, {}),
        (keyword, {"k": ["c", "e"]}),
    ]


def test_the_library_is_that_of_the_first_call(connection: CloudburstConnection) -> None:
    def ids(library: UserLibrary, items: list[Any]) -> list[str]:
        return [library.run_id] * len(items)

    function = connection.register(ids, "ids", batching=batch(3, LONG))

    runs = [function(n) for n in range(3)]

    assert results(runs) == [runs[0].obj_id] * 3


def test_functions_are_put_into_batches_of_their_own(connection: CloudburstConnection) -> None:
    def named(library: UserLibrary, items: list[Any]) -> list[Any]:
        return [(library.step, item, len(items)) for item in items]

    functions = [connection.register(named, name, batching=batch(3, 50)) for name in ("a", "b")]

    found = results([function(n) for function in functions for n in range(3)])

    assert found[:3] == [("a", n, 3) for n in range(3)]
    assert [(name, n) for name, n, _ in found[3:]] == [("b", n) for n in range(3)]


def test_registering_again_ends_it(connection: CloudburstConnection) -> None:
    connection.register(sized, "sized", batching=True)
    function = connection.register(sized, "sized")

    assert function(["a", "b"]).get(SOON) == [("a", 2), ("b", 2)]


# classes


class Model:
    """Counts its calls, and what they brought."""

    def __init__(self, library: UserLibrary, name: str) -> None:
        library.put(f"{name} made", library.get(f"{name} made", 0) + 1)
        self.calls = 0

    def run(self, items: list[int]) -> list[tuple[int, int, int]]:
        self.calls += 1
        return [(item * 10, self.calls, len(items)) for item in items]


def test_a_model_in_a_dag_takes_what_several_runs_bring(connection: CloudburstConnection) -> None:
    connection.register(lambda _, n: n + 1, "pre")
    connection.register((Model, "model"), "model", batching=batch(8, 50))
    connection.register(lambda _, found: found, "post")
    edges = [("pre", "model"), ("model", "post")]
    assert connection.register_dag("serve", ["pre", "model", "post"], edges)

    found = results([connection.call_dag("serve", {"pre": n}) for n in range(80)])

    assert [value for value, _, _ in found] == [(n + 1) * 10 for n in range(80)]
    calls = {number for _, number, _ in found}
    assert calls == set(range(1, len(calls) + 1))
    assert max(size for *_, size in found) == 8
    assert connection.get_object("model made") == 1


def test_a_lone_class_is_made_once_for_each_batch(connection: CloudburstConnection) -> None:
    function = connection.register((Model, "lone"), "lone", batching=batch(5, LONG))

    assert results([function(n) for n in range(10)]) == [(n * 10, 1, 5) for n in range(10)]
    assert connection.get_object("lone made") == 2


def test_own_arguments_of_a_batched_step_come_first(connection: CloudburstConnection) -> None:
    def scale(_: object, factors: list[int], items: list[int]) -> list[int]:
        return [factor * item for factor, item in zip(factors, items, strict=True)]

    connection.register(lambda _, n: n, "pre")
    connection.register(scale, "scale", batching=batch(3, 50))
    assert connection.register_dag("d", ["pre", "scale"], [("pre", "scale")])

    runs = [connection.call_dag("d", {"pre": n, "scale": 10 * n}) for n in range(3)]

    assert results(runs) == [0, 10, 40]


# what fails


def test_a_bad_item_fails_only_its_own_call(connection: CloudburstConnection) -> None:
    def halve(_: object, numbers: list[int]) -> list[Any]:
        return [n // 2 if n % 2 == 0 else ValueError(f"{n} is odd") for n in numbers]

    function = connection.register(halve, "halve", batching=batch(6, LONG))

    runs = [function(n) for n in range(6)]

    assert results(runs[::2]) == [0, 1, 2]
    for n, run in list(enumerate(runs))[1::2]:
        with pytest.raises(ValueError, match=f"{n} is odd") as raised:
            run.get(SOON)
        assert isinstance(raised.value.__cause__, FunctionError)
        assert raised.value.__cause__.run_id == run.obj_id


def test_a_value_that_cannot_be_pickled_fails_only_its_own_call(
    connection: CloudburstConnection,
) -> None:
    def odd(_: object, numbers: list[int]) -> list[Any]:
        return [(x for x in "no") if n == 1 else n for n in numbers]

    function = connection.register(odd, "odd", batching=batch(3, LONG))

    runs = [function(n) for n in range(3)]

    assert (runs[0].get(SOON), runs[2].get(SOON)) == (0, 2)
    assert isinstance(runs[1].exception(SOON), TypeError)


def test_an_argument_that_does_not_come_fails_only_its_own_call(
    connection: CloudburstConnection,
) -> None:
    connection.put_object("there", "found")
    function = connection.register(sized, "sized", batching=batch(3, LONG))

    runs = [function(CloudburstReference("there")), function("as it is")]
    runs += [function.options(timeout=1.0)(CloudburstReference("nowhere"))]

    assert results(runs[:2]) == [("found", 2), ("as it is", 2)]
    assert isinstance(runs[2].exception(SOON), KeyNotFound)


@pytest.mark.parametrize(
    ("returned", "kind", "said"),
    [
        ([1], ValueError, "returned 1 values for 2 calls"),
        ([1, 2, 3], ValueError, "returned 3 values for 2 calls"),
        ([], ValueError, "returned 0 values for 2 calls"),
        (None, TypeError, "returned NoneType for 2 calls"),
        ("ab", TypeError, "returned str for 2 calls"),
        ({"a": 1, "b": 2}, TypeError, "returned dict for 2 calls"),
    ],
)
def test_what_is_no_list_of_as_many_values_fails_all_calls(
    connection: CloudburstConnection, returned: object, kind: type[Exception], said: str
) -> None:
    function = connection.register(lambda _, items: returned, "wrong", batching=batch(2, LONG))

    runs = [function(n) for n in range(2)]

    for run in runs:
        with pytest.raises(kind, match=f"step 'wrong' {said}: a function with batching takes"):
            run.get(SOON)


@pytest.mark.parametrize("make", [list, tuple])
def test_a_list_may_be_any_sequence(
    connection: CloudburstConnection, make: Callable[[Any], Any]
) -> None:
    import numpy as np

    function = connection.register(lambda _, xs: make(xs), "same", batching=batch(2, LONG))
    array = connection.register(lambda _, xs: np.array(xs) * 2, "array", batching=batch(2, LONG))

    assert results([function(n) for n in range(2)]) == [0, 1]
    assert results([array(n) for n in range(2)]) == [0, 2]


def test_code_that_raises_fails_all_calls_of_the_batch(connection: CloudburstConnection) -> None:
    def fail(_: object, items: list[int]) -> list[int]:
        if 0 in items:
            raise LookupError(f"{len(items)} at once")
        return items

    function = connection.register(fail, "fail", batching=batch(4, LONG))

    for run in [function(n) for n in range(4)]:
        with pytest.raises(LookupError, match="4 at once"):
            run.get(SOON)
    assert results([function(n) for n in range(1, 5)]) == [1, 2, 3, 4]


def test_only_the_bad_item_is_tried_again(connection: CloudburstConnection) -> None:
    def flaky(library: UserLibrary, items: list[str]) -> list[Any]:
        found: list[Any] = []
        for item in items:
            tries = library.get(f"tried {item}", 0) + 1
            library.put(f"tried {item}", tries)
            found.append(ConnectionError(item) if (item, tries) == ("bad", 1) else tries)
        return found

    flaky_function = connection.register(flaky, "flaky", batching=batch(3, 100), max_retries=1)

    assert results([flaky_function(item) for item in ("good", "bad", "fine")]) == [1, 2, 1]


# saying it


@pytest.mark.parametrize("wrong", ["yes", 1, None, 64])
def test_batching_is_said_in_one_of_two_ways(
    connection: CloudburstConnection, wrong: object
) -> None:
    with pytest.raises(UsageError, match="batching is True, False or batch"):
        connection.register(sized, "sized", batching=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, -1, 2.0, True, "2", 10_001])
def test_the_size_of_a_batch_is_a_number(size: Any) -> None:
    with pytest.raises(UsageError, match="max_size is a number of calls, 2 to 10000"):
        batch(max_size=size)


@pytest.mark.parametrize("wait", [-1, "soon", float("nan")])
def test_the_wait_of_a_batch_is_a_number(wait: Any) -> None:
    with pytest.raises(UsageError, match="max_wait_ms"):
        batch(max_wait_ms=wait)
