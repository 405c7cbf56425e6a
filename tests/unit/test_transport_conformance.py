"""What every transport promises of messages, whichever it is."""

import os
import threading
import time

import pytest
from sockets import answers, heard, wait_until
from transporting import (
    MEGABYTE,
    Reader,
    World,
    block,
    overflow_threads,
    payloads,
)

from cloudburst.core.messages import Buffer
from cloudburst.transport import Context, Memory, Poller
from cloudburst.transport.base import COPY_BELOW


def test_frames_arrive_as_they_were_sent(world: World) -> None:
    inbox, outlet, poller = world.pair()
    sizes = [[0], [1], [0, 0], [5, 0, 3], [COPY_BELOW - 1], [COPY_BELOW], [10, 200_000, 0, 70_000]]
    messages = [[os.urandom(size) for size in shape] for shape in sizes]

    for frames in messages:
        assert outlet.send(frames)

    assert payloads(inbox, poller, len(sizes)) == messages


def test_many_small_messages_arrive_in_order(world: World) -> None:
    inbox, outlet, poller = world.pair()
    messages = [[b"%d" % number, b"x" * (number % 50)] for number in range(20_000)]

    for frames in messages:
        outlet.send(frames)

    assert payloads(inbox, poller, len(messages)) == messages


def test_small_frames_are_bytes_and_large_ones_writable_memory(world: World) -> None:
    inbox, outlet, poller = world.pair()
    outlet.send([b"s" * (COPY_BELOW - 1), b"l" * COPY_BELOW, block(1)])

    ((_, (small, large, larger)),) = heard(inbox, poller)

    assert isinstance(small, bytes)
    assert isinstance(large, memoryview)
    assert isinstance(larger, memoryview)
    large[:] = b"x" * COPY_BELOW
    assert larger == block(1)


def test_what_a_peer_does_not_read_is_counted(world: World) -> None:
    inbox, outlet, poller = world.pair()
    outlet.send([b"first"])
    heard(inbox, poller)
    assert outlet.backlog() == 0

    for _ in range(32):
        outlet.send([b"small", block(1)])
    # The kernel, and for TCP the peer's own thread, take some of it.
    left = outlet.backlog()
    messages = payloads(inbox, poller, 32)

    assert all(frames == [b"small", block(1)] for frames in messages)
    wait_until(lambda: outlet.backlog() == 0, "all has left")
    if world.scheme == "ipc":
        assert 24 * MEGABYTE < left <= 33 * MEGABYTE


def test_frames_that_arrived_share_no_memory(world: World) -> None:
    inbox, outlet, poller = world.pair()
    found: list[Buffer] = []
    for mark in range(5):
        outlet.send([bytes([mark]) * COPY_BELOW] * 2)
        ((_, frames),) = heard(inbox, poller)
        found += frames

    for mark, frame in enumerate(found):
        assert isinstance(frame, memoryview)
        frame[:] = bytes([100 + mark]) * COPY_BELOW
    assert [frame[-1] for frame in found] == [100 + mark for mark in range(10)]


def test_what_was_received_can_be_sent_on(world: World) -> None:
    inbox, outlet, poller = world.pair()
    outlet.send([b"head", block(5)])
    ((peer, frames),) = heard(inbox, poller)
    assert inbox.send(peer, frames)
    del frames

    ((_, back),) = answers(outlet, poller)
    assert back == block(5)


def test_who_does_not_read_does_not_stop_the_sender(world: World) -> None:
    reader = Reader(world.new_address(), 150)
    outlet = world.outlet(reader.address)
    theirs = bytearray(MEGABYTE)
    slowest = 0.0
    for number in range(100):
        theirs[:] = block(number)
        begin = time.monotonic()
        outlet.send([b"%d" % number, memoryview(theirs)], Memory.BORROWED)
        slowest = max(slowest, time.monotonic() - begin)
    for number in range(100, 150):
        outlet.send([b"%d" % number])  # small ones do not overtake
    assert slowest < 0.5
    assert reader.found == []

    found = reader.finish()

    assert [frames[0] for frames in found] == [b"%d" % number for number in range(150)]
    assert all(frames[1] == block(number) for number, frames in enumerate(found[:100]))
    wait_until(lambda: not overflow_threads(), "the thread ends when nothing is left")


