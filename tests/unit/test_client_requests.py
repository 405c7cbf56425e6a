"""Questions to the scheduler: one answer each, refusals as their classes, and no answer in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

import pytest
from scripted import WELCOME, Client, Scheduler, client_of, scheduler_in
from sockets import short_folder, wait_until

from cloudburst.calls import link
from cloudburst.client.client import CloudburstConnection
from cloudburst.core.ids import VERSION, python_version
from cloudburst.core.messages import PROTOCOL, Hello, Message
from cloudburst.core.requests import (
    DeleteFunction,
    Done,
    GetFunction,
    ListDags,
    ListFunctions,
    Names,
    Refused,
)
from cloudburst.errors import (
    ClusterError,
    ConnectionFailed,
    DagError,
    InvalidName,
    Overloaded,
    RunError,
    SchedulerUnavailable,
    UnknownFunction,
    VersionMismatch,
)


def names(message: Message) -> Iterable[Message]:
    assert isinstance(message, ListFunctions)
    return [Names(message.request, (message.prefix, "b"))]


def refusal(error: str, *reasons: str) -> object:
    return lambda message: [Refused(message.request, error, reasons)]


# questions that nobody reads


def test_a_question_is_asked_again_after_a_while(
    scheduler: Scheduler, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first died with the scheduler that had it in its socket; the next one answers."""
    monkeypatch.setattr(link, "SAY_AGAIN", 0.02)
    asked: list[Message] = []

    def second_time(message: Message) -> Iterable[Message]:
        asked.append(message)
        return names(message) if len(asked) > 1 else []

    scheduler.script[ListFunctions] = second_time

    reply = client.requests.ask(lambda number: ListFunctions(number, "a"), Names)

    assert reply.names == ("a", "b")
    assert asked[0] == asked[1]


def test_the_first_answer_counts(scheduler: Scheduler, client: Client) -> None:
    """The second is that to a repetition, for which there was nothing left to do."""
    scheduler.script[DeleteFunction] = lambda message: [
        Done(message.request, changed=True),
        Refused(message.request, "UnknownFunction", ("it is gone",)),
    ]

    for _ in range(20):
        assert client.requests.ask(lambda number: DeleteFunction(number, "f"), Done).changed


# greeting


def test_a_client_says_who_it_is(scheduler: Scheduler, client: Client) -> None:
    assert client.requests.greet() == WELCOME
    assert scheduler.wait_for(Hello) == [Hello(PROTOCOL, VERSION, python_version())]


def test_another_protocol_is_refused(scheduler: Scheduler, client: Client) -> None:
    scheduler.script[Hello] = lambda _: [WELCOME._replace(protocol=99, version="9.9")]

    with pytest.raises(VersionMismatch, match=r"the cluster runs 9\.9 \(protocol 99\)"):
        client.requests.greet()


def test_another_python_is_refused(scheduler: Scheduler, client: Client) -> None:
    scheduler.script[Hello] = lambda _: [WELCOME._replace(python="2.7")]

    with pytest.raises(VersionMismatch, match=r"the cluster runs 2\.7"):
        client.requests.greet()


def test_nobody_greets_back(scheduler: Scheduler) -> None:
    scheduler.script.clear()
    with client_of(scheduler.address, "", timeout=0.05) as client:
        assert client.requests.greet() is None


def test_a_connection_fails_if_nobody_greets_back(scheduler: Scheduler) -> None:
    scheduler.script.clear()
    with pytest.raises(ConnectionFailed, match="the socket is there"):
        CloudburstConnection(scheduler.address, timeout=0.05)


def test_a_connection_fails_if_its_answers_are_garbage(scheduler: Scheduler) -> None:
    failures: list[Exception] = []

    def connect() -> None:
        try:
            CloudburstConnection(scheduler.address, timeout=0.3)
        except ConnectionFailed as error:
            failures.append(error)

    scheduler.script.clear()
    thread = threading.Thread(target=connect)
    thread.start()
    scheduler.wait_for(Hello)
    (sender, _) = scheduler.said[0]
    for frames in ([b"garbage"], [b"\x91\xcd\xff\xff"], [b"", b""], [b"\x92\x01\xa1x"]):
        scheduler.say_frames(sender, frames)
    thread.join()
    assert len(failures) == 1


def test_a_connection_knows_where_the_store_is(scheduler: Scheduler) -> None:
    with CloudburstConnection(scheduler.address) as connection:
        assert connection.kvs_url == "redis://kvs"
        assert repr(connection) == f"<CloudburstConnection to {scheduler.address}>"


# asking


