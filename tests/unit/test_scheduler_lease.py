"""The scheduler's lease: taken over from the dead at once, and from the living never."""

from __future__ import annotations

import pytest

from cloudburst.errors import ClusterError
from cloudburst.kvs import keys
from cloudburst.kvs.base import Get, Put
from cloudburst.kvs.memory import MemoryStore
from cloudburst.scheduler.lease import LEASE, RENEW_EVERY, Lease


class Clock:
    """The store's; it stands still unless a test moves it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock=clock)


def renew(lease: Lease, store: MemoryStore) -> bool:
    (mine,) = store.execute([lease.renewal])
    return bool(mine)


def test_the_first_has_it(store: MemoryStore) -> None:
    lease = Lease("tcp://a:1", "first")
    lease.acquire(store)

    assert renew(lease, store)


def test_one_of_the_same_address_takes_over_at_once(store: MemoryStore) -> None:
    """It could bind there, so the first is dead."""
    dead = Lease("tcp://a:1", "first")
    dead.acquire(store)

    lease = Lease("tcp://a:1", "second")
    lease.acquire(store)

    assert renew(lease, store)
    assert not renew(dead, store)


def test_a_living_one_elsewhere_is_named(store: MemoryStore) -> None:
    """The store's clock stands still, as if it was renewed all the time."""
    Lease("tcp://a:1", "first").acquire(store)

    with pytest.raises(ClusterError, match="another scheduler uses this store, at tcp://a:1"):
        Lease("tcp://b:1", "second").acquire(store)


def test_one_that_was_not_renewed_expires(store: MemoryStore, clock: Clock) -> None:
    lost = Lease("tcp://a:1", "first")
    lost.acquire(store)
    clock.now += LEASE + 0.1

    lease = Lease("tcp://b:1", "second")
    lease.acquire(store)

    assert renew(lease, store)
    assert not renew(lost, store)


def test_a_renewed_one_does_not(store: MemoryStore, clock: Clock) -> None:
    lease = Lease("tcp://a:1", "first")
    lease.acquire(store)
    for _ in range(5):
        clock.now += LEASE - 0.1
        assert renew(lease, store)


def test_it_is_renewed_every_second() -> None:
    lease = Lease("tcp://a:1", "first")

    assert lease.is_due(10.0)
    assert not lease.is_due(10.0 + RENEW_EVERY - 0.1)
    assert lease.next_deadline() == 10.0 + RENEW_EVERY
    assert lease.is_due(10.0 + RENEW_EVERY)


def test_a_process_that_stood_still_is_not_sure_of_it() -> None:
    lease = Lease("tcp://a:1", "first")
    assert lease.awake(10.0)
    assert lease.awake(10.0 + LEASE - 0.1)

    assert not lease.awake(10.0 + 2 * LEASE)
    assert lease.awake(10.0 + 2 * LEASE + 0.1)


def test_what_is_in_the_store_is_no_lease(store: MemoryStore) -> None:
    store.execute([Put(keys.SCHEDULER, b"\xff", LEASE)])

    with pytest.raises(ClusterError, match="another scheduler"):
        Lease("tcp://a:1", "first").acquire(store)
    assert store.execute([Get(keys.SCHEDULER)]) == [b"\xff"]
