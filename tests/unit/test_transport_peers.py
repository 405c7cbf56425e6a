"""Connections that are made when they are needed."""

from __future__ import annotations

import time

import pytest
from sockets import heard, short_folder, wait_until

from cloudburst.transport import Context, Peers, Poller, peers


def test_peers_are_connected_when_they_are_first_written_to(context: Context, folder: str) -> None:
    with context.bind(f"ipc://{folder}/a") as a, context.bind("tcp://127.0.0.1:*") as b:
        ours = Peers(context)
        for inbox in (a, b):
            poller = Poller(inbox)
            assert ours.send(inbox.address, [b"1"])
            assert ours.send(inbox.address, [b"2"])
            assert [frames for _, frames in heard(inbox, poller, 2)] == [[b"1"], [b"2"]]
        ours.close()
        ours.close()


def test_a_peer_that_cannot_be_reached_is_waited_for_once(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "CONNECT_WAIT", 0.2)
    ours = Peers(context)
    began = time.monotonic()
    assert not ours.send("tcp://127.0.0.1:1", [b"hello"])
    waited = time.monotonic() - began
    assert waited >= 0.2

    began = time.monotonic()
    for _ in range(1000):
        assert not ours.send("tcp://127.0.0.1:1", [b"hello"])
    assert time.monotonic() - began < 0.2
    ours.close()


def test_it_is_tried_again_after_a_while(
    context: Context, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "AVOID", 0.05)
    ours = Peers(context)
    assert not ours.send(f"ipc://{folder}/late", [b"hello"])
    with context.bind(f"ipc://{folder}/late") as late:
        assert not ours.send(late.address, [b"too soon"])
        wait_until(lambda: ours.send(late.address, [b"hello"]), "another try")
        assert heard(late, Poller(late))[0][1] == [b"hello"]
    ours.close()


def test_a_peer_that_ended_is_noticed(context: Context, folder: str) -> None:
    ours = Peers(context)
    with context.bind(f"ipc://{folder}/a") as inbox:
        assert ours.send(inbox.address, [b"hello"])
        heard(inbox, Poller(inbox))

    assert not ours.send(f"ipc://{folder}/a", [b"are you there?"])
    ours.close()


def test_the_peer_unused_longest_makes_room(
    context: Context, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "MAX_PEERS", 2)
    inboxes = [context.bind(f"ipc://{folder}/{name}") for name in "abc"]
    a, b, c = (inbox.address for inbox in inboxes)
    ours = Peers(context)
    for address in (a, b, a, c):
        assert ours.send(address, [b"hello"])
    assert list(ours._outlets) == [a, c]

    assert ours.send(b, [b"again"])
    assert list(ours._outlets) == [c, b]
    for inbox, count in zip(inboxes, (2, 2, 1), strict=True):
        assert len(heard(inbox, Poller(inbox), count)) == count
    ours.close()
    for inbox in inboxes:
        inbox.close()


def test_what_is_no_address_is_an_error_and_leaves_nothing(context: Context) -> None:
    ours = Peers(context)
    for _ in range(2):
        with pytest.raises(OSError, match="cannot connect"):
            ours.send("nonsense", [b"hello"])
    assert not ours._outlets
    ours.close()


def test_a_peer_that_was_restarted_is_reached_at_once(context: Context, folder: str) -> None:
    ours = Peers(context)
    for number in range(3):
        with context.bind(f"ipc://{folder}/a") as inbox:
            assert ours.send(inbox.address, [b"%d" % number])
            assert heard(inbox, Poller(inbox))[0][1] == [b"%d" % number]
    ours.close()


def test_an_avoided_peer_costs_nothing_and_others_are_not_avoided(
    context: Context, folder: str
) -> None:
    ours = Peers(context)
    for number in range(300):
        assert not ours.send(f"ipc://{folder}/{number}", [b"hello"])
    with context.bind(f"ipc://{folder}/0") as avoided, context.bind(f"ipc://{folder}/x") as other:
        assert not ours.send(avoided.address, [b"hello"])
        assert ours.send(other.address, [b"hello"])
        assert list(ours._outlets) == [other.address]
    ours.close()


def test_closing_many_peers_who_do_not_read_waits_once() -> None:
    context, readers = Context(), Context()
    with short_folder() as folder:
        inboxes = [readers.bind(f"ipc://{folder}/{number}") for number in range(5)]
        ours = Peers(context)
        for inbox in inboxes:
            assert ours.send(inbox.address, [bytes(5_000_000)])
        began = time.monotonic()
        ours.close()
        assert time.monotonic() - began < 0.5
        context.close()
        assert time.monotonic() - began < 3
        readers.abandon()
