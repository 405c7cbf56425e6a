"""Messages that follow each other quickly leave together, and none of them later than it must."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import pytest
from sockets import wait_until

from cloudburst.errors import KVSUnavailable
from cloudburst.executor import outgoing
from cloudburst.executor.doorbell import Doorbell
from cloudburst.executor.outgoing import MOST, Outgoing


class Way:
    """Where messages go, and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.carried: list[tuple[str, str, list[bytes]]] = []
        self.now = 100.0
        self.fails = False
        self.doorbell = Doorbell(lambda: False)
        self.knocks = threading.Semaphore(0)
        self.doorbell.knock = self.knocks.release  # type: ignore[method-assign]
        self.out = Outgoing(self.carry, self.doorbell)

    def carry(self, recipient: str, sender: str, values: list[bytes]) -> None:
        if self.fails:
            raise KVSUnavailable("not now")
        self.carried.append((recipient, sender, values))

    def say(self, *values: bytes, to: str = "bob") -> None:
        for value in values:
            self.out.add(to, "ann", value)


@pytest.fixture
def way(monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    way = Way()
    monkeypatch.setattr(outgoing.time, "perf_counter", lambda: way.now)
    yield way
    way.out.clear()


def letters(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_a_single_message_leaves_at_once(way: Way) -> None:
    way.say(b"one")

    assert way.carried == [("bob", "ann", [b"one"])]


def test_messages_that_take_their_time_leave_one_by_one(way: Way) -> None:
    for value in letters(3):
        way.now += 1.0
        way.say(value)

    assert [values for *_, values in way.carried] == [[value] for value in letters(3)]


def test_the_first_of_a_burst_leaves_at_once_and_the_others_together(way: Way) -> None:
    way.say(*letters(10))
    assert way.carried == [("bob", "ann", [b"0"])]

    way.out.flush()

    assert way.carried[1:] == [("bob", "ann", letters(10)[1:])]


def test_a_burst_is_cut_into_pieces_in_order(way: Way) -> None:
    way.say(*letters(3 * MOST))
    way.out.flush()

    sent = [values for *_, values in way.carried]
    assert max(map(len, sent)) == MOST
    assert list(itertools.chain(*sent)) == letters(3 * MOST)


def test_who_writes_to_another_sends_first_what_waits(way: Way) -> None:
    way.say(b"1", b"2")
    way.say(b"3", to="eve")
    way.out.flush()

    assert way.carried == [
        ("bob", "ann", [b"1"]),
        ("bob", "ann", [b"2"]),
        ("eve", "ann", [b"3"]),
    ]


def test_what_waits_has_the_main_thread_interrupted_in_a_moment(way: Way) -> None:
    way.say(b"1", b"2")

    wait_until(lambda: way.knocks.acquire(blocking=False), "somebody knocks")


def test_flushing_nothing_carries_nothing(way: Way) -> None:
    way.out.flush()
    way.say(b"1", b"2")
    way.out.flush()
    way.out.flush()

    assert [len(values) for *_, values in way.carried] == [1, 1]


def test_what_a_step_leaves_behind_is_not_sent_for_the_next(way: Way) -> None:
    way.say(b"1", b"2")
    way.out.clear()
    way.out.flush()

    assert way.carried == [("bob", "ann", [b"1"])]


def test_an_interruption_between_two_messages_may_flush(way: Way) -> None:
    way.say(b"1", b"2")
    way.out.flush()  # as the handler does
    way.say(b"3")
    way.out.flush()

    assert list(itertools.chain(*[values for *_, values in way.carried])) == [b"1", b"2", b"3"]


def test_what_cannot_be_sent_waits_on(way: Way) -> None:
    way.say(b"1", b"2", b"3")
    way.fails = True
    with pytest.raises(KVSUnavailable):
        way.out.flush()

    way.fails = False
    way.out.flush()

    assert way.carried[-1] == ("bob", "ann", [b"2", b"3"])
