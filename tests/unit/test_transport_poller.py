"""Waiting for inboxes, outlets and files of all kinds at once."""

from __future__ import annotations

import math
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from types import FrameType

import pytest
from sockets import PATIENCE, answers, heard, open_files, wait_until

from cloudburst.transport import Context, Poller


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_nothing_comes_within_the_timeout(context: Context, folder: str) -> None:
    with context.bind(f"ipc://{folder}/s") as inbox, context.bind("tcp://127.0.0.1:*") as other:
        for sources in ((inbox,), (other,), (inbox, other), ()):
            began = time.monotonic()
            assert Poller(*sources).wait(0.02) == []
            assert 0.02 <= time.monotonic() - began < PATIENCE


def test_files_that_are_readable_are_listed(pipe: tuple[int, int], context: Context) -> None:
    readable, writable = pipe
    with context.bind("tcp://127.0.0.1:*") as inbox:
        for poller in (Poller(readable), Poller(readable, inbox)):
            assert poller.wait(0.0) == []
            os.write(writable, b"!")
            assert poller.wait(None) == [readable]
            assert poller.wait(0.0) == [readable]
            os.read(readable, 1)
            assert poller.wait(0.0) == []


def test_a_thing_with_a_descriptor_is_as_good_as_the_descriptor() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        poller = Poller(ours)
        theirs.send(b"!")
        assert poller.wait(None) == [ours.fileno()]


def test_what_is_discarded_is_not_waited_for(pipe: tuple[int, int], context: Context) -> None:
    readable, writable = pipe
    os.write(writable, b"!")
    with context.bind("tcp://127.0.0.1:*") as inbox:
        poller = Poller(inbox, readable)
        assert poller.wait(0.0) == [readable]
        poller.discard(readable)
        assert poller.wait(0.0) == []
        poller.discard(readable)
        poller.add(readable)
        assert poller.wait(0.0) == [readable]


def test_an_inbox_that_is_discarded_is_not_waited_for(context: Context, folder: str) -> None:
    for address in (f"ipc://{folder}/s", "tcp://127.0.0.1:*"):
        with context.bind(address) as inbox, context.connect(inbox.address, "ann") as ann:
            poller = Poller(inbox)
            ann.send([b"1"])
            heard(inbox, poller)
            poller.discard(inbox)
            ann.send([b"2"])
            poller.wait(0.02)
            assert list(inbox.messages()) == [] or address.startswith("tcp")
            poller.add(inbox)
            if address.startswith("ipc"):
                assert heard(inbox, poller) == [("ann", [b"2"])]


def test_a_message_ends_the_wait_and_is_not_listed(context: Context, folder: str) -> None:
    for address in (f"ipc://{folder}/s", "tcp://127.0.0.1:*"):
        with context.bind(address) as inbox, context.connect(inbox.address, "ann") as ann:
            poller = Poller(inbox)
            sender = threading.Timer(0.02, ann.send, [[b"hello"]])
            sender.start()
            got: list[object] = []
            while not got:
                assert poller.wait(PATIENCE) == []
                got += inbox.messages()
            sender.join()
            assert got == [("ann", [b"hello"])]


def test_inboxes_and_files_are_waited_for_together(
    context: Context, folder: str, pipe: tuple[int, int]
) -> None:
    readable, writable = pipe
    with (
        context.bind(f"ipc://{folder}/s") as near,
        context.bind("tcp://127.0.0.1:*") as far,
        context.connect(near.address, "ann") as ann,
        context.connect(far.address, "bob") as bob,
    ):
        poller = Poller(near, far, readable)
        os.write(writable, b"!")
        ann.send([b"near"])
        bob.send([b"far"])
        came = {"file": False, "ann": False, "bob": False}
        deadline = time.monotonic() + PATIENCE
        while not all(came.values()):
            assert time.monotonic() < deadline, came
            came["file"] |= poller.wait(1.0) == [readable]
            for peer, _ in (*near.messages(), *far.messages()):
                came[peer] = True


