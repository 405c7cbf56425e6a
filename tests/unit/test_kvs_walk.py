"""Scans that go from node to node."""

from dataclasses import dataclass, field
from typing import cast

import pytest

from cloudburst.kvs.base import Scan
from cloudburst.kvs.walk import Step

LARGEST = 2**64 - 1


@dataclass
class Ring:
    """Nodes with keys, by their first slots; a cursor is how many keys have been shown."""

    keys: dict[str, list[str]]
    starts: dict[int, str]
    asked: list[tuple[str, int]] = field(default_factory=list)

    def node_of(self, slot: int | None) -> str | None:
        assert slot is not None
        before = [start for start in self.starts if start <= slot]
        return self.starts[max(before)] if before else None

    def first_slots(self) -> list[int]:
        return sorted(self.starts)

    def step(self, cursor: int, page: int = 2) -> tuple[int, list[str]]:
        step = Step(Scan("k", cursor, page), self)
        node, shown = self.node_of(step.slot), int(str(step.command.parts[1]))
        assert node is not None
        self.asked.append((node, shown))
        keys = self.keys[node][shown : shown + page]
        after = shown + page if shown + page < len(self.keys[node]) else 0
        assert step.command.read is not None
        answer = step.command.read([b"%d" % after, [key.encode() for key in keys]])
        return cast("tuple[int, list[str]]", answer)

    def walk(self, cursor: int = 0) -> list[str]:
        found = []
        while True:
            cursor, names = self.step(cursor)
            found += names
            if not cursor:
                return found


@pytest.fixture
def ring() -> Ring:
    keys = {"b": ["k1", "k2", "k3"], "a": ["k4"], "c": [], "d": ["k5", "k6", "k7", "k8", "k9"]}
    return Ring(keys, {0: "b", 5000: "a", 9000: "c", 9001: "d"})


def test_every_node_is_walked_to_its_end_in_the_order_of_slots(ring: Ring) -> None:
    assert ring.walk() == [f"k{number}" for number in range(1, 10)]
    assert [node for node, _ in ring.asked] == ["b", "b", "a", "c", "d", "d", "d"]


def test_cursors_may_be_as_large_as_servers_make_them(ring: Ring) -> None:
    step = Step(Scan("k"), ring)
    assert step.command.read is not None
    cursor, names = step.command.read([b"%d" % LARGEST, [b"\xc3\xa4"]])

    assert names == ["ä"]
    assert Step(Scan("k", cursor), ring).command.parts[1] == str(LARGEST)


def test_a_node_that_another_stands_in_for_is_begun_anew(ring: Ring) -> None:
    cursor, found = ring.step(0)
    ring.keys["replica"] = ["k3", "k2", "k1"]
    ring.starts[0] = "replica"

    assert sorted({*found, *ring.walk(cursor)}) == [f"k{number}" for number in range(1, 10)]
    assert ring.asked[1] == ("replica", 0)


def test_also_if_that_is_learnt_from_the_answer(ring: Ring) -> None:
    cursor, _ = ring.step(0)
    step = Step(Scan("k", cursor), ring)
    ring.starts[0] = "a"
    assert step.command.read is not None
    cursor, names = step.command.read([b"0", [b"k3"]])

    assert names == ["k3"]
    assert Step(Scan("k", cursor), ring).slot == 0
    assert Step(Scan("k", cursor), ring).command.parts[1] == "0"


def test_a_scan_of_one_node_ends_there() -> None:
    assert Ring({"a": []}, {0: "a"}).step(0) == (0, [])
