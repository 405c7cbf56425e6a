"""Writing to a cluster without waiting for it, while slots move and nodes die and stop."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from stores import collect_all, commit, open_files, record, wait_turn
from valkeys import Cluster, Valkey, cluster

from cloudburst.errors import KVSUnavailable
from cloudburst.kvs.base import (
    AddMember,
    Commit,
    Delete,
    DropMember,
    Get,
    GetFields,
    Members,
    Put,
)
from cloudburst.kvs.cluster_writer import ClusterWriter
from cloudburst.kvs.keys import OPEN_RUNS, object_key, run_key
from cloudburst.kvs.outputs import FIELD
from cloudburst.kvs.slots import slot_of


@pytest.fixture
def writer(nodes: Cluster) -> Iterator[ClusterWriter]:
    nodes.flush()
    writer = ClusterWriter(nodes.url)
    yield writer
    writer.close()


def answered(writer: ClusterWriter, *operations: Any) -> Any:
    writer.submit(operations, "token")
    ((token, outcome),) = collect_all(writer)
    assert token == "token"
    return outcome


def other_than(node: Valkey, nodes: Cluster) -> Valkey:
    return next(other for other in nodes.nodes if other is not node)


def key_of(node: Valkey, nodes: Cluster) -> str:
    names = (f"k{number}" for number in range(10_000))
    return next(name for name in names if nodes.owner_of(slot_of(name)) is node)


def test_one_descriptor_stands_for_all_nodes(nodes: Cluster) -> None:
    before = open_files()
    writer = ClusterWriter(nodes.url)
    for number in range(10):
        assert answered(writer, *(Put(f"{number}.{n}", b"") for n in range(30))) == [None] * 30
    assert open_files() == before + 4, "a connection to each node, and the selector"
    writer.close()

    assert open_files() == before


def test_submitting_and_flushing_wait_for_nothing(writer: ClusterWriter, nodes: Cluster) -> None:
    answered(writer, *(Put(f"k{number}", b"") for number in range(30)))
    finished = []
    with nodes.nodes[0].stopped():
        began = time.monotonic()
        for number in range(50):
            writer.submit([Put(f"k{number}", bytes(200_000))], number)
            writer.flush()
            finished += writer.collect()
        assert time.monotonic() - began < 1.0
        assert writer.pending > 0
    assert finished + collect_all(writer) == [(number, [None]) for number in range(50)]


def test_a_run_is_not_forgotten_before_its_end_is_stored(
    writer: ClusterWriter, nodes: Cluster
) -> None:
    """They are on two nodes: one stops, and the other goes on."""
    keeper = nodes.owner_of(slot_of(OPEN_RUNS))
    names = (f"r{number}" for number in range(100))
    run = next(name for name in names if nodes.owner_of(slot_of(run_key(name))) is not keeper)
    answered(writer, record(run, call=b"call"), AddMember(OPEN_RUNS, run))
    with nodes.owner_of(slot_of(run_key(run))).stopped():
        writer.submit([commit(run), DropMember(OPEN_RUNS, run)], 1)
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            writer.flush()
            assert writer.collect() == []
            time.sleep(0.01)
        assert keeper("SMEMBERS", OPEN_RUNS) == [run.encode()]

    assert collect_all(writer) == [(1, [Commit.STORED, None])]
    assert answered(writer, Members(OPEN_RUNS)) == [[]]


def test_outputs_are_stored_too(writer: ClusterWriter) -> None:
    assert slot_of(object_key("out")) != slot_of(object_key("r"))
    ends = [commit(f"r{number}", b"%d" % number, output_key=f"o{number}") for number in range(20)]
    writer.submit(ends, 1)
    writer.submit([commit("r0", b"late", output_key="o0")], 2)
    writer.submit([Get(object_key(f"o{number}")) for number in range(20)], 3)

    (_, stored), (_, late), _ = collect_all(writer)
    assert (stored, late) == ([Commit.STORED] * 20, [Commit.ENDED])
    values = answered(writer, *(Get(object_key(f"o{number}")) for number in range(20)))
    assert values == [b"%d" % number for number in range(20)]
    assert FIELD not in answered(writer, GetFields(run_key("r3")))[0]


class TestSlotsThatMove:
    def test_nothing_overtakes_what_went_to_the_wrong_node(
        self, writer: ClusterWriter, nodes: Cluster
    ) -> None:
        slot, home = slot_of("s"), nodes.owner_of(slot_of("s"))
        target = other_than(home, nodes)
        answered(writer, *(AddMember(f"s{n}{{s}}", "old") for n in range(50)))
        nodes.begin_to_migrate(slot, target)
        for number in range(50):
            name = f"s{number}{{s}}"
            writer.submit([AddMember(name, "new"), Put(f"elsewhere{number}", b"")], 0)
            writer.flush()
            if number == 10:
                nodes.move_keys(slot, target, 25)
            if number == 30:
                nodes.move_keys(slot, target)
                nodes.finish_migration(slot, home, target)
            writer.submit([DropMember(name, "new"), DropMember(name, "old")], 1)
            writer.flush()
            writer.submit([AddMember(name, "last")], 2)
            writer.collect()
        collect_all(writer)

        members = answered(writer, *(Members(f"s{n}{{s}}") for n in range(50)))
        nodes.migrate(slot, home)
        assert members == [["last"]] * 50

    def test_it_is_found_again(self, writer: ClusterWriter, nodes: Cluster) -> None:
        home = nodes.owner_of(slot_of("m"))
        assert answered(writer, Put("m", b"v")) == [None]
        nodes.migrate(slot_of("m"), other_than(home, nodes))
        assert answered(writer, Get("m"), Get("another")) == [b"v", None]
        nodes.migrate(slot_of("m"), home)
        assert answered(writer, Get("m")) == [b"v"]


class TestNodesThatFail:
    def test_after_the_timeout_a_submission_is_given_up(self, nodes: Cluster) -> None:
        node, other = nodes.nodes[1], nodes.nodes[2]
        here, away = key_of(other, nodes), key_of(node, nodes)
        writer = ClusterWriter(nodes.url, timeout=0.5)
        assert answered(writer, Delete(away), Put(here, b"v")) is not None
        with node.stopped():
            writer.submit([Put(away, b"v")], 1)
            writer.submit([Get(here)], 2)
            (first, second) = collect_all(writer)
        assert second == (2, [b"v"])
        assert isinstance(first[1], KVSUnavailable)
        assert f"127.0.0.1:{node.port}" in str(first[1])
        assert answered(writer, Get(here)) == [b"v"]
        writer.close()

    def test_without_any_node_it_says_so_in_time(self) -> None:
        writer = ClusterWriter("redis+cluster://127.0.0.1:1,127.0.0.1:2", timeout=0.3)
        began = time.monotonic()
        outcome = answered(writer, Put("k", b""))

        assert 0.2 < time.monotonic() - began < 2.0
        assert isinstance(outcome, KVSUnavailable)
        assert "127.0.0.1:2" in str(outcome)
        writer.close()

    def test_they_forgot_the_scripts(self, writer: ClusterWriter, nodes: Cluster) -> None:
        answered(writer, *(record(f"r{number}") for number in range(9)))
        for node in nodes.nodes:
            node("SCRIPT", "FLUSH")
        ends = [commit(f"r{number}") for number in range(9)]

        assert answered(writer, *ends) == [Commit.STORED] * 9

    def test_one_refusal_does_not_touch_the_others(
        self, writer: ClusterWriter, nodes: Cluster
    ) -> None:
        answered(writer, Put("value", b"v"))
        writer.submit([AddMember("value", "m"), Put("a", b"")], 1)
        writer.submit([Get("value")], 2)

        first, second = collect_all(writer)
        assert "WRONGTYPE" in str(first[1])
        assert f":{nodes.owner_of(slot_of('value')).port}" in str(first[1])
        assert second == (2, [b"v"])


def test_a_primary_dies_under_load() -> None:
    """kill -9: its replica takes over, and every submission is answered."""
    with cluster(replicas=1) as nodes:
        writer = ClusterWriter(nodes.url, timeout=20.0)
        runs = [f"r{number}" for number in range(200)]
        outcomes: dict[Any, Any] = {}
        for number, run in enumerate(runs):
            writer.submit([record(run), AddMember(OPEN_RUNS, run)], run)
            writer.flush()
            if number == 100:
                nodes.nodes[0].kill()
            wait_turn(writer)
            outcomes |= dict(writer.collect())
        outcomes |= dict(collect_all(writer, 30.0))
        assert outcomes == {run: [True, None] for run in runs}

        late = [f"late{number}" for number in range(50)]
        for run in late:
            writer.submit([record(run), AddMember(OPEN_RUNS, run)], run)
        assert dict(collect_all(writer)) == {run: [True, None] for run in late}
        (listed,) = answered(writer, Members(OPEN_RUNS))
        assert set(late) <= set(listed)
        writer.close()