def test_an_answer_is_that_to_the_question(scheduler: Scheduler, client: Client) -> None:
    scheduler.script[ListFunctions] = names

    for prefix in ("x", "y"):
        answer = client.requests.ask(lambda n: ListFunctions(n, prefix), Names)  # noqa: B023
        assert answer.names == (prefix, "b")
    first, second = scheduler.wait_for(ListFunctions, 2)
    assert first.request != second.request


def test_answers_that_change_places_find_their_questions(
    scheduler: Scheduler, client: Client
) -> None:
    held: list[Message] = []

    def answer(message: Message) -> Iterable[Message]:
        held.extend(names(message))
        return held[::-1] if len(held) == 4 else []

    scheduler.script[ListFunctions] = answer
    got: dict[str, tuple[str, ...]] = {}

    def ask(prefix: str) -> None:
        got[prefix] = client.requests.ask(lambda n: ListFunctions(n, prefix), Names).names

    threads = [threading.Thread(target=ask, args=(prefix,)) for prefix in "wxyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {prefix: (prefix, "b") for prefix in "wxyz"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("UnknownFunction", UnknownFunction),
        ("InvalidName", InvalidName),
        ("Overloaded", Overloaded),
        ("RunError", RunError),
        ("FunctionError", RunError),  # which needs more than a text
        ("SomethingNew", ClusterError),
    ],
)
def test_a_refusal_is_raised_as_its_class(
    scheduler: Scheduler, client: Client, error: str, kind: type[Exception]
) -> None:
    scheduler.script[GetFunction] = refusal(error, "one reason", "another")  # type: ignore[assignment]

    with pytest.raises(kind, match="one reason another") as caught:
        client.requests.ask(lambda n: GetFunction(n, "f"), Done)
    assert type(caught.value) is kind


def test_a_refused_dag_lists_its_problems(scheduler: Scheduler, client: Client) -> None:
    scheduler.script[ListDags] = refusal("DagError", "a cycle.", "no sink.")  # type: ignore[assignment]

    with pytest.raises(DagError) as caught:
        client.requests.ask(ListDags, Names)
    assert caught.value.problems == ["a cycle.", "no sink."]


def test_an_answer_of_another_kind(scheduler: Scheduler, client: Client) -> None:
    scheduler.script[ListDags] = lambda message: [Done(message.request, changed=True)]  # type: ignore[union-attr]

    with pytest.raises(SchedulerUnavailable, match="answered with a Done"):
        client.requests.ask(ListDags, Names)


def test_no_answer_in_time(scheduler: Scheduler) -> None:
    with client_of(scheduler.address, "", timeout=0.05) as client:
        began = time.monotonic()
        with pytest.raises(SchedulerUnavailable, match=r"a ListDags within 0\.05 seconds"):
            client.requests.ask(ListDags, Names)
        assert time.monotonic() - began >= 0.05
        assert scheduler.wait_for(ListDags)


def test_a_late_answer_is_dropped(scheduler: Scheduler) -> None:
    with client_of(scheduler.address, "", timeout=0.05) as client:
        with pytest.raises(SchedulerUnavailable):
            client.requests.ask(ListDags, Names)
        (asked,) = scheduler.wait_for(ListDags)
        scheduler.say(client.name, Names(asked.request, ("late",)))
        scheduler.say(client.name, Names(4711, ("never asked for",)))

        scheduler.script[ListFunctions] = names
        answer = client.requests.ask(lambda n: ListFunctions(n, "x"), Names)
        assert answer.names == ("x", "b")
        assert client.requests._replies == {}


def test_a_scheduler_that_comes_back_answers_again() -> None:
    with short_folder() as folder:
        with scheduler_in(folder) as first:
            first.script[ListFunctions] = names
            client = Client(first.address, "", timeout=0.1)
            assert client.requests.ask(lambda n: ListFunctions(n, "1"), Names).names[0] == "1"
        with pytest.raises(SchedulerUnavailable):
            client.requests.ask(lambda n: ListFunctions(n, "2"), Names)

        with scheduler_in(folder) as second:
            second.script[ListFunctions] = names

            def is_answered() -> bool:
                try:
                    client.requests.ask(lambda n: ListFunctions(n, "3"), Names)
                except SchedulerUnavailable:
                    return False
                return True

            wait_until(is_answered, "an answer")
        client.close()


def test_a_closed_connection_does_not_ask(scheduler: Scheduler, client: Client) -> None:
    client.close()

    with pytest.raises(ClusterError, match="closed"):
        client.requests.ask(lambda n: DeleteFunction(n, "f"), Done)
    assert client.requests._replies == {}
    wait_until(lambda: scheduler.count(DeleteFunction) == 0, "nothing")
