"""When a host takes itself for lost, told with a clock that is moved by hand."""

from cloudburst.executor.lease import TERM, Lease, clock
from cloudburst.executor.pool_events import LeaseBack, LeaseLost


def kept(lease: Lease, start: float, end: float, *, sign: bool) -> float:
    """Look twice a second from ``start`` to ``end``; nothing must happen. Returns the end."""
    now = start
    while now <= end:
        assert lease.look(now, sign=sign) is None, f"at {now}"
        now += 0.5
    return now - 0.5


def test_signs_keep_the_lease() -> None:
    kept(Lease(), 0.0, 60.0, sign=True)


def test_who_was_never_heard_of_has_nothing_to_lose() -> None:
    lease = Lease()

    kept(lease, 0.0, 60.0, sign=False)

    assert lease.next_deadline() is None
    assert lease.look(100.0, sign=False) is None
    assert lease.held


def test_silence_of_everybody_loses_the_lease_at_its_term() -> None:
    lease = Lease()
    lease.look(10.0, sign=True)
    kept(lease, 10.5, 12.5, sign=False)
    assert lease.next_deadline() == 10.0 + TERM

    lost = lease.look(13.0, sign=False)

    assert lost == LeaseLost("its host was cut off for 3.0 s")
    assert not lease.held
    assert lease.next_deadline() is None


def test_one_sign_within_the_term_is_enough() -> None:
    lease = Lease()
    for start in range(0, 60, 3):
        assert lease.look(float(start), sign=True) is None
        kept(lease, start + 0.5, start + 2.5, sign=False)


def test_a_lease_is_lost_once_and_comes_back_with_the_next_sign() -> None:
    lease = Lease()
    lease.look(0.0, sign=True)
    kept(lease, 0.5, 2.5, sign=False)
    assert isinstance(lease.look(3.0, sign=False), LeaseLost)
    kept(lease, 3.5, 30.0, sign=False)

    assert lease.look(30.5, sign=True) == LeaseBack()

    assert lease.held
    now = kept(lease, 31.0, 33.0, sign=False)
    assert isinstance(lease.look(now + 0.5, sign=False), LeaseLost)


def test_a_host_that_stood_still_has_lost_it_even_if_a_sign_waits_for_it() -> None:
    lease = Lease()
    kept(lease, 0.0, 5.0, sign=True)

    assert lease.look(8.5, sign=True) == LeaseLost("its host stood still for 3.5 s")
    assert lease.look(8.6, sign=True) == LeaseBack()


def test_a_short_standstill_costs_nothing() -> None:
    lease = Lease()
    lease.look(0.0, sign=True)

    assert lease.look(2.9, sign=True) is None
    assert lease.look(5.8, sign=True) is None


def test_standing_still_while_it_is_lost_changes_nothing() -> None:
    lease = Lease()
    lease.look(0.0, sign=True)
    assert isinstance(lease.look(3.5, sign=False), LeaseLost)

    assert lease.look(60.0, sign=False) is None
    assert lease.look(120.0, sign=True) == LeaseBack()


def test_the_clock_goes_forward() -> None:
    first = clock()

    assert clock() >= first
