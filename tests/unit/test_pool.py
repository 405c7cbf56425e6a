"""Which executors a host runs, told as stories without a process."""

import itertools
import random

import pytest

from cloudburst.executor.pool import (
    HEARTBEAT,
    LONGEST_DELAY,
    Beat,
    Command,
    Event,
    ExecutorGone,
    Fork,
    Forked,
    Kill,
    Pool,
    ReportDeath,
    Restarts,
    StartZygote,
    Tick,
    ZygoteGone,
    ZygoteReady,
    ZygoteState,
)


class Story:
    """A pool, a clock that is moved by hand, and process numbers that are never used twice."""

    def __init__(self, wanted: int = 2) -> None:
        self.pool = Pool("h", wanted)
        self.now = 0.0
        self.pids = itertools.count(100)

    def tell(self, event: Event) -> list[Command]:
        """What the pool wants done, heartbeats left out."""
        commands = self.pool.handle(event, self.now)
        self.pool.validate()
        return [command for command in commands if not isinstance(command, Beat)]

    def run(self, commands: list[Command]) -> None:
        """Let what was forked start."""
        for command in commands:
            if isinstance(command, Fork):
                assert self.tell(Forked(command.name, next(self.pids))) == []

    def begin(self) -> None:
        """Until all executors run."""
        assert self.tell(Tick()) == [StartZygote()]
        self.run(self.tell(ZygoteReady()))
        assert self.pool.complete

    def next_forks(self, until: float) -> list[tuple[float, str]]:
        """When each executor is forked if the pool is woken just when it asks for it."""
        forks = []
        while self.pool.next_deadline() <= until:
            self.now = self.pool.next_deadline()
            for command in self.tell(Tick()):
                assert isinstance(command, Fork)
                forks.append((self.now, command.name))
        return forks


def test_executors_are_forked_once_the_zygote_is_ready() -> None:
    story = Story(wanted=3)

    assert story.tell(Tick()) == [StartZygote()]
    assert story.tell(Tick()) == []
    assert story.tell(ZygoteReady()) == [Fork("h.1"), Fork("h.2"), Fork("h.3")]
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
    assert pool.handle(ZygoteReady(), 0.1) == [Fork("h.1")]
    assert pool.handle(Tick(), HEARTBEAT - 0.01) == []
    assert pool.handle(Tick(), HEARTBEAT) == [Beat(("h.1",))]
    assert pool.next_deadline() == 2 * HEARTBEAT


def test_dead_executor_is_reported_and_replaced_at_once_under_a_new_name() -> None:
    story = Story()
    story.begin()
    story.now = 10.0

    commands = story.tell(ExecutorGone("h.1", "SIGKILL (signal 9)"))

    assert commands == [ReportDeath("h.1", "SIGKILL (signal 9)"), Fork("h.3")]
    assert story.pool.names == ("h.3", "h.2")


def test_a_death_is_reported_once() -> None:
    story = Story()
    story.begin()

    story.run(story.tell(ExecutorGone("h.1", "exit code 3")))

    assert story.tell(ExecutorGone("h.1", "exit code 3")) == []


def test_the_first_young_death_costs_no_wait() -> None:
    story = Story()
    story.begin()
    story.now = 0.2

    assert Fork("h.3") in story.tell(ExecutorGone("h.1", "exit code 1"))


def test_a_crash_loop_is_slowed_down_more_and_more() -> None:
    story = Story(wanted=1)
    story.begin()
    name, waits = "h.1", []

    for _ in range(10):
        forks = [c for c in story.tell(ExecutorGone(name, "exit code 1")) if isinstance(c, Fork)]
        died = story.now
        if forks:
            name = forks[0].name
        else:
            ((_, name),) = story.next_forks(until=story.pool.slots[0].due)
        waits.append(round(story.now - died, 6))
        story.run([Fork(name)])

    assert waits == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, LONGEST_DELAY, LONGEST_DELAY, LONGEST_DELAY]
    assert name == "h.11"


