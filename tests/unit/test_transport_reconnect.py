"""Unix sockets: peers that end, are killed, and come back."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sockets import PATIENCE, answers, heard, wait_until
from transporting import MEGABYTE, overflow_threads, packed, raw

from cloudburst.core.messages import Buffer
from cloudburst.transport import Context, Inbox, Poller

LISTENER = """
import sys
from cloudburst.transport import Context, Poller
inbox = Context().bind(sys.argv[1])
print("bound", flush=True)
poller = Poller(inbox)
while True:
    poller.wait(None)
    for peer, frames in inbox.messages():
        inbox.send(peer, frames)
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_peer_that_was_killed_and_started_again(context: Context, folder: str) -> None:
    address = f"ipc://{folder}/s"
    ann = context.connect(address, "ann")
    poller = Poller(ann)
    for number in range(2):
        with start(LISTENER, address) as listener:
            assert line_of(listener) == "bound"
            ann.send([b"%d" % number, bytes(300_000)])
            assert answers(ann, poller)[0][0] == b"%d" % number
            with pytest.raises(OSError, match="cannot bind"):
                context.bind(address)
            listener.kill()
    assert Path(folder, "s").is_socket()

    with context.bind(address) as inbox:
        poller.add(inbox)
        wait_until(lambda: (poller.wait(0.01), ann.send([b"again"]))[1], "a new connection")
        assert heard(inbox, poller)[0] == ("ann", [b"again"])


def test_a_peer_that_is_killed_with_much_to_read(context: Context, folder: str) -> None:
    address = f"ipc://{folder}/s"
    with start(LISTENER, address) as listener:
        assert line_of(listener) == "bound"
        listener.send_signal(signal.SIGSTOP)
        ann = context.connect(address, "ann", only_connected=True)
        for _ in range(200):
            assert ann.send([bytes(MEGABYTE // 10)])
        assert len(overflow_threads()) == 1
        listener.kill()
    wait_until(lambda: not overflow_threads(), "nothing is sent to the dead")
    assert ann.send([b"lost"]) is False


@pytest.mark.skipif(sys.platform != "linux", reason="there is no flag for it elsewhere")
def test_a_deadly_sigpipe_kills_nobody(folder: str) -> None:
    code = """
import signal, sys
from cloudburst.transport import Context
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
context = Context()
inbox = context.bind(sys.argv[1])
outlet = context.connect(inbox.address, only_connected=True)
assert outlet.send([b"x"])
inbox.close()
print([outlet.send([b"x"]), outlet.send([bytes(1 << 20)])])
context.close()
"""
    with start(code, f"ipc://{folder}/s") as process:
        assert line_of(process) == "[False, False]"
        assert process.wait(PATIENCE) == 0


def test_what_was_answered_before_the_end_is_heard_by_who_notices_it_when_sending(
    context: Context, inbox: Inbox
) -> None:
    ann = context.connect(inbox.address, "ann", only_connected=True)
    ann.send([b"question"])
    heard(inbox, Poller(inbox))
    for number in range(3):
        assert inbox.send("ann", [b"%d" % number, bytes(20_000)])
    inbox.close()

    assert ann.send([b"another"]) is False
    poller = Poller(ann)
    assert poller.wait(PATIENCE) == []
    assert [frames[0] for frames in ann.messages()] == [b"0", b"1", b"2"]


def test_an_inbox_hears_who_sent_and_went_though_it_cannot_answer(
    context: Context, inbox: Inbox
) -> None:
    poller = Poller(inbox)
    ann = context.connect(inbox.address, "ann")
    ann.send([b"1"])
    heard(inbox, poller)
    ann.send([b"2"])
    ann.close()

    assert inbox.send("ann", [b"answer"]) is False
    assert heard(inbox, poller) == [("ann", [b"2"])]
    poller.wait(0.0)
    assert list(inbox.messages()) == []
    assert inbox._streams == {}  # type: ignore[attr-defined]


def test_what_was_said_on_earlier_connections_comes_first(context: Context, inbox: Inbox) -> None:
    """Also of those whose first word nobody had read when the next one was made."""
    for number in range(50):
        with context.connect(inbox.address, "ann") as ann:
            ann.send([b"%d" % number])

    came = heard(inbox, Poller(inbox), 50)
    assert [int(text) for _, (text,) in came] == list(range(50))


def test_a_handler_that_loses_the_connection_while_it_is_given_messages(
    context: Context, folder: str
) -> None:
    address = f"ipc://{folder}/s"
    inbox = context.bind(address)
    ann = context.connect(address, "ann")
    poller = Poller(inbox, ann)
    ann.send([b"hello"])
    heard(inbox, poller)
    for number in range(3):
        inbox.send("ann", [b"%d" % number])
    poller.wait(PATIENCE)
    found: list[list[Buffer]] = []

    for frames in ann.messages():
        if not found:
            inbox.close()
            inbox = context.bind(address)
            poller.add(inbox)
            assert ann.send([b"to the new one"])
        found.append(frames)

    assert found == [[b"0"], [b"1"], [b"2"]]
    assert heard(inbox, poller) == [("ann", [b"to the new one"])]
    assert inbox.send("ann", [b"from the new one"])
    assert answers(ann, poller) == [[b"from the new one"]]


def test_a_number_used_again_is_not_read_for_its_old_owner(context: Context, inbox: Inbox) -> None:
    """Connections come and go between a look at what is readable and its reading."""
    poller = Poller(inbox)
    for _ in range(20):
        with raw(inbox) as one, raw(inbox) as other:
            one.send(packed(b"one") + packed(b"1"))
            other.send(packed(b"other") + packed(b"2"))
            assert len(heard(inbox, poller, 2)) == 2
        ann = context.connect(inbox.address, "ann")
        poller.wait(PATIENCE)
        bob = context.connect(inbox.address, "bob")
        ann.send([b"ann"])
        bob.send([b"bob"])
        assert sorted(heard(inbox, poller, 2)) == [("ann", [b"ann"]), ("bob", [b"bob"])]
        ann.close()
        bob.close()
