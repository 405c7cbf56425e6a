"""Messages damaged in every way one can think of are messages that make sense, or are refused."""

from __future__ import annotations

import math
import random
import typing
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from damage import (
    KINDS,
    LARGE,
    Frames,
    comparable,
    damaged_bytes,
    damaged_header,
    decode_damaged,
    sensible,
)

from cloudburst.core.dag import Dag, make_steps
from cloudburst.core.messages import Call, RunContext
from cloudburst.core.options import LONGEST, RunOptions
from cloudburst.core.plan import FunctionInfo, Plan, compile_dag, pack_plan, unpack_plan
from cloudburst.core.sense import MAX_NUMBER
from cloudburst.core.wire import (
    decode,
    encode,
    pack_call,
    pack_context,
    unpack_call,
    unpack_context,
)
from cloudburst.errors import ProtocolError

MESSAGES = 200_000
"""They take a few seconds."""
BLOBS = 5_000


def test_a_damaged_message_is_another_one_or_is_refused() -> None:
    came = decode_damaged(MESSAGES, seed=1)

    # It is of some use only if both happen, and to every kind.
    assert came["refused"] > MESSAGES // 4
    assert came.keys() == {kind.__name__ for kind in KINDS} | {"refused"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_seeds_make_sense(kind: type[Any]) -> None:
    for payload in ((b"a",), LARGE):
        message = sensible(kind, payload)
        assert comparable(decode(encode(message))) == comparable(message)


CONTEXT = sensible(RunContext)
PLAN = compile_dag(
    Dag("d", make_steps(["f", ("g", "f"), ("h", "f")]), (("f", "g"), ("f", "h"), ("g", "h"))),
    {"f": FunctionInfo("f", "version", is_class=True)},
)


@pytest.mark.parametrize(
    ("blob", "read", "kinds"),
    [
        (pack_context(CONTEXT), unpack_context, RunContext),
        (pack_call(sensible(Call), "client"), unpack_call, tuple),
        (pack_plan(PLAN), unpack_plan, Plan),
    ],
    ids=["context", "recorded call", "plan"],
)
def test_what_is_kept_in_bytes_and_was_damaged_is_refused(
    blob: bytes, read: Callable[[bytes], Any], kinds: type[Any]
) -> None:
    chance = random.Random(2)
    refused = 0
    for number in range(BLOBS):
        damage = damaged_bytes if number % 2 else damaged_header
        try:
            found = read(damage(blob, chance))
        except ProtocolError:
            refused += 1
        else:
            assert isinstance(found, kinds)

    assert BLOBS // 10 < refused < BLOBS


# well typed, and yet nonsense


def altered(kind: type[Any], **fields: object) -> Frames:
    message = sensible(kind)._replace(**fields)
    return [bytes(frame) for frame in encode(message)]


NUMBERS = [
    (kind, name)
    for kind in KINDS
    for name, hint in typing.get_type_hints(kind).items()
    if hint is int
]
IDS = ("run_id", "executor", "host", "recipient", "address")


@pytest.mark.parametrize(("kind", "field"), NUMBERS)
@pytest.mark.parametrize("number", [-1, MAX_NUMBER + 1])
def test_numbers_count_something(kind: type[Any], field: str, number: int) -> None:
    assert decode(altered(kind, **{field: MAX_NUMBER}))
    with pytest.raises(ProtocolError, match=f"of a {kind.__name__} makes no sense"):
        decode(altered(kind, **{field: number}))


@pytest.mark.parametrize(
    ("kind", "field"), [(kind, name) for kind in KINDS for name in IDS if name in kind._fields]
)
def test_ids_are_not_empty(kind: type[Any], field: str) -> None:
    with pytest.raises(ProtocolError, match=f"of a {kind.__name__} makes no sense"):
        decode(altered(kind, **{field: ""}))


NO_TIMES = [math.nan, math.inf, -math.inf, -0.5, 2 * LONGEST]
BY_NAME = {kind.__name__: kind for kind in KINDS}


@pytest.mark.parametrize("seconds", NO_TIMES)
@pytest.mark.parametrize(
    ("kind", "field", "around"),
    [
        ("Call", "patience", lambda seconds: seconds),
        ("Call", "options", lambda seconds: tuple(RunOptions(timeout=seconds))),
        ("RegisterDag", "options", lambda seconds: tuple(RunOptions(grace_period=seconds))),
        ("RegisterFunction", "options", lambda seconds: tuple(RunOptions(result_ttl=seconds))),
        ("Finished", "times", lambda seconds: ((0, 0.5), (1, seconds))),
    ],
)
def test_seconds_can_be_waited_for(
    kind: str, field: str, around: Callable[[float], Any], seconds: float
) -> None:
    assert decode(altered(BY_NAME[kind], **{field: around(0.5)}))
    with pytest.raises(ProtocolError, match=f"of a {kind} makes no sense"):
        decode(altered(BY_NAME[kind], **{field: around(seconds)}))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("Call", {"options": tuple(RunOptions(max_retries=-2))}),
        ("Call", {"arguments": (("f", "", 1), ("f", "", 0))}),
        ("Call", {"arguments": (("f", "", -1),)}),
        ("Start", {"arguments": ((0, "", 0),)}),
        ("Finished", {"times": ((-1, 0.5),)}),
        ("ExecutorReady", {"name": ""}),
    ],
)
def test_other_nonsense_is_refused(kind: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match=f"of a {kind} makes no sense"):
        decode(altered(BY_NAME[kind], **fields))


def test_what_users_name_may_be_anything_as_the_answer_says_what_is_wrong() -> None:
    for kind in ("GetFunction", "GetDag", "DeleteDag", "DeleteFunction"):
        assert decode(altered(BY_NAME[kind], name=""))


def test_half_of_a_surrogate_pair_is_no_character() -> None:
    header = msgpack.packb(
        (KINDS.index(BY_NAME["Watch"]), "\udc80"), unicode_errors="surrogatepass"
    )

    with pytest.raises(ProtocolError, match="not msgpack"):
        decode([header])


@pytest.mark.parametrize(
    "fields",
    [{"plan": ""}, {"ttl": math.nan}, {"ttl": -1.0}, {"patience": math.inf}, {"places": (0, -1)}],
)
def test_a_context_makes_sense(fields: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="make no sense"):
        unpack_context(pack_context(CONTEXT._replace(**fields)))
