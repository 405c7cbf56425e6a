"""Hosts and executors as the scheduler counts them."""

from __future__ import annotations

import random

import pytest

from cloudburst.core.hosts import Heartbeat, PoolSize
from cloudburst.core.messages import PROTOCOL
from cloudburst.scheduler.membership import (
    AHEAD,
    LATE,
    LONG_BLOCKED,
    MAX_GONE,
    Executor,
    Heard,
    Host,
    Membership,
)


def executor(name: str = "a", order: int = 1) -> Executor:
    return Executor(name, "host", f"@{name}", order)


def beat(members: Membership, host: str, names: list[str], now: float) -> Heard:
    return members.heartbeat(Heartbeat(PROTOCOL, host, tuple(names), 2, 4, 8, 30.0), now)


@pytest.fixture
def members() -> Membership:
    """Executors ``a`` and ``b`` of host ``h``, seen at time 0."""
    members = Membership(timeout=3.0)
    members.ready("a", "h", "@a", 0.0)
    members.ready("b", "h", "@b", 0.0)
    return members


# how much work an executor holds


def test_an_idle_executor_has_room_for_anything() -> None:
    assert executor().has_room(1e9)


def test_a_busy_executor_has_room_for_what_fits_ahead() -> None:
    one = executor()
    one.take("r1", 1, AHEAD / 2)

    assert one.has_room(AHEAD / 2)
    assert not one.has_room(AHEAD * 0.51)


def test_a_released_share_makes_room() -> None:
    one = executor()
    one.take("r1", 1, 1.0)

    assert not one.has_room(0.0)
    assert one.release("r1", 1)
    assert one.has_room(1.0)


def test_a_share_is_released_once() -> None:
    one = executor()
    one.take("r1", 1, 1.0)
    one.take("r2", 1, 1.0)

    assert one.release("r1", 1)
    assert not one.release("r1", 1)
    assert one.load == 1.0


def test_a_later_epoch_replaces_an_earlier_one() -> None:
    one = executor()
    one.take("r1", 1, 5.0)
    one.take("r1", 2, 1.0)

    assert one.shares == {"r1": (2, 1.0)}
    assert one.load == 1.0


def test_an_older_epoch_does_not_release_a_later_one() -> None:
    one = executor()
    one.take("r1", 2, 1.0)

    assert not one.release("r1", 1)
    assert one.release("r1", 3)


def test_an_idle_executor_has_no_load_left_by_rounding() -> None:
    chance = random.Random(1)
    one = executor()
    for number in range(1000):
        one.take(f"r{number}", 1, chance.random() * 1e-3)
    for number in chance.sample(range(1000), 1000):
        one.release(f"r{number}", 1)

    assert one.load == 0.0


def test_executors_are_told_apart_by_identity() -> None:
    """One that came back under its name is not the one that was lost."""
    assert executor() != executor()


# whose code waits


@pytest.fixture
def blocked() -> Executor:
    """Code of ``r1`` waits there for what others do."""
    one = executor()
    one.take("r1", 1, AHEAD / 2)
    assert one.block("r1", 1, 0.0, waits=True)
    return one


def test_blocked_code_is_late_from_the_first_moment(blocked: Executor) -> None:
    assert blocked.is_blocked
    assert blocked.is_late(0.0)
    assert not blocked.has_room(0.0)


def test_blocked_code_counts_as_much_work(blocked: Executor) -> None:
    assert blocked.load == AHEAD / 2
    assert blocked.load_at(0.0) == LONG_BLOCKED
    assert blocked.load_at(2 * LONG_BLOCKED) == 2 * LONG_BLOCKED


def test_code_that_goes_on_is_as_late_as_other_code(blocked: Executor) -> None:
    assert blocked.block("r1", 1, 0.0, waits=False)

    assert not blocked.is_blocked
    assert not blocked.is_late(LATE)
    assert blocked.has_room(AHEAD / 2)
    assert blocked.load_at(0.0) == AHEAD / 2


@pytest.mark.parametrize(("run_id", "epoch"), [("r1", 0), ("r1", 2), ("r2", 1)])
def test_only_what_is_counted_there_can_be_blocked(
    blocked: Executor, run_id: str, epoch: int
) -> None:
    assert not blocked.block(run_id, epoch, 0.0, waits=False)
    assert blocked.is_blocked


