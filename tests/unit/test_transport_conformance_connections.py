"""What every transport promises of connections: who is who, who comes late, who goes."""

import time
from functools import partial

import pytest
from sockets import PATIENCE, answers, heard, wait_until
from transporting import (
    MEGABYTE,
    Reader,
    World,
    block,
    contents,
    overflow_threads,
    payloads,
)

from cloudburst.transport import Context, Inbox, Memory, Poller
from cloudburst.transport.base import LINGER


def test_a_peer_is_answered_under_its_identity(world: World) -> None:
    inbox = world.inbox()
    poller = Poller(inbox)
    for name in ("one", "zwei-ä", "a" * 200):
        outlet = world.outlet(inbox, name)
        poller.add(outlet)
        outlet.send([b"I am", name.encode()])
        ((identity, _),) = heard(inbox, poller)

        assert identity == name
        assert inbox.send(identity, [b"hello", name.encode()])
        assert inbox.send(identity, [block(3)])
        small, (large,) = answers(outlet, poller, 2)
        assert small == [b"hello", name.encode()]
        assert large == block(3)


def test_peers_without_identity_are_heard(world: World) -> None:
    inbox = world.inbox()
    poller = Poller(inbox)
    outlets = [world.outlet(inbox) for _ in range(3)]
    for number, outlet in enumerate(outlets):
        outlet.send([b"%d" % number])

    found = heard(inbox, poller, 3)

    assert sorted(contents(frames) for _, frames in found) == [[b"0"], [b"1"], [b"2"]]
    assert len({identity for identity, _ in found}) == 3


@pytest.mark.parametrize("stranger", ["", "stranger", "s" * 300])
def test_a_stranger_is_not_answered(world: World, stranger: str) -> None:
    inbox, _, _ = world.pair()

    assert inbox.send(stranger, [b"hello"]) is False


def test_a_peer_that_has_gone_is_not_answered(world: World) -> None:
    inbox, outlet, poller = world.pair()
    outlet.close()

    def nobody_is_there() -> bool:
        poller.wait(0.01)
        assert list(inbox.messages()) == []
        return not inbox.send("peer", [b"?"])

    wait_until(nobody_is_there, "the inbox knows that the peer has gone")


def test_a_peer_that_comes_back_takes_its_own_place(world: World) -> None:
    inbox, outlet, poller = world.pair("name")
    outlet.close()
    again = world.outlet(inbox, "name")
    poller.add(again)
    again.send([b"again"])

    assert heard(inbox, poller) == [("name", [b"again"])]
    assert inbox.send("name", [b"welcome back"])
    assert answers(again, poller) == [[b"welcome back"]]


def test_the_last_to_take_an_identity_has_it(world: World) -> None:
    inbox, _first, poller = world.pair("name")
    second = world.outlet(inbox, "name")
    second.send([b"me"])
    heard(inbox, poller)

    assert inbox.send("name", [b"for the second"])
    assert answers(second, Poller(second)) == [[b"for the second"]]


def test_messages_wait_for_a_peer_that_is_not_there_yet(world: World) -> None:
    address = world.free_address()
    outlet = world.outlet(address, "early")
    for number in range(3):
        assert outlet.send([b"%d" % number, b""])
    inbox = world.inbox(address)

    begin = time.monotonic()
    assert heard(inbox, Poller(inbox, outlet), 3) == [
        ("early", [b"%d" % number, b""]) for number in range(3)
    ]
    assert time.monotonic() - begin < 2


def test_an_owner_who_only_sends_reaches_a_peer_that_comes_late(world: World) -> None:
    address = world.free_address()
    outlet = world.outlet(address, "early")
    outlet.send([b"first"])
    inbox = world.inbox(address)
    poller = Poller(inbox)
    outlet.send([b"second"])

    assert heard(inbox, poller, 2) == [("early", [b"first"]), ("early", [b"second"])]


def test_queued_memory_of_others_is_copied(world: World) -> None:
    address = world.free_address()
    outlet = world.outlet(address)
    theirs = bytearray(MEGABYTE)
    outlet.send([memoryview(theirs), b"", memoryview(b"end")], Memory.BORROWED)
    theirs[:] = b"x" * MEGABYTE
    inbox = world.inbox(address)

    (frames,) = payloads(inbox, Poller(inbox, outlet))

    assert frames == [bytes(MEGABYTE), b"", b"end"]