@pytest.mark.parametrize("timeout", [0.0, -1.0, 0.0004, 0.0101, 0.05])
@pytest.mark.parametrize("absent", [False, True], ids=["alone", "with-an-absent-peer"])
def test_a_wait_never_ends_before_its_time(
    context: Context, folder: str, timeout: float, absent: bool
) -> None:
    poller = Poller()
    if absent:
        poller.add(context.connect(f"ipc://{folder}/nobody"))
    began = time.monotonic()
    assert poller.wait(timeout) == []
    assert max(0.0, timeout) <= time.monotonic() - began < timeout + 2


def test_a_wait_can_be_longer_than_the_kernel_allows(pipe: tuple[int, int]) -> None:
    readable, writable = pipe
    os.write(writable, b"!")

    assert Poller(readable).wait(1e12) == [readable]
    assert Poller(readable).wait(math.inf) == [readable]


def test_a_file_ends_the_wait_for_an_absent_peer(
    context: Context, folder: str, pipe: tuple[int, int]
) -> None:
    readable, writable = pipe
    poller = Poller(context.connect(f"ipc://{folder}/nobody"), readable)
    timer = threading.Timer(0.05, os.write, (writable, b"!"))
    timer.start()

    assert poller.wait(None) == [readable]
    timer.join()


def test_an_absent_peer_is_found_while_somebody_waits(context: Context, folder: str) -> None:
    outlet = context.connect(f"ipc://{folder}/late", "ann")
    outlet.send([b"early"])
    replies: list[list[bytes | memoryview]] = []

    def appear() -> None:
        other = Context()
        inbox = other.bind(f"ipc://{folder}/late")
        assert heard(inbox, Poller(inbox)) == [("ann", [b"early"])]
        inbox.send("ann", [b"here"])
        other.close()

    timer = threading.Timer(0.05, appear)
    timer.start()
    poller = Poller(outlet)
    began = time.monotonic()
    while not replies:
        assert poller.wait(PATIENCE) == []
        replies += outlet.messages()
    timer.join()

    assert replies == [[b"here"]]
    assert time.monotonic() - began < PATIENCE / 2


def test_a_closed_source_is_waited_for_no_longer(context: Context, folder: str) -> None:
    for address in (f"ipc://{folder}/s", "tcp://127.0.0.1:*"):
        inbox = context.bind(address)
        outlet = context.connect(inbox.address, "ann")
        other = context.connect(inbox.address, "bob")
        poller = Poller(inbox, outlet, other)
        outlet.send([b"1"])
        heard(inbox, poller)
        outlet.close()
        inbox.close()
        # It does not connect again, and its messages are gone.
        poller.wait(0.05)
        assert list(outlet.messages()) == []
        poller.discard(outlet)
        poller.discard(outlet)
        poller.discard(inbox)
        assert poller.wait(0.0) == []


def test_a_descriptor_that_is_used_again_belongs_to_its_new_owner(
    context: Context, folder: str
) -> None:
    """As when the store's connection has gone, and somebody connects before that is noticed."""
    inbox = context.bind(f"ipc://{folder}/s")
    file, other = socket.socketpair()
    ann = context.connect(inbox.address, "ann")
    ann.send([b"1"])
    poller = Poller(inbox, file)
    number = file.fileno()
    file.close()
    other.close()
    poller.wait(1)
    assert list(inbox.messages()) == [("ann", [b"1"])]
    assert stat.S_ISSOCK(os.fstat(number).st_mode)

    poller.discard(number)

    ann.send([b"2"])
    assert heard(inbox, poller) == [("ann", [b"2"])]


