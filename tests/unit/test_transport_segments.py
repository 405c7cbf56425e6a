"""Memory that is kept for large frames: how much, how long, and for whom."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from transporting import MEGABYTE, block

from cloudburst.transport.descriptors import Descriptors
from cloudburst.transport.segments import IDLE, KEPT, NEW_FROM, SHARE_FROM, Segments

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is shared")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


_opened: list[Segments | Descriptors] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """All that a test has opened is closed at its end."""
    yield
    while _opened:
        _opened.pop().close()


def segments_of(keep: int = 0, now: Callable[[], float] = time.monotonic) -> Segments:
    segments = Segments(keep, now)
    _opened.append(segments)
    return segments


def put(segments: Segments, frame: bytes) -> Descriptors | None:
    """Put a frame; its descriptor, as if it were with somebody else."""
    passed = Descriptors()
    _opened.append(passed)
    return passed if segments.put(frame, passed) else None


def test_what_was_not_used_for_a_while_is_given_back() -> None:
    clock = Clock()
    segments = segments_of(100 * MEGABYTE, clock)
    assert segments.look() is None
    for size in (MEGABYTE, 2 * MEGABYTE):
        passed = put(segments, bytes(size))
        assert passed is not None
        passed.close()
        clock.now += 1.0
    assert segments.kept == 3 * MEGABYTE
    assert segments.look() == IDLE - 2.0

    clock.now += IDLE - 2.0
    assert segments.look() == 1.0
    assert segments.kept == 2 * MEGABYTE
    clock.now += 1.0
    assert segments.look() is None
    assert segments.kept == 0


def test_no_more_is_kept_than_may_be_and_who_is_unused_longest_goes_first() -> None:
    clock = Clock()
    segments = segments_of(10 * MEGABYTE, clock)
    theirs = []
    for size in (4, 3, 2):
        clock.now += 1.0
        theirs.append(put(segments, bytes(size * MEGABYTE)))
    assert segments.kept == 9 * MEGABYTE
    for passed in theirs:
        assert passed is not None
        passed.close()

    clock.now += 1.0
    passed = put(segments, bytes(5 * MEGABYTE))
    assert passed is not None
    passed.close()
    assert segments.kept == 10 * MEGABYTE
    assert sorted(segment.written for segment in segments._kept) == [
        2 * MEGABYTE, 3 * MEGABYTE, 5 * MEGABYTE,
    ]  # fmt: skip
    passed = put(segments, bytes(11 * MEGABYTE))
    assert passed is not None, "new memory will do"
    passed.close()
    assert segments.kept == 10 * MEGABYTE
    segments.close()
    assert segments.kept == 0


def test_memory_that_all_others_have_is_not_taken_from_them() -> None:
    segments = segments_of(100 * MEGABYTE)
    theirs = [put(segments, block(number)) for number in range(KEPT)]

    assert put(segments, block(KEPT)) is None, "the socket has to do"
    for number, passed in enumerate(theirs):
        assert passed is not None
        assert passed.claim(MEGABYTE) == block(number)
    passed = put(segments, block(KEPT))
    assert passed is not None
    passed.close()


def test_who_keeps_nothing_gets_new_memory_where_that_is_faster() -> None:
    segments = segments_of()
    assert put(segments, bytes(NEW_FROM - 1)) is None
    passed = put(segments, bytes(NEW_FROM))
    assert passed is not None
    assert passed.claim(NEW_FROM) == bytes(NEW_FROM)
    assert segments.kept == 0
    assert segments.look() is None


def test_a_small_frame_does_not_take_memory_for_much_larger_ones() -> None:
    segments = segments_of(100 * MEGABYTE)
    for size in (64 * MEGABYTE, SHARE_FROM, 3 * SHARE_FROM, SHARE_FROM):
        passed = put(segments, os.urandom(8) + bytes(size - 8))
        assert passed is not None
        passed.close()

    assert sorted(segment.size for segment in segments._kept) == [
        SHARE_FROM, 4 * SHARE_FROM, 64 * MEGABYTE,
    ]  # fmt: skip


def test_a_longer_frame_in_the_same_memory_is_whole() -> None:
    segments = segments_of(100 * MEGABYTE)
    for size in (MEGABYTE + 8, 2 * MEGABYTE, MEGABYTE + 16, 2 * MEGABYTE - 8):
        frame = os.urandom(size)
        passed = put(segments, frame)
        assert passed is not None
        assert passed.claim(size) == frame

    assert len(segments._kept) == 1
