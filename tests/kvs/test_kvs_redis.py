"""What goes wrong between a store and its server, and what the caller sees of it."""

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from proxy import proxy_to
from stores import (
    COMMIT,
    Admin,
    kill,
    open_files,
    record,
    stopped,
    store_at,
)

from cloudburst.errors import KVSUnavailable, UsageError
from cloudburst.kvs.base import (
    AddMembers,
    Append,
    Commit,
    CommitRun,
    Delete,
    DropMembers,
    Get,
    Increment,
    Operation,
    Put,
    PutIfAbsent,
    RecordRun,
    TakeAll,
)
from cloudburst.kvs.embedded import EmbeddedServer
from cloudburst.kvs.keys import object_key, run_key
from cloudburst.kvs.redis import RedisStore


class TestTheServerRestarts:
    def test_the_next_call_works_and_finds_the_data(
        self, store: RedisStore, private_server: EmbeddedServer
    ) -> None:
        store.execute([Put("k", b"v"), Append("l", b"item", 60.0), record("r")])
        kill(private_server)
        private_server.start()

        assert store.execute([Get("k")]) == [b"v"]

    @pytest.mark.parametrize(
        ("operation", "answer"),
        [(TakeAll("l"), [b"item"]), (COMMIT, Commit.STORED), (PutIfAbsent("k", b""), True)],
        ids=["TakeAll", "CommitRun", "PutIfAbsent"],
    )
    def test_so_does_one_that_must_not_be_repeated(
        self,
        store: RedisStore,
        private_server: EmbeddedServer,
        operation: TakeAll | CommitRun | PutIfAbsent,
        answer: object,
    ) -> None:
        store.execute([Append("l", b"item", 60.0), record("r")])
        kill(private_server)
        private_server.start()

        assert store.execute([operation]) == [answer]

    def test_a_call_made_while_it_is_away_waits_for_it(
        self, store: RedisStore, private_server: EmbeddedServer
    ) -> None:
        store.execute([Put("k", b"v")])
        kill(private_server)
        with ThreadPoolExecutor() as pool:
            reading = pool.submit(store.execute, [Get("k")])
            writing = pool.submit(store.execute, [PutIfAbsent("k2", b"v2")])
            assert not reading.done()
            private_server.start()

            assert (reading.result(10), writing.result(10)) == ([b"v"], [True])

    def test_a_call_gives_up_after_its_timeout(self, private_server: EmbeddedServer) -> None:
        private_server.stop()
        began = time.monotonic()
        with store_at(private_server.url) as store, pytest.raises(KVSUnavailable) as caught:
            store.execute([Get("k")])

        assert 0.2 < time.monotonic() - began < 1.0
        assert private_server.url in str(caught.value)
        assert "times in 0.3 s" in str(caught.value)
        assert "Is the server running" in str(caught.value)


class TestTheServerIsSilent:
    def test_a_call_fails_within_its_timeout(self, private_server: EmbeddedServer) -> None:
        with store_at(private_server.url) as store:
            store.execute([Put("k", b"v")])
            with stopped(private_server):
                began = time.monotonic()
                with pytest.raises(KVSUnavailable, match=r"no answer for 0\.3 s"):
                    store.execute([Get("k")])
                assert 0.2 < time.monotonic() - began < 1.0

    def test_so_does_one_that_cannot_even_send(self, private_server: EmbeddedServer) -> None:
        with store_at(private_server.url) as store:
            store.execute([Get("k")])
            with stopped(private_server):
                began = time.monotonic()
                with pytest.raises(KVSUnavailable, match="took nothing"):
                    store.execute([Put("k", bytes(10_000_000))])
                assert time.monotonic() - began < 1.0

    def test_a_late_answer_is_not_read_as_the_next_one(
        self, private_server: EmbeddedServer
    ) -> None:
        with store_at(private_server.url) as store:
            store.execute([Put("a", b"of a"), Put("b", b"of b")])
            with stopped(private_server), pytest.raises(KVSUnavailable):
                store.execute([Get("a")])

            assert store.execute([Get("b")]) == [b"of b"]
            assert store.execute([Get("a"), Get("b")]) == [b"of a", b"of b"]

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError, ConnectionError])
    def test_nor_after_the_caller_was_interrupted(
        self, private_server: EmbeddedServer, kind: type[BaseException]
    ) -> None:
        def interrupt(*_: object) -> None:
            raise kind("by a signal")

        previous = signal.signal(signal.SIGALRM, interrupt)
        with store_at(private_server.url, timeout=10.0) as store:
            store.execute([Put("a", b"of a"), Put("b", b"of b")])
            with stopped(private_server):
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                with pytest.raises(kind, match="by a signal"):
                    store.execute([Get("a")])
            signal.signal(signal.SIGALRM, previous)

            assert store.execute([Get("b")]) == [b"of b"]

    def test_what_must_not_be_repeated_is_left_in_doubt(
        self, private_server: EmbeddedServer
    ) -> None:
        with store_at(private_server.url) as store:
            store.execute([Get("k")])
            with stopped(private_server), pytest.raises(KVSUnavailable, match="not known"):
                store.execute([PutIfAbsent("k", b"v")])

            assert store.execute([Get("k")]) == [b"v"]


