"""Unix sockets: strangers, the dead, and limits."""

from __future__ import annotations

import os
import resource
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from fresh_interpreter import in_fresh_interpreter
from sockets import PATIENCE, answers, heard, wait_until
from transporting import MEGABYTE, overflow_threads, packed, raw

from cloudburst.transport import Context, Inbox, Memory, Poller
from cloudburst.transport.base import MAX_MESSAGE


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(8),
        b"\xff" * 100,
        struct.pack("<QQ", 1, 1 << 62),
        struct.pack("<QQ", 1, (1 << 40) - 1),
        struct.pack("<Q", 100_001),
    ],
)
def test_who_speaks_another_language_is_let_go_of(
    context: Context, inbox: Inbox, garbage: bytes
) -> None:
    poller = Poller(inbox)
    with raw(inbox) as stranger, context.connect(inbox.address, "ann") as ann:
        stranger.send(packed(b"stranger") + packed(b"hello") + garbage)
        assert heard(inbox, poller) == [("stranger", [b"hello"])]
        ann.send([b"sane"])
        assert heard(inbox, poller) == [("ann", [b"sane"])]


def test_messages_may_come_in_any_pieces(inbox: Inbox) -> None:
    poller = Poller(inbox)
    text = packed(b"slow") + packed(b"one", b"", b"two") + packed(bytes(70_000)) + packed(b"end")
    with raw(inbox) as slow:
        got: list[list[bytes]] = []
        for start in [*range(60), 60, 5000, 69_000, 70_000, len(text) - 1]:
            ends = [*range(1, 61), 5000, 69_000, 70_000, len(text) - 1, len(text)]
            slow.send(text[start : min(end for end in ends if end > start)])
            poller.wait(PATIENCE)
            got += [[bytes(f) for f in frames] for _, frames in inbox.messages()]

    assert got == [[b"one", b"", b"two"], [bytes(70_000)], [b"end"]]


def test_a_peer_that_ends_in_the_middle_of_a_message_has_said_the_others(inbox: Inbox) -> None:
    poller = Poller(inbox)
    with raw(inbox) as peer:
        peer.send(packed(b"peer") + packed(b"whole") + packed(b"half")[:-2])

    assert heard(inbox, poller) == [("peer", [b"whole"])]
    wait_until(
        lambda: (poller.wait(0.0), list(inbox.messages()), not inbox.send("peer", [b"x"]))[2],
        "its end to be seen",
    )


def test_who_is_interrupted_in_the_middle_gets_the_rest_next_time(inbox: Inbox) -> None:
    poller = Poller(inbox)
    with raw(inbox) as peer:
        peer.send(packed(b"peer") + packed(b"1") + packed(b"2") + packed(b"3") + packed(b"4")[:-1])
        poller.wait(PATIENCE)
        seen = []
        for _, frames in inbox.messages():
            seen += frames
            if frames == [b"2"]:
                break
        peer.send(b"4" + packed(b"5"))
        while len(seen) < 5:
            poller.wait(PATIENCE)
            seen += [frame for _, frames in inbox.messages() for frame in frames]

    assert seen == [b"1", b"2", b"3", b"4", b"5"]


def test_the_socket_of_a_process_that_was_killed_is_replaced(context: Context, folder: str) -> None:
    path = Path(folder) / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.is_socket()

    with (
        context.bind(f"ipc://{path}") as inbox,
        context.connect(inbox.address, "ann") as ann,
    ):
        ann.send([b"hello"])
        assert heard(inbox, Poller(inbox)) == [("ann", [b"hello"])]
    assert not path.exists()


def test_the_file_of_an_inbox_that_took_the_place_is_not_removed(
    context: Context, folder: str
) -> None:
    first = context.bind(f"ipc://{folder}/s")
    Path(folder, "s").unlink()
    second = context.bind(first.address)
    first.close()

    ann = context.connect(second.address, "ann")
    ann.send([b"hello"])
    assert heard(second, Poller(second)) == [("ann", [b"hello"])]
    second.close()
    assert list(Path(folder).iterdir()) == []


