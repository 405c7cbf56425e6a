"""A store that sentinels watch: its primary is found, and the next one when it dies."""

import time
from collections.abc import Iterator

import pytest
from stores import COMMIT, collect_all, record, store_at
from valkeys import SERVICE, Valkey, Watched, eventually, watched

from cloudburst.errors import KVSUnavailable
from cloudburst.kvs.base import Commit, Get, Increment, Put
from cloudburst.kvs.opening import open_store, open_writer


@pytest.fixture(scope="module")
def trio() -> Iterator[Watched]:
    """A primary and a replica with three sentinels, for tests that leave them in order."""
    with watched(3) as started:
        yield started


def clients(server: Valkey) -> int:
    """Connections of others than replicas, sentinels and this question."""
    lines = server("CLIENT", "LIST", "TYPE", "normal").decode().splitlines()
    return sum("cmd=client" not in line and "sentinel" not in line for line in lines)


def is_primary(server: Valkey) -> bool:
    try:
        return b"role:master" in server("INFO", "replication")
    except ConnectionError:  # who ceases to be one hangs up on everybody
        return is_primary(server)


def test_what_is_written_goes_to_the_primary_alone(trio: Watched) -> None:
    with store_at(trio.url, 5.0) as store:
        before = clients(trio.primary), clients(trio.replica)
        assert store.execute([Put("k", b"v"), Get("k"), Increment("n")])[:2] == [None, b"v"]
        assert (clients(trio.primary), clients(trio.replica)) == (before[0] + 1, before[1])


def test_a_sentinel_that_is_gone_is_passed_over(trio: Watched) -> None:
    url = trio.url.replace("//", "//127.0.0.1:1,")
    with store_at(url, 5.0) as store:
        assert store.execute([Put("k", b"v")]) == [None]


def test_a_sentinel_that_says_nothing_is_passed_over(trio: Watched) -> None:
    with trio.sentinels[0].stopped(), store_at(trio.url, 5.0) as store:
        began = time.monotonic()
        assert store.execute([Put("k", b"v")]) == [None]
        assert time.monotonic() - began < 3.0


def test_a_service_that_none_knows(trio: Watched) -> None:
    with store_at(trio.url.replace(SERVICE, "other")) as store:
        for sentinel in trio.sentinels:
            with pytest.raises(KVSUnavailable, match=f":{sentinel.port} knows no 'other'"):
                store.execute([Get("k")])


def test_no_sentinel_answers() -> None:
    url = "redis+sentinel://127.0.0.1:1,127.0.0.1:2/main"
    with store_at(url) as store, pytest.raises(KVSUnavailable, match=r"127.0.0.1:1: .*127.0.0.1:2"):
        store.execute([Get("k")])


def test_a_server_is_no_sentinel(trio: Watched) -> None:
    url = f"redis+sentinel://127.0.0.1:{trio.primary.port}/main"
    with store_at(url) as store, pytest.raises(KVSUnavailable, match="unknown command"):
        store.execute([Get("k")])


def test_a_database_of_its_own(trio: Watched) -> None:
    with store_at(trio.url, 5.0) as one, store_at(f"{trio.url}?db=3", 5.0) as other:
        one.execute([Put("k", b"one")])
        other.execute([Put("k", b"other")])
        assert (one.execute([Get("k")]), other.execute([Get("k")])) == ([b"one"], [b"other"])


def test_what_sentinels_call_primary_is_asked_itself() -> None:
    """They may not know yet that it is one no more."""
    with watched(1) as servers:
        port = str(servers.replica.port)
        with store_at(servers.url, 0.5) as old, store_at(servers.url, 0.5) as new:
            old.execute([Put("k", b"v")])
            servers.primary("REPLICAOF", "127.0.0.1", port)
            with pytest.raises(KVSUnavailable, match=r"slave now|READONLY"):
                old.execute([Put("k", b"w")])
            with pytest.raises(KVSUnavailable, match="is a slave now"):
                new.execute([Put("k", b"w")])
            servers.primary("REPLICAOF", "NO", "ONE")
            assert new.execute([Put("k", b"w")]) == [None]
            assert old.execute([Get("k")]) == [b"w"]


def test_the_primary_dies_under_writes(capsys: pytest.CaptureFixture[str]) -> None:
    """kill -9. Replication is asynchronous: what was acknowledged last may be lost."""
    with watched(3) as servers:
        store, writer = open_store(servers.url, timeout=20.0), open_writer(servers.url, timeout=20)
        for number in range(500):
            store.execute([Put(f"k{number}", b"v")])
            writer.submit([record(f"r{number}")], number)
            writer.flush()
        servers.sentinels[0].kill()
        servers.primary.kill()
        began = time.monotonic()
        writer.submit([record("late")], "late")
        store.execute([Put("after", b"v")])
        with capsys.disabled():
            print(f"\nthe next write took {time.monotonic() - began:.1f} s")

        assert dict(collect_all(writer, 20.0)) == {token: [True] for token in [*range(500), "late"]}
        there = store.execute([Get(f"k{number}") for number in range(500)])
        with capsys.disabled():
            print(f"{there.count(None)} of 500 acknowledged writes were lost")
        assert store.execute([Get("after"), COMMIT]) == [b"v", Commit.STORED]
        assert b"role:master" in servers.replica("INFO", "replication")
        store.close()
        writer.close()


def test_a_failover_that_was_asked_for() -> None:
    """The old primary lives on, as a replica, and refuses writes."""
    with watched(1) as servers, store_at(servers.url, 20.0) as store:
        store.execute([Put("k", b"v")])
        eventually(
            lambda: servers.sentinels[0].said("SENTINEL", "FAILOVER", SERVICE) == b"OK", "it may"
        )
        deadline = time.monotonic() + 20.0
        count = 0
        while is_primary(servers.primary):
            assert time.monotonic() < deadline
            store.execute([Put(f"k{count}", b"v")])
            count += 1
        store.execute([Put("k", b"after")])

        assert servers.replica("GET", "k") == b"after"