class TestTheConnectionIsLost:
    @pytest.mark.parametrize("operation", [Get("k"), PutIfAbsent("k", b""), TakeAll("l"), COMMIT])
    def test_between_two_calls_nobody_notices(
        self, store: RedisStore, admin: Admin, operation: Get | PutIfAbsent | TakeAll | CommitRun
    ) -> None:
        store.execute([Get("k")])
        for client in admin.other_clients():
            admin("CLIENT", "KILL", "ID", client)

        assert store.execute([operation]) in ([None], [True], [[]], [Commit.STORED])

    def test_a_lost_reply_is_asked_for_again(
        self, private_server: EmbeddedServer, short_dir: Path
    ) -> None:
        with proxy_to(private_server, short_dir) as proxy, store_at(proxy.url, 5.0) as store:
            store.execute([Get("k")])
            proxy.lose_replies = 1

            assert store.execute([Put("k", b"v"), record("r"), Get("k")]) == [None, True, b"v"]
            assert (proxy.lose_replies, proxy.connections) == (0, 2)

    @pytest.mark.parametrize(
        "operation",
        [
            PutIfAbsent("k", b"v"),
            TakeAll("l"),
            Append("l", b"x", 60.0),
            Delete("k"),
            Increment("n"),
            AddMembers("s", [b"m"]),
            DropMembers("s", [b"m"]),
            COMMIT,
        ],
        ids=lambda operation: type(operation).__name__,
    )
    def test_but_not_if_the_answer_might_be_another(
        self,
        private_server: EmbeddedServer,
        short_dir: Path,
        operation: Operation,
    ) -> None:
        with proxy_to(private_server, short_dir) as proxy, store_at(proxy.url, 5.0) as store:
            store.execute([Get("k")])
            proxy.lose_replies = 1

            with pytest.raises(KVSUnavailable, match="Whether the command was carried out"):
                store.execute([Get("other"), operation])
            assert proxy.connections == 1
            assert store.execute([Get("other")]) == [None]

    def test_each_call_makes_at_most_one_connection(
        self, private_server: EmbeddedServer, admin: Admin
    ) -> None:
        before = open_files()
        with store_at(private_server.url) as store:
            for _ in range(20):
                store.execute([Get("k")])
                store.close()
                store.close()
            for _ in range(20):
                store.execute([Get("k")])
            assert open_files() == before + 1
            assert len(admin.other_clients()) == 1

        assert open_files() == before


