"""Which executors a host runs, told as stories without a process."""

import random

import pytest
from pooling import Story, died, gone

from cloudburst.core.hosts import Drained, Fence, Knock, Replace, Resize, Retire
from cloudburst.executor.pool import (
    HEARTBEAT,
    Pool,
    ZygoteState,
)
from cloudburst.executor.pool_events import (
    Beat,
    DropZygote,
    Event,
    ExecutorGone,
    Fork,
    Forked,
    Kill,
    LeaseBack,
    LeaseLost,
    Ping,
    Pong,
    ReportDeath,
    StartZygote,
    Tick,
    ZygoteGone,
    ZygoteReady,
)
from cloudburst.restarts import LONGEST_DELAY, Restarts


def test_executors_are_forked_once_the_zygote_is_ready() -> None:
    story = Story(wanted=3)

    assert story.tell(Tick()) == [StartZygote()]
    assert story.tell(Tick()) == []
    assert story.tell(ZygoteReady()) == [Fork("h.1", 0), Fork("h.2", 1), Fork("h.3", 2)]
    assert story.pool.names == ("h.1", "h.2", "h.3")
    assert story.pool.pids == []
    assert not story.pool.complete

    for number in (1, 2, 3):
        story.tell(Forked(f"h.{number}", number))

    assert story.pool.pids == [1, 2, 3]
    assert story.pool.complete


def test_a_host_without_executors_is_complete() -> None:
    assert Pool("h", 0).complete


def test_heartbeats_name_who_is_alive() -> None:
    pool = Pool("h", 1)

    assert pool.handle(Tick(), 0.0) == [StartZygote(), Beat(())]
    assert pool.handle(ZygoteReady(), 0.1) == [Fork("h.1", 0)]
    assert pool.handle(Tick(), HEARTBEAT - 0.01) == []
    assert pool.handle(Tick(), HEARTBEAT) == [Beat(("h.1",)), Ping()]
    assert pool.next_deadline() == 2 * HEARTBEAT


def test_dead_executor_is_reported_and_replaced_at_once_under_a_new_name() -> None:
    story = Story()
    story.begin()
    story.now = 10.0

    commands = story.tell(gone("h.1", "SIGKILL (signal 9)"))

    assert commands == [died("h.1", 0, "SIGKILL (signal 9)"), Fork("h.3", 0)]
    assert story.pool.names == ("h.3", "h.2")


def test_a_death_is_reported_once() -> None:
    story = Story()
    story.begin()

    story.run(story.tell(gone("h.1", "exit code 3")))

    assert story.tell(gone("h.1", "exit code 3")) == []


def test_the_first_young_death_costs_no_wait() -> None:
    story = Story()
    story.begin()
    story.now = 0.2

    assert Fork("h.3", 0) in story.tell(gone("h.1", "exit code 1"))


def test_a_crash_loop_is_slowed_down_more_and_more() -> None:
    story = Story(wanted=1)
    story.begin()
    name, waits = "h.1", []

    for _ in range(10):
        forks = [c for c in story.tell(gone(name)) if isinstance(c, Fork)]
        died = story.now
        if forks:
            name = forks[0].name
        else:
            ((_, name),) = story.next_forks(until=story.pool.slots[0].due)
        waits.append(round(story.now - died, 6))
        story.run([Fork(name, 0)])

    assert waits == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, LONGEST_DELAY, LONGEST_DELAY, LONGEST_DELAY]
    assert name == "h.11"


def test_a_long_life_makes_good_for_young_deaths() -> None:
    story = Story(wanted=1)
    story.begin()
    story.run(story.tell(gone("h.1", "exit code 1")))
    assert story.tell(gone("h.2", "exit code 1")) == [died("h.2", 0)]
    ((_, third),) = story.next_forks(until=story.now + 0.1)
    story.run([Fork(third, 0)])
    story.now += 60.0

    assert story.tell(gone(third, "exit code 1"))[-1] == Fork("h.4", 0)


def test_a_crash_loop_does_not_slow_down_others() -> None:
    story = Story(wanted=2)
    story.begin()
    for name in ("h.1", "h.3", "h.4"):
        for command in story.tell(gone(name)):
            story.run([command])
        story.run([Fork(name, 0) for _, name in story.next_forks(until=story.now + 0.2)])
    story.now += 5.0

    assert Fork("h.6", 1) in story.tell(gone("h.2", "exit code 1"))


