"""Writing behind the scheduler's back, while the server lives, dies, stops and comes back."""

import math
import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from proxy import proxy_to
from stores import (
    Admin,
    Bench,
    Clock,
    busy,
    collect_all,
    kill,
    open_files,
    record,
    stopped,
    wait_turn,
    wait_until,
)

from cloudburst.errors import KVSUnavailable, UsageError
from cloudburst.kvs.base import (
    AddMember,
    CommitRun,
    DropMember,
    Get,
    GetFields,
    Members,
    Put,
)
from cloudburst.kvs.embedded import EmbeddedServer
from cloudburst.kvs.keys import OPEN_RUNS, run_key
from cloudburst.kvs.memory import MemoryStore, MemoryWriter
from cloudburst.kvs.opening import open_writer
from cloudburst.kvs.redis import RedisStore
from cloudburst.kvs.redis_writer import RedisWriter
from cloudburst.kvs.writer import Writer


@pytest.fixture
def writer(private_server: EmbeddedServer) -> Iterator[RedisWriter]:
    writer = RedisWriter(private_server.url, timeout=10.0)
    yield writer
    writer.close()


@pytest.fixture
def either(bench: Bench) -> Iterator[tuple[Writer, Bench]]:
    """A writer of every kind, with a store in which to see what it wrote."""
    if isinstance(bench.store, MemoryStore):
        yield MemoryWriter(bench.store), bench
    else:
        writer = open_writer(bench.url)
        yield writer, bench
        writer.close()


def answered(writer: RedisWriter, operations: list[Any], token: object = 0) -> Any:
    """What one submission comes back with."""
    writer.submit(operations, token)
    ((came, outcome),) = collect_all(writer)
    assert came == token
    return outcome


class TestEveryWriter:
    def test_answers_come_in_order(self, either: tuple[Any, Bench]) -> None:
        writer, bench = either
        for number in range(300):
            writer.submit([AddMember("s", f"{number:03}"), record(f"r{number}")], number)
        writer.submit([Members("s")], "last")
        assert writer.pending == 301

        *first, last = collect_all(writer)
        assert first == [(number, [None, True]) for number in range(300)]
        assert last == ("last", [[f"{number:03}" for number in range(300)]])
        assert bench.one(GetFields(run_key("r7")))["state"] == b"RUNNING"

    def test_one_refusal_does_not_touch_the_others(self, either: tuple[Any, Bench]) -> None:
        writer, bench = either
        bench.do(Put("value", b"v"))
        writer.submit([AddMember("s", "a")], 1)
        writer.submit([AddMember("value", "x")], 2)
        writer.submit([AddMember("s", "b"), Members("s")], 3)

        first, second, third = collect_all(writer)
        assert (first, third) == ((1, [None]), (3, [None, ["a", "b"]]))
        assert second[0] == 2
        assert isinstance(second[1], KVSUnavailable)
        assert "WRONGTYPE" in str(second[1])

    def test_without_submissions_it_waits_for_nothing(self, either: tuple[Any, Bench]) -> None:
        writer, _ = either
        writer.flush()

        assert (writer.pending, writer.next_deadline(), writer.fileno()) == (0, None, -1)
        assert (writer.collect(), writer.wants_write) == ([], False)

    def test_nothing_to_do_is_done(self, either: tuple[Any, Bench]) -> None:
        writer, _ = either
        writer.submit([], "token")

        assert collect_all(writer) == [("token", [])]

    def test_what_is_closed_is_forgotten(self, either: tuple[Any, Bench]) -> None:
        writer, _ = either
        writer.submit([AddMember("s", "a")], 1)
        writer.close()
        writer.close()

        assert (writer.pending, writer.collect(), writer.next_deadline()) == (0, [], None)


def test_submitting_sends_nothing_and_flushing_waits_for_nothing(
    writer: RedisWriter, store: RedisStore, admin: Admin
) -> None:
    assert answered(writer, [Put("k", b"v")]) == [None]
    before = admin.calls("set")
    writer.submit([Put("k", b"w")], 1)
    assert (admin.calls("set"), writer.pending) == (before, 1)
    writer.flush()

    wait_until(lambda: admin.calls("set") == before + 1, "the server carries it out")
    wait_turn(writer)
    assert writer.collect() == [(1, [None])]


def test_one_descriptor_and_no_more(private_server: EmbeddedServer, admin: Admin) -> None:
    before = open_files()
    writer = RedisWriter(private_server.url)
    for number in range(10):
        assert answered(writer, [AddMember("s", str(number))]) == [None]
    assert (open_files(), len(admin.other_clients())) == (before + 1, 1)
    writer.close()

    assert open_files() == before