def test_unix_and_tcp_and_files_in_any_order(
    context: Context, folder: str, pipe: tuple[int, int]
) -> None:
    """What was added before the first ZeroMQ socket is still waited for after it."""
    readable, writable = pipe
    near = context.bind(f"ipc://{folder}/s")
    poller = Poller(readable, near)
    ann = context.connect(near.address, "ann")
    ann.send([b"1"])
    heard(near, poller)
    far = context.bind("tcp://127.0.0.1:*")
    poller.add(far)
    bob = context.connect(far.address, "bob")

    ann.send([b"2"])
    assert heard(near, poller) == [("ann", [b"2"])]
    bob.send([b"3"])
    assert heard(far, poller) == [("bob", [b"3"])]
    os.write(writable, b"!")
    wait_until(lambda: poller.wait(1.0) == [readable], "the file is listed")
    os.read(readable, 1)
    poller.discard(far)
    ann.send([b"4"])
    assert heard(near, poller) == [("ann", [b"4"])]


class _Interrupted(Exception):
    pass


@pytest.fixture
def alarm() -> Iterator[None]:
    """SIGALRM raises."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise _Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize("address", ["ipc", "tcp", "absent"])
def test_a_handler_may_raise_out_of_a_wait(context: Context, folder: str, address: str) -> None:
    inbox = context.bind("tcp://127.0.0.1:*" if address == "tcp" else f"ipc://{folder}/s")
    outlet = context.connect(inbox.address, "ann")
    poller = Poller(inbox, outlet)
    if address == "absent":
        poller.add(context.connect(f"ipc://{folder}/nobody"))
    outlet.send([b"1"])
    heard(inbox, poller)

    signal.setitimer(signal.ITIMER_REAL, 0.05)
    with pytest.raises(_Interrupted):
        poller.wait(PATIENCE)

    outlet.send([b"2"])
    assert heard(inbox, poller) == [("ann", [b"2"])]
    inbox.send("ann", [b"3"])
    assert answers(outlet, poller) == [[b"3"]]


@pytest.fixture
def other_thread() -> Iterator[None]:
    """What the main thread blocks of signals reaches the process by this one."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.mark.usefixtures("alarm", "other_thread")
def test_a_handler_that_raises_while_a_connection_is_accepted_leaves_no_orphan(
    context: Context, folder: str
) -> None:
    """Nobody would ever read what its other end sends."""
    inbox = context.bind(f"ipc://{folder}/s")
    poller = Poller(inbox)
    before = open_files()
    for number in range(400):
        with socket.socket(socket.AF_UNIX) as peer, suppress(_Interrupted):
            peer.connect(f"{folder}/s")
            signal.setitimer(signal.ITIMER_REAL, 0.00001 + number * 0.0000005)
            poller.wait(0.0)
            list(inbox.messages())
            while True:  # for the alarm
                pass

    def is_closed() -> bool:
        poller.wait(0.0)
        list(inbox.messages())
        return open_files() == before

    wait_until(is_closed, "the ends of all connections are noticed")


# A socket or pipe that had just been made when the handler raised is closed when it is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("alarm")
def test_a_handler_may_raise_anywhere(context: Context, folder: str) -> None:
    """Messages may be lost, but none is ever damaged, doubled or overtaken, and all goes on."""
    inbox = context.bind(f"ipc://{folder}/s")
    outlet = context.connect(inbox.address, "ann")
    poller = Poller(inbox, outlet)
    number, interrupts = 0, 0
    found: list[int] = []
    deadline = time.monotonic() + PATIENCE

    def work() -> None:
        nonlocal number
        while interrupts < 150:
            assert time.monotonic() < deadline
            number += 1
            size = 150_000 if number % 5 == 0 else 100
            outlet.send([b"%d" % number, bytes([number % 256]) * size])
            poller.wait(0.001)
            for _, (name, payload) in inbox.messages():
                found.append(int(name))
                assert payload == bytes([found[-1] % 256]) * len(payload)

    while interrupts < 150:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0005 + interrupts % 7 * 0.0003)
            work()
        except _Interrupted:
            interrupts += 1
    signal.setitimer(signal.ITIMER_REAL, 0)

    assert found == sorted(set(found))
    assert len(found) > number / 2

    def is_heard() -> bool:
        outlet.send([b"end"])
        poller.wait(0.01)
        return any(frames == [b"end"] for _, frames in inbox.messages())

    wait_until(is_heard, "the connection works again")
