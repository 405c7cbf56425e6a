"""Messages between running functions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gates import Gate
from watching import wait_until

from cloudburst import (
    CloudburstConnection,
    CloudburstReference,
    LocalCluster,
    SerializationError,
    UsageError,
    UserLibrary,
)


def announce(library: UserLibrary, key: str) -> Any:
    """Say under ``key`` who we are, and return the first messages that come."""
    library.put(key, library.get_id())
    return library.recv(timeout=10.0)


def tell(library: UserLibrary, key: str, *messages: Any) -> str:
    """Send to whoever announced itself under ``key``. Returns our own id."""
    import time

    deadline = time.monotonic() + 10.0
    while (recipient := library.get(key)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    for message in messages:
        library.send(recipient, message)
    return library.get_id()


def wait_between(library: UserLibrary, key: str, path: str) -> list[Any]:
    """Announce, wait at the gate without looking at the sockets, and then look."""
    library.put(key, library.get_id())
    Path(path).read_bytes()
    return library.recv()


@pytest.fixture
def talkers(connection: CloudburstConnection) -> CloudburstConnection:
    connection.register(announce, "announce")
    connection.register(tell, "tell")
    connection.register(wait_between, "wait_between")
    connection.register(lambda library: library.recv(), "recv")
    connection.delete_object("who")
    return connection


def call(connection: CloudburstConnection, name: str, *args: Any) -> Any:
    function = connection.get_function(name)
    assert function is not None
    return function(*args)


def test_recv_does_not_wait_unless_told_to(talkers: CloudburstConnection) -> None:
    def timed(library: UserLibrary, *timeout: float) -> tuple[list[Any], float]:
        import time

        began = time.monotonic()
        return library.recv(*timeout), time.monotonic() - began

    talkers.register(timed, "timed")

    messages, seconds = call(talkers, "timed").get()
    assert (messages, seconds < 0.2) == ([], True)
    messages, seconds = call(talkers, "timed", 0.25).get()
    assert (messages, 0.25 <= seconds < 1.0) == ([], True)


@pytest.mark.parametrize("message", ["text", None, [], (1, (2,)), b"\x80\x05.", {"k": {1}}])
def test_message_between_two_functions(talkers: CloudburstConnection, message: Any) -> None:
    waiting = call(talkers, "announce", "who")
    sender = call(talkers, "tell", "who", message)

    assert waiting.get(10) == [(sender.get(10), message)]


def test_messages_arrive_in_order_with_the_senders_id(talkers: CloudburstConnection) -> None:
    def collect(library: UserLibrary, key: str, count: int) -> list[Any]:
        library.put(key, library.get_id())
        found: list[Any] = []
        while len(found) < count and (more := library.recv(timeout=10.0)):
            found += more
        return found

    talkers.register(collect, "collect")

    waiting = call(talkers, "collect", "who", 500)
    sender = call(talkers, "tell", "who", *range(500)).get(10)

    assert waiting.get(10) == [(sender, number) for number in range(500)]


def test_conversation(talkers: CloudburstConnection) -> None:
    def ask(library: UserLibrary, rounds: int) -> list[int]:
        library.put("who", library.get_id())
        heard = []
        for _ in range(rounds):
            ((other, number),) = library.recv(timeout=10.0)
            heard.append(number)
            library.send(other, number + 1)
        return heard

    def answer(library: UserLibrary, other: str, rounds: int) -> int:
        number = 0
        for _ in range(rounds):
            library.send(other, number)
            ((_, number),) = library.recv(timeout=10.0)
        return number

    talkers.register(ask, "ask")
    talkers.register(answer, "answer")

    asking = call(talkers, "ask", 200)
    who = wait_until(lambda: talkers.get_object("who"), "the first one says who it is")

    assert call(talkers, "answer", who, 200).get(20) == 200
    assert asking.get(20) == list(range(200))


def test_steps_of_one_dag_talk(talkers: CloudburstConnection) -> None:
    talkers.register(lambda _, heard, told: (heard, told), "both")
    edges = [("announce", "both"), ("tell", "both")]
    assert talkers.register_dag("talk", ["announce", "tell", "both"], edges)

    future = talkers.call_dag("talk", {"announce": "who", "tell": ["who", "hello"]})

    ((sender, message),), told = future.get(15)
    assert (sender, message) == (told, "hello")


def test_step_can_send_to_itself(talkers: CloudburstConnection) -> None:
    def remind(library: UserLibrary) -> tuple[str, list[Any]]:
        items = [1]
        library.send(library.getid(), items)
        items.append(2)
        return library.get_id(), library.recv()

    me, received = talkers.register(remind, "remind")().get()

    assert received == [(me, [1])]


def test_ids_belong_to_run_and_step(talkers: CloudburstConnection) -> None:
    talkers.register(lambda library, *_: [library.get_id(), library.getid()], "me")
    talkers.register(lambda library, other: [*other, library.get_id()], "me_too")
    talkers.register_dag("both", ["me", "me_too"], [("me", "me_too")])

    first, again, second = talkers.call_dag("both", {}).get()
    next_first, _, next_second = talkers.call_dag("both", {}).get()

    assert first == again
    assert len({first, second, next_first, next_second}) == 4


def test_what_was_not_received_does_not_leak_into_the_next_call(
    talkers: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    def ignore(library: UserLibrary, key: str, path: str) -> list[Any]:
        wait_between(library, key, path)
        library.put(key, library.get_id())
        library.send(library.get_id(), "never read")
        return []

    gate = make_gate()
    talkers.register(ignore, "ignore")
    ignoring = call(talkers, "ignore", "who", gate.path)
    call(talkers, "tell", "who", "also never read").get(10)
    gate.open()
    assert ignoring.get(10) == []

    assert [call(talkers, "recv").get(10) for _ in range(20)] == [[]] * 20


def test_what_is_sent_to_a_step_that_ended_disturbs_nobody(
    talkers: CloudburstConnection,
) -> None:
    gone = talkers.register(lambda library: library.get_id(), "me")().get(10)
    talkers.put_object("who", gone)

    for _ in range(5):
        call(talkers, "tell", "who", "too late").get(10)

    assert [call(talkers, "recv").get(10) for _ in range(10)] == [[]] * 10


def test_messages_sent_while_the_receiver_computes_are_there_when_it_looks(
    talkers: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate()
    waiting = call(talkers, "wait_between", "who", gate.path)
    sender = call(talkers, "tell", "who", 1, 2, 3).get(10)
    gate.open()

    assert waiting.get(10) == [(sender, 1), (sender, 2), (sender, 3)]


def test_message_finds_a_step_that_starts_later_through_its_inbox(
    talkers: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    """The first step of a chain knows the id that the second will have."""
    gate = make_gate()

    def foretell(library: UserLibrary, path: str) -> str:
        later = library.get_id().replace("foretell", "listen")
        library.put("who", later)
        Path(path).read_bytes()
        return later

    talkers.register(foretell, "foretell")
    talkers.register(lambda library, me: (me == library.get_id(), library.recv(2.0)), "listen")
    talkers.register_dag("d", ["foretell", "listen"], [("foretell", "listen")])

    future = talkers.call_dag("d", {"foretell": gate.path})
    sender = call(talkers, "tell", "who", "early").get(10)
    gate.open()

    assert future.get(10) == (True, [(sender, "early")])


@pytest.mark.parametrize("recipient", ["nobody", "", 3, None])
def test_recipient_that_is_not_an_id(talkers: CloudburstConnection, recipient: Any) -> None:
    talkers.register(lambda library, who: library.send(who, 1), "send")

    with pytest.raises(UsageError, match="is not what get_id"):
        call(talkers, "send", recipient).get(10)


def test_executor_that_does_not_exist_has_an_inbox_all_the_same(
    talkers: CloudburstConnection,
) -> None:
    talkers.register(lambda library, who: library.send(who, 1), "send")

    assert call(talkers, "send", "run/1/step@ipc:///tmp/there-is-no-such-socket").get(10) is None


def test_message_that_cannot_be_pickled(talkers: CloudburstConnection) -> None:
    talkers.register(lambda library: library.send(library.get_id(), (n for n in (1, 2))), "send")

    with pytest.raises(SerializationError, match="the message cannot be pickled"):
        call(talkers, "send").get(10)
    assert call(talkers, "recv").get(10) == []


def test_large_messages(talkers: CloudburstConnection) -> None:
    waiting = call(talkers, "announce", "who")
    sender = call(talkers, "tell", "who", b"x" * 5_000_000)

    ((who, message),) = waiting.get(10)
    assert who == sender.get(10)
    assert message == b"x" * 5_000_000


def test_the_last_of_a_burst_leaves_while_its_sender_computes(
    talkers: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    def gather(library: UserLibrary, count: int) -> list[Any]:
        library.put("who", library.get_id())
        found: list[Any] = []
        while len(found) < count:
            found += [message for _, message in library.recv(timeout=10.0)]
        return found

    def burst(library: UserLibrary, recipient: str, count: int, path: str) -> None:
        for number in range(count):
            library.send(recipient, number)
        Path(path).read_bytes()

    gate, count = make_gate(), 1000
    gathered = talkers.register(gather, "gather")(count)
    recipient = wait_until(lambda: talkers.get_object("who"), "somebody listens")
    sender = talkers.register(burst, "burst")(recipient, count, gate.path)

    assert gathered.get(20) == list(range(count))
    gate.wait_for_arrival()
    assert not sender.done()
    gate.open()
    assert sender.get(20) is None


def test_messages_of_a_burst_come_before_what_is_done_after_them(
    talkers: CloudburstConnection,
) -> None:
    def listen(library: UserLibrary) -> list[Any]:
        library.put("who", library.get_id())
        while library.get("said") is None:
            pass
        return [message for _, message in library.recv()]

    def speak(library: UserLibrary, recipient: str) -> None:
        for number in range(100):
            library.send(recipient, number)
        library.put("said", "all")

    listened = talkers.register(listen, "listen")()
    recipient = wait_until(lambda: talkers.get_object("who"), "somebody listens")
    talkers.register(speak, "speak")(recipient).get(20)

    assert listened.get(20) == list(range(100))
    talkers.delete_object("said")


def test_messages_of_a_function_that_raises_have_left(talkers: CloudburstConnection) -> None:
    def gather(library: UserLibrary, count: int) -> int:
        library.put("who", library.get_id())
        found = 0
        while found < count:
            found += len(library.recv(timeout=10.0))
        return found

    def burst_and_raise(library: UserLibrary, recipient: str, count: int) -> None:
        for number in range(count):
            library.send(recipient, number)
        raise LookupError("now")

    gathered = talkers.register(gather, "gather")(100)
    recipient = wait_until(lambda: talkers.get_object("who"), "somebody listens")
    raised = talkers.register(burst_and_raise, "burst_and_raise")(recipient, 100)

    with pytest.raises(LookupError, match="now"):
        raised.get(20)
    assert gathered.get(20) == 100


# steps of one DAG that talk to each other


def listen(library: UserLibrary, key: str) -> list[str]:
    library.put(key, library.get_id())
    return [message for _, message in library.recv(timeout=10.0)]


def speak(library: UserLibrary, recipient: str) -> str:
    library.send(recipient, "hello")
    return "sent"


def _dialogue(connection: CloudburstConnection, name: str, **hints: Any) -> None:
    connection.register(listen, "listen")
    connection.register(speak, "speak")
    connection.register(lambda _, one, two: (one, two), "both")
    edges = [("listen", "both"), ("speak", "both")]
    for order in (["listen", "speak"], ["speak", "listen"]):
        assert connection.register_dag(
            f"{name} {order[0]}".replace(" ", "_"), [*order, "both"], edges, **hints
        )


def _talk(connection: CloudburstConnection, name: str, runs: int) -> None:
    for number in range(runs):
        for first in ("listen", "speak"):
            key = f"{name}{first}{number}"
            arguments = {"listen": key, "speak": CloudburstReference(key)}
            run = connection.call_dag(f"{name}_{first}", arguments, timeout=20)
            assert run.get(20) == (["hello"], "sent")


def test_steps_that_talk_run_beside_each_other_however_short_they_are(
    connection: CloudburstConnection,
) -> None:
    _dialogue(connection, "plain")
    _talk(connection, "plain", 12)


def test_steps_that_talk_may_be_colocated_all_the_same(connection: CloudburstConnection) -> None:
    _dialogue(connection, "close", colocated=["listen", "speak"])
    _talk(connection, "close", 3)


def test_steps_that_talk_need_no_more_than_one_executor_to_begin_with(run_dir: Path) -> None:
    with LocalCluster(1) as cluster, cluster.connect() as connection:
        _dialogue(connection, "tight")
        _talk(connection, "tight", 3)


def test_who_was_told_of_in_an_earlier_attempt_is_found_in_this_one(
    connection: CloudburstConnection,
) -> None:
    """The id that a step has said in an attempt that failed stands for the step in the next."""

    def flaky(library: UserLibrary, key: str) -> list[str]:
        if library.get(key) is None:
            library.put(key, library.get_id())
            raise ConnectionError("once")
        return [message for _, message in library.recv(timeout=10.0)]

    _dialogue(connection, "plain")
    connection.register(flaky, "flaky")
    steps, edges = ["flaky", "speak", "both"], [("flaky", "both"), ("speak", "both")]
    assert connection.register_dag("again", steps, edges, max_retries=2)
    arguments = {"flaky": "told", "speak": CloudburstReference("told")}
    assert connection.call_dag("again", arguments, timeout=20).get(20) == (["hello"], "sent")