class TestUrls:
    def test_tcp(self, private_server: EmbeddedServer, admin: Admin) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        admin("CONFIG", "SET", "bind", "127.0.0.1")
        admin("CONFIG", "SET", "port", str(port))
        with store_at(f"redis://127.0.0.1:{port}/3", 1.0) as store:
            store.execute([Put("k", bytes(10_000_000))])
            assert store.execute([Get("k"), COMMIT]) == [bytes(10_000_000), Commit.STORED]
            with stopped(private_server), pytest.raises(KVSUnavailable, match="no answer for 1 s"):
                store.execute([Get("k")])
            assert store.execute([Delete("k")]) == [True]
        with store_at(f"redis://127.0.0.1:{port}/0") as store:
            assert store.execute([Get(object_key("r"))]) == [None], "another database"

    @pytest.mark.parametrize(
        "url", ["", "localhost:6379", "http://host", "redis://u:se/cret@h", "unix:///s?db=x"]
    )
    def test_one_that_names_no_store_is_refused_at_once(self, url: str) -> None:
        with pytest.raises(UsageError, match="does not name a store") as caught:
            RedisStore(url)
        assert "cret" not in str(caught.value)

    def test_something_that_speaks_another_protocol(self, short_dir: Path) -> None:
        def answer() -> None:
            while serve_one(listener):
                pass

        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(short_dir / "s"))
            listener.listen()
            thread = threading.Thread(target=answer)
            thread.start()
            with (
                store_at(f"unix://{short_dir}/s") as store,
                pytest.raises(KVSUnavailable, match="Protocol error"),
            ):
                store.execute([Get("k")])
            with socket.socket(socket.AF_UNIX) as end:
                end.connect(str(short_dir / "s"))
            thread.join(5.0)
        assert not thread.is_alive()


def serve_one(listener: socket.socket) -> bool:
    """Answer one connection as a web server would; False if it said nothing."""
    connection, _ = listener.accept()
    with connection:
        said = connection.recv(65536)
        if said:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        return bool(said)


def test_threads_share_a_store(server: EmbeddedServer) -> None:
    store = RedisStore(server.url)

    def work(number: int) -> bool:
        return all(
            store.execute([Put(f"t{number}", b"%d" % turn), Get(f"t{number}")])[1] == b"%d" % turn
            for turn in range(200)
        )

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [True] * 4
    store.close()


def test_every_fork_has_a_store_of_its_own(server: EmbeddedServer) -> None:
    with store_at(server.url, 5.0) as parent:
        parent.execute([Delete("forks")])
        children = [_fork_and_append(server.url, number) for number in range(3)]
        for _ in range(50):
            assert parent.execute([Put("mine", b"parent"), Get("mine")]) == [None, b"parent"]

        for pid in children:
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        (items,) = parent.execute([TakeAll("forks")])
        assert sorted(items) == sorted(b"%d" % n for n in range(3) for _ in range(50))


def _fork_and_append(url: str, number: int) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            store = RedisStore(url, timeout=5.0)
            for _ in range(50):
                store.execute([Append("forks", b"%d" % number, 60.0)])
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def test_a_batch_is_no_transaction_and_sent_at_once(store: RedisStore, admin: Admin) -> None:
    store.execute([Put(f"k{number}", b"v") for number in range(100)])

    assert (admin.calls("set"), admin.calls("multi"), admin.calls("exec")) == (100, 0, 0)


SIZES = pytest.mark.parametrize("size", [1, 2_000_000], ids=["small", "staged"])


@SIZES
def test_a_result_leaves_nothing_else_behind(store: RedisStore, admin: Admin, size: int) -> None:
    store.execute([COMMIT._replace(result=bytes(size), output_key="out")])

    assert sorted(admin("KEYS", "*")) == sorted(
        key.encode() for key in (run_key("r"), object_key("r"), object_key("out"))
    )
    assert 0 < admin("PTTL", object_key("r")) <= 60_000
    assert admin("PTTL", object_key("out")) == -1, "an output does not expire"


@SIZES
@pytest.mark.parametrize(
    ("before", "verdict"),
    [
        (record("r", epoch=1), Commit.STALE),
        (record("r", "CANCELLING"), Commit.STALE),
        (COMMIT, Commit.ENDED),
    ],
    ids=["older epoch", "cancelling", "ended"],
)
def test_a_result_that_is_not_wanted_leaves_nothing_behind(
    store: RedisStore, admin: Admin, size: int, before: RecordRun | CommitRun, verdict: Commit
) -> None:
    store.execute([before])
    keys = sorted(admin("KEYS", "*"))

    late = COMMIT._replace(result=bytes(size), output_key="out")
    assert store.execute([late]) == [verdict]
    assert sorted(admin("KEYS", "*")) == keys


def test_the_eviction_policy_is_told(store: RedisStore, admin: Admin) -> None:
    assert store.eviction_policy() == "noeviction"
    admin("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert store.eviction_policy() == "noeviction", "without a limit nothing is evicted"
    admin("CONFIG", "SET", "maxmemory", "100mb")
    assert store.eviction_policy() == "allkeys-lru"
