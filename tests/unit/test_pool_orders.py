"""What a host does on orders of the scheduler, and what it does when it must not go on."""

import pytest
from pooling import Story, died, gone

from cloudburst.core.hosts import Drained, Fence, Knock, Replace
from cloudburst.executor.pool import HEARTBEAT, ZYGOTE_SILENCE, ZYGOTE_START, Pool, ZygoteState
from cloudburst.executor.pool_events import (
    Beat,
    DrainAsked,
    DropZygote,
    End,
    ExecutorGone,
    Fork,
    Kill,
    LeaseBack,
    LeaseLost,
    Leave,
    Nudge,
    Ping,
    Pong,
    ReportDeath,
    SayDraining,
    StartZygote,
    Tick,
    ZygoteGone,
    ZygoteReady,
)
from cloudburst.restarts import Restarts

GIVEN_UP = "the scheduler had given it up"


@pytest.fixture
def story() -> Story:
    story = Story()
    story.begin()
    story.now = 0.1
    return story


def innocent(name: str, slot: int, reason: str) -> ReportDeath:
    """A death in which what the executor ran had no part."""
    return ReportDeath(name, reason, slot, blameless=True)


def ordered(name: str, reason: str) -> ExecutorGone:
    """It died because the zygote was told to kill it."""
    return ExecutorGone(name, reason, ordered=True)


def test_a_knock_is_passed_on_to_the_process(story: Story) -> None:
    assert story.tell(Knock("h.2")) == [Nudge(101)]
    assert story.tell(Knock("h.77")) == []


def test_who_is_still_being_forked_cannot_be_knocked_at() -> None:
    story = Story(wanted=1)
    story.tell(Tick())
    assert story.tell(ZygoteReady()) == [Fork("h.1", 0)]

    assert story.tell(Knock("h.1")) == []


def test_an_executor_is_replaced_at_once_however_young_it_was(story: Story) -> None:
    for number, name in enumerate(["h.1", "h.3", "h.4", "h.5", "h.6"]):
        assert story.tell(Replace(name, "r-1", "too late")) == [End(name, "r-1", "too late")]
        successor = Fork(f"h.{number + 3}", 0)

        assert story.tell(ordered(name, "too late")) == [died(name, 0, "too late"), successor]
        story.run([successor])

    assert story.pool.slots[0].restarts == Restarts(0)


def test_deaths_by_order_do_not_make_up_for_young_ones(story: Story) -> None:
    story.run(story.tell(gone("h.1")))
    story.run(story.tell(ordered("h.3", "too late")))

    assert story.tell(gone("h.4")) == [died("h.4", 0)], "the second by itself has to wait"


def test_an_executor_that_is_not_ours_is_not_replaced(story: Story) -> None:
    assert story.tell(Replace("other.1", "r-1", "too late")) == []
    assert story.tell(Fence(("other.1",))) == []


def test_nothing_happens_if_the_executor_ran_something_else(story: Story) -> None:
    story.tell(Replace("h.1", "r-1", "too late"))

    # The zygote has not killed it, and later it dies by itself.
    story.run(story.tell(gone("h.1", "exit code 3")))
    assert story.tell(gone("h.3", "exit code 3")) == [died("h.3", 0, "exit code 3")]


def test_executors_that_were_given_up_are_ended_whatever_they_do(story: Story) -> None:
    assert story.tell(Fence(("h.2", "other.7", "h.1"))) == [
        End("h.1", "", GIVEN_UP),
        End("h.2", "", GIVEN_UP),
    ]
    assert story.tell(ordered("h.2", GIVEN_UP)) == [innocent("h.2", 1, GIVEN_UP), Fork("h.3", 1)]


def test_an_executor_is_given_up_until_it_is_gone(story: Story) -> None:
    for _ in range(2):
        assert story.tell(Fence(("h.1",))) == [End("h.1", "", GIVEN_UP)]

    story.tell(gone("h.1"))
    assert story.tell(Fence(("h.1",))) == []


def test_an_empty_fence_is_only_an_answer(story: Story) -> None:
    assert story.tell(Fence(())) == []
    assert story.pool.names == ("h.1", "h.2")


def test_without_a_lease_there_are_no_executors(story: Story) -> None:
    assert story.tell(LeaseLost("cut off")) == [
        End("h.1", "", "cut off"),
        End("h.2", "", "cut off"),
    ]
    assert story.tell(ordered("h.1", "cut off")) == [innocent("h.1", 0, "cut off")]
    assert story.tell(ordered("h.2", "cut off")) == [innocent("h.2", 1, "cut off")]
    assert story.next_forks(until=60.0) == []

    assert story.tell(LeaseBack()) == [Fork("h.3", 0), Fork("h.4", 1)]


def test_an_executor_that_lives_on_is_followed_once_it_is_dead(story: Story) -> None:
    story.tell(LeaseLost("cut off"))

    assert story.tell(LeaseBack()) == []

    assert story.tell(ordered("h.1", "cut off"))[-1] == Fork("h.3", 0)


