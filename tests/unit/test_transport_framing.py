"""Messages as bytes in a row: however they are cut, the same messages come out."""

import random
import struct
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from transporting import block, contents

from cloudburst.core.messages import Buffer
from cloudburst.core.wire import MAX_FRAMES
from cloudburst.transport import Memory
from cloudburst.transport.base import COPY_BELOW, MAX_MESSAGE
from cloudburst.transport.framing import (
    COMMIT_BELOW,
    Cutter,
    Malformed,
    check,
    kept,
    to_pieces,
    unsent,
)

SIZES = st.one_of(
    st.integers(0, 40),
    st.integers(0, 200_000),
    st.sampled_from([0, COPY_BELOW - 16, COPY_BELOW - 1, COPY_BELOW, COPY_BELOW + 1, 200_000]),
)
MESSAGES = st.lists(st.lists(SIZES, min_size=1, max_size=6), min_size=1, max_size=5)


def message(sizes: list[int], seed: int = 0) -> list[bytes]:
    source = random.Random(seed)
    return [source.randbytes(size) for size in sizes]


def row(*messages: list[bytes]) -> bytes:
    return b"".join(piece for frames in messages for piece in to_pieces(frames))


def header(*lengths: int) -> bytes:
    return struct.pack(f"<{len(lengths) + 1}Q", len(lengths), *lengths)


def feed(cutter: Cutter, data: bytes, into: list[list[Buffer]]) -> None:
    """Give the cutter bytes as a stream does: into the room it has, or else as they come."""
    while data:
        if cutter.room is None:
            cutter.feed(data, into)
            return
        part = data[: len(cutter.room)]
        cutter.room[: len(part)] = part
        cutter.filled(len(part), into)
        data = data[len(part) :]


def cut(data: bytes, cuts: list[int]) -> list[list[Buffer]]:
    """What comes out of ``data`` that arrives in chunks which end at ``cuts``."""
    cutter, found = Cutter(), list[list[Buffer]]()
    for start, end in pairwise([0, *sorted(cuts), len(data)]):
        feed(cutter, data[start:end], found)
    return found


@given(MESSAGES, st.data())
def test_however_the_bytes_are_cut_the_messages_are_the_same(
    shapes: list[list[int]], data: st.DataObject
) -> None:
    messages = [message(sizes, seed) for seed, sizes in enumerate(shapes)]
    bytes_in_a_row = row(*messages)
    cuts = data.draw(st.lists(st.integers(0, len(bytes_in_a_row)), max_size=30))

    found = cut(bytes_in_a_row, cuts)

    assert [contents(frames) for frames in found] == messages
    for frames in found:
        for frame in frames:
            assert isinstance(frame, bytes) == (len(frame) < COPY_BELOW)


@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=5), min_size=1, max_size=5))
@example([[0], [0, 0, 0], [0]])
def test_byte_by_byte(shapes: list[list[int]]) -> None:
    messages = [message(sizes, seed) for seed, sizes in enumerate(shapes)]
    data = row(*messages)

    assert cut(data, list(range(len(data)))) == messages


@given(MESSAGES, st.integers(1, 1 << 20))
def test_what_the_kernel_did_not_take_is_the_rest(shapes: list[list[int]], sent: int) -> None:
    messages = [message(sizes, seed) for seed, sizes in enumerate(shapes)]
    pieces = [piece for frames in messages for piece in to_pieces(frames)]
    whole = b"".join(pieces)

    rest = b"".join(unsent(pieces, min(sent, len(whole)), Memory.BORROWED))

    assert whole[: min(sent, len(whole))] + rest == whole


def test_large_frames_are_writable_and_nobody_elses() -> None:
    data = row([b"small", block(1), block(1)])

    ((small, one, other),) = cut(data, [])

    assert small == b"small"
    assert isinstance(one, memoryview)
    assert not one.readonly
    one[:] = bytes(len(one))
    assert other == block(1)