class TestTheServerDies:
    def test_what_was_not_answered_is_sent_again(
        self, writer: RedisWriter, private_server: EmbeddedServer
    ) -> None:
        assert answered(writer, [record("r0", call=b"call")]) == [True]
        with stopped(private_server):
            for number in range(1, 50):
                writer.submit([record(f"r{number}"), AddMember(OPEN_RUNS, f"r{number}")], number)
            writer.flush()
            kill(private_server)
        private_server.start()

        assert collect_all(writer) == [(number, [True, None]) for number in range(1, 50)]
        assert answered(writer, [Members(OPEN_RUNS)]) == [sorted(f"r{n}" for n in range(1, 50))]

    def test_submissions_wait_until_it_is_back(
        self, writer: RedisWriter, private_server: EmbeddedServer
    ) -> None:
        private_server.stop()
        writer.submit([record("r")], "before")
        for _ in range(3):
            writer.flush()
            assert (writer.collect(), writer.fileno()) == ([], -1)
            wait_turn(writer)
        writer.submit([record("r", epoch=1)], "meanwhile")
        private_server.start()

        assert collect_all(writer) == [("before", [True]), ("meanwhile", [True])]

    def test_it_is_not_asked_all_the_time(self, private_server: EmbeddedServer) -> None:
        private_server.stop()
        clock = Clock(100.0)
        writer = RedisWriter(private_server.url, timeout=10.0, clock=clock)
        writer.submit([record("r")], 1)
        pauses = []
        while writer.pending:
            writer.collect()
            deadline = writer.next_deadline() or clock.now
            pauses.append(deadline - clock.now)
            assert pauses[-1] > 0 or not writer.pending
            clock.now = deadline

        assert pauses[:4] == pytest.approx([0.01, 0.02, 0.04, 0.08])
        assert max(pauses) == pytest.approx(0.5)
        assert len(pauses) < 40

    def test_after_the_timeout_a_submission_is_given_up(
        self, private_server: EmbeddedServer
    ) -> None:
        private_server.stop()
        writer = RedisWriter(private_server.url, timeout=0.2)
        writer.submit([record("r")], "token")

        ((token, outcome),) = collect_all(writer, timeout=1.0)
        assert token == "token"
        assert isinstance(outcome, KVSUnavailable)
        assert "No such file" in str(outcome) or "refused" in str(outcome)
        assert private_server.url in str(outcome)
        private_server.start()
        assert answered(writer, [GetFields(run_key("r"))]) == [{}], "what was given up is not sent"
        writer.close()

    def test_a_connection_that_ends_while_nothing_pends(
        self, writer: RedisWriter, admin: Admin
    ) -> None:
        answered(writer, [record("r")])
        for client in admin.other_clients():
            admin("CLIENT", "KILL", "ID", client)

        assert answered(writer, [record("r")]) == [True]

    def test_a_lost_reply(self, private_server: EmbeddedServer, short_dir: Path) -> None:
        with proxy_to(private_server, short_dir) as proxy:
            writer = RedisWriter(proxy.url)
            answered(writer, [AddMember(OPEN_RUNS, "r")])
            proxy.lose_replies = 1
            commit = CommitRun("r", "FAILED", 0, "", "why", b"", "", 60.0)

            (first, dropped) = answered(writer, [commit, DropMember(OPEN_RUNS, "r")])
            assert (first, dropped) == (False, None), "it was the first, but nobody can tell"
            assert (proxy.lose_replies, proxy.connections) == (0, 2)
            writer.close()