def test_who_died_by_itself_while_it_was_to_end_is_not_to_blame(story: Story) -> None:
    story.tell(Fence(("h.1",)))

    assert story.tell(gone("h.1")) == [innocent("h.1", 0, "exit code 1"), Fork("h.3", 0)]


def test_a_zygote_that_comes_without_a_lease_waits_for_it() -> None:
    story = Story(wanted=1)
    assert story.tell(Tick()) == [StartZygote()]
    story.tell(LeaseLost("cut off"))

    assert story.tell(ZygoteReady()) == []

    assert story.tell(LeaseBack()) == [Fork("h.1", 0)]


def test_the_zygote_is_asked_with_every_heartbeat_once_it_has_answered() -> None:
    pool = Pool("h", 0)
    assert pool.handle(Tick(), 0.0) == [StartZygote(), Beat(())]
    pool.handle(ZygoteReady(), 0.1)

    assert pool.handle(Tick(), HEARTBEAT) == [Beat(()), Ping()]
    assert pool.handle(Tick(), 2 * HEARTBEAT) == [Beat(())]
    assert pool.handle(Pong(), 2 * HEARTBEAT) == []
    assert pool.handle(Tick(), 3 * HEARTBEAT) == [Beat(()), Ping()]


def test_a_zygote_that_does_not_answer_is_replaced(story: Story) -> None:
    story.now = HEARTBEAT
    assert story.tell(Tick()) == []
    story.now += ZYGOTE_SILENCE - 0.01
    assert story.tell(Tick()) == []
    story.now += 0.01

    reason = "its zygote died: it did not answer for 3 s"
    assert story.tell(Tick()) == [
        Kill(100),
        Kill(101),
        died("h.1", 0, reason),
        died("h.2", 1, reason),
        DropZygote(),
        StartZygote(),
    ]
    story.now += 10.0
    assert story.tell(ZygoteReady()) == [Fork("h.3", 0), Fork("h.4", 1)]


def test_an_answer_that_is_heard_late_is_an_answer(story: Story) -> None:
    story.now = HEARTBEAT
    story.tell(Tick())
    story.now += 60.0

    assert story.tell(gone("h.1", "exit code 3"))[-1] == Fork("h.3", 0)
    assert story.tell(Pong()) == []
    assert story.tell(Tick()) == []


def test_a_zygote_that_never_gets_ready_is_replaced() -> None:
    story = Story(wanted=1)
    assert story.tell(Tick()) == [StartZygote()]
    story.now = ZYGOTE_START - 0.01
    assert story.tell(Tick()) == []
    story.now = ZYGOTE_START

    assert story.tell(Tick()) == [DropZygote(), StartZygote()]


def test_draining_the_host_goes_on_until_nothing_is_left_to_do(story: Story) -> None:
    assert story.tell(DrainAsked()) == [SayDraining()]
    story.now = HEARTBEAT
    assert story.tell(Tick()) == [SayDraining()], "another scheduler has not heard it"
    assert story.pool.handle(Tick(), 2 * HEARTBEAT) == [
        Beat(("h.1", "h.2")),
        SayDraining(),
    ], "heartbeats go on"

    assert story.tell(Drained("other")) == []
    assert story.tell(Drained("h")) == [Leave()]


def test_nobody_ends_a_host_that_was_not_asked_to_end(story: Story) -> None:
    assert story.tell(Drained("h")) == []


def test_a_second_signal_ends_a_host_at_once(story: Story) -> None:
    story.tell(DrainAsked())

    assert story.tell(DrainAsked()) == [Leave()]


def test_draining_has_its_time_limit() -> None:
    story = Story()
    story.pool = Pool("h", 2, drain_timeout=2.0)
    story.begin()
    story.now = 1.0
    story.tell(DrainAsked())

    story.now = 2.9
    assert story.tell(Tick()) == [SayDraining()]
    assert story.pool.next_deadline() == 3.0
    story.now = 3.0
    assert story.tell(Tick()) == [Leave()]


def test_a_draining_host_starts_no_executors(story: Story) -> None:
    story.tell(DrainAsked())

    assert story.tell(gone("h.1")) == [died("h.1", 0)]
    assert story.tell(Tick()) == []


def test_a_draining_host_of_which_nothing_is_left_ends(story: Story) -> None:
    story.tell(DrainAsked())
    story.tell(gone("h.1"))

    assert story.tell(gone("h.2")) == [died("h.2", 1), Leave()]


def test_a_draining_host_starts_no_zygote(story: Story) -> None:
    story.tell(DrainAsked())

    commands = story.tell(ZygoteGone("SIGKILL (signal 9)"))

    assert StartZygote() not in commands
    assert commands[-1] == Leave()
    assert story.pool.zygote is ZygoteState.DOWN
    assert story.pool.next_deadline() > story.now


def test_executors_that_end_with_their_host_are_reported_without_blame(story: Story) -> None:
    story.tell(DrainAsked())
    story.tell(DrainAsked())
    reason = "its host was told to end"

    assert story.pool.end(story.now) == [
        innocent("h.1", 0, reason),
        innocent("h.2", 1, reason),
    ]
    assert story.pool.names == ()
