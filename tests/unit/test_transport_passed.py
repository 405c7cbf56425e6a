"""Peers that pass descriptors which they should not, or none where they should."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress

import pytest
from sockets import heard, open_files, wait_until
from transporting import header, packed, raw

from cloudburst.transport import Context, Inbox, Poller
from cloudburst.transport.descriptors import MOST
from cloudburst.transport.framing import SHARED

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nobody passes any")


def memory_of(data: bytes, seals: int = 7) -> int:
    """A descriptor of memory that has this in it."""
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.write(fd, data)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


Wrong = Callable[[socket.socket], list[int]]
"""Says nonsense; returns the descriptors that it has used."""


def announced_and_not_there(end: socket.socket) -> list[int]:
    end.send(header(4096 | SHARED))
    return []


def of_something_else(end: socket.socket) -> list[int]:
    fds = [*os.pipe(), os.open("/", os.O_RDONLY), os.open("/dev/null", os.O_RDWR)]
    socket.send_fds(end, [header(*[4096 | SHARED] * 4)], fds)
    return fds


def of_a_file(end: socket.socket) -> list[int]:
    with tempfile.TemporaryFile() as file:
        file.write(bytes(4096))
        file.flush()
        fds = [os.dup(file.fileno())]
    socket.send_fds(end, [header(4096 | SHARED)], fds)
    return fds


def of_memory_that_is_too_short(end: socket.socket) -> list[int]:
    fds = [memory_of(bytes(4095))]
    socket.send_fds(end, [header(4096 | SHARED)], fds)
    return fds


def of_memory_that_may_shrink(end: socket.socket) -> list[int]:
    fds = [memory_of(bytes(4096), seals=0)]
    socket.send_fds(end, [header(4096 | SHARED)], fds)
    return fds


def of_nothing(end: socket.socket) -> list[int]:
    fds = [memory_of(b"")]
    socket.send_fds(end, [header(SHARED)], fds)
    return fds


def more_than_announced(end: socket.socket) -> list[int]:
    fds = [memory_of(bytes(4096)), memory_of(bytes(4096))]
    socket.send_fds(end, [header(4096 | SHARED)], fds)
    return fds


def one_less_than_announced(end: socket.socket) -> list[int]:
    fds = [memory_of(bytes(4096))]
    socket.send_fds(end, [header(4096 | SHARED, 4096 | SHARED)], fds)
    return fds


def with_a_message_that_needs_none(end: socket.socket) -> list[int]:
    fds = [memory_of(bytes(4096))]
    socket.send_fds(end, [packed(b"hello")], fds)
    return fds


def more_and_more_before_a_header_is_there(end: socket.socket) -> list[int]:
    fds = [memory_of(bytes(4096))] * 50
    for at in range(3):
        socket.send_fds(end, [header(4096 | SHARED)[at : at + 1]], fds)
    return fds[:1]


def more_than_a_message_may_have(end: socket.socket) -> list[int]:
    fds = [memory_of(bytes(4096))] * (MOST + 1)
    socket.send_fds(end, [header(*[4096 | SHARED] * len(fds))], fds)
    return fds[:1]


def sizes_of_no_message(end: socket.socket) -> list[int]:
    fds = [memory_of(bytes(4096))]
    socket.send_fds(end, [header(SHARED | 1 << 40)], fds)
    return fds


@pytest.mark.parametrize(
    "wrong",
    [
        announced_and_not_there,
        of_something_else,
        of_a_file,
        of_memory_that_is_too_short,
        of_memory_that_may_shrink,
        of_nothing,
        more_than_announced,
        one_less_than_announced,
        with_a_message_that_needs_none,
        more_and_more_before_a_header_is_there,
        more_than_a_message_may_have,
        sizes_of_no_message,
    ],
)
def test_who_passes_what_was_not_announced_is_let_go_of(
    context: Context, inbox: Inbox, wrong: Wrong
) -> None:
    poller = Poller(inbox)
    ann = context.connect(inbox.address, "ann")
    ann.send([b"hello"])
    heard(inbox, poller)
    before = open_files()
    with raw(inbox) as stranger:
        stranger.send(packed(b"stranger") + packed(b"before"))
        for fd in wrong(stranger):
            os.close(fd)
        with suppress(OSError):
            stranger.send(packed(b"never heard"))
        ann.send([b"sane"])
        found: list[tuple[str, bytes]] = []

        def is_heard() -> bool:
            poller.wait(0.01)
            found.extend([(peer, bytes(frames[0])) for peer, frames in inbox.messages()])
            return ("ann", b"sane") in found and not inbox.send("stranger", [b"are you there?"])

        wait_until(is_heard, "the stranger is gone, and the other is not")
        assert ("stranger", b"before") in found
        assert ("stranger", b"never heard") not in found

    assert open_files() == before


def test_a_descriptor_may_come_before_all_of_its_header(inbox: Inbox) -> None:
    poller = Poller(inbox)
    fd = memory_of(bytes(8192))
    with raw(inbox) as slow:
        slow.send(packed(b"slow"))
        text = header(3, 4096 | SHARED, 0, 8192 | SHARED) + b"end"
        socket.send_fds(slow, [text[:1]], [fd, fd])
        for at in range(1, len(text)):
            poller.wait(0.0)
            assert list(inbox.messages()) == []
            slow.send(text[at : at + 1])
        found = heard(inbox, poller)
    os.close(fd)

    assert found == [("slow", [b"end", bytes(4096), b"", bytes(8192)])]
