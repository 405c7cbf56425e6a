"""What a call says of its arguments besides their values."""

from __future__ import annotations

from cloudburst.calls.arguments import arguments_of, arguments_of_call, pack_arguments
from cloudburst.calls.parking import LARGE, Parking
from cloudburst.core.messages import SOURCES
from cloudburst.kvs.memory import MemoryStore
from cloudburst.serialization import CloudburstReference as Ref


def test_of_every_key_it_says_which_step_gets_it() -> None:
    given = {"x": [Ref("a"), 1, [Ref("b"), {"c": Ref("a")}]], SOURCES: Ref("c"), "y": Ref("a")}

    packed = pack_arguments(arguments_of(given))
    assert packed.references == ("a", "b", "a", "c", "a")
    assert packed.readers == ("x", "x", "x", SOURCES, "y")


def test_so_it_does_of_keywords() -> None:
    packed = pack_arguments(arguments_of_call("f", (1, Ref("a")), {"k": (Ref("b"), 2)}))

    assert dict(zip(packed.references, packed.readers, strict=True)) == {"a": "f", "b": "f"}


def test_and_of_large_arguments() -> None:
    parking = Parking("r1", MemoryStore)
    packed = pack_arguments([("f", "", 1), ("g", "", b"x" * LARGE)], parking)

    assert (packed.references, packed.readers) == (("r1/2",), ("g",))


def test_without_references_it_says_nothing() -> None:
    packed = pack_arguments(arguments_of({"x": [1, "text"]}))

    assert (packed.references, packed.readers) == ((), ())
