"""What the scheduler knows of the hosts' caches."""

from __future__ import annotations

import pytest

from cloudburst.core.hosts import CacheChanges, Heartbeat
from cloudburst.core.messages import PROTOCOL
from cloudburst.core.wire import decode, encode
from cloudburst.scheduler import holdings as module
from cloudburst.scheduler.holdings import Holdings


@pytest.fixture
def holdings() -> Holdings:
    holdings = Holdings()
    assert holdings.hear("h1", CacheChanges(1, (("a", 10), ("b", 5))))
    assert holdings.hear("h2", CacheChanges(1, (("b", 7), ("c", 1))))
    return holdings


def test_nothing_is_known_at_first() -> None:
    assert not Holdings()
    assert Holdings().bytes_at(["a"]) == {}
    assert Holdings().of("h1") == {}


def test_of_several_objects_each_host_has_a_part(holdings: Holdings) -> None:
    assert holdings
    assert holdings.bytes_at(["a", "b", "nowhere"]) == {"h1": 15, "h2": 7}
    assert holdings.bytes_at(["a", "a"]) == {"h1": 10}
    assert holdings.bytes_of(["a", "b", "b", "nowhere"]) == 17


def test_what_was_dropped_is_known_no_more(holdings: Holdings) -> None:
    assert holdings.hear("h1", CacheChanges(2, (), ("a", "b", "never had")))

    assert holdings.bytes_at(["a", "b"]) == {"h2": 7}
    assert not holdings.has("h1", "b")
    assert holdings.has("h2", "b")


def test_the_same_changes_again_are_none(holdings: Holdings) -> None:
    holdings.hear("h1", CacheChanges(2, (), ("a",)))

    assert holdings.hear("h1", CacheChanges(1, (("a", 10), ("b", 5))))
    assert holdings.of("h1") == {"b": 5}


@pytest.mark.parametrize("changes", [CacheChanges(3, (("d", 1),)), CacheChanges(2)])
def test_after_a_gap_nothing_is_believed(holdings: Holdings, changes: CacheChanges) -> None:
    assert not holdings.hear("h1", changes)
    assert holdings.of("h1") == {}
    assert holdings.of("h2") == {"b": 7, "c": 1}

    assert holdings.hear("h1", CacheChanges(9, (("e", 4),), whole=True))
    assert holdings.of("h1") == {"e": 4}


def test_a_new_scheduler_asks_for_all() -> None:
    assert not Holdings().hear("h1", CacheChanges(8))


def test_hosts_that_are_lost_are_forgotten(holdings: Holdings) -> None:
    holdings.keep({"h2"})

    assert list(holdings.hosts) == ["h2"]
    assert holdings.bytes_at(["a", "b"]) == {"h2": 7}
    holdings.keep(set())
    assert not holdings
    holdings.validate(set())


def test_of_one_host_only_so_much_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    holdings = Holdings()
    holdings.hear("h", CacheChanges(1, (("a", 1), ("b", 1), ("c", 1))))
    holdings.hear("h", CacheChanges(2, (("b", 2),)))

    assert holdings.of("h") == {"a": 1, "b": 2}
    holdings.validate({"h"})


def test_changes_travel_in_heartbeats() -> None:
    changes = CacheChanges(4, (("a", 65536),), ("b", "ä"), whole=True)
    beat = Heartbeat(PROTOCOL, "h", ("h.1",), 1, 2, 3, 4.0, (), *changes)

    heard = decode(encode(beat))
    assert heard == beat
    assert isinstance(heard, Heartbeat)
    assert heard.changes == changes
