"""A cluster that is sent nonsense goes on answering right, and none of its processes ends."""

import os
import random
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgpack
import psutil
import pytest
from damage import SEEDS, Frames, damaged_value, mutated, sensible
from gates import Gate, wait_at
from hands import ByHand, free_port
from records import plain_client, store_of
from watching import alive, family, wait_until

from cloudburst import CloudburstConnection
from cloudburst.core.messages import Call, Mail, RunContext, Start, Stop, Trigger
from cloudburst.core.requests import ClusterStatus, GetStatus
from cloudburst.core.wire import MAX_FRAMES, decode, encode, pack_context
from cloudburst.kvs import keys
from cloudburst.kvs.base import TakeAll
from cloudburst.serialization import pack
from cloudburst.transport import Context, Outlet, Poller
from cloudburst.transport.framing import to_pieces

MESSAGES = 10_000
"""Damaged messages to the scheduler, and to the executors together."""

STREAMS = 300
"""Connections to each of them on which no message is sent as it should be."""

IN_BETWEEN = 100
"""After so many of either the cluster has to show that it works."""

SOON = 30.0
LAST = 770_077
"""The number of a request that comes after everything else."""


class Sender:
    """A peer that sends what it likes.

    Args:
        address: to whom.
        identity: as whom.
    """

    def __init__(self, address: str, identity: str) -> None:
        self._context = Context()
        self.outlet: Outlet = self._context.connect(address, identity)
        self._poller = Poller(self.outlet)

    def wait_until_read(self) -> None:
        """Wait for the answer to a request: all that was sent before it has been read by then."""

        def answered() -> bool:
            self._poller.wait(0.05)
            came = [decode(frames) for frames in self.outlet.messages()]
            return any(isinstance(item, ClusterStatus) and item.request == LAST for item in came)

        self.outlet.send(encode(GetStatus(LAST)))
        wait_until(answered, "the request is answered", SOON)

    def close(self) -> None:
        self._context.close()


@pytest.fixture
def connected() -> Iterator[Callable[[str, str], Sender]]:
    """Makes senders, which are closed after the test."""
    senders: list[Sender] = []

    def connect(address: str, identity: str) -> Sender:
        senders.append(Sender(address, identity))
        return senders[-1]

    yield connect
    for sender in senders:
        sender.close()


class Check:
    """What has to be so, whatever was sent."""

    def __init__(self, connection: CloudburstConnection) -> None:
        self._connection = connection
        self._incr = connection.register(lambda _, n: n + 1, "incr")
        connection.register(lambda _, *values: list(values), "join")
        steps = ["incr", ("left", "incr"), ("right", "incr"), "join"]
        edges = [("incr", "left"), ("incr", "right"), ("left", "join"), ("right", "join")]
        assert connection.register_dag("diamond", steps, edges)
        connection.put_object("kept", {"as": "it was"})
        self.processes = processes()
        self.executors = connection.status().executors
        self._directory = connection.address.removesuffix("/scheduler")

    def addresses(self) -> list[str]:
        """Of the executors."""
        return [f"{self._directory}/{name}" for name in self.executors]

    def answers(self) -> None:
        """Calls of every sort give what they should."""
        direct = self._incr.options(direct_response=True)
        runs = [self._incr(n) for n in range(10)]
        dags = [self._connection.call_dag("diamond", {"incr": n}) for n in range(5)]
        assert [run.get(SOON) for run in runs] == list(range(1, 11))
        assert [run.get(SOON) for run in dags] == [[n + 2, n + 2] for n in range(5)]
        assert direct(6) == 7

    def nothing_has_changed(self) -> None:
        """Neither the processes, nor what is registered and stored."""
        connection = self._connection
        self.answers()
        wait_until(lambda: connection.status()[2:4] == (0, 0), "all runs end", SOON)
        assert connection.status().executors == self.executors
        assert processes() == self.processes
        assert {"incr", "join"} <= set(connection.list())
        assert "diamond" in connection.list_dags()
        assert connection.get_object("kept") == {"as": "it was"}


def processes() -> set[psutil.Process]:
    return {process for process in family(os.getpid()) if alive(process)}


@pytest.fixture
def check(connection: CloudburstConnection) -> Check:
    return Check(connection)


# messages


def test_damaged_messages_to_the_scheduler(
    connection: CloudburstConnection, check: Check, connected: Callable[[str, str], Sender]
) -> None:
    chance = random.Random(1)
    sender = connected(connection.address, "fuzz")

    for number in range(MESSAGES):
        if frames := mutated(SEEDS[number % len(SEEDS)], chance):
            sender.outlet.send(frames)
        if number % IN_BETWEEN == 0:
            check.answers()

    sender.wait_until_read()
    check.nothing_has_changed()