def test_a_file_that_is_no_socket_is_left_alone(context: Context, folder: str) -> None:
    file = Path(folder, "precious")
    file.write_text("data")

    with pytest.raises(OSError, match="cannot bind"):
        context.bind(f"ipc://{file}")
    assert file.read_text() == "data"


def test_a_listener_too_busy_to_accept_is_alive(context: Context, folder: str) -> None:
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(f"{folder}/s")
        busy.listen(0)
        waiting = [context.connect(f"ipc://{folder}/s") for _ in range(5)]
        assert not waiting[-1].wait_connected(0.0)
        with pytest.raises(OSError, match="cannot bind"):
            context.bind(f"ipc://{folder}/s")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full backlog looks like nobody")
def test_a_listener_too_busy_to_accept_is_waited_for(context: Context, folder: str) -> None:
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(f"{folder}/s")
        busy.listen(0)
        assert context.connect(f"ipc://{folder}/s").wait_connected(0.0)
        outlet = context.connect(f"ipc://{folder}/s", only_connected=True)
        timer = threading.Timer(0.05, lambda: busy.accept()[0].close())
        timer.start()
        began = time.monotonic()
        assert outlet.wait_connected(PATIENCE)
        assert time.monotonic() - began < PATIENCE / 2
        timer.join()


def test_a_path_that_is_too_long_is_refused(context: Context) -> None:
    for use in (context.bind, context.connect):
        with pytest.raises(OSError, match="the path of"):
            use(f"ipc:///tmp/{'x' * 200}")


def test_closing_sends_what_is_left(context: Context, inbox: Inbox) -> None:
    ann = context.connect(inbox.address, "ann")
    for _ in range(8):
        ann.send([bytes(1_000_000)])
    closing = threading.Thread(target=ann.close)
    closing.start()
    assert len(heard(inbox, Poller(inbox), 8)) == 8
    closing.join(PATIENCE)


def test_closing_does_not_wait_for_ever(folder: str) -> None:
    context = Context()
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(f"{folder}/deaf")
        deaf.listen()
        outlet = context.connect(f"ipc://{folder}/deaf")
        outlet.send([bytes(10_000_000)])
        began = time.monotonic()
        outlet.close()
        context.close()
        assert time.monotonic() - began < PATIENCE


def memory() -> int:
    return psutil.Process().memory_info().rss


@pytest.mark.parametrize("length", [1 << 40, MAX_MESSAGE, 8 << 30], ids=["1T", "64G", "8G"])
def test_a_length_that_is_a_lie_takes_no_memory(inbox: Inbox, length: int) -> None:
    poller = Poller(inbox)
    with raw(inbox) as liar, raw(inbox) as other:
        before = memory()
        liar.send(packed(b"liar") + struct.pack("<QQ", 1, length) + b"x" * 100)
        other.send(packed(b"other") + packed(b"hello"))
        assert heard(inbox, poller) == [("other", [b"hello"])]
        poller.wait(0.0)
        list(inbox.messages())
        assert memory() - before < 20 * MEGABYTE


def test_a_peer_that_says_nothing_and_one_that_stops_half_way_stop_nobody(
    context: Context, inbox: Inbox
) -> None:
    poller = Poller(inbox)
    with raw(inbox), raw(inbox) as half:
        half.send(packed(b"half") + packed(bytes(200_000))[:100_000])
        ann = context.connect(inbox.address, "ann")
        for number in range(3):
            ann.send([b"%d" % number])
            assert heard(inbox, poller) == [("ann", [b"%d" % number])]
        assert inbox.send("half", [b"are you there?"])
    wait_until(
        lambda: (poller.wait(0.0), list(inbox.messages()), not inbox.send("half", [b"x"]))[2],
        "the end of the half message's sender is seen",
    )