def test_what_is_known_is_no_news(blocked: Executor) -> None:
    assert not blocked.block("r1", 1, 0.0, waits=True)
    blocked.take("r2", 1, 0.0)
    assert blocked.block("r2", 1, 0.0, waits=True), "its code runs now, and that of r1 no more"
    assert blocked.block("r2", 1, 0.0, waits=False)
    assert not blocked.block("r1", 1, 0.0, waits=False)


def test_who_has_done_its_share_is_blocked_no_more(blocked: Executor) -> None:
    blocked.take("r2", 1, 1.0)
    blocked.release("r2", 1)
    assert blocked.is_blocked, "another run has ended"

    blocked.release("r1", 1)
    assert not blocked.is_blocked


def test_the_next_epoch_begins_unblocked(blocked: Executor) -> None:
    blocked.take("r1", 2, 1.0)

    assert not blocked.is_blocked


# who is there


def test_executors_are_numbered_as_they_come(members: Membership) -> None:
    assert [one.order for one in members.executors.values()] == [1, 2]
    assert members.executors["b"].address == "@b"


def test_an_executor_is_taken_up_once(members: Membership) -> None:
    assert members.ready("a", "h", "@elsewhere", 1.0) is None
    assert members.executors["a"].address == "@a"


def test_a_host_is_known_by_its_first_executor(members: Membership) -> None:
    assert members.next_deadline() == 3.0


def test_an_executor_does_not_speak_for_its_host(members: Membership) -> None:
    members.ready("c", "h", "@c", 2.0)

    assert members.next_deadline() == 3.0


def test_a_heartbeat_moves_the_deadline(members: Membership) -> None:
    beat(members, "h", ["a", "b"], 2.5)

    assert members.next_deadline() == 5.5


def test_the_deadline_is_that_of_the_host_silent_for_longest(members: Membership) -> None:
    beat(members, "other", [], 1.0)
    assert members.next_deadline() == 3.0

    beat(members, "h", [], 2.0)
    assert members.next_deadline() == 4.0


def test_a_silent_host_is_forgotten_with_all_its_executors(members: Membership) -> None:
    members.ready("c", "other", "@c", 1.0)

    assert members.silent(2.9) == []
    assert members.silent(3.0) == ["a", "b"]
    assert members.next_deadline() == 4.0


def test_a_heartbeat_tells_who_is_unknown_here_in_order(members: Membership) -> None:
    assert beat(members, "h", ["z", "b", "x", "a"], 1.0) == (["x", "z"], [], [])


def test_an_executor_is_missing_when_two_heartbeats_in_a_row_do_not_name_it(
    members: Membership,
) -> None:
    assert beat(members, "h", ["a"], 1.0) == ([], [], [])
    assert beat(members, "h", ["a"], 2.0) == ([], ["b"], [])


def test_who_is_out_of_reach_is_given_up_although_its_host_names_it(members: Membership) -> None:
    a = members.find("a")
    assert a is not None
    members.lose_touch(a)
    members.lose_touch(a)
    assert (list(members.executors), list(members.leaving)) == (["b"], ["a"])

    assert beat(members, "h", ["a", "b"], 1.0) == ([], [], [])
    assert beat(members, "h", ["a", "b"], 2.0) == ([], [], ["a"])


def test_who_is_out_of_reach_and_not_named_is_missing(members: Membership) -> None:
    a = members.find("a")
    assert a is not None
    members.lose_touch(a)

    assert beat(members, "h", ["b"], 1.0) == ([], [], [])
    assert beat(members, "h", ["b"], 2.0) == ([], ["a"], [])


def test_one_heartbeat_that_names_it_starts_the_count_again(members: Membership) -> None:
    for now, names in enumerate((["a"], ["a", "b"], ["a"]), 1):
        assert beat(members, "h", names, float(now)) == ([], [], [])


def test_a_dead_executor_is_neither_unknown_nor_accepted(members: Membership) -> None:
    removed = members.remove("a", dead=True)

    assert removed is not None
    assert beat(members, "h", ["a", "b"], 1.0) == ([], [], [])
    assert members.ready("a", "h", "@a", 1.0) is None


