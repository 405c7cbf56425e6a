"""How user code waits, and what the scheduler hears of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from cloudburst.core.messages import RunState
from cloudburst.errors import InvocationCancelledError
from cloudburst.executor.doorbell import Doorbell
from cloudburst.executor.waiting import BLOCKED_AFTER, Waiting

LONG = 1.0


class Executor:
    """Sockets on which something comes after so many seconds of waiting, and a scheduler.

    Attributes:
        comes: in how many seconds something comes.
        log: for how long was waited, and what the scheduler was told, in order.
    """

    def __init__(self) -> None:
        self.comes = 1000.0
        self.log: list[float | str] = []
        self.doorbell = Doorbell(lambda: False)
        self.waiting = Waiting(self.pump, self.tell, self.doorbell)

    def pump(self, seconds: float) -> bool:
        assert not self.doorbell._open, "interrupted while it uses the sockets"
        self.log.append(seconds)
        self.comes -= seconds
        self.doorbell.raise_if_rung()
        return self.comes <= 0

    def tell(self, *, waits: bool) -> None:
        self.log.append("waits" if waits else "goes on")


@pytest.fixture
def executor() -> Iterator[Executor]:
    """User code runs there."""
    executor = Executor()
    executor.doorbell.open()
    yield executor
    assert executor.doorbell._open
    executor.doorbell.shut()


def test_who_waits_for_long_is_blocked_until_it_goes_on(executor: Executor) -> None:
    with executor.waiting.until_done():
        executor.waiting.wait(LONG)
        assert executor.log == [BLOCKED_AFTER, "waits", LONG - BLOCKED_AFTER]

    assert executor.log[3:] == ["goes on"]


def test_what_comes_within_a_moment_is_worth_no_word(executor: Executor) -> None:
    executor.comes = BLOCKED_AFTER / 2
    with executor.waiting.until_done():
        executor.waiting.wait(LONG)

    assert executor.log == [BLOCKED_AFTER]


def test_who_waits_only_for_a_moment_is_not_blocked(executor: Executor) -> None:
    with executor.waiting.until_done():
        executor.waiting.wait(BLOCKED_AFTER)

    assert executor.log == [BLOCKED_AFTER]


def test_who_waits_in_several_goes_says_so_once(executor: Executor) -> None:
    with executor.waiting.until_done():
        for _ in range(3):
            executor.waiting.wait(LONG)

    assert executor.log == [
        BLOCKED_AFTER,
        "waits",
        LONG - BLOCKED_AFTER,
        LONG,
        LONG,
        "goes on",
    ]


def test_who_waits_again_later_says_so_again(executor: Executor) -> None:
    for _ in range(2):
        with executor.waiting.until_done():
            executor.waiting.wait(LONG)

    assert [said for said in executor.log if isinstance(said, str)] == ["waits", "goes on"] * 2


def test_a_look_is_no_waiting(executor: Executor) -> None:
    executor.waiting.look()

    assert executor.log == [0.0]


def test_who_is_interrupted_before_it_is_blocked_says_nothing(executor: Executor) -> None:
    executor.doorbell.ring("r1", RunState.CANCELLED)

    with pytest.raises(InvocationCancelledError), executor.waiting.until_done():
        executor.waiting.wait(LONG)

    assert executor.log == [BLOCKED_AFTER]


def test_who_is_interrupted_while_it_is_blocked_goes_on(executor: Executor) -> None:
    def wait_twice() -> None:
        with executor.waiting.until_done():
            executor.waiting.wait(LONG)
            executor.doorbell.ring("r1", RunState.CANCELLED)
            executor.waiting.wait(LONG)

    with pytest.raises(InvocationCancelledError):
        wait_twice()

    assert executor.log[1:] == ["waits", LONG - BLOCKED_AFTER, LONG, "goes on"]


def test_other_threads_leave_the_sockets_alone(executor: Executor) -> None:
    knocks: list[bool] = []
    executor.doorbell.knock = lambda: knocks.append(True)  # type: ignore[method-assign]

    def wait() -> None:
        with executor.waiting.until_done():
            executor.waiting.wait(LONG)

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()

    assert knocks == [True], "the main thread is to look"
    assert executor.log == []


def test_another_thread_does_not_end_the_waiting_of_the_main_one(executor: Executor) -> None:
    def finish() -> None:
        with executor.waiting.until_done():
            pass

    with executor.waiting.until_done():
        executor.waiting.wait(LONG)
        thread = threading.Thread(target=finish)
        thread.start()
        thread.join()
        assert executor.log[-1] != "goes on"

    assert executor.log[-1] == "goes on"
