"""A pool that grows and shrinks as it is told."""

from __future__ import annotations

import pytest
from pooling import Story, died, gone

from cloudburst.core.hosts import Knock, Resize, Retire
from cloudburst.executor.pool import RETIRED
from cloudburst.executor.pool_events import (
    Dismiss,
    DrainAsked,
    DropZygote,
    Fork,
    Forked,
    Kill,
    LeaseBack,
    LeaseLost,
    Nudge,
    ReportDeath,
    StartZygote,
    Tick,
    ZygoteGone,
    ZygoteReady,
)


@pytest.fixture
def story() -> Story:
    """``h.1`` and ``h.2`` run, and there may be five."""
    story = Story(wanted=2, ceiling=5)
    story.begin()
    story.now = 10.0
    return story


def left(name: str, slot: int) -> ReportDeath:
    """An executor has ended that was not needed."""
    return ReportDeath(name, RETIRED, slot, blameless=True)


def grow(story: Story, executors: int) -> None:
    """So many run."""
    story.run(story.tell(Resize(executors)))
    assert len(story.pool.pids) == executors


# growing


def test_as_many_are_forked_as_are_missing(story: Story) -> None:
    assert story.tell(Resize(4)) == [Fork("h.3", 2), Fork("h.4", 3)]
    assert not story.pool.complete


def test_the_same_size_again_changes_nothing(story: Story) -> None:
    grow(story, 4)

    assert story.tell(Resize(4)) == []
    assert story.tell(Resize(3)) == [], "who is not needed is told by name"
    assert story.pool.wanted == 4


def test_there_are_never_more_than_the_ceiling(story: Story) -> None:
    grow(story, 5)

    assert story.tell(Resize(1000)) == []
    assert story.pool.wanted == 5


def test_a_pool_of_a_fixed_size_does_not_grow() -> None:
    story = Story(wanted=2)
    story.begin()

    assert story.tell(Resize(3)) == []


def test_nobody_is_forked_before_there_is_a_zygote() -> None:
    story = Story(wanted=1, ceiling=3)
    assert story.tell(Tick()) == [StartZygote()]

    assert story.tell(Resize(3)) == []
    assert story.tell(ZygoteReady()) == [Fork("h.1", 0), Fork("h.2", 1), Fork("h.3", 2)]


def test_nobody_is_forked_without_a_lease(story: Story) -> None:
    story.tell(LeaseLost("cut off"))
    assert story.tell(Resize(3)) == []

    assert story.tell(LeaseBack()) == [Fork("h.3", 2)]


def test_a_draining_pool_does_not_grow(story: Story) -> None:
    story.tell(DrainAsked())

    assert story.tell(Resize(4)) == []


def test_an_executor_beyond_the_least_is_replaced_when_it_dies(story: Story) -> None:
    grow(story, 3)

    assert story.tell(gone("h.3")) == [died("h.3", 2), Fork("h.4", 2)]


def test_a_pool_that_has_grown_is_so_large_after_its_zygote_has_died(story: Story) -> None:
    grow(story, 3)
    story.now += 60.0

    commands = story.tell(ZygoteGone("SIGKILL (signal 9)"))

    assert commands[:3] == [Kill(100), Kill(101), Kill(102)]
    assert commands[-2:] == [DropZygote(), StartZygote()]
    assert story.tell(ZygoteReady()) == [Fork("h.4", 0), Fork("h.5", 1), Fork("h.6", 2)]


# shrinking


def test_who_is_not_needed_is_asked_to_end_and_not_replaced(story: Story) -> None:
    grow(story, 3)

    assert story.tell(Retire("h.2")) == [Dismiss(101)]
    assert story.pool.complete
    assert story.pool.names == ("h.1", "h.2", "h.3"), "it has not ended yet"

    assert story.tell(gone("h.2", "exit code 0")) == [left("h.2", 1)]
    assert story.pool.names == ("h.1", "h.3")
    assert story.next_forks(until=story.now + 60.0) == []


def test_who_does_not_end_is_asked_again(story: Story) -> None:
    grow(story, 3)
    story.tell(Retire("h.3"))

    assert story.tell(Retire("h.3")) == [Dismiss(102)]
    assert story.pool.wanted == 2, "it is counted once"


def test_one_too_many_is_replaced_so_that_the_least_remain(story: Story) -> None:
    assert story.tell(Retire("h.1")) == [Dismiss(100)]
    assert story.pool.wanted == 2

    assert story.tell(gone("h.1", "exit code 0")) == [left("h.1", 0), Fork("h.3", 0)]


def test_who_is_being_forked_is_asked_once_it_runs(story: Story) -> None:
    assert story.tell(Resize(3)) == [Fork("h.3", 2)]
    assert story.tell(Retire("h.3")) == []

    assert story.tell(Forked("h.3", 777)) == [Dismiss(777)]


def test_who_is_not_here_cannot_be_asked(story: Story) -> None:
    assert story.tell(Retire("h.77")) == []
    assert story.pool.wanted == 2


def test_who_is_asked_to_end_can_still_be_knocked_at(story: Story) -> None:
    grow(story, 3)
    story.tell(Retire("h.3"))

    assert story.tell(Knock("h.3")) == [Nudge(102)]


def test_whatever_it_dies_of_nobody_is_to_blame(story: Story) -> None:
    grow(story, 3)
    story.tell(Retire("h.3"))

    assert story.tell(gone("h.3", "SIGKILL (signal 9)")) == [left("h.3", 2)]


def test_who_is_asked_to_end_is_not_brought_back_with_a_new_zygote(story: Story) -> None:
    grow(story, 3)
    story.tell(Retire("h.3"))
    story.now += 60.0

    deaths = [c for c in story.tell(ZygoteGone("exit code 1")) if isinstance(c, ReportDeath)]

    assert [(death.name, death.blameless) for death in deaths] == [
        ("h.1", False),
        ("h.2", False),
        ("h.3", True),
    ]
    assert story.tell(ZygoteReady()) == [Fork("h.4", 0), Fork("h.5", 1)]


def test_a_place_is_used_again_and_its_number_on_the_board(story: Story) -> None:
    grow(story, 4)
    story.tell(Retire("h.3"))
    story.tell(gone("h.3", "exit code 0"))

    assert story.tell(Resize(5)) == [Fork("h.5", 2), Fork("h.6", 4)]


def test_a_place_is_not_used_before_who_had_it_is_gone(story: Story) -> None:
    grow(story, 4)
    story.tell(Retire("h.3"))

    assert story.tell(Resize(4)) == [Fork("h.5", 4)]
    assert story.tell(gone("h.3", "exit code 0")) == [left("h.3", 2)]


def test_while_they_end_there_are_no_more_than_the_ceiling(story: Story) -> None:
    grow(story, 5)
    for name in ("h.3", "h.4", "h.5"):
        story.tell(Retire(name))

    assert story.tell(Resize(5)) == []
    assert story.tell(gone("h.4", "exit code 0")) == [left("h.4", 3)]
    assert story.tell(Resize(5)) == [Fork("h.6", 3)]


def test_a_new_one_in_a_place_that_was_left_is_forked_at_once(story: Story) -> None:
    """How the last ones died in it says nothing of whether it is needed."""
    grow(story, 3)
    story.run(story.tell(gone("h.3")))
    story.tell(Retire("h.4"))
    story.tell(gone("h.4", "exit code 0"))

    assert story.tell(Resize(3)) == [Fork("h.5", 2)]