def test_executor_that_cannot_be_forked_counts_as_dead_at_once() -> None:
    story = Story(wanted=1)
    story.tell(Tick())
    assert story.tell(ZygoteReady()) == [Fork("h.1", 0)]

    assert story.tell(gone("h.1", "no memory"))[-1] == Fork("h.2", 0)
    assert story.tell(gone("h.2", "no memory")) == [died("h.2", 0, "no memory")]
    assert story.next_forks(until=0.3) == [(0.1, "h.3")]


def test_without_its_zygote_nobody_is_kept() -> None:
    story = Story(wanted=2)
    story.begin()
    story.now = 30.0

    assert story.tell(ZygoteGone("SIGKILL (signal 9)")) == [
        Kill(100),
        Kill(101),
        died("h.1", 0, "its zygote died: SIGKILL (signal 9)"),
        died("h.2", 1, "its zygote died: SIGKILL (signal 9)"),
        DropZygote(),
        StartZygote(),
    ]
    assert story.pool.names == ()
    assert story.tell(ZygoteReady()) == [Fork("h.3", 0), Fork("h.4", 1)]


def test_executor_that_was_just_being_forked_is_reported_but_cannot_be_killed() -> None:
    story = Story(wanted=1)
    story.tell(Tick())
    story.tell(ZygoteReady())

    assert story.tell(ZygoteGone("exit code 1")) == [
        died("h.1", 0, "its zygote died: exit code 1"),
        DropZygote(),
        StartZygote(),
    ]


def test_a_zygote_that_keeps_dying_is_slowed_down() -> None:
    story = Story(wanted=1)
    story.tell(Tick())

    assert story.tell(ZygoteGone("exit code 1")) == [DropZygote(), StartZygote()]
    assert story.tell(ZygoteGone("exit code 1")) == [DropZygote()]
    assert story.pool.zygote is ZygoteState.DOWN
    assert story.pool.next_deadline() == pytest.approx(0.1)
    story.now = 0.1
    assert story.tell(Tick()) == [StartZygote()]


def test_blame_for_the_zygote_is_not_put_on_executors() -> None:
    story = Story(wanted=1)
    story.begin()
    for death in range(4):
        story.now += 60.0
        assert StartZygote() in story.tell(ZygoteGone("exit code 1"))
        story.run(story.tell(ZygoteReady()))
        assert story.pool.slots[0].restarts == Restarts(0), f"after death {death}"


def test_what_is_said_of_unknown_executors_changes_nothing() -> None:
    story = Story()
    story.begin()

    assert story.tell(Forked("h.77", 7)) == []
    assert story.tell(gone("h.77", "exit code 1")) == []
    assert story.pool.names == ("h.1", "h.2")


def test_the_next_deadline_is_never_behind_a_tick() -> None:
    """A deadline that a tick does not move would make the host spin."""
    story = Story()
    story.begin()
    story.tell(gone("h.1", "exit code 1"))

    for _ in range(50):
        story.now = story.pool.next_deadline()
        story.tell(Tick())
        assert story.pool.next_deadline() > story.now


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_events_keeps_the_pool_sound(seed: int) -> None:
    chance = random.Random(seed)
    story = Story(wanted=chance.randint(0, 5), ceiling=chance.randint(0, 9))
    used: set[str] = set()
    reported: set[str] = set()
    for _ in range(400):
        story.now += chance.expovariate(2.0)
        commands = story.tell(_any_event(chance, story))
        forks = {command.name for command in commands if isinstance(command, Fork)}
        deaths = {command.name for command in commands if isinstance(command, ReportDeath)}
        assert not forks & used, "a name was used again"
        assert not deaths & reported, "a death was reported again"
        assert deaths <= used
        used |= forks
        reported |= deaths
        assert used - reported == set(story.pool.names)


def _any_event(chance: random.Random, story: Story) -> Event:
    pool = story.pool
    starting = [slot.name for slot in pool.slots if slot.name and not slot.pid]
    chosen = chance.choice([*pool.names, "h.0"])
    events: list[Event] = [Tick(), Pong(), gone("h.0", "never lived"), LeaseBack()]
    events += [Resize(chance.randint(0, 12)), Retire(chosen)]
    events += [Knock(chosen), Replace(chosen, "r-1", "late"), Fence((chosen,)), Drained("other")]
    if chance.random() < 0.1:
        events.append(LeaseLost("chance"))
    if pool.zygote is ZygoteState.STARTING:
        events += [ZygoteReady(), ZygoteGone("chance")]
    if pool.zygote is ZygoteState.READY:
        events += [Forked(name, next(story.pids)) for name in starting]
        events += [gone(name, "chance") for name in pool.names]
        events += [ExecutorGone(name, "chance", ordered=True) for name in pool.names]
        if chance.random() < 0.1:
            events = [ZygoteGone("chance")]
    return chance.choice(events)