def test_only_connected_refuses_while_nobody_is_there(world: World) -> None:
    address = world.free_address()
    outlet = world.outlet(address, only_connected=True)
    assert outlet.send([b"lost"]) is False
    assert outlet.wait_connected(0.01) is False
    inbox = world.inbox(address)

    wait_until(lambda: outlet.wait_connected(0.5), "the outlet is connected")
    assert outlet.send([b"arrives"])
    assert payloads(inbox, Poller(inbox)) == [[b"arrives"]]


def test_a_peer_that_was_restarted_is_reached_again(world: World) -> None:
    inbox, outlet, poller = world.pair()
    for round_ in range(3):
        poller.discard(inbox)
        inbox.close()
        inbox = world.inbox(inbox.address)
        poller.add(inbox)

        # What is under way when a connection ends may be lost.
        def is_heard(inbox: Inbox, mark: bytes) -> bool:
            outlet.send([mark])
            poller.wait(0.05)
            return any(frames == [mark] for _, frames in inbox.messages())

        wait_until(partial(is_heard, inbox, b"%d" % round_), "the new inbox hears the old outlet")
        assert inbox.send("peer", [b"%d" % round_])
        assert [b"%d" % round_] in answers(outlet, poller)


def test_what_was_sent_leaves_after_the_close(world: World) -> None:
    reader = Reader(world.new_address(), 31)
    sender = Context()
    outlet = sender.connect(reader.address)
    outlet.wait_connected(5)
    for number in range(30):
        outlet.send([b"%d" % number, block(number)])
    outlet.send([b"30"])
    reader.go.set()
    outlet.close()
    sender.close()

    assert [frames[0] for frames in reader.finish()] == [b"%d" % number for number in range(31)]


def test_closing_waits_a_second_for_who_does_not_read(world: World) -> None:
    inbox = world.inbox()
    sender = Context()
    outlets = [sender.connect(inbox.address) for _ in range(5)]
    for outlet in outlets:
        assert outlet.wait_connected(5)
        outlet.send([bytes(30 * MEGABYTE)])

    begin = time.monotonic()
    for outlet in outlets:
        outlet.close()
    assert time.monotonic() - begin < 0.3
    sender.close()
    assert time.monotonic() - begin < LINGER + 1
    assert overflow_threads() == []


def test_abandoning_waits_for_nobody(world: World) -> None:
    inbox = world.inbox()
    sender = Context()
    sender.connect(inbox.address).send([bytes(30 * MEGABYTE)])
    unreachable = sender.connect(world.free_address())
    unreachable.send([b"never"])

    begin = time.monotonic()
    sender.abandon()

    assert time.monotonic() - begin < 0.3


def test_a_context_closes_what_is_still_open(world: World) -> None:
    context = Context()
    address = context.bind(world.new_address()).address
    context.close()
    context.close()

    inbox = world.inbox(address)
    assert inbox.address == address


def test_what_was_said_before_the_end_is_heard(world: World) -> None:
    inbox = world.inbox()
    with world.outlet(inbox, "peer") as outlet:
        assert outlet.wait_connected(PATIENCE)
        for number in range(100):
            outlet.send([b"%d" % number, bytes(1000)])

    found = payloads(inbox, Poller(inbox), 100)
    assert [frames[0] for frames in found] == [b"%d" % number for number in range(100)]


def test_an_address_of_another_machine_cannot_be_bound() -> None:
    context = Context()
    with pytest.raises(OSError, match=r"cannot bind tcp://192\.0\.2\.1"):
        context.bind("tcp://192.0.2.1:*")
    context.close()


def test_an_address_has_one_inbox(world: World) -> None:
    inbox = world.inbox()

    with pytest.raises(OSError, match="cannot bind") as caught:
        world.context.bind(inbox.address)
    assert inbox.address in str(caught.value)


@pytest.mark.parametrize("nonsense", ["", "nonsense", "tcp://", "tcp://x", "ipc://", "ipc://a\0b"])
def test_what_is_no_address_is_refused(nonsense: str) -> None:
    context = Context()
    with pytest.raises(OSError, match=r"cannot|no path"):
        context.connect(nonsense)
    with pytest.raises(OSError, match=r"cannot|no path"):
        context.bind(nonsense)
    context.close()


def test_sockets_close_at_the_end_of_a_block_and_may_be_closed_again(world: World) -> None:
    with world.inbox() as inbox, world.outlet(inbox) as outlet:
        outlet.send([b"x"])
        assert payloads(inbox, Poller(inbox)) == [[b"x"]]
    inbox.close()
    outlet.close()

    assert world.inbox(inbox.address).address == inbox.address