def test_small_messages_do_not_overtake_what_overflowed(world: World) -> None:
    """At every moment at which the thread may take the last piece away, and start again."""
    reader = Reader(world.new_address(), 4000)
    reader.go.set()
    outlet = world.outlet(reader.address)
    messages = []
    for number in range(4000):
        size = 300_000 if number % 40 == 0 else number % 70
        messages.append([b"%d" % number, bytes([number % 256]) * size])
        outlet.send(messages[-1])

    found = reader.finish()

    assert [frames[0] for frames in found] == [frames[0] for frames in messages]
    assert found == messages


def test_two_who_send_each_other_much_at_once_do_not_wait_for_each_other(world: World) -> None:
    inbox, outlet, poller = world.pair()
    for number in range(30):
        assert outlet.send([block(number)])
        assert inbox.send("peer", [block(number + 100)])
    sent, back = 0, 0
    deadline = time.monotonic() + 20

    while sent < 30 or back < 30:
        assert time.monotonic() < deadline
        poller.wait(1)
        for _, (frame,) in inbox.messages():
            assert frame == block(sent)
            sent += 1
        for (frame,) in outlet.messages():
            assert frame == block(back + 100)
            back += 1


def test_a_receiver_may_leave_and_come_back(world: World) -> None:
    inbox, outlet, poller = world.pair()
    for number in range(10):
        outlet.send([b"%d" % number])
    found: list[Buffer] = []

    while len(found) < 10:
        poller.wait(1)
        for _, (frame,) in inbox.messages():
            found.append(frame)
            break

    assert found == [b"%d" % number for number in range(10)]


def test_a_receiver_that_raises_loses_nothing_but_what_it_held(world: World) -> None:
    inbox, outlet, poller = world.pair()
    for number in range(6):
        outlet.send([b"%d" % number])
    found: list[object] = []

    def take() -> None:
        for _, (frame,) in inbox.messages():
            found.append(frame)
            if frame == b"2":
                raise KeyboardInterrupt

    def take_all() -> None:
        while len(found) < 6:
            poller.wait(1)
            take()

    with pytest.raises(KeyboardInterrupt):
        take_all()
    take_all()

    assert found == [b"%d" % number for number in range(6)]


def test_a_receiver_may_ask_again_while_it_is_given_messages(world: World) -> None:
    inbox, outlet, poller = world.pair()
    for number in range(4):
        outlet.send([b"%d" % number])
    found: list[Buffer] = []

    while len(found) < 4:
        poller.wait(1)
        for _, (frame,) in inbox.messages():
            found.append(frame)
            found += [frames[0] for _, frames in inbox.messages()]

    assert found == [b"0", b"1", b"2", b"3"]


def test_a_handler_may_answer_and_close(world: World) -> None:
    inbox, outlet, poller = world.pair()
    for number in range(4):
        outlet.send([b"%d" % number])
    found: list[list[Buffer]] = []

    while not found:
        poller.wait(1)
        for peer, frames in inbox.messages():
            found.append(frames)
            inbox.send(peer, [b"bye"])
            inbox.close()

    assert found[0] == [b"0"]
    assert answers(outlet, Poller(outlet)) == [[b"bye"]]


def test_a_message_has_frames(world: World) -> None:
    inbox, outlet, poller = world.pair()
    absent = world.outlet(world.free_address())

    for send in (outlet.send, absent.send, lambda frames: inbox.send("peer", frames)):
        with pytest.raises(ValueError, match="a message cannot have 0 frames"):
            send([])

    outlet.send([b"sound"])
    assert payloads(inbox, poller) == [[b"sound"]]


def test_two_threads_with_contexts_of_their_own(world: World) -> None:
    readers = [Reader(world.new_address(), 200) for _ in range(2)]

    def send(address: str) -> None:
        context = Context()
        outlet = context.connect(address)
        for number in range(200):
            outlet.send([b"%d" % number, bytes(20_000)])
        outlet.close()
        context.close()

    threads = [threading.Thread(target=send, args=(reader.address,)) for reader in readers]
    for thread, reader in zip(threads, readers, strict=True):
        thread.start()
        reader.go.set()
    for thread, reader in zip(threads, readers, strict=True):
        thread.join()
        assert [frames[0] for frames in reader.finish()] == [b"%d" % n for n in range(200)]
