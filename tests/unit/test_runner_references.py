"""References among arguments: resolved where they arrive, waited for, and failing like runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from operator import add
from typing import Any

import numpy as np
import pytest
from running import Stage, given

from cloudburst.core.options import Batch
from cloudburst.errors import FunctionError, KeyNotFound, KVSUnavailable, SerializationError
from cloudburst.executor.events import Ending
from cloudburst.kvs import keys
from cloudburst.kvs.base import AddMembers, Append, Get, Increment, Operation, Put
from cloudburst.kvs.members import pack_member
from cloudburst.kvs.memory import MemoryStore
from cloudburst.serialization import CloudburstReference as Ref
from cloudburst.serialization import failure_in, join, pack, unpack


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.register(same=lambda _, *values, **keywords: (*values, *keywords.items()))
    stage.put(a=1, b=[2], c=None)
    return stage


def test_a_reference_is_replaced_by_what_is_stored(stage: Stage) -> None:
    plan = stage.lone("same")

    assert stage.run(plan, same=given(Ref("a"), Ref("b"), k=Ref("c"))) == (1, [2], ("k", None))


def test_references_inside_containers_are_replaced_too(stage: Stage) -> None:
    nested = [Ref("a"), (Ref("b"), {"key": [Ref("a")]}), "text"]

    assert stage.call(lambda _, value: value, nested) == [1, ([2], {"key": [1]}), "text"]


def test_references_elsewhere_stay_references(stage: Stage) -> None:
    kept = stage.call(lambda _, value: list(value), frozenset([Ref("a")]))

    assert kept == [Ref("a")]


def test_a_reference_may_name_the_stored_bytes(stage: Stage) -> None:
    blob = join(pack([1, 2]).frames)
    stage.memory.execute([Put(keys.object_key("raw"), blob)])

    got = stage.call(lambda _, raw, value: (raw, value), Ref("raw", deserialize=False), Ref("raw"))
    assert got == (blob, [1, 2])


def test_the_stored_bytes_of_a_large_value_can_be_passed_on(stage: Stage) -> None:
    blob = bytes(join([bytes(frame) for frame in pack(np.zeros(10_000)).frames]))
    stage.memory.execute([Put(keys.object_key("raw"), blob)])
    views = Stage(store=Views(stage.memory))
    views.memory = stage.memory

    kind, raw = views.call(lambda _, raw: (type(raw), raw), Ref("raw", deserialize=False))
    assert (kind, raw) == (bytes, blob)


def test_counters_and_sets_can_be_referred_to(stage: Stage) -> None:
    counter, visitors = keys.object_key("counter"), keys.object_key("visitors")
    stage.memory.execute([Increment(counter, -5), AddMembers(visitors, [pack_member("Ada")])])
    raw = Ref("counter", deserialize=False), Ref("visitors", deserialize=False)

    values = [Ref("counter"), Ref("visitors"), Ref("b"), *raw]
    assert stage.call(lambda _, values: values, values) == [-5, {"Ada"}, [2], b"-5", {"Ada"}]


class Views:
    """A store that answers with views of its memory, as stores do for large values."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    def execute(self, operations: Sequence[Operation]) -> list[Any]:
        answers = self.store.execute(operations)
        return [memoryview(a) if isinstance(a, bytes) else a for a in answers]

    def close(self) -> None: ...


def test_arrays_behind_references_are_read_only(stage: Stage) -> None:
    stage.put(array=np.zeros(10_000))

    def change(_: object, array: Any) -> float:
        with pytest.raises(ValueError, match="read-only"):
            array += 1
        own = array.copy()
        own += 1
        return float(own.sum())

    assert stage.call(change, Ref("array")) == 10_000
    assert stage.call(change, Ref("array")) == 10_000  # what is stored has not changed


@pytest.fixture
def counted(stage: Stage) -> Stage:
    """A stage whose store is asked for objects by nobody but references."""
    counting = Counting()
    counted = Stage(store=counting)
    counted.memory = counting
    counted.put(a=1, b=[2], c=None)
    counted.register(same=lambda _, *values, **keywords: (*values, *keywords.items()))
    counted.run(counted.lone("same"), same=given())
    counting.asked.clear()
    return counted