def test_a_thousand_connections(context: Context, inbox: Inbox) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    try:
        poller = Poller(inbox)
        outlets = [context.connect(inbox.address, f"peer {number}") for number in range(1000)]
        for number, outlet in enumerate(outlets):
            outlet.send([b"%d" % number])
        found = heard(inbox, poller, 1000)
        assert {(peer, bytes(frames[0])) for peer, frames in found} == {
            (f"peer {number}", b"%d" % number) for number in range(1000)
        }
        for number, outlet in enumerate(outlets):
            assert inbox.send(f"peer {number}", [b"%d" % number])
            assert answers(outlet, Poller(outlet)) == [[b"%d" % number]]
            outlet.close()
        wait_until(
            lambda: (poller.wait(0.0), list(inbox.messages()), not inbox._streams)[2],  # type: ignore[attr-defined]
            "all have gone",
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_connections_wait_and_nothing_spins(
    context: Context, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    poller = Poller(inbox)
    ann = context.connect(inbox.address, "ann")
    ann.send([b"1"])
    heard(inbox, poller)
    late = [context.connect(inbox.address, f"late {number}") for number in range(3)]
    for outlet in late:
        outlet.send([b"patient"])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        looks = 0
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            poller.wait(end - time.monotonic())
            assert list(inbox.messages()) == []
            looks += 1
        assert looks < 40
        assert caplog.text.count("accepts no connections for now") == 1
        ann.send([b"2"])
        assert heard(inbox, poller) == [("ann", [b"2"])]
        refused = context.connect(inbox.address, "refused", only_connected=True)
        assert not refused.send([b"x"])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert sorted(peer for peer, _ in heard(inbox, poller, 3)) == ["late 0", "late 1", "late 2"]
    assert refused.send([b"now"])
    assert heard(inbox, poller) == [("refused", [b"now"])]


def test_the_last_piece_is_never_overtaken(context: Context, folder: str) -> None:
    """A reader that keeps the sender at the brink: a little is left, again and again."""
    other = Context()
    inbox = other.bind(f"ipc://{folder}/s")
    count = 3000
    found: list[int] = []

    def read() -> None:
        poller = Poller(inbox)
        deadline = time.monotonic() + 3 * PATIENCE
        while len(found) < count and time.monotonic() < deadline:
            poller.wait(0.1)
            for _, (name, payload) in inbox.messages():
                assert payload == bytes([int(name) % 256]) * len(payload)
                found.append(int(name))

    thread = threading.Thread(target=read)
    thread.start()
    outlet = context.connect(inbox.address)
    for number in range(count):
        size = (30_000, 0, 90_000, 5)[number % 4]
        outlet.send([b"%d" % number, bytes([number % 256]) * size], Memory.OURS)
    thread.join()
    other.close()

    assert found == list(range(count))
    wait_until(lambda: not overflow_threads(), "the thread has ended")


def test_a_small_message_is_one_piece_for_the_kernel(context: Context, inbox: Inbox) -> None:
    """One send, and one read: anything less atomic costs latency."""
    ann = context.connect(inbox.address, "ann")
    poller = Poller(inbox)
    ann.send([b"1"])
    heard(inbox, poller)
    looks = 0
    ann.send([b"header", b"payload", b""])

    found: list[object] = []
    while not found:
        poller.wait(PATIENCE)
        looks += 1
        found += inbox.messages()

    assert looks == 1
    assert found == [("ann", [b"header", b"payload", b""])]


def test_on_one_machine_zeromq_is_not_even_loaded(folder: str) -> None:
    code = f"""
from cloudburst.transport import Context, Peers, Poller
context = Context()
inbox = context.bind("ipc://{folder}/s")
poller = Poller(inbox)
assert Peers(context).send(inbox.address, [b"hello"])
poller.wait(5)
assert [frames for _, frames in inbox.messages()] == [[b"hello"]]
context.close()
assert not [name for name in sys.modules if name.partition(".")[0] == "zmq"]
"""
    assert in_fresh_interpreter(code) == b""
