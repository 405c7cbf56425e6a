"""The sockets of a connection, shared by threads that take turns."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Iterable

import pytest
from failing import raised
from scripted import Client, Scheduler, client_of
from sockets import PATIENCE, in_threads, open_files, short_folder, wait_until

from cloudburst.client.link import Link
from cloudburst.core.messages import Message
from cloudburst.core.requests import GetStatus, ListDags, ListFunctions, Names
from cloudburst.errors import ClusterError, UsageError
from cloudburst.transport.paths import listen

THREADS = 8
ROUNDS = 150


@pytest.fixture
def scheduler(scheduler: Scheduler) -> Scheduler:
    scheduler.script[ListFunctions] = named
    return scheduler


def named(message: Message) -> Iterable[Message]:
    assert isinstance(message, ListFunctions)
    return [Names(message.request, (message.prefix,))]


def ask(client: Client, prefix: str) -> str:
    return client.requests.ask(lambda n: ListFunctions(n, prefix), Names).names[0]


def pumps(client: Client) -> bool:
    """Whether a thread has the sockets."""
    return client.link._turn.locked()


# one thread


def test_where_results_come_to_is_told(scheduler: Scheduler) -> None:
    with client_of(scheduler.address, scheduler.address + ".c") as client:
        assert client.link.reply_to == scheduler.address + ".c"
    with client_of(scheduler.address, "") as client:
        assert client.link.reply_to == ""


def test_waiting_ends_when_it_is_ready(client: Client) -> None:
    assert client.link.wait(lambda: True, 0.0)
    assert ask(client, "x") == "x"


def test_waiting_ends_at_the_deadline(client: Client) -> None:
    began = time.monotonic()
    assert client.link.wait(lambda: False, began + 0.02) is False
    assert time.monotonic() - began >= 0.02


def test_what_has_come_by_a_deadline_that_is_past_counts(
    scheduler: Scheduler, client: Client
) -> None:
    client.link.send(GetStatus(1))
    scheduler.wait_for(GetStatus)
    scheduler.say(client.name, Names(1, ("x",)))

    wait_until(lambda: client.link.wait(lambda: bool(client.heard), 0.0), "the answer")


def test_looking_takes_in_what_has_come(scheduler: Scheduler, client: Client) -> None:
    client.link.send(GetStatus(1))
    scheduler.wait_for(GetStatus)
    client.link.look()
    assert client.heard == []

    scheduler.say(client.name, Names(1, ("x",)))
    wait_until(client.has_heard_anything, "the answer")
    assert client.heard == [Names(1, ("x",))]


def test_what_is_no_message_is_dropped(scheduler: Scheduler, client: Client) -> None:
    ask(client, "x")
    for frames in ([b""], [b"garbage"], [b"\x91\x7f"], [b"\xc1", b"more"]):
        scheduler.say_frames(client.name, frames)

    assert ask(client, "y") == "y"


def test_an_inbox_that_cannot_be_bound_is_a_usage_error(scheduler: Scheduler) -> None:
    with pytest.raises(UsageError, match="cannot bind"):
        Link(scheduler.address, "c", scheduler.address, lambda _: None)
    with pytest.raises(UsageError, match="cannot connect"):
        Link("tcp://nonsense", "c", "", lambda _: None)


# several threads


def test_what_a_thread_sends_leaves_while_another_one_waits(
    scheduler: Scheduler, client: Client
) -> None:
    over = threading.Event()
    waiter = threading.Thread(target=client.link.wait, args=(over.is_set, None))
    waiter.start()
    wait_until(lambda: pumps(client), "the thread to wait")

    client.link.send(ListDags(1))
    assert scheduler.wait_for(ListDags) == [ListDags(1)]
    over.set()
    client.link.wake()
    waiter.join(PATIENCE)
    assert not waiter.is_alive()


def test_who_waits_takes_in_what_comes_for_others(scheduler: Scheduler, client: Client) -> None:
    scheduler.script.clear()
    answers: list[str] = []
    asking = [
        threading.Thread(target=lambda name=name: answers.append(ask(client, name)))
        for name in "abc"
    ]
    for thread in asking:
        thread.start()
    questions = scheduler.wait_for(ListFunctions, 3)
    assert answers == []
    for count, question in enumerate(reversed(questions), 1):
        scheduler.say(client.name, Names(question.request, (question.prefix,)))
        wait_until(lambda count=count: len(answers) == count, f"answer {count}")  # type: ignore[misc]
    for thread in asking:
        thread.join(PATIENCE)
    assert answers == [question.prefix for question in reversed(questions)]


def test_when_who_has_the_sockets_is_done_another_one_takes_over(
    scheduler: Scheduler, client: Client
) -> None:
    first, second = threading.Event(), threading.Event()
    one = threading.Thread(target=client.link.wait, args=(first.is_set, None))
    other = threading.Thread(target=client.link.wait, args=(second.is_set, None))
    one.start()
    wait_until(lambda: pumps(client), "the first to wait")
    other.start()
    wait_until(lambda: client.link._waiters, "the second to wait for the first")

    first.set()
    client.link.wake()
    one.join(PATIENCE)
    assert not one.is_alive()
    assert other.is_alive()
    assert ask(client, "meanwhile") == "meanwhile"
    second.set()
    client.link.wake()
    other.join(PATIENCE)
    assert not other.is_alive()


def test_no_wake_up_is_lost(client: Client) -> None:
    def work(number: int) -> None:
        for count in range(ROUNDS):
            name = f"{number}-{count}"
            assert ask(client, name) == name

    in_threads(*[lambda number=n: work(number) for n in range(THREADS)])
    assert client.requests._replies == {}
    assert not client.link._outbox
    assert not pumps(client)


def test_no_message_is_left_behind(scheduler: Scheduler, client: Client) -> None:
    """Threads that only send, beside one that waits all the time."""
    over = threading.Event()

    def send(number: int) -> None:
        for count in range(ROUNDS):
            client.link.send(GetStatus(number * ROUNDS + count))

    waiter = threading.Thread(target=client.link.wait, args=(over.is_set, None))
    waiter.start()
    in_threads(*[lambda number=n: send(number) for n in range(THREADS)])
    sent = scheduler.wait_for(GetStatus, THREADS * ROUNDS)
    over.set()
    client.link.wake()
    waiter.join(PATIENCE)

    assert sorted(message.request for message in sent) == list(range(THREADS * ROUNDS))
    of_first = [message.request for message in sent if message.request < ROUNDS]
    assert of_first == list(range(ROUNDS))


def test_what_is_sent_while_another_thread_takes_in_leaves_with_it(scheduler: Scheduler) -> None:
    heard: list[Message] = []

    def receive(message: Message) -> None:
        # By now this thread has sent what there was, and it will not wait again.
        in_threads(lambda: link.send(ListDags(7)))
        heard.append(message)

    link = Link(scheduler.address, "client", "", receive)
    link.send(ListFunctions(1, "x"))
    assert link.wait(lambda: bool(heard), None)
    assert scheduler.wait_for(ListDags) == [ListDags(7)]
    link.close()


# the end


def test_what_was_sent_before_the_end_arrives(scheduler: Scheduler) -> None:
    with client_of(scheduler.address, "") as client:
        for number in range(100):
            client.link.send(GetStatus(number))

    sent = scheduler.wait_for(GetStatus, 100)
    assert [message.request for message in sent] == list(range(100))


def test_threads_that_wait_are_told_of_the_end(client: Client) -> None:
    told: list[str] = []

    def wait() -> None:
        try:
            client.link.wait(lambda: False, None)
        except ClusterError as error:
            told.append(str(error))

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: client.link._waiters == 3, "all to wait")
    client.link.close()
    for thread in threads:
        thread.join(PATIENCE)
    assert told == ["the connection is closed"] * 4


def test_nothing_is_done_after_the_end(client: Client) -> None:
    client.link.close()

    for use in (
        lambda: client.link.send(ListDags(1)),
        lambda: client.link.wait(lambda: False, None),
        client.link.look,
    ):
        with pytest.raises(ClusterError, match="closed"):
            use()
    client.link.wake()


def test_closing_twice_is_harmless() -> None:
    # Who listens does nothing: a thread that accepted would close files when it likes.
    with short_folder() as folder, listen(f"{folder}/scheduler"):
        before = open_files()
        link = Link(f"ipc://{folder}/scheduler", "client", f"ipc://{folder}/c", lambda _: None)
        link.close()
        assert open_files() == before
        link.close()
        assert open_files() == before


def test_the_end_may_come_at_any_time(scheduler: Scheduler) -> None:
    """Threads that use a connection while it is closed get an answer, or the error for that."""
    for _ in range(15):
        with client_of(scheduler.address, scheduler.address + ".c") as client:
            enough = scheduler.count(ListFunctions) + 5

            def work(client: Client = client) -> str:
                return str(raised(lambda: ask_for_ever(client)))

            def close(client: Client = client, enough: int = enough) -> None:
                wait_until(lambda: scheduler.count(ListFunctions) > enough, "questions")
                client.link.close()

            ends = in_threads(work, work, work, close, close)
            assert ends == ["the connection is closed"] * 3 + [None] * 2


def ask_for_ever(client: Client) -> None:
    while True:
        assert ask(client, "x") == "x"


def test_a_forked_process_needs_a_connection_of_its_own(client: Client) -> None:
    ask(client, "x")
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        report = b"nothing was raised"
        try:
            client.link.close()  # harmless: it is the parent's
            client.link.send(ListDags(1))
        except ClusterError as error:
            report = str(error).encode()
        except BaseException:
            report = traceback.format_exc().encode()
        finally:
            os.write(writable, report)
            os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)

    assert "before this process was forked; open one of its own" in said
    assert ask(client, "still here") == "still here"
