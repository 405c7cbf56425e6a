"""A store in a cluster whose slots move, and whose nodes die and stop."""

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from stores import COMMIT, Bench, commit, record
from valkeys import Cluster, Valkey, cluster, eventually, server

from cloudburst.errors import KVSUnavailable
from cloudburst.kvs.base import (
    AddMember,
    Commit,
    Delete,
    Get,
    GetFields,
    Increment,
    Members,
    Put,
    Scan,
)
from cloudburst.kvs.cluster import ClusterStore
from cloudburst.kvs.keys import object_key, run_key
from cloudburst.kvs.outputs import FIELD, finish
from cloudburst.kvs.rounds import Rounds
from cloudburst.kvs.slots import slot_of


@contextmanager
def store_in(nodes: Cluster, timeout: float = 10.0) -> Iterator[ClusterStore]:
    store = ClusterStore(nodes.url, timeout=timeout)
    yield store
    store.close()


@pytest.fixture
def bench(nodes: Cluster) -> Iterator[Bench]:
    nodes.flush()
    with store_in(nodes) as store:
        yield Bench(store, url=nodes.url)


def another_than(node: Valkey, nodes: Cluster) -> Valkey:
    return next(other for other in nodes.nodes if other is not node)


def key_on(node: Valkey, nodes: Cluster, tag: str = "k") -> str:
    """A key that this node has."""
    names = (f"{tag}{number}" for number in range(10_000))
    return next(name for name in names if nodes.owner_of(slot_of(name)) is node)


def ours(node: Valkey) -> int:
    """How many connections a node has besides those of other nodes and of this question."""
    lines = node("CLIENT", "LIST", "TYPE", "normal").decode().splitlines()
    return len(lines) - 1


def test_keys_of_all_slots_in_one_call_take_one_connection_to_each_node(
    bench: Bench, nodes: Cluster
) -> None:
    before = [ours(node) for node in nodes.nodes]
    puts = [Put(f"k{number}", b"%d" % number) for number in range(300)]
    assert bench.do(*puts) == [None] * 300

    assert bench.do(*(Get(f"k{number}") for number in range(300))) == [
        b"%d" % number for number in range(300)
    ]
    assert all(node("DBSIZE") > 50 for node in nodes.nodes)
    assert [ours(node) - b for node, b in zip(nodes.nodes, before, strict=True)] == [1, 1, 1]


def test_threads_share_a_store(bench: Bench) -> None:
    def work(number: int) -> bool:
        return all(
            bench.do(*(Put(f"t{number}.{n}", b"%d" % turn) for n in range(5)), Get(f"t{number}.3"))
            == [None] * 5 + [b"%d" % turn]
            for turn in range(100)
        )

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [True] * 4


