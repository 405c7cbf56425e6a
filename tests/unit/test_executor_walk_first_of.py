"""A random walk with steps that are fired by the first result that counts, and steps that fail:
every run ends, every such step runs once and with one result, and nothing is left."""

from __future__ import annotations

from collections import Counter

import pytest
from executing import Job, inputs, job, plan_of, text
from test_executor_walk import World, ran

from cloudburst.core.messages import RunState, Stop
from cloudburst.executor.events import Command, Work

SEEDS = range(300)
BROKEN = "!"
"""Begins the values of steps that have failed."""


class Racing(World):
    """As a `World`, where some steps take the first of their results.

    Args:
        seed: of all that is random.
        fails: how likely it is that a source fails.
    """

    def __init__(self, seed: int, *, fails: float = 0.0) -> None:
        self.fails = fails
        self.fired: Counter[int] = Counter()
        self.tried: Counter[int] = Counter()
        super().__init__(seed)

    def place(self, epoch: int) -> Job:
        reached = dict.fromkeys(edge[1] for edge in self.edges.split() if len(edge) == 2)
        first_of = "".join(name for name in reached if self.random.random() < 0.6)
        segments = len(plan_of(self.edges, first_of).segments)
        places = "".join(self.random.choice(list(self.executors)) for _ in range(segments))
        given = "".join(dict.fromkeys(step for step, _, _ in self.given))
        return job(self.edges, places, given, epoch=epoch, first_of=first_of)

    def move(self) -> None:
        chosen = self.random.randrange(len(self.network) + len(self.busy()))
        if chosen < len(self.network):
            self.feed(*self.network.pop(chosen))
            return
        address = self.busy()[chosen - len(self.network)]
        if address not in self.running:
            self.running[address] = self.executors[address].work()
            return
        for command in self.end(address, self.running.pop(address)):
            self.carry_out(address, command)

    def end(self, address: str, work: Work) -> list[Command]:
        """A piece of work has run, has failed, or was not worth it."""
        executor, came = self.executors[address], inputs(work)
        is_first_of = work.segment in work.route.first_of
        self.tried[work.segment] += is_first_of
        if is_first_of:
            assert len(came) == 1
            if came[0].startswith(BROKEN) and work.others:
                return executor.finish_void(work)
        else:
            assert not any(value.startswith(BROKEN) for value in came)
        self.fired[work.segment] += 1
        if any(value.startswith(BROKEN) for value in came) or self.breaks_down(work):
            return executor.finish(work, BROKEN, failed=True)
        return executor.finish(work, ran(work))

    def breaks_down(self, work: Work) -> bool:
        return not work.inputs and self.random.random() < self.fails

    def over(self) -> None:
        """The scheduler has heard of the end, and tells all."""
        for address in self.executors:
            self.send(address, Stop(self.call.run_id, 1, RunState.SUCCEEDED))
        self.walk()


@pytest.mark.parametrize("seed", SEEDS)
def test_every_such_step_is_fired_once(seed: int) -> None:
    world = Racing(seed)
    world.start()
    world.walk()

    (end,) = world.delivered
    assert not text(end.frames).startswith(BROKEN)
    assert set(world.fired.values()) == {1}
    assert all(world.tried[number] <= 1 for number in world.tried)
    world.over()
    assert world.nothing_is_left()


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_fails_the_run_ends_and_leaves_nothing(seed: int) -> None:
    world = Racing(seed, fails=0.4)
    world.start()
    world.walk()

    assert world.delivered
    assert max(world.fired.values()) == 1
    for number, tries in world.tried.items():
        assert tries <= world.call.plan.segments[number].inputs
    world.over()
    assert world.nothing_is_left()


def test_the_walk_meets_what_it_is_for() -> None:
    ends: Counter[bool] = Counter()
    tries: Counter[int] = Counter()
    for seed in SEEDS:
        world = Racing(seed, fails=0.4)
        world.start()
        world.walk()
        ends.update(end.failed for end in world.delivered)
        tries.update(world.tried.values())

    assert min(ends[False], ends[True]) > len(SEEDS) / 5
    assert min(tries[1], tries[2]) > len(SEEDS) / 30
    assert max(tries) > 2