def test_an_executor_out_of_reach_may_come_back(members: Membership) -> None:
    members.remove("a", dead=False)

    assert beat(members, "h", ["a", "b"], 1.0) == (["a"], [], [])
    assert members.ready("a", "h", "@a", 1.0) is not None


def test_who_is_not_there_is_removed_without_harm(members: Membership) -> None:
    assert members.remove("stranger", dead=False) is None
    assert members.remove("stranger", dead=True) is None
    assert members.ready("stranger", "h", "@s", 1.0) is None


def test_only_so_many_dead_are_remembered(members: Membership) -> None:
    for number in range(MAX_GONE + 10):
        members.remove(f"e{number}", dead=True)

    assert len(members.gone) == MAX_GONE
    assert members.ready("e10", "h", "@", 0.0) is None
    assert members.ready("e9", "h", "@", 0.0) is not None


# how many there may be


def test_resources_that_are_promised_count_before_any_host_is_heard_of() -> None:
    members = Membership(timeout=3.0, promised=("gpu",))
    assert members.resources() == {"gpu"}

    members.heartbeat(Heartbeat(PROTOCOL, "h", (), 1, 1, 1, 30.0, ("ssd",)), now=1.0)
    assert members.resources() == {"gpu", "ssd"}
    members.silent(now=9.0)
    assert members.resources() == {"gpu"}


def test_nothing_is_known_of_a_host_before_its_first_heartbeat(members: Membership) -> None:
    assert members.hosts == {"h": Host(0.0)}
    assert (members.hosts["h"].size.most, members.hosts["h"].size.ceiling) == (0, 0)


def test_a_heartbeat_says_how_many_a_host_may_run(members: Membership) -> None:
    members.heartbeat(Heartbeat(PROTOCOL, "h", ("a", "b"), 2, 4, 8, 30.0), 1.0)

    assert members.hosts["h"] == Host(1.0, PoolSize(2, 4, 8, 30.0))


def test_what_was_asked_of_a_host_is_remembered_over_its_heartbeats(members: Membership) -> None:
    members.hosts["h"].asked = 4
    beat(members, "h", ["a", "b"], 1.0)

    assert members.hosts["h"].asked == 4


def test_an_executor_is_idle_since_it_came(members: Membership) -> None:
    late = members.ready("c", "h", "@c", 7.0)

    assert late is not None
    assert late.since == 7.0


def test_who_retires_is_there_but_gets_no_more_work(members: Membership) -> None:
    members.retire(members.executors["a"])

    assert [*members.executors] == ["b"]
    assert members.find("a") is not None
    assert members.retiring("h") == ["a"]
    assert members.retiring("other") == []
    members.validate()


def test_who_retires_is_not_taken_up_again(members: Membership) -> None:
    members.retire(members.executors["a"])

    assert members.ready("a", "h", "@a", 1.0) is None
    assert beat(members, "h", ["a", "b"], 1.0) == ([], [], [])
    assert [*members.executors] == ["b"]


def test_who_has_retired_is_forgotten_with_its_process(members: Membership) -> None:
    members.retire(members.executors["a"])

    members.remove("a", dead=True)
    assert members.retiring("h") == []
    assert "a" in members.gone


def test_the_executors_of_a_host_that_is_about_to_end_do_not_retire(members: Membership) -> None:
    members.retire(members.executors["a"])
    members.executors["b"].take("r1", 1, 1.0)
    members.drain("h", 1.0)

    assert members.retiring("h") == []
    assert members.drained() == []
    members.find("b").release("r1", 1)  # type: ignore[union-attr]
    assert members.drained() == ["h"]
    members.validate()


def test_validate_notices_who_is_blocked_by_nothing(members: Membership) -> None:
    members.executors["a"].blocked = ("r1", 1)

    with pytest.raises(AssertionError):
        members.validate()


def test_validate_notices_a_load_that_is_not_what_was_taken(members: Membership) -> None:
    members.executors["a"].take("r1", 1, 1.0)
    members.validate()
    members.executors["a"].load = 2.0

    with pytest.raises(AssertionError):
        members.validate()


def test_validate_notices_the_living_dead(members: Membership) -> None:
    members.gone["a"] = None

    with pytest.raises(AssertionError):
        members.validate()
