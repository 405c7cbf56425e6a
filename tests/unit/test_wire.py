"""Messages to frames and back, and what becomes of bytes that are no message."""

from __future__ import annotations

import contextlib
import random
import typing
from typing import Any, get_args, get_origin

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudburst.core.messages import (
    Accepted,
    Buffer,
    Call,
    Finished,
    Message,
    Result,
    RunContext,
    RunState,
    RunStatus,
    Start,
)
from cloudburst.core.options import LONGEST, RunOptions
from cloudburst.core.wire import (
    INLINE_BYTES,
    INLINE_FRAMES,
    MAX_FRAMES,
    MAX_HEADER,
    decode,
    encode,
    pack_call,
    pack_context,
    unpack_call,
    unpack_context,
)
from cloudburst.errors import ProtocolError

KINDS: tuple[type[Any], ...] = get_args(Message)

CALL = Call(
    run_id="c-1",
    target="f",
    is_dag=False,
    arguments=(("f", "", 1), ("f", "x", 2)),
    references=("k",),
    reply_to="@c",
    store=True,
    output_key="",
    patience=5.0,
    options=tuple(RunOptions(timeout=2.0)),
    frames=(b"a", b"b", b""),
)
CONTEXT = RunContext(
    plan="plan",
    executors=("@a", "@b"),
    places=(0, 1, 0),
    given=(2,),
    client="c",
    reply_to="@c",
    store=True,
    output_key="",
    patience=5.0,
    ttl=60.0,
    retried=False,
)
LARGE = b"x" * (INLINE_BYTES + 1)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values that fit an annotation of a message's field, and make sense there."""
    if get_origin(hint) is not tuple:
        return {
            int: st.integers(1, 10**9),
            float: st.floats(0.0, LONGEST),
            str: st.text(min_size=1, max_size=20),
            bytes: st.binary(max_size=20),
            bool: st.booleans(),
        }[hint]
    items = get_args(hint)
    if items[-1] is Ellipsis:
        return st.lists(values(items[0]), max_size=4).map(tuple)
    return st.tuples(*map(values, items))