def test_who_is_interrupted_reads_no_reply_to_what_was_asked_before(
    bench: Bench, nodes: Cluster
) -> None:
    class Interrupt(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupt

    keys = [key_on(node, nodes) for node in nodes.nodes]
    bench.do(*(Put(key, key.encode()) for key in keys))
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with nodes.nodes[1].stopped():
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(Interrupt):
                bench.do(*(Get(key) for key in keys))
    finally:
        signal.signal(signal.SIGALRM, before)

    assert bench.do(*(Get(key) for key in reversed(keys))) == [k.encode() for k in reversed(keys)]


class TestSlotsThatMove:
    def test_one_that_has_moved(self, bench: Bench, nodes: Cluster) -> None:
        slot, home = slot_of("k"), nodes.owner_of(slot_of("k"))
        bench.do(Put("k", b"v"), Increment("n{k}"))
        nodes.migrate(slot, another_than(home, nodes))
        try:
            assert bench.do(Increment("n{k}"), Get("k"), Put("k", b"w")) == [2, b"v", None]
            assert bench.one(Get("k")) == b"w"
        finally:
            nodes.migrate(slot, home)
        assert bench.do(Get("k"), Delete("k")) == [b"w", True]

    def test_one_that_is_on_its_way(self, bench: Bench, nodes: Cluster) -> None:
        slot, home = slot_of("x"), nodes.owner_of(slot_of("x"))
        target = another_than(home, nodes)
        names = [f"{number}{{x}}" for number in range(20)]
        bench.do(*(Put(name, name.encode()) for name in names))
        nodes.begin_to_migrate(slot, target)
        try:
            assert len(nodes.move_keys(slot, target, 10)) == 10
            elsewhere = key_on(another_than(target, nodes), nodes)
            assert bench.do(
                *(Get(name) for name in names), Put("new{x}", b"n"), Get("new{x}"), Get(elsewhere)
            ) == [*(name.encode() for name in names), None, b"n", None]
            assert target("ASKING") == b"OK"
            nodes.move_keys(slot, target)
        finally:
            nodes.finish_migration(slot, home, target)
        assert bench.do(*(Get(name) for name in names)) == [name.encode() for name in names]
        nodes.migrate(slot, home)

    def test_a_run_half_of_which_is_on_its_way(self, bench: Bench, nodes: Cluster) -> None:
        slot, home = slot_of(run_key("r")), nodes.owner_of(slot_of(run_key("r")))
        target = another_than(home, nodes)
        bench.do(record("r"), Put(object_key("r"), b"early"))
        nodes.begin_to_migrate(slot, target)
        assert len(nodes.move_keys(slot, target, 1)) == 1
        begun = threading.Event()

        def finish_later() -> None:
            time.sleep(0.3)
            begun.set()
            nodes.move_keys(slot, target)
            nodes.finish_migration(slot, home, target)

        thread = threading.Thread(target=finish_later)
        thread.start()
        assert bench.one(COMMIT) is Commit.STORED, "as soon as all of it is on one node"
        assert begun.is_set()
        thread.join()
        assert bench.one(Get(object_key("r"))) == b"result"
        nodes.migrate(slot, home)

    def test_all_of_them_under_load(self, bench: Bench, nodes: Cluster) -> None:
        names = [f"k{number}" for number in range(40)]
        slots = [slot_of(name) for name in names]
        homes = [nodes.owner_of(slot) for slot in slots]
        moving = threading.Thread(
            target=lambda: [
                nodes.migrate(slot, another_than(home, nodes))
                for slot, home in zip(slots, homes, strict=True)
            ]
        )
        moving.start()
        count = 0
        while moving.is_alive() or not count:
            count += 1
            assert bench.do(*(Increment(name) for name in names)) == [count] * len(names)
        moving.join()
        for slot, home in zip(slots, homes, strict=True):
            nodes.migrate(slot, home)
        assert bench.do(*(Get(name) for name in names)) == [b"%d" % count] * len(names)

    def test_a_scan_goes_on_after_one_has_moved(self, bench: Bench, nodes: Cluster) -> None:
        names = {f"k{number}" for number in range(2000)}
        bench.do(*(Put(name, b"") for name in names))
        (cursor, found), slot = bench.one(Scan("k", 0, 100)), slot_of("k7")
        home = nodes.owner_of(slot)
        nodes.migrate(slot, another_than(home, nodes))
        bench.one(Get("k7"))
        while cursor:
            cursor, more = bench.one(Scan("k", cursor, 100))
            found += more
        nodes.migrate(slot, home)

        assert names - set(found) <= {name for name in names if slot_of(name) == slot}


class TestOutputs:
    """Whose slot is another than that of the run."""

    def test_who_dies_after_the_commit_leaves_it_to_the_next_attempt(self, bench: Bench) -> None:
        end = commit("r", b"first", output_key="out")
        self.commit_and_die(bench, end)
        assert bench.do(Get(object_key("r")), Get(object_key("out"))) == [b"first", None]

        again = end._replace(result=b"second", epoch=1)
        assert bench.one(again) is Commit.ENDED
        assert bench.do(Get(object_key("out")), Get(object_key("r"))) == [b"first"] * 2
        assert FIELD not in bench.one(GetFields(run_key("r")))

    def test_or_to_the_next_scheduler(self, bench: Bench) -> None:
        self.commit_and_die(bench, commit("r", b"first", output_key="out"))

        finish(bench.store, "r", bench.one(GetFields(run_key("r"))))
        assert bench.one(Get(object_key("out"))) == b"first"
        assert FIELD not in bench.one(GetFields(run_key("r")))
        finish(bench.store, "r", bench.one(GetFields(run_key("r"))))

    def test_what_was_put_there_later_is_not_overwritten_by_a_late_attempt(
        self, bench: Bench
    ) -> None:
        bench.do(commit("r", b"first", output_key="out"))
        bench.do(Put(object_key("out"), b"newer"))

        assert bench.one(commit("r", b"late", output_key="out", epoch=1)) is Commit.ENDED
        assert bench.one(Get(object_key("out"))) == b"newer"

    def commit_and_die(self, bench: Bench, end: Any) -> None:
        store = bench.store
        assert isinstance(store, ClusterStore)
        assert slot_of(object_key("r")) != slot_of(object_key("out"))
        store._carry_out(Rounds([end], store._topology).next(), store._patience())


class TestNodesThatFail:
    def test_one_that_stops_is_named_and_the_others_go_on(self, nodes: Cluster) -> None:
        away, here = nodes.nodes[1], nodes.nodes[2]
        keys = key_on(away, nodes), key_on(here, nodes)
        with store_in(nodes, 1.0) as store:
            store.execute([Delete(keys[0]), Put(keys[1], b"v")])
            with away.stopped():
                began = time.monotonic()
                with pytest.raises(KVSUnavailable, match=f"127.0.0.1:{away.port}"):
                    store.execute([Get(keys[0])])
                assert 0.9 < time.monotonic() - began < 3.0
                assert store.execute([Get(keys[1])]) == [b"v"]
            eventually(lambda: store.execute([Get(keys[0])]) == [None], "it is back")

    def test_what_must_not_be_repeated_is_not(self, nodes: Cluster) -> None:
        node = nodes.nodes[0]
        key, other = key_on(node, nodes, "n"), key_on(nodes.nodes[1], nodes, "n")
        with store_in(nodes, 1.0) as store:
            store.execute([Delete(key), Delete(other)])
            with node.stopped(), pytest.raises(KVSUnavailable, match="not known") as caught:
                store.execute([Increment(other), Increment(key)])
            assert f":{node.port}" in str(caught.value)
            assert eventually(lambda: store.execute([Get(key), Get(other)]), "it is back") == [
                b"1",
                b"1",
            ]

    def test_a_connection_that_ended_meanwhile_costs_nothing(
        self, bench: Bench, nodes: Cluster
    ) -> None:
        keys = [key_on(node, nodes, "n") for node in nodes.nodes]
        bench.do(*(Increment(key) for key in keys))
        for node in nodes.nodes:
            node("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

        assert bench.do(*(Increment(key) for key in keys)) == [2, 2, 2]

    def test_they_forgot_the_scripts(self, bench: Bench, nodes: Cluster) -> None:
        bench.do(*(record(f"r{number}") for number in range(9)))
        for node in nodes.nodes:
            node("SCRIPT", "FLUSH")

        assert bench.do(*(commit(f"r{number}") for number in range(9))) == [Commit.STORED] * 9

    def test_any_of_them_may_evict(self, bench: Bench, nodes: Cluster) -> None:
        store = bench.store
        assert isinstance(store, ClusterStore)
        assert store.eviction_policy() == "noeviction"
        node = nodes.nodes[1]
        node("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", "100mb")
        assert store.eviction_policy() == "allkeys-lru"
        node("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "0")

    def test_one_refusal_names_the_node(self, bench: Bench, nodes: Cluster) -> None:
        key = key_on(nodes.nodes[2], nodes)
        bench.do(Put(key, b"v"), Put("other", b"w"))

        with pytest.raises(KVSUnavailable, match=f":{nodes.nodes[2].port} refused: WRONGTYPE"):
            bench.do(Get("other"), AddMember(key, "m"))
        assert bench.do(Get(key), Get("other")) == [b"v", b"w"]


def test_a_primary_dies_and_its_replica_takes_over() -> None:
    """kill -9 under writes. What was acknowledged a moment before may be lost, and is counted."""
    with cluster(replicas=1) as nodes, store_in(nodes, 20.0) as store:
        acknowledged = 0
        for acknowledged in range(200):
            store.execute([Put(f"k{number}", b"%d" % acknowledged) for number in range(30)])
        victim = nodes.nodes[0]
        victim.kill()
        began = time.monotonic()
        store.execute([Put(f"k{number}", b"after") for number in range(30)])

        assert time.monotonic() - began < 20.0
        assert store.execute([Get(f"k{number}") for number in range(30)]) == [b"after"] * 30
        assert store.execute([COMMIT, Get(object_key("r"))]) == [Commit.STORED, b"result"]


class TestUrlsOfAnotherKind:
    def test_a_server_is_no_cluster(self) -> None:
        with server() as one:
            store = ClusterStore(f"redis+cluster://127.0.0.1:{one.port}", timeout=1.0)
            with pytest.raises(KVSUnavailable, match="that is no cluster begins with redis://"):
                store.execute([Get("k")])
            store.close()

    def test_nobody_is_there(self) -> None:
        store = ClusterStore("redis+cluster://127.0.0.1:1,127.0.0.1:2", timeout=0.3)
        with pytest.raises(KVSUnavailable, match=r"no node .*127.0.0.1:1: .*127.0.0.1:2: "):
            store.execute([Get("k")])

    def test_any_node_will_do_to_begin_with(self, nodes: Cluster) -> None:
        store = ClusterStore(f"redis+cluster://127.0.0.1:1,127.0.0.1:{nodes.ports[2]}")
        assert store.execute([Put(f"k{n}", b"") for n in range(9)]) == [None] * 9
        store.close()


def test_members_of_all(bench: Bench) -> None:
    bench.do(*(AddMember(f"s{number % 7}", str(number)) for number in range(70)))

    assert bench.do(*(Members(f"s{number}") for number in range(7))) == [
        sorted(str(n) for n in range(70) if n % 7 == number) for number in range(7)
    ]
