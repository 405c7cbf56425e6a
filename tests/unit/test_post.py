"""Messages between running steps: directly, through the store, and to nobody."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from posting import Office
from running import in_vain, no_calls
from sockets import PATIENCE, wait_until

from cloudburst.cache.reader import ObjectReader
from cloudburst.core.messages import Mail
from cloudburst.errors import KVSUnavailable, SerializationError, UsageError
from cloudburst.executor import post
from cloudburst.executor.doorbell import Doorbell
from cloudburst.executor.library import UserLibrary
from cloudburst.executor.post import PostOffice
from cloudburst.kvs import keys
from cloudburst.kvs.base import TakeAll
from cloudburst.kvs.memory import MemoryStore
from cloudburst.serialization import pack


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def here(folder: str, store: MemoryStore) -> Iterator[Office]:
    office = Office(f"ipc://{folder}/here", store)
    yield office
    office.close()


@pytest.fixture
def there(folder: str, store: MemoryStore) -> Iterator[Office]:
    office = Office(f"ipc://{folder}/there", store)
    yield office
    office.close()


def texts(messages: list[tuple[str, Any]]) -> list[Any]:
    return [value for _, value in messages]


def left_for(store: MemoryStore, library: UserLibrary) -> int:
    """How many messages its inbox in the store holds; they are gone then."""
    (items,) = store.execute([TakeAll(keys.inbox_key(library.get_id().partition("@")[0]))])
    return len(items)


# directly


def test_a_message_goes_straight_to_a_step_elsewhere(
    here: Office, there: Office, store: MemoryStore
) -> None:
    ann, bob = here.run("ann"), there.run("bob")
    ann.send(bob.get_id(), {"text": "hello"})

    assert bob.recv(timeout=PATIENCE) == [(ann.get_id(), {"text": "hello"})]
    assert bob.recv() == []
    assert left_for(store, bob) == 0


def test_messages_keep_their_order(here: Office, there: Office) -> None:
    ann, bob = here.run("ann"), there.run("bob")
    for number in range(200):
        ann.send(bob.get_id(), number)
    here.post.flush()

    got: list[int] = []
    while len(got) < 200:
        got += texts(bob.recv(timeout=PATIENCE))
    assert got == list(range(200))


def test_steps_answer_each_other(here: Office, there: Office) -> None:
    ann, bob = here.run("ann"), there.run("bob")
    ann.send(bob.get_id(), "question")
    ((sender, _),) = bob.recv(timeout=PATIENCE)
    bob.send(sender, "answer")

    assert ann.recv(timeout=PATIENCE) == [(bob.get_id(), "answer")]


def test_large_values_are_copies(here: Office, there: Office) -> None:
    ann, bob = here.run("ann"), there.run("bob")
    array = np.zeros(100_000)
    ann.send(bob.get_id(), array)
    array += 1
    ((_, received),) = bob.recv(timeout=PATIENCE)
    received += 5

    assert received.sum() == 500_000


def test_mail_to_oneself_does_not_leave_the_process(here: Office, store: MemoryStore) -> None:
    ann = here.run("ann")
    array = np.zeros(100_000)
    ann.send(ann.get_id(), array)
    array += 1

    ((sender, received),) = ann.recv()
    assert (sender, received.sum()) == (ann.get_id(), 0)
    assert left_for(store, ann) == 0


def test_who_waits_is_given_what_comes_meanwhile(here: Office, there: Office) -> None:
    ann, bob = here.run("ann"), there.run("bob")
    sender = threading.Timer(0.02, ann.send, (bob.get_id(), "late"))
    sender.start()
    began = time.monotonic()

    assert texts(bob.recv(timeout=PATIENCE)) == ["late"]
    assert time.monotonic() - began < PATIENCE
    sender.join()


def test_waiting_ends_at_the_timeout(here: Office) -> None:
    ann = here.run("ann")
    began = time.monotonic()

    assert ann.recv(timeout=0.03) == []
    assert 0.03 <= time.monotonic() - began < PATIENCE


def test_without_a_timeout_it_does_not_wait(here: Office) -> None:
    ann = here.run("ann")

    assert ann.recv() == []
    assert here.waits == [0.0]


# to whom


def test_mail_for_another_step_is_not_given_to_the_one_that_runs(
    here: Office, there: Office
) -> None:
    ann, bob = here.run("ann"), there.run("bob")
    carol = there.library("carol")
    ann.send(carol.get_id(), "for carol")
    ann.send(bob.get_id(), "for bob")
    here.post.flush()

    assert texts(bob.recv(timeout=PATIENCE)) == ["for bob"]
    assert texts(there.run("carol").recv()) == ["for carol"]


def test_mail_for_the_same_step_of_another_run_is_not_either(here: Office, there: Office) -> None:
    ann, bob = here.run("ann"), there.run("bob")
    ann.send(there.library("bob", "other run").get_id(), "for the other")
    ann.send(bob.get_id(), "for this one")
    here.post.flush()

    assert texts(bob.recv(timeout=PATIENCE)) == ["for this one"]


def test_mail_that_a_step_did_not_receive_is_gone_with_it(here: Office, there: Office) -> None:
    ann, bob = here.run("ann"), there.run("bob")
    ann.send(bob.get_id(), 1)
    ann.send(bob.get_id(), 2)
    here.post.flush()
    wait_until(lambda: there.mailbox() == 2, "both messages")

    next_one = there.run("carol")
    assert next_one.recv() == []
    assert there.run("bob").recv() == []


def test_mail_for_a_step_that_ended_is_left_in_its_inbox(
    here: Office, there: Office, store: MemoryStore
) -> None:
    ann, bob = here.run("ann"), there.run("bob")
    carol = there.run("carol")
    ann.send(bob.get_id(), "too late")
    ann.send(carol.get_id(), "mark")
    here.post.flush()

    assert texts(carol.recv(timeout=PATIENCE)) == ["mark"]
    assert left_for(store, bob) == 1


def test_nobody_runs_where_it_is_sent(here: Office, there: Office, store: MemoryStore) -> None:
    ann, bob = here.run("ann"), there.library("bob")
    ann.send(bob.get_id(), "early")
    here_bob = here.library("next")
    ann.send(here_bob.get_id(), "early, too")
    there.pump(0.5)

    assert texts(there.run("bob").recv()) == ["early"]
    assert texts(here.run("next").recv()) == ["early, too"]


def test_a_step_whose_executor_is_gone_gets_an_inbox(
    here: Office, folder: str, store: MemoryStore
) -> None:
    gone = Office(f"ipc://{folder}/gone", store)
    bob = gone.run("bob")
    gone.close()
    here.run("ann").send(bob.get_id(), "hello?")

    assert left_for(store, bob) == 1


def test_what_waited_in_the_inbox_goes_first(here: Office, there: Office) -> None:
    ann, bob = here.run("ann"), there.library("bob")
    ann.send(bob.get_id(), 1)
    ann.send(bob.get_id(), 2)
    here.post.flush()
    there.pump(0.5)
    there.pump(0.05)
    running = there.run("bob")
    ann.send(bob.get_id(), 3)
    here.post.flush()
    wait_until(lambda: there.mailbox() == 1, "the third message")

    assert texts(running.recv()) == [1, 2, 3]


def test_an_inbox_is_looked_into_while_waiting(
    here: Office, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post, "INBOX_EVERY", 0.01)
    ann = here.run("ann")
    assert ann.recv() == []
    doorbell = Doorbell(lambda: False)
    elsewhere = PostOffice("ipc:///elsewhere", here.peers, store, in_vain(doorbell), doorbell)
    mail = Mail(ann.get_id(), "bob", pack("by the store").frames)
    leaving = threading.Timer(0.02, elsewhere.deliver, (mail,))
    leaving.start()

    assert ann.recv(timeout=PATIENCE) == [("bob", "by the store")]
    leaving.join()


class Counting(MemoryStore):
    """Knows how often it was asked."""

    asked = 0

    def execute(self, operations: Any) -> list[Any]:
        self.asked += 1
        return super().execute(operations)


def test_an_inbox_is_not_looked_into_each_time(folder: str) -> None:
    store = Counting()
    office = Office(f"ipc://{folder}/e", store)
    ann = office.run("ann")
    began = time.monotonic()
    for _ in range(200):
        ann.recv()
    office.close()

    assert store.asked <= 1 + (time.monotonic() - began) / post.INBOX_EVERY


# what goes wrong


@pytest.mark.parametrize(
    "recipient",
    ["", "bob", "run/1/bob@", "run/1/bob@nowhere", "run/1/bob@tcp://", "a@tcp://host", "x@ipc://"],
)
def test_what_is_no_id_is_refused(here: Office, store: MemoryStore, recipient: str) -> None:
    with pytest.raises(UsageError, match="not what get_id"):
        here.run("ann").send(recipient, "hello")


def test_a_value_that_cannot_be_pickled_is_refused(here: Office) -> None:
    ann = here.run("ann")
    with pytest.raises(SerializationError, match="the message cannot be pickled"):
        ann.send(ann.get_id(), (n for n in "x"))
    assert ann.recv() == []


def test_a_message_that_cannot_be_unpacked_costs_no_other(here: Office) -> None:
    ann = here.run("ann")
    me = ann.get_id()
    ann.send(me, 1)
    here.post.deliver(Mail(me, "x", [b"garbage"]))
    here.post.deliver(Mail(me, "x", [b"more garbage"]))
    ann.send(me, 2)
    here.post.flush()

    assert texts(ann.recv()) == [1]
    for _ in range(2):
        with pytest.raises(SerializationError):
            ann.recv()
    assert texts(ann.recv()) == [2]


class Refusing:
    """A store whose server is gone."""

    def execute(self, operations: object) -> list[Any]:
        raise KVSUnavailable("not now")

    def close(self) -> None: ...


def test_without_a_store_the_sender_is_told(folder: str) -> None:
    office = Office(f"ipc://{folder}/e", Refusing())
    try:
        with pytest.raises(KVSUnavailable):
            office.run("ann").send(f"run/1/bob@ipc://{folder}/gone", "hello")
    finally:
        office.close()


def test_without_a_store_mail_for_nobody_is_lost_with_a_word(
    folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    office = Office(f"ipc://{folder}/e", Refusing())
    try:
        office.post.deliver(Mail("run/1/bob@x", "ann", pack(1).frames))
    finally:
        office.close()

    assert "mail for run/1/bob@x is lost: not now" in caplog.text


def test_messages_wait_only_so_long(here: Office) -> None:
    now = 1000.0
    store = MemoryStore(clock=lambda: now)
    doorbell = Doorbell(lambda: False)
    office = PostOffice("ipc:///e", here.peers, store, in_vain(doorbell), doorbell)
    bob = UserLibrary(ObjectReader(store), office, no_calls(store), "run", 1, "ipc:///e")
    office.deliver(Mail(bob.get_id(), "ann", pack(1).frames))
    now += post.INBOX_TTL + 1

    office.open(bob)
    assert bob.recv() == []