def test_a_large_frame_is_read_into_its_own_memory() -> None:
    cutter, found = Cutter(), list[list[Buffer]]()
    cutter.feed(header(1 << 20) + b"beginning", found)
    room = cutter.room
    assert room is not None
    assert len(room) == (1 << 20) - len(b"beginning")
    room[:] = b"." * len(room)
    cutter.filled(len(room), found)

    ((frame,),) = found
    assert isinstance(frame, memoryview)
    assert frame.obj is room.obj


def test_a_small_message_is_one_piece_and_large_frames_are_not_copied() -> None:
    large = block(1)

    assert len(to_pieces([b"x" * 100] * 50)) == 1
    pieces = to_pieces([b"a", b"b", large, b"", large, b"c"])
    assert [piece is large for piece in pieces] == [False, True, False, True, False]


def test_memory_of_others_is_copied_if_it_is_kept() -> None:
    theirs = bytearray(b"theirs")

    (borrowed,) = unsent([memoryview(theirs)], 2, Memory.BORROWED)
    (given_away,) = unsent([memoryview(theirs)], 2, Memory.OURS)
    queued = kept([memoryview(theirs), b"bytes", b""], Memory.BORROWED)
    theirs[:] = b"******"

    assert bytes(borrowed) == b"eirs"
    assert bytes(given_away) == b"****"
    assert queued == [b"theirs", b"bytes", b""]


@pytest.mark.parametrize(
    "garbage",
    [
        header(),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" * 64,
        struct.pack("<Q", MAX_FRAMES + 1),
        header(MAX_MESSAGE + 1),
        header(1 << 40),
        header(MAX_MESSAGE // 2, MAX_MESSAGE // 2, 1),
        header(*[(1 << 64) - 1] * 3),
    ],
    ids=["no-frames", "http", "ones", "count", "one-frame", "terabyte", "sum", "overflow"],
)
def test_what_is_no_message_is_refused_after_those_before_it(garbage: bytes) -> None:
    cutter, found = Cutter(), list[list[Buffer]]()

    with pytest.raises(Malformed):
        feed(cutter, row([b"good"], [b"a", b"b"]) + garbage, found)

    assert found == [[b"good"], [b"a", b"b"]]


@given(st.binary(min_size=1, max_size=400))
def test_garbage_is_refused_or_waits_for_more_but_never_crashes(garbage: bytes) -> None:
    found: list[list[Buffer]] = []
    tracemalloc.start()
    try:
        feed(Cutter(), garbage, found)
    except Malformed:
        found.clear()
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert sum(map(len, [frame for frames in found for frame in frames])) <= len(garbage)
    assert peak < COMMIT_BELOW + (1 << 20)


def test_a_length_alone_takes_no_memory() -> None:
    cutter, found = Cutter(), list[list[Buffer]]()
    tracemalloc.start()
    try:
        # As large as a message may be; and many frames, of which only the first begins.
        feed(cutter, header(4 * COMMIT_BELOW), found)
        assert cutter.room is not None
        feed(Cutter(), header(*[COMMIT_BELOW - 1] * 1000), found)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < COMMIT_BELOW + (1 << 20)
    assert found == []


def test_a_very_large_frame_arrives() -> None:
    data = block(7, COMMIT_BELOW)

    ((frame,),) = cut(row([data]), [100_000])

    assert frame == data
    assert isinstance(frame, memoryview)
    assert not frame.readonly


def test_the_beginning_of_a_message_is_not_looked_at_again_and_again() -> None:
    """A header that dribbles in costs as much as its bytes, not their square."""
    head = header(*[0] * MAX_FRAMES)
    cutter, found = Cutter(), list[list[Buffer]]()

    for at in range(0, len(head), 64):
        cutter.feed(head[at : at + 64], found)

    assert found == [[b""] * MAX_FRAMES]


@pytest.mark.parametrize("frames", [[], [b""] * (MAX_FRAMES + 1)], ids=["none", "too-many"])
def test_what_nobody_would_accept_is_not_sent(frames: list[bytes]) -> None:
    with pytest.raises(ValueError, match="a message cannot have"):
        to_pieces(frames)
    with pytest.raises(ValueError, match="a message cannot have"):
        check(frames)
