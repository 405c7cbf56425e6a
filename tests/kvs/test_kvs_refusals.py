"""What a server answers instead of carrying a command out, and what the caller sees of it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from stores import COMMIT, Admin, busy, record, store_at, wait_until

from cloudburst.errors import KVSUnavailable
from cloudburst.kvs.base import (
    AddMember,
    Append,
    DropMember,
    Get,
    GetFields,
    Members,
    Put,
    PutIfAbsent,
    TakeAll,
)
from cloudburst.kvs.embedded import EmbeddedServer
from cloudburst.kvs.keys import object_key, run_key
from cloudburst.kvs.redis import RedisStore


class TestTheServerForgetsItsScripts:
    def test_they_are_loaded_again(self, store: RedisStore, admin: Admin) -> None:
        store.execute([record("r")])
        admin("SCRIPT", "FLUSH")

        assert store.execute([COMMIT]) == [True]

    def test_and_only_what_failed_is_repeated(self, store: RedisStore, admin: Admin) -> None:
        store.execute([Append("l", b"x", 60.0), AddMember("s", "r")])
        admin("SCRIPT", "FLUSH")
        before = admin.calls("lpop")

        assert store.execute(
            [TakeAll("l"), record("r"), COMMIT, DropMember("s", "r"), Members("s"), COMMIT]
        ) == [[b"x"], True, True, None, [], False]
        assert admin.calls("lpop") == before + 1


class TestTheServerRefuses:
    def test_out_of_memory(
        self, private_server: EmbeddedServer, store: RedisStore, admin: Admin
    ) -> None:
        store.execute([record("r", call=b"call"), Put("k", b"v")])
        admin("CONFIG", "SET", "maxmemory", "1")
        with store_at(private_server.url, 0.1) as hasty:
            for operation in (Put("k", b"new"), COMMIT, record("r", epoch=1), Append("l", b"", 0)):
                with pytest.raises(
                    KVSUnavailable, match=r"refused: .*OOM.* Raise .*maxmemory.*tri"
                ):
                    hasty.execute([operation])
        admin("CONFIG", "SET", "maxmemory", "0")

        assert store.execute([Get("k"), Get(object_key("r")), TakeAll("l")]) == [b"v", None, []]
        (fields,) = store.execute([GetFields(run_key("r"))])
        assert (fields["state"], fields["epoch"], fields["call"]) == (b"RUNNING", b"0", b"call")
        assert store.execute([COMMIT]) == [True]

    def test_a_large_result_without_memory(
        self, private_server: EmbeddedServer, admin: Admin
    ) -> None:
        admin("CONFIG", "SET", "maxmemory", "1")
        with (
            store_at(private_server.url, 0.1) as hasty,
            pytest.raises(KVSUnavailable, match="OOM"),
        ):
            hasty.execute([COMMIT._replace(result=bytes(2_000_000))])

        assert admin("DBSIZE") == 0

    def test_a_replica(
        self, private_server: EmbeddedServer, store: RedisStore, admin: Admin
    ) -> None:
        admin("REPLICAOF", "127.0.0.1", "1")
        with store_at(private_server.url, 0.1) as hasty:
            for operation in (Put("k", b"v"), COMMIT):
                with pytest.raises(KVSUnavailable, match=r"READONLY.* give the primary's"):
                    hasty.execute([operation])
        admin("REPLICAOF", "NO", "ONE")

        assert store.execute([Put("k", b"v")]) == [None]

    @pytest.mark.parametrize(
        ("trouble", "relief"),
        [
            (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
            (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        ],
        ids=["out of memory", "a replica"],
    )
    def test_what_passes_is_waited_for(
        self, store: RedisStore, admin: Admin, trouble: tuple[str, ...], relief: tuple[str, ...]
    ) -> None:
        store.execute([record("r")])
        admin(*trouble)
        done: list[object] = []
        writing = threading.Thread(target=lambda: done.extend(store.execute([COMMIT])))

        writing.start()
        wait_until(lambda: admin.calls("evalsha") >= 3, "the commit is tried again")
        assert done == []
        admin(*relief)
        writing.join()

        assert done == [True]

    def test_a_value_that_is_too_large_for_it(self, store: RedisStore, admin: Admin) -> None:
        store.execute([Get("k")])
        admin("CONFIG", "SET", "proto-max-bulk-len", "1mb")

        with pytest.raises(KVSUnavailable, match="invalid bulk length"):
            store.execute([Put("k", bytes(8_000_000))])
        assert store.execute([Get("k")]) == [None]

    def test_one_refusal_among_many(self, store: RedisStore) -> None:
        with pytest.raises(KVSUnavailable, match="WRONGTYPE"):
            store.execute([AddMember("s", "m"), Get("s"), Put("k", b"v")])

        assert store.execute([Get("k"), Members("s")]) == [b"v", ["m"]]

    def test_the_password(self, private_server: EmbeddedServer, admin: Admin) -> None:
        admin("ACL", "SETUSER", "someone", "on", ">s3cret", "~*", "+@all")
        admin("ACL", "SETUSER", "default", "resetpass", ">other")
        path = urlsplit(private_server.url).path

        for url, words in [
            (f"unix://{path}", "NOAUTH"),
            (f"unix://someone:wr0ng@{path}", "WRONGPASS"),
            (f"unix://{path}?username=someone&password=wr0ng", "WRONGPASS"),
        ]:
            began = time.monotonic()
            with store_at(url, timeout=5.0) as store:
                with pytest.raises(KVSUnavailable, match=rf"{words}.*redis://user:") as caught:
                    store.execute([Get("k")])
                assert "wr0ng" not in str(caught.value)
            assert time.monotonic() - began < 2.0
        with store_at(f"unix://someone:s3cret@{path}") as store:
            assert store.execute([Get("k")]) == [None]

    def test_a_database_it_does_not_have(self, private_server: EmbeddedServer) -> None:
        with (
            store_at(f"{private_server.url}?db=99") as store,
            pytest.raises(KVSUnavailable, match="DB index is out of range"),
        ):
            store.execute([Get("k")])


class TestTheServerAsksForPatience:
    def test_a_busy_server_is_asked_again_until_the_timeout(
        self, private_server: EmbeddedServer, admin: Admin
    ) -> None:
        with store_at(private_server.url) as store:
            store.execute([Get("k")])
            with busy(private_server, admin), pytest.raises(KVSUnavailable, match="BUSY"):
                store.execute([PutIfAbsent("k", b"v")])

            assert store.execute([PutIfAbsent("k", b"v")]) == [True]

    def test_and_then_carries_out_each_operation_once(
        self, store: RedisStore, private_server: EmbeddedServer, admin: Admin
    ) -> None:
        store.execute([Get("k")])
        with ThreadPoolExecutor() as pool:
            with busy(private_server, admin):
                answer = pool.submit(
                    store.execute, [PutIfAbsent("k", b"v"), Append("l", b"x", 0.0), COMMIT]
                )
                assert not answer.done()

            assert answer.result(10) == [True, None, True]
        assert store.execute([TakeAll("l")]) == [[b"x"]]

    def test_a_full_server_lets_us_in_later(
        self, private_server: EmbeddedServer, admin: Admin
    ) -> None:
        with store_at(private_server.url) as other, store_at(private_server.url, 10.0) as store:
            other.execute([Get("k")])
            admin("CONFIG", "SET", "maxclients", "1")
            with ThreadPoolExecutor() as pool:
                answer = pool.submit(store.execute, [Get("k")])
                assert not answer.done()
                other.close()

                assert answer.result(10) == [None]