class Counting(MemoryStore):
    """Knows what it was asked for, round trip by round trip."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []

    def execute(self, operations: Any) -> list[Any]:
        found = [keys.object_name(one.key) for one in operations if isinstance(one, Get)]
        self.asked.append(found)
        return super().execute(operations)


def asked(stage: Stage) -> list[list[str]]:
    """The names that were read, round trip by round trip."""
    assert isinstance(stage.memory, Counting)
    return stage.memory.asked


def test_references_of_one_argument_are_read_together(counted: Stage) -> None:
    got = counted.run(counted.lone("same"), same=given([Ref("a"), Ref("b"), Ref("a")]))

    assert got == ([1, [2], 1],)
    assert asked(counted) == [["a", "b"]]


def test_references_of_all_arguments_are_read_together_and_each_key_once(counted: Stage) -> None:
    raw = Ref("a", deserialize=False)
    got = counted.run(
        counted.lone("same"), same=given(Ref("a"), 5, [Ref("b"), raw], Ref("a"), k={"c": Ref("c")})
    )

    assert got == (1, 5, [[2], b"1"], 1, ("k", {"c": None}))
    assert asked(counted) == [["a", "b", "c"]]


def test_each_argument_has_a_value_of_its_own(counted: Stage) -> None:
    def change(_: object, one: list[int], other: list[int]) -> list[int]:
        one.append(3)
        return other

    counted.register(change=change)
    assert counted.run(counted.lone("change"), change=given(Ref("b"), Ref("b"))) == [2]


def test_what_is_there_is_not_read_again_while_the_rest_is_waited_for(counted: Stage) -> None:
    plan = counted.lone("same")
    error = counted.failure(plan, same=given(Ref("a"), [Ref("x"), Ref("b")], Ref("x")))

    assert type(error) is KeyNotFound
    assert asked(counted) == [["a", "x", "b"], ["x"]]


def test_references_of_a_later_step_are_read_when_it_begins(counted: Stage) -> None:
    """What the step before it has written is what it gets."""
    counted.register(write=lambda library: library.put("a", 7))
    plan = counted.dag("write>same")
    counted.run(plan, same=given(Ref("a")))  # loads the code
    asked(counted).clear()

    assert counted.run(plan, same=given(Ref("a"), Ref("b"))) == (7, [2], None)
    assert asked(counted)[-1] == ["a", "b"]


def test_references_of_a_batch_are_read_together(counted: Stage) -> None:
    counted.register(Batch(8, 0.0), add=lambda _, ones, others: [*map(add, ones, others)])
    plan = counted.lone("add")
    counted.begin(plan, given(1, 2))
    counted.outcomes()
    asked(counted).clear()
    counted.begin(plan, given(Ref("a"), 1), given(5, Ref("a")), given(Ref("b"), [Ref("a")]))

    assert counted.outcomes() == [2, 6, [2, 1]]
    assert asked(counted) == [["a", "b"]]


def test_what_the_store_refuses_to_one_of_a_batch_the_others_do_not_mind(counted: Stage) -> None:
    counted.memory.execute([_append("list")])
    counted.register(Batch(8, 0.0), add=lambda _, ones, others: [*map(add, ones, others)])
    counted.begin(counted.lone("add"), given(Ref("a"), 1), given(5, Ref("list")))

    good, bad = counted.outcomes()
    assert good == 2
    assert type(bad) is KVSUnavailable


# keys that are not there


def test_a_key_that_does_not_appear_in_time_is_an_error(stage: Stage) -> None:
    began = time.monotonic()
    error = stage.failure(
        stage.lone("same"), patience=0.05, same=given([Ref("a"), Ref("x"), Ref("y")])
    )

    assert type(error) is KeyNotFound
    assert str(error) == "nothing was stored under 'x', 'y' within 0.05 seconds"
    assert 0.05 <= time.monotonic() - began < 5.0


def test_without_patience_it_is_looked_for_once(stage: Stage) -> None:
    assert type(stage.failure(stage.lone("same"), same=given(Ref("x")))) is KeyNotFound


def test_a_key_that_appears_in_time_is_waited_for(stage: Stage) -> None:
    late = threading.Timer(0.02, lambda: stage.put(late="here"))
    late.start()
    try:
        assert stage.run(stage.lone("same"), patience=30.0, same=given(Ref("late"))) == ("here",)
    finally:
        late.join()


def test_a_stored_none_is_there(stage: Stage) -> None:
    assert stage.run(stage.lone("same"), same=given(Ref("c"))) == (None,)


# runs that failed


def test_a_reference_to_a_failed_run_fails_with_its_error(stage: Stage) -> None:
    stage.register(fail=lambda _: {"a": 1}["b"])
    stage.keep_failure("failed", stage.last(stage.lone("fail")))

    error = stage.failure(stage.lone("same"), same=given([1, Ref("failed")]))
    assert type(error) is KeyError
    cause = error.__cause__
    assert isinstance(cause, FunctionError)
    assert (cause.step, cause.run_id) == ("fail", "run-1")  # its own, not that of this run


def test_the_bytes_of_a_failed_run_can_be_had(stage: Stage) -> None:
    stage.register(fail=lambda _: {"a": 1}["b"])
    stage.keep_failure("failed", stage.last(stage.lone("fail")))

    assert stage.call(lambda _, raw: type(raw), Ref("failed", deserialize=False)) is bytes


# what goes wrong


def test_a_stored_value_that_is_none_of_ours(stage: Stage) -> None:
    stage.memory.execute([Put(keys.object_key("foreign"), b"written by somebody else")])

    assert type(stage.failure(stage.lone("same"), same=given(Ref("foreign")))) is (
        SerializationError
    )


def test_references_nested_too_deeply(stage: Stage) -> None:
    nested: Any = Ref("a")
    for _ in range(400):
        nested = [nested]
    stage.start(stage.lone("same"), same=given(nested))

    done = deep_down(300, stage.next)
    assert done.ending is Ending.FAILED
    failure = failure_in(unpack(done.value))
    assert failure is not None
    assert type(failure.exception()) is SerializationError
    assert "nested too deeply" in str(failure.exception())


def deep_down(frames: int, function: Callable[[], Any]) -> Any:
    """What the function returns when it is called with so many frames on the stack."""
    return deep_down(frames - 1, function) if frames else function()


def test_a_store_that_refuses(stage: Stage) -> None:
    stage.memory.execute([_append("list")])

    assert type(stage.failure(stage.lone("same"), same=given(Ref("list")))) is KVSUnavailable


def _append(name: str) -> Operation:
    return Append(keys.object_key(name), b"item", 60.0)