def test_a_long_life_makes_good_for_young_deaths() -> None:
    story = Story(wanted=1)
    story.begin()
    story.run(story.tell(ExecutorGone("h.1", "exit code 1")))
    assert story.tell(ExecutorGone("h.2", "exit code 1")) == [ReportDeath("h.2", "exit code 1")]
    ((_, third),) = story.next_forks(until=story.now + 0.1)
    story.run([Fork(third)])
    story.now += 60.0

    assert story.tell(ExecutorGone(third, "exit code 1"))[-1] == Fork("h.4")


def test_a_crash_loop_does_not_slow_down_others() -> None:
    story = Story(wanted=2)
    story.begin()
    for name in ("h.1", "h.3", "h.4"):
        for command in story.tell(ExecutorGone(name, "exit code 1")):
            story.run([command])
        story.run([Fork(name) for _, name in story.next_forks(until=story.now + 0.2)])
    story.now += 5.0

    assert Fork("h.6") in story.tell(ExecutorGone("h.2", "exit code 1"))


def test_executor_that_cannot_be_forked_counts_as_dead_at_once() -> None:
    story = Story(wanted=1)
    story.tell(Tick())
    assert story.tell(ZygoteReady()) == [Fork("h.1")]

    assert story.tell(ExecutorGone("h.1", "no memory"))[-1] == Fork("h.2")
    assert story.tell(ExecutorGone("h.2", "no memory")) == [ReportDeath("h.2", "no memory")]
    assert story.next_forks(until=0.3) == [(0.1, "h.3")]


def test_without_its_zygote_nobody_is_kept() -> None:
    story = Story(wanted=2)
    story.begin()
    story.now = 30.0

    assert story.tell(ZygoteGone("SIGKILL (signal 9)")) == [
        Kill(100),
        Kill(101),
        ReportDeath("h.1", "its zygote died: SIGKILL (signal 9)"),
        ReportDeath("h.2", "its zygote died: SIGKILL (signal 9)"),
        StartZygote(),
    ]
    assert story.pool.names == ()
    assert story.tell(ZygoteReady()) == [Fork("h.3"), Fork("h.4")]


def test_executor_that_was_just_being_forked_is_reported_but_cannot_be_killed() -> None:
    story = Story(wanted=1)
    story.tell(Tick())
    story.tell(ZygoteReady())

    assert story.tell(ZygoteGone("exit code 1")) == [
        ReportDeath("h.1", "its zygote died: exit code 1"),
        StartZygote(),
    ]


def test_a_zygote_that_keeps_dying_is_slowed_down() -> None:
    story = Story(wanted=1)
    story.tell(Tick())

    assert story.tell(ZygoteGone("exit code 1")) == [StartZygote()]
    assert story.tell(ZygoteGone("exit code 1")) == []
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
    assert story.tell(ExecutorGone("h.77", "exit code 1")) == []
    assert story.pool.names == ("h.1", "h.2")


def test_the_delay_is_bounded_however_often_it_dies() -> None:
    restarts = Restarts()

    assert max(restarts.delay(0.0) for _ in range(5000)) == LONGEST_DELAY


def test_the_next_deadline_is_never_behind_a_tick() -> None:
    """A deadline that a tick does not move would make the host spin."""
    story = Story()
    story.begin()
    story.tell(ExecutorGone("h.1", "exit code 1"))

    for _ in range(50):
        story.now = story.pool.next_deadline()
        story.tell(Tick())
        assert story.pool.next_deadline() > story.now


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_events_keeps_the_pool_sound(seed: int) -> None:
    chance = random.Random(seed)
    story = Story(wanted=chance.randint(1, 5))
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
    events: list[Event] = [Tick(), ExecutorGone("h.0", "never lived")]
    if pool.zygote is ZygoteState.STARTING:
        events += [ZygoteReady(), ZygoteGone("chance")]
    if pool.zygote is ZygoteState.READY:
        events += [Forked(name, next(story.pids)) for name in starting]
        events += [ExecutorGone(name, "chance") for name in pool.names]
        if chance.random() < 0.1:
            events = [ZygoteGone("chance")]
    return chance.choice(events)