def messages(kind: type[Any]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    small = st.lists(st.binary(max_size=20), max_size=INLINE_FRAMES + 3).map(tuple)
    frames = st.one_of(small, small.map(lambda frames: (*frames, LARGE)))
    fields = [frames if name == "frames" else values(hints[name]) for name in kind._fields]
    return st.tuples(*fields).map(kind._make)


@given(st.sampled_from(KINDS).flatmap(messages))
def test_every_message_survives_the_wire(message: Message) -> None:
    copy = decode(tuple(bytes(frame) for frame in encode(message)))

    assert type(copy) is type(message)
    assert tuple(copy) == tuple(message)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_message_has_a_tag_of_its_own(kind: type[Any]) -> None:
    tags = {msgpack.unpackb(encode(_some(other))[0])[0] for other in KINDS if other is not kind}

    assert msgpack.unpackb(encode(_some(kind))[0])[0] not in tags


def _some(kind: type[Any]) -> Any:
    plain = {int: 1, float: 1.0, str: "x", bytes: b"x", bool: True}
    hints = typing.get_type_hints(kind)
    return kind._make(
        [] if name == "frames" else plain.get(hints[name], ()) for name in kind._fields
    )


def test_a_small_payload_travels_in_the_header() -> None:
    frames: list[Buffer] = [b"value", memoryview(b"view"), b""]

    (header,) = encode(Result("r", 1, failed=False, frames=frames))

    assert decode([header]) == Result("r", 1, failed=False, frames=(b"value", b"view", b""))


@pytest.mark.parametrize(
    "frames",
    [
        [b"value", memoryview(bytearray(INLINE_BYTES)), b""],
        [b""] * (INLINE_FRAMES + 1),
        [LARGE],
    ],
)
def test_a_larger_payload_passes_through_untouched(frames: list[Buffer]) -> None:
    sent = encode(Result("r", 1, failed=False, frames=frames))
    received = decode(sent)

    assert all(one is other for one, other in zip(sent[1:], frames, strict=True))
    assert isinstance(received, Result)
    assert all(one is other for one, other in zip(received.frames, frames, strict=True))


def test_a_header_may_come_as_a_view_of_memory() -> None:
    frames = encode(Accepted(("r",)))

    assert decode([memoryview(frames[0])]) == Accepted(("r",))


def test_a_state_goes_over_the_wire_as_its_name() -> None:
    assert decode(encode(RunStatus("r", RunState.FAILED))) == RunStatus("r", "FAILED")


def test_a_message_is_small() -> None:
    (header,) = encode(Finished("0123456789abcdef-1", 1, "SUCCEEDED", ((0, 0.001),)))

    assert len(header) < 50


# what is not a message


def packed(*fields: object) -> list[bytes]:
    return [msgpack.packb(fields)]


TAG = KINDS.index(Accepted)


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([], id="no frames"),
        pytest.param([b""], id="empty header"),
        pytest.param([b"\xc1"], id="not msgpack"),
        pytest.param([b"GET / HTTP/1.1\r\n"], id="http"),
        pytest.param([msgpack.packb(7)], id="no array"),
        pytest.param([msgpack.packb({"a": 1})], id="a map"),
        pytest.param([msgpack.packb([])], id="empty array"),
        pytest.param(packed("x", "r"), id="tag is text"),
        pytest.param(packed(bool(1), "r"), id="tag is a bool"),
        pytest.param(packed(-1, "r"), id="negative tag"),
        pytest.param(packed(len(KINDS), "r"), id="tag too high"),
        pytest.param(packed(2**64 - 1, "r"), id="huge tag"),
        pytest.param(packed(TAG), id="too few fields"),
        pytest.param(packed(TAG, "r", "s"), id="too many fields"),
        pytest.param(packed(TAG, 7), id="wrong type"),
        pytest.param(packed(TAG, None), id="null"),
        pytest.param([*packed(TAG, "r"), b"payload"], id="payload where none belongs"),
        pytest.param([packed(TAG, "r")[0] + b"\x00"], id="trailing bytes"),
        pytest.param([b"\x92\x03\xa2\xff\xff"], id="text that is not UTF-8"),
        pytest.param([b"\xdd\xff\xff\xff\xff"], id="an array of four thousand million"),
        pytest.param([b"\xdf\xff\xff\xff\xff"], id="a map of four thousand million"),
        pytest.param([b"\xc6\xff\xff\xff\xff"], id="four gigabytes announced"),
        pytest.param([b"\x91" * 100_000], id="deep nesting"),
        pytest.param([b"\x81\x91\x01\x02"], id="a list as a key"),
        pytest.param([b"\xc7\x08\xff" + b"\xff" * 8], id="a broken timestamp"),
        pytest.param([b"\x92\x03\xd4\x05\x01"], id="an extension type"),
    ],
)
def test_bytes_that_are_no_message_are_refused(frames: list[bytes]) -> None:
    with pytest.raises(ProtocolError):
        decode(frames)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (1, 7),
        (3, 1),
        (4, (("f", "", "1"),)),
        (4, (("f", ""),)),
        (4, (("f", "", 1, 1),)),
        (4, ("f",)),
        (4, (("f", "", 1), None)),
        (4, (("f", "", True),)),
        (5, (7,)),
        (5, ("k", None)),
        (5, "k"),
        (9, 5),
        (9, "5"),
        (10, None),
        (10, (2.0, -1, -1.0)),
        (10, (2.0, -1.0, -1.0, -1.0)),
        (10, (2, -1, -1.0, -1.0)),
        (11, b"a"),
        (11, ("a",)),
        (11, (b"a", None)),
        (11, (b"a", 5)),
    ],
)
def test_a_call_with_one_field_of_another_type_is_refused(field: int, value: object) -> None:
    header = list(msgpack.unpackb(encode(CALL)[0]))
    assert decode([msgpack.packb(header)]) == CALL
    header[field] = value

    with pytest.raises(ProtocolError, match="of a Call "):
        decode([msgpack.packb(header)])


def test_a_payload_is_in_the_header_or_after_it_but_not_both() -> None:
    (header,) = encode(CALL)
    with pytest.raises(ProtocolError, match="of a Call"):
        decode([header, b"more"])


def test_a_message_may_come_with_no_payload_after_its_header() -> None:
    header, _ = encode(Result("r", 1, failed=False, frames=[LARGE]))

    assert decode([header]) == Result("r", 1, failed=False, frames=[])


