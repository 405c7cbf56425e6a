"""Large frames between processes of one machine: a descriptor crosses the socket, not they."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import pytest
from sockets import PATIENCE, answers, heard, open_files, wait_until
from transporting import MEGABYTE, block, contents, header, overflow_threads, packed

from cloudburst.transport import KEEP, Context, Inbox, Memory, Poller
from cloudburst.transport.descriptors import MOST
from cloudburst.transport.framing import SHARED
from cloudburst.transport.segments import NEW_FROM, SHARE_FROM

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="all goes through the socket")

LARGE = bytes(range(256)) * (NEW_FROM // 256 + 16)


@pytest.fixture
def keeper() -> Iterator[Context]:
    """A process that sends often."""
    context = Context(KEEP)
    yield context
    context.close()


@pytest.fixture
def eaves(folder: str) -> Iterator[socket.socket]:
    """A listener that sees what crosses the socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/s")
        listener.listen()
        yield listener


def crossed(listener: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """What has come over a new connection once so many bytes have: bytes, and descriptors."""
    data, descriptors = b"", list[int]()
    with listener.accept()[0] as end:
        while len(data) < size:
            part, fds, _, _ = socket.recv_fds(end, size - len(data), MOST)
            data += part
            descriptors += fds
    return data, descriptors


def test_a_large_frame_does_not_cross_the_socket(
    context: Context, eaves: socket.socket, folder: str
) -> None:
    ann = context.connect(f"ipc://{folder}/s")
    ann.send([b"head", LARGE, b"tail"])

    whole = packed(b"") + header(4, len(LARGE) | SHARED, 4) + b"headtail"
    data, (fd,) = crossed(eaves, len(whole))

    assert data == whole
    assert os.pread(fd, len(LARGE) + 1, 0) == LARGE
    os.close(fd)


def test_a_frame_for_which_the_socket_is_faster_crosses_it(
    context: Context, keeper: Context, eaves: socket.socket, folder: str
) -> None:
    for sender, size in ((context, NEW_FROM - 1), (keeper, SHARE_FROM - 1)):
        with sender.connect(f"ipc://{folder}/s") as ann:
            ann.send([bytes(size)])
            whole = packed(b"") + packed(bytes(size))
            assert crossed(eaves, len(whole)) == (whole, [])


def test_who_gets_it_may_write_to_it_and_nobody_else_sees_that(
    keeper: Context, inbox: Inbox, folder: str
) -> None:
    with keeper.bind(f"ipc://{folder}/other") as other:
        theirs = bytearray(LARGE)
        for address in (inbox.address, other.address):
            keeper.connect(address).send([memoryview(theirs)], Memory.BORROWED)
        theirs[:5] = b"later"
        ((_, (mine,)),) = heard(inbox, Poller(inbox))
        assert isinstance(mine, memoryview)
        mine[:5] = b"mine!"
        ((_, (his,)),) = heard(other, Poller(other))

    assert bytes(his) == LARGE
    assert bytes(mine) == b"mine!" + LARGE[5:]


def test_no_descriptor_stays_open_on_either_side(context: Context, inbox: Inbox) -> None:
    ann, poller = context.connect(inbox.address, "ann"), Poller(inbox)
    ann.send([b"hello"])
    heard(inbox, poller)
    before = open_files()

    ann.send([LARGE, LARGE])
    ((_, kept),) = heard(inbox, poller)

    assert open_files() == before
    assert contents(kept) == [LARGE, LARGE]


def test_memory_is_used_again_only_when_nobody_has_it(keeper: Context, inbox: Inbox) -> None:
    ann, poller = keeper.connect(inbox.address, "ann"), Poller(inbox)
    segments = keeper._means.segments
    found = []
    for number in range(3):
        ann.send([block(number)])
        found += heard(inbox, poller)
    assert len(segments._kept) == 3
    assert [bytes(frames[0]) for _, frames in found] == [block(n) for n in range(3)]

    found.clear()
    for number in range(20):
        ann.send([block(number)])
        assert [contents(frames) for _, frames in heard(inbox, poller)] == [[block(number)]]
    assert len(segments._kept) == 3


def test_what_was_copied_once_is_sent_to_many_without_another_copy(
    keeper: Context, inbox: Inbox
) -> None:
    theirs = bytearray(block(1))
    copy = keeper.snapshot(memoryview(theirs))
    theirs[:] = block(2)
    ann, poller = keeper.connect(inbox.address, "ann"), Poller(inbox)
    for _ in range(5):
        ann.send([b"to one of many", copy])

    found = heard(inbox, poller, 5)

    assert [bytes(frames[1]) for _, frames in found] == [block(1)] * 5
    assert len(keeper._means.segments._kept) == 1
    assert isinstance(copy, memoryview)
    assert copy.readonly
    # Part of it is another frame.
    ann.send([copy[8:], copy[: MEGABYTE - 8]])
    ((_, parts),) = heard(inbox, poller)
    assert contents(parts) == [block(1)[8:]] * 2


def test_a_copy_outlives_memory_that_was_given_back(keeper: Context, inbox: Inbox) -> None:
    copy = keeper.snapshot(memoryview(bytearray(block(1))))
    keeper._means.segments.close()
    keeper.snapshot(memoryview(bytearray(block(2))))

    keeper.connect(inbox.address, "ann").send([copy])

    assert heard(inbox, Poller(inbox)) == [("ann", [block(1)])]


def test_a_peer_that_does_not_read_gets_no_end_of_shared_memory(
    keeper: Context, inbox: Inbox
) -> None:
    ann, poller = keeper.connect(inbox.address, "ann"), Poller(inbox)
    ann.send([b"hello"])
    heard(inbox, poller)
    for number in range(3 * MOST):
        ann.send([block(number)])

    assert len(keeper._means.segments._kept) <= MOST
    assert ann.backlog() > 2 * MOST * MEGABYTE
    found = heard(inbox, poller, 3 * MOST)
    assert [frames[0] == block(n) for n, (_, frames) in enumerate(found)] == [True] * 3 * MOST
    wait_until(lambda: ann.backlog() == 0, "all was read")


@contextmanager
def no_more_files() -> Iterator[None]:
    """Meanwhile this process can open nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_who_has_no_descriptors_left_sends_through_the_socket(
    keeper: Context, inbox: Inbox, folder: str
) -> None:
    ann, poller = keeper.connect(inbox.address, "ann"), Poller(inbox)
    ann.send([b"hello"])
    heard(inbox, poller)
    # The thread that sends what is left over needs descriptors, too: it is there already.
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(f"{folder}/busy")
        busy.listen()
        bob = keeper.connect(f"ipc://{folder}/busy")
        bob.send([bytes(SHARE_FROM - 1)] * 8)
        assert bob.backlog()
        with no_more_files():
            assert keeper.snapshot(memoryview(bytearray(LARGE))) == LARGE
            ann.send([LARGE])
        bob.close()

    assert heard(inbox, poller) == [("ann", [LARGE])]


def test_who_can_get_no_descriptor_loses_the_connection_and_nothing_else(
    keeper: Context, inbox: Inbox
) -> None:
    ann, poller = keeper.connect(inbox.address, "ann"), Poller(inbox)
    ann.send([b"before"])
    heard(inbox, poller)
    ann.send([LARGE])
    with no_more_files():
        assert poller.wait(PATIENCE) == []
        assert list(inbox.messages()) == []

    before = open_files()
    ann.send([b"after", LARGE])
    assert heard(inbox, poller) == [("ann", [b"after", LARGE])]
    assert open_files() <= before + 1  # of memory that is kept


LISTENER = """
import sys
from cloudburst.transport import Context, Poller
inbox = Context().bind(sys.argv[1])
print("bound", flush=True)
poller = Poller(inbox)
found = []
while True:
    poller.wait(None)
    for peer, frames in inbox.messages():
        found.append(frames)
        inbox.send(peer, [b"got it"])
"""


def test_memory_of_a_peer_that_was_killed_is_free(keeper: Context, folder: str) -> None:
    address = f"ipc://{folder}/s"
    segments = keeper._means.segments
    command = [sys.executable, "-c", LISTENER, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as listener:
        assert listener.stdout is not None
        listener.stdout.readline()
        ann = keeper.connect(address, "ann")
        ann.send([block(1)])
        assert answers(ann, Poller(ann)) == [[b"got it"]]
        listener.send_signal(signal.SIGSTOP)
        ann.send([block(2)])  # on its way for ever
        assert [segment.is_free for segment in segments._kept] == [False, False]
        listener.kill()

    wait_until(lambda: all(segment.is_free for segment in segments._kept), "the kernel to know")


class _Interrupted(Exception):
    pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_handler_may_raise_anywhere_and_no_descriptor_is_lost(
    keeper: Context, inbox: Inbox
) -> None:
    """Messages may be lost, but none is damaged."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise _Interrupted

    outlet = keeper.connect(inbox.address, "ann")
    poller = Poller(inbox, outlet)
    number = interrupts = 0
    before = signal.signal(signal.SIGALRM, interrupt)

    def work() -> None:
        nonlocal number
        for _ in range(10):  # the alarm may come where nobody can raise
            number += 1
            copy = keeper.snapshot(memoryview(bytearray(block(number))))
            outlet.send([copy, block(number + 1)])
            poller.wait(0.001)
            for _, (one, other) in inbox.messages():
                first = int.from_bytes(one[:8], "big")
                assert one == block(first)
                assert other == block(first + 1)

    try:
        while interrupts < 200:
            interrupts += 1
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005 + interrupts % 11 * 0.00037)
                work()
            except _Interrupted:
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert number > 100
    outlet.close()
    inbox.close()
    wait_until(lambda: not overflow_threads(), "all has left")
    keeper._means.segments.close()
    assert memory_files() == []


def memory_files() -> list[str]:
    """The descriptors of shared memory that this process has open."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(descriptor.readlink()))
    return [name for name in found if "memfd:cloudburst" in name]