def test_calls_that_name_what_is_there_and_are_nonsense_otherwise(
    connection: CloudburstConnection, check: Check, connected: Callable[[str, str], Sender]
) -> None:
    """These are admitted, as far as their fields fit: and then they run, or fail."""
    chance = random.Random(2)
    sender = connected(connection.address, "fuzz")
    frames = tuple(bytes(frame) for frame in pack(5).frames)

    for number in range(MESSAGES // 4):
        good = sensible(Call, frames)._replace(
            run_id=f"fuzz-{number}",
            target=chance.choice(("incr", "diamond")),
            is_dag=chance.random() < 0.5,
            arguments=(("incr", "", 1),),
            references=(),
            reply_to="",
            output_key="",
            patience=0.1,
        )
        sender.outlet.send(with_nonsense(good, chance))
        if number % IN_BETWEEN == 0:
            check.answers()

    sender.wait_until_read()
    check.nothing_has_changed()


def with_nonsense(message: Any, chance: random.Random) -> Frames:
    """The message with one field, but neither its id nor its values, replaced by another."""
    header = list(msgpack.unpackb(encode(message)[0], use_list=False))
    place = chance.randrange(2, len(header) - 1)
    header[place] = damaged_value(header[place], chance)
    return [msgpack.packb(header)]


def test_damaged_messages_to_executors(
    connection: CloudburstConnection, check: Check, connected: Callable[[str, str], Sender]
) -> None:
    chance = random.Random(3)
    senders = [connected(address, "fuzz") for address in check.addresses()]
    seeds = SEEDS + [frames for kind in (Start, Trigger) for frames in seeds_with_context(kind)]

    for number in range(MESSAGES):
        if frames := mutated(seeds[number % len(seeds)], chance):
            senders[number % 2].outlet.send(frames)
        if number % IN_BETWEEN == 0:
            check.answers()

    wait_until_read(connection, senders)
    check.nothing_has_changed()


def seeds_with_context(kind: type[Any]) -> list[Frames]:
    """Messages of runs whose plan nobody has."""
    context = pack_context(sensible(RunContext)._replace(plan="nowhere", store=False))
    message = sensible(kind)._replace(context=context)
    return [[bytes(frame) for frame in encode(message)]] * 10


def wait_until_read(connection: CloudburstConnection, senders: list[Sender]) -> None:
    """A letter to nobody is kept in the store, once all that was sent before it has been read."""
    store = store_of(connection)
    for number, sender in enumerate(senders):
        nobody = f"nobody/1/{number}@"
        sender.outlet.send(encode(Mail(nobody, "fuzz", [b"letter"])))
        inbox = TakeAll(keys.inbox_key(nobody.removesuffix("@")))
        wait_until(lambda inbox=inbox: store.execute([inbox])[0], "the letter is there", SOON)
    store.close()


def test_plans_that_are_there_in_contexts_that_are_nonsense(
    connection: CloudburstConnection, check: Check, connected: Callable[[str, str], Sender]
) -> None:
    """User code runs, or a value is handed on, for runs that the scheduler knows nothing of."""
    chance = random.Random(4)
    senders = [connected(address, "fuzz") for address in check.addresses()]
    with plain_client(connection) as client:
        plans = [key.removeprefix("cb:plan:") for key in client.scan_iter(keys.plan_key("*"))]
    good = RunContext(
        plan="",
        executors=tuple(check.addresses()),
        places=(0, 1, 0, 1),
        given=(0,),
        client="fuzz",
        reply_to="",
        store=False,
        output_key="",
        patience=0.1,
        ttl=1.0,
        retried=False,
    )
    value = [bytes(frame) for frame in pack(5).frames]

    for number in range(MESSAGES // 4):
        fields = list(good._replace(plan=chance.choice(plans)))
        if chance.random() < 0.7:
            place = chance.randrange(1, len(fields))
            fields[place] = damaged_value(fields[place], chance)
        if chance.random() < 0.3:
            fields[2] = (number % 2,)
        context, run_id, epoch = msgpack.packb(fields), f"fuzz-{number}", chance.randrange(4)
        start = Start(run_id, epoch, context, ((0, "", 1),), value)
        trigger = Trigger(run_id, epoch, context, chance.randrange(4), chance.randrange(3), value)
        stop = Stop(run_id, epoch, chance.choice(("TIMED_OUT", "nonsense")))
        for message in chance.sample((start, trigger, trigger, stop), chance.randint(1, 4)):
            senders[number % 2].outlet.send(encode(message))
        if number % IN_BETWEEN == 0:
            check.answers()

    wait_until_read(connection, senders)
    check.nothing_has_changed()


def test_nonsense_while_user_code_runs(
    connection: CloudburstConnection,
    check: Check,
    connected: Callable[[str, str], Sender],
    make_gate: Callable[[], Gate],
) -> None:
    """It may be looked at in the middle of the code, where nothing may be raised."""
    chance = random.Random(5)
    gates = [make_gate(), make_gate()]
    wait = connection.register(wait_at, "wait")
    runs = [wait(gate.path) for gate in gates]
    for gate in gates:
        gate.wait_for_arrival()
    victim = wait(make_gate().path)
    senders = [connected(address, "fuzz") for address in check.addresses()]

    for number in range(MESSAGES // 4):
        if frames := mutated(SEEDS[number % len(SEEDS)], chance):
            senders[number % 2].outlet.send(frames)
    assert victim.cancel()
    assert runs[0].cancel()
    gates[1].open()

    assert runs[1].get(SOON) == "gate1"
    assert runs[0].exception(SOON) is not None
    wait_until_read(connection, senders)
    check.nothing_has_changed()


def test_damaged_messages_to_the_client(
    connection: CloudburstConnection, check: Check, connected: Callable[[str, str], Sender]
) -> None:
    chance = random.Random(9)
    (inbox,) = Path(connection.address.removeprefix("ipc://")).parent.glob("c-*")
    sender = connected(f"ipc://{inbox}", "fuzz")

    for number in range(MESSAGES // 4):
        if frames := mutated(SEEDS[number % len(SEEDS)], chance):
            sender.outlet.send(frames)
        if number % IN_BETWEEN == 0:
            check.answers()

    check.nothing_has_changed()


# streams of bytes


def test_streams_that_are_no_messages(connection: CloudburstConnection, check: Check) -> None:
    chance = random.Random(6)
    for address in (connection.address, *check.addresses()):
        for number in range(STREAMS):
            with stranger(address) as end, suppress(OSError):
                end.sendall(bytes_of_no_message(chance))
                if chance.random() < 0.5:
                    end.shutdown(socket.SHUT_WR)
            if number % IN_BETWEEN == 0:
                check.answers()

    check.nothing_has_changed()


def test_streams_that_stop_in_the_middle(connection: CloudburstConnection, check: Check) -> None:
    """And stay: a connection on which half a message has come holds up nobody."""
    chance = random.Random(7)
    ends = []
    for address in (connection.address, *check.addresses()):
        for number in range(20):
            ends.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            ends[-1].connect(address.removeprefix("ipc://"))
            stream = b"".join([*to_pieces([b"fuzz"]), *to_pieces(SEEDS[number % len(SEEDS)])])
            ends[-1].sendall(stream[: chance.randrange(len(stream))])

    check.answers()
    for end in ends:
        end.close()
    check.nothing_has_changed()


@contextmanager
def stranger(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
        end.connect(address.removeprefix("ipc://"))
        yield end


def bytes_of_no_message(chance: random.Random) -> bytes:
    """What nobody can cut into messages, or what is cut short."""
    hello = b"".join(to_pieces([b"fuzz"]))
    frames = mutated(chance.choice(SEEDS), chance) or [b""]
    message = b"".join(bytes(piece) for piece in to_pieces(frames))
    match chance.randrange(6):
        case 0:
            return chance.randbytes(chance.randrange(1, 200))
        case 1:
            return hello + chance.randbytes(chance.randrange(1, 200))
        case 2:
            return hello + message[: chance.randrange(len(message))]
        case 3:
            counts = (0, MAX_FRAMES + 1, 2**32, 2**63, 2**64 - 1)
            return hello + struct.pack("<Q", chance.choice(counts)) + message
        case 4:
            lengths = (2**20, 2**35, 2**37, 2**63, 2**64 - 1)
            return hello + struct.pack("<QQ", 1, chance.choice(lengths)) + message
        case _:
            return b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_nonsense_over_tcp(by_hand: ByHand, connected: Callable[[str, str], Sender]) -> None:
    place = f"127.0.0.1:{free_port()}"
    scheduler = by_hand.start("scheduler", "--address", f"tcp://{place}")
    flags = ("--scheduler", f"tcp://{place}", "--bind", "tcp://127.0.0.1", "--executors", "2")
    host = by_hand.start("host", *flags)
    chance = random.Random(8)
    with CloudburstConnection(place) as connection:
        wait_until(lambda: len(connection.status().executors) == 2, "both executors are ready")
        check = Check(connection)
        sender = connected(f"tcp://{place}", "fuzz")

        for number in range(MESSAGES // 4):
            if frames := mutated(SEEDS[number % len(SEEDS)], chance):
                sender.outlet.send(frames)
            if number % 10 == 0:
                with socket.create_connection(("127.0.0.1", int(place[10:]))) as end:
                    end.sendall(bytes_of_no_message(chance))
            if number % IN_BETWEEN == 0:
                check.answers()

        sender.wait_until_read()
        check.nothing_has_changed()
    assert (scheduler.poll(), host.poll()) == (None, None)