def test_a_message_of_too_many_frames_is_refused() -> None:
    frames = encode(Result("r", 1, failed=False, frames=[b""] * (MAX_FRAMES - 1)))
    assert isinstance(decode(frames), Result)

    with pytest.raises(ProtocolError, match="1 to 100000 frames, not 100001"):
        decode([*frames, b""])


def test_a_header_that_is_too_long_is_not_even_read() -> None:
    with pytest.raises(ProtocolError, match="at most 16777216 bytes"):
        decode([b"\x00" * (MAX_HEADER + 1)])


def mutated(header: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(header)
    match chance.randrange(4):
        case 0:
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        case 1:
            del damaged[chance.randrange(len(damaged)) :]
        case 2:
            damaged.insert(chance.randrange(len(damaged) + 1), chance.randrange(256))
        case _:
            start = chance.randrange(len(damaged))
            damaged[start : start + 4] = chance.randbytes(4)
    return bytes(damaged)


def test_a_damaged_header_is_a_message_or_a_protocol_error() -> None:
    chance = random.Random(1)
    refused = 0
    for _ in range(300):
        for kind in KINDS:
            frames = encode(_some(kind))
            try:
                message = decode([mutated(bytes(frames[0]), chance), *frames[1:]])
            except ProtocolError:
                refused += 1
            else:
                assert type(message) in KINDS

    assert refused > 1000


@given(st.binary(max_size=60))
def test_random_bytes_are_a_message_or_a_protocol_error(header: bytes) -> None:
    for read in (lambda: decode([header]), lambda: unpack_context(header)):
        with contextlib.suppress(ProtocolError):
            assert isinstance(read(), tuple)


# the context of a run


def altered(context: RunContext, **fields: Any) -> bytes:
    packed: bytes = msgpack.packb(context._replace(**fields))
    return packed


@given(messages(RunContext))
def test_every_context_survives(context: RunContext) -> None:
    assert unpack_context(pack_context(context)) == context


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\xc1",
        msgpack.packb(7),
        msgpack.packb([]),
        msgpack.packb(CONTEXT[:-1]),
        msgpack.packb((*CONTEXT, 1)),
        altered(CONTEXT, ttl=60),
        altered(CONTEXT, executors=("@a", 1)),
        altered(CONTEXT, places=(0, "1")),
        altered(CONTEXT, given=2),
        altered(CONTEXT, retried=0),
    ],
)
def test_bytes_that_are_no_context_are_refused(blob: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack_context(blob)


# a call as recorded


@given(messages(Call), st.text(max_size=20))
def test_every_call_survives_its_record(call: Call, client: str) -> None:
    copy, sender = unpack_call(pack_call(call, client))

    assert copy == call
    assert sender == client


def test_a_recorded_call_is_a_copy_of_what_it_was_made_of() -> None:
    memory = bytearray(b"value")
    record = pack_call(CALL._replace(frames=[memoryview(memory)]), "client")
    memory[:] = b"other"

    assert list(unpack_call(record)[0].frames) == [b"value"]


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\xc1",
        msgpack.packb(7),
        msgpack.packb("text"),
        msgpack.packb(b"bytes"),
        msgpack.packb(None),
        msgpack.packb([]),
        msgpack.packb(["client"]),
        msgpack.packb(["client", 5]),
        msgpack.packb(["client", None]),
        msgpack.packb(["client", "text"]),
        msgpack.packb(["client", b""]),
        msgpack.packb([7, *encode(CALL)]),
        msgpack.packb([b"client", *encode(CALL)]),
        msgpack.packb(["client", *encode(CALL), 5]),
        msgpack.packb(["client", *encode(Accepted(("r",)))]),
        msgpack.packb(["client", *encode(Start("r", 1, b"", (), []))]),
        pack_call(CALL, "client")[:-1],
        pack_call(CALL, "client") + b"\x00",
    ],
)
def test_a_record_that_holds_no_call_is_refused(record: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack_call(record)


def test_a_damaged_record_is_a_call_or_a_protocol_error() -> None:
    chance = random.Random(2)
    record = pack_call(CALL, "client")
    refused = 0
    for _ in range(3000):
        try:
            call, client = unpack_call(mutated(record, chance))
        except ProtocolError:
            refused += 1
        else:
            assert (type(call), type(client)) == (Call, str)

    assert refused > 1000
