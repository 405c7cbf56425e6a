"""A ``close()`` that does not end is ended, on the thread that the rest of the code runs on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cloudburst.cache.reader import ObjectReader
from cloudburst.executor.calling import ClassRun
from cloudburst.executor.closer import AGAIN, SHORTEST, Closer
from cloudburst.executor.instances import Instance
from cloudburst.kvs.memory import MemoryStore

PATIENCE = 0.1
FOR_EVER = 3600.0

TESTS = Path(__file__).parent


class Closing:
    """Its ``close()`` is the test's.

    Args:
        how: is called by it.
    """

    def __init__(self, how: Callable[[], object]) -> None:
        self.how = how

    def run(self) -> None:
        """Nothing."""

    def close(self) -> None:
        self.how()


def instance_of(value: Any) -> Instance:
    return Instance(value, ClassRun(value.run), "version", "step", "dag")


def close(how: Callable[[], object], patience: float = PATIENCE) -> float:
    """Close an instance. Returns how many seconds that took."""
    began = time.monotonic()
    Closer(ObjectReader(MemoryStore())).close(instance_of(Closing(how)), patience)
    return time.monotonic() - began


@pytest.fixture(autouse=True)
def alarm_as_it_was() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGALRM)
    yield
    assert signal.getsignal(signal.SIGALRM) is handler


def test_a_close_that_ends_is_not_disturbed(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[int] = []

    def how() -> None:
        time.sleep(PATIENCE / 2)
        ended.append(threading.get_ident())

    close(how)
    time.sleep(PATIENCE)

    assert ended == [threading.main_thread().ident]
    assert caplog.messages == []


def sleep() -> None:
    time.sleep(FOR_EVER)


def wait_for_a_thread() -> None:
    threading.Event().wait(FOR_EVER)


def read() -> None:
    ours, theirs = os.pipe()
    try:
        os.read(ours, 1)
    finally:
        os.close(ours)
        os.close(theirs)


def turn_in_circles() -> None:
    while True:
        pass


def try_again() -> None:
    while True:
        with suppress(Exception):
            time.sleep(FOR_EVER)


@pytest.mark.parametrize(
    "how", [sleep, wait_for_a_thread, read, turn_in_circles, try_again], ids=lambda f: f.__name__
)
def test_a_close_that_hangs_is_interrupted(
    caplog: pytest.LogCaptureFixture, how: Callable[[], object]
) -> None:
    assert PATIENCE <= close(how) < PATIENCE + 1.0

    assert caplog.messages == [
        "close() of step 'step' of DAG 'dag' took more than 0.1 s: interrupted"
    ]


def test_a_close_that_goes_on_is_interrupted_again(caplog: pytest.LogCaptureFixture) -> None:
    times = 0

    def how() -> None:
        nonlocal times
        while times < 3:
            try:
                time.sleep(FOR_EVER)
            except BaseException:
                times += 1

    assert PATIENCE + 2 * AGAIN <= close(how) < PATIENCE + 2 * AGAIN + 1.0
    assert len(caplog.messages) == 1


def test_everybody_has_a_moment() -> None:
    assert SHORTEST <= close(sleep, patience=-1.0) < 1.0


def test_the_next_one_has_all_of_its_time() -> None:
    close(sleep)
    ended: list[bool] = []

    close(lambda: (time.sleep(PATIENCE / 2), ended.append(True)))

    assert ended == [True]


def test_what_does_not_listen_takes_its_process_along() -> None:
    program = (
        "import ctypes, test_closer\n"
        # It goes on sleeping when it is interrupted, and no handler runs meanwhile.
        "sleeps = ctypes.CDLL(None).poll\n"
        "def native():\n"
        "    while True:\n"
        "        try: sleeps(None, 0, 3600000)\n"
        "        except BaseException: pass\n"
        "test_closer.close(native)\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=TESTS,
    )

    assert ended.returncode == 1
    assert "in native" in ended.stderr
    assert "in close" in ended.stderr


def test_an_alarm_that_user_code_has_set_goes_off_all_the_same() -> None:
    rang: list[bool] = []
    handler = signal.signal(signal.SIGALRM, lambda *_: rang.append(True))
    timer = signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        close(sleep)
        assert rang == []
        time.sleep(0.4)
        assert rang == [True]
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def test_the_child_of_a_close_that_forks_does_not_come_back() -> None:
    ours, theirs = os.pipe()
    child = 0

    def how() -> None:
        nonlocal child
        child = os.fork()
        if not child:
            os.write(theirs, b"child")

    try:
        close(how)

        assert os.waitpid(child, 0)[1] == 0
        assert os.read(ours, 100) == b"child"
    finally:
        os.close(ours)
        os.close(theirs)
