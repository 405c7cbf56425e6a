"""References: found while packing, read in one go, replaced where they arrive."""

from __future__ import annotations

import collections
import threading
from typing import Any, NamedTuple

import numpy as np
import pytest

from cloudburst.errors import InvalidName, SerializationError
from cloudburst.serialization import (
    CloudburstReference,
    collecting,
    join,
    pack,
    references_in,
    resolve,
    split,
    unpack,
)

A, B, C = (CloudburstReference(key) for key in "abc")


class Pair(NamedTuple):
    left: Any
    right: Any


class Promise:
    """Pickles itself as the clients' futures do: as a reference, inside `pack` only."""

    def __reduce__(self) -> tuple[Any, ...]:
        if collecting():
            return CloudburstReference("promised").__reduce__()
        raise TypeError("a promise cannot leave its process")


def lookup(reference: CloudburstReference) -> str:
    return reference.key.upper()


def test_a_reference_is_an_immutable_value() -> None:
    reference = CloudburstReference("a")

    assert reference == A
    assert hash(reference) == hash(A)
    assert reference != CloudburstReference("a", deserialize=False)
    with pytest.raises(AttributeError):
        reference.key = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    "key", [5, None, b"k", "", "k" * 1001, "\ud800", []], ids=lambda key: ascii(key)[:9]
)
def test_a_reference_has_a_key_that_something_can_be_stored_under(key: Any) -> None:
    with pytest.raises(InvalidName, match="key"):
        CloudburstReference(key)


def test_packing_tells_the_keys_in_order_and_once() -> None:
    value = [B, {"x": A, "y": [B]}, (CloudburstReference("c", deserialize=False),)]

    packed = pack(value)

    assert packed.references == ("b", "a", "c")
    assert unpack(packed.frames) == value


def test_keys_are_told_wherever_the_reference_hides() -> None:
    captured = C
    assert pack({1: np.array([A, B], dtype=object)}).references == ("a", "b")
    assert pack(lambda: captured).references == ("c",)


def test_a_value_without_references_has_no_keys() -> None:
    pack([A])
    for value in (1, "a", [1], np.zeros(50_000), lambda: None):
        assert pack(value).references == ()


def test_references_survive_the_kvs() -> None:
    value = {"big": np.zeros(50_000), "reference": A}
    assert unpack(split(join(pack(value).frames)))["reference"] == A


def test_a_future_becomes_a_reference_inside_pack_only() -> None:
    packed = pack([1, Promise()])

    assert packed.references == ("promised",)
    assert unpack(packed.frames) == [1, CloudburstReference("promised")]
    assert not collecting()


def test_collecting_ends_even_if_packing_fails() -> None:
    with pytest.raises(SerializationError):
        pack([A, threading.Lock()])

    assert not collecting()
    assert pack([1]).references == ()


def test_a_future_is_never_blamed_for_what_stands_beside_it() -> None:
    with pytest.raises(SerializationError, match=r"value -> \[1\] is a lock"):
        pack([Promise(), threading.Lock()])


def test_packing_inside_packing_keeps_the_keys_apart() -> None:
    inner_keys = []

    class Nested:
        def __reduce__(self) -> tuple[Any, ...]:
            inner_keys.append(pack([B]).references)
            return str, ("nested",)

    assert pack([A, Nested(), C]).references == ("a", "c")
    assert inner_keys == [("b",)]


def test_collecting_is_a_matter_of_each_thread() -> None:
    seen_elsewhere = []

    class Watched:
        def __reduce__(self) -> tuple[Any, ...]:
            thread = threading.Thread(target=lambda: seen_elsewhere.append(collecting()))
            thread.start()
            thread.join()
            assert collecting()
            return str, ("watched",)

    pack(Watched())
    assert seen_elsewhere == [False]


def test_resolve_replaces_at_the_top_level_and_in_nested_containers() -> None:
    value = [1, A, (B, [C]), {"x": A, "y": {"z": (1, B)}}, Pair(A, 2)]

    resolved = resolve(value, lookup)

    assert resolve(A, lookup) == "A"
    assert resolved == [1, "A", ("B", ["C"]), {"x": "A", "y": {"z": (1, "B")}}, Pair("A", 2)]
    assert type(resolved[4]) is Pair
    assert value[1] is A  # the argument itself is left alone


def test_resolve_keeps_the_class_of_dicts() -> None:
    ordered = collections.OrderedDict(z=A, a=1)
    default: dict[str, Any] = collections.defaultdict(list, x=A)

    assert resolve(ordered, lookup) == collections.OrderedDict(z="A", a=1)
    resolved = resolve(default, lookup)
    assert resolved == {"x": "A"}
    assert resolved["missing"] == []


def test_resolve_returns_what_has_no_reference_as_it_is() -> None:
    untouched: dict[str, Any] = {"a": [1, (2,)], "b": {A: 1}, "c": {1, 2}, "d": Pair(1, 2)}

    assert resolve(untouched, lookup) is untouched
    mixed = resolve([untouched, A], lookup)
    assert mixed[0] is untouched


def test_resolve_does_not_look_into_what_a_reference_stands_for() -> None:
    assert resolve([A], lambda reference: [B]) == [[B]]


def test_shared_containers_stay_shared_and_cost_once() -> None:
    calls: list[str] = []
    value: Any = [A]
    for _ in range(60):  # as a tree, 2 ** 60 leaves
        value = [value, value]

    resolved = resolve(value, lambda reference: calls.append(reference.key))

    assert calls == ["a"]
    assert resolved[0] is resolved[1]
    assert references_in(value) == [A]


def test_cyclic_containers_end() -> None:
    value: list[Any] = [A]
    value.append(value)

    assert references_in(value) == [A]
    assert resolve(value, lookup)[0] == "A"


def test_too_deep_nesting_is_an_error_that_says_so() -> None:
    value: Any = A
    for _ in range(100_000):
        value = [value]

    assert references_in(value) == [A]
    with pytest.raises(SerializationError, match="too deeply"):
        resolve(value, lookup)


def test_references_in_has_the_reach_of_resolve() -> None:
    raw = CloudburstReference("a", deserialize=False)
    value = [A, {"x": (B, A), C: 1}, raw, {A}, Pair(1, B)]
    asked: list[CloudburstReference] = []

    resolve(value, asked.append)

    assert references_in(value) == [A, B, raw]
    assert set(asked) == {A, B, raw}
    assert references_in(A) == [A]
    assert references_in(1) == []


def test_what_a_lookup_raises_comes_through() -> None:
    def missing(reference: CloudburstReference) -> Any:
        raise KeyError(reference.key)

    with pytest.raises(KeyError, match="a"):
        resolve([A], missing)