class TestTheServerStops:
    def test_flush_and_collect_return_at_once(
        self, writer: RedisWriter, store: RedisStore, private_server: EmbeddedServer
    ) -> None:
        answered(writer, [Get("k")])
        with stopped(private_server):
            began = time.monotonic()
            for number in range(20):
                writer.submit([Put(f"k{number}", bytes([number]) * 1_000_000)], number)
                writer.flush()
                assert writer.collect() == []
            assert time.monotonic() - began < 1.0
            assert writer.wants_write
            assert (writer.next_deadline() or math.inf) - time.monotonic() < 0.1

        assert collect_all(writer) == [(number, [None]) for number in range(20)]
        assert not writer.wants_write
        values = store.execute([Get(f"k{number}") for number in range(20)])
        assert values == [bytes([number]) * 1_000_000 for number in range(20)]

    def test_so_does_the_first_flush(self, private_server: EmbeddedServer, admin: Admin) -> None:
        writer = RedisWriter(f"{private_server.url}?db=1")
        with stopped(private_server):
            writer.submit([Put("k", b"v")], 1)
            began = time.monotonic()
            writer.flush()
            assert time.monotonic() - began < 2.0, "the handshake must not take longer"

        assert collect_all(writer) == [(1, [None])]
        writer.close()

    def test_late_answers_are_not_mixed_up(self, private_server: EmbeddedServer) -> None:
        writer = RedisWriter(private_server.url, timeout=0.3)
        answered(writer, [Put("a", b"of a"), Put("b", b"of b")])
        with stopped(private_server):
            writer.submit([Get("a")], "a")
            ((token, outcome),) = collect_all(writer)
            assert token == "a"
            assert isinstance(outcome, KVSUnavailable)
            assert "silent" in str(outcome)
            writer.submit([Get("b")], "b")
            writer.flush()

        assert collect_all(writer) == [("b", [b"of b"])]
        assert answered(writer, [Get("a"), Get("b")]) == [b"of a", b"of b"]
        writer.close()

    def test_a_connection_that_leads_nowhere_is_replaced_in_time(
        self, private_server: EmbeddedServer, short_dir: Path
    ) -> None:
        with proxy_to(private_server, short_dir) as proxy:
            writer = RedisWriter(proxy.url, timeout=2.0)
            answered(writer, [Put("k", b"v")])
            proxy.go_deaf()
            began = time.monotonic()
            finished: list[tuple[Any, Any]] = []
            sent = 0
            while not finished:
                # Sends go on meanwhile: the kernel's buffer takes them.
                writer.submit([record(f"r{sent}")], sent)
                sent += 1
                writer.flush()
                select.select([writer] if writer.fileno() >= 0 else [], [], [], 0.05)
                finished += writer.collect()
                assert time.monotonic() - began < 5.0
            assert 0.9 < time.monotonic() - began < 1.9

            finished += collect_all(writer)
            assert finished == [(number, [True]) for number in range(sent)]
            writer.close()


class TestTheServerAnswersOtherwise:
    def test_it_forgot_the_scripts(self, writer: RedisWriter, admin: Admin) -> None:
        answered(writer, [record("r0")])
        admin("SCRIPT", "FLUSH")
        writer.submit([record("r1"), AddMember(OPEN_RUNS, "r1")], 1)
        writer.submit([Members(OPEN_RUNS), record("r2")], 2)

        assert collect_all(writer) == [(1, [True, None]), (2, [["r1"], True])]

    def test_it_is_busy(
        self, writer: RedisWriter, private_server: EmbeddedServer, admin: Admin
    ) -> None:
        answered(writer, [record("r0")])
        with busy(private_server, admin):
            writer.submit([record("r1"), AddMember(OPEN_RUNS, "r1")], 1)
            began = time.monotonic()
            turns = 0
            while time.monotonic() - began < 0.3:
                writer.flush()
                wait_turn(writer)
                assert writer.collect() == []
                turns += 1
            assert 3 < turns < 30, "it is asked again, but not all the time"

        assert collect_all(writer) == [(1, [True, None])]

    def test_what_was_given_up_while_it_was_busy_is_not_sent_later(
        self, private_server: EmbeddedServer, admin: Admin
    ) -> None:
        writer = RedisWriter(private_server.url, timeout=0.3)
        answered(writer, [record("r0")])
        with busy(private_server, admin):
            assert "BUSY" in str(answered(writer, [record("r1")]))

        assert answered(writer, [GetFields(run_key("r1"))]) == [{}]
        writer.close()

    def test_it_is_out_of_memory(
        self, writer: RedisWriter, store: RedisStore, admin: Admin
    ) -> None:
        answered(writer, [record("r")])
        admin("CONFIG", "SET", "maxmemory", "1")
        refused = answered(writer, [record("r", epoch=1), DropMember(OPEN_RUNS, "r")])
        admin("CONFIG", "SET", "maxmemory", "0")

        assert isinstance(refused, KVSUnavailable)
        assert "OOM" in str(refused)
        assert answered(writer, [record("r", epoch=2)]) == [True]

    def test_it_wants_another_password(self, private_server: EmbeddedServer) -> None:
        url = private_server.url.replace("unix://", "unix://someone:wr0ng@")
        writer = RedisWriter(url, timeout=0.2)

        refused = answered(writer, [record("r")])
        assert "WRONGPASS" in str(refused)
        assert "wr0ng" not in str(refused)


def test_a_url_that_names_no_store_is_refused_at_once() -> None:
    with pytest.raises(UsageError):
        RedisWriter("localhost")
