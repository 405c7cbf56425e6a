"""Running scenarios, from their beginning to the verdict."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from .scenario import Scenario
from .verdict import judge, leftovers
from .witness import expect
from .world import World

WARM_UP = 60.0
SETTLE = 300.0
"""Virtual seconds in which everything must have come to rest once all trouble is over."""

LOOK_EVERY = 0.25


@dataclass(frozen=True)
class Report:
    """What came of a scenario.

    Attributes:
        events: how many there were, all in all.
        seconds: how long it took, in virtual time.
        digest: of the trace, if it was asked for.
    """

    events: int
    seconds: float
    digest: str


class Failure(AssertionError):
    """A scenario that did not end as it must.

    Attributes:
        seed: replays it, with the number of events.
    """

    def __init__(self, scenario: Scenario, error: Exception, trace: list[str]) -> None:
        self.seed = scenario.seed
        again = (
            f"python -m tests.simulation --seed {self.seed} --seeds 1 --events {scenario.events}"
        )
        super().__init__("\n".join((*trace, f"{type(error).__name__}: {error}", again)))


def run(
    scenario: Scenario, *, keep: int = 60, digested: bool = False, validate_every: int = 1
) -> Report:
    """Run a scenario; the arguments are those of `World`.

    Raises:
        Failure: something that was promised was not kept.
    """
    world = World(scenario, keep=keep, digested=digested, validate_every=validate_every)
    try:
        _live(world)
    except Exception as error:
        raise Failure(scenario, error, world.trace.lines()) from error
    return Report(world.clock.events, world.clock.now, world.trace.digest())


def run_seed(seed: int, events: int, *, digested: bool = False) -> Report:
    """Run the scenario of a seed.

    Raises:
        Failure: something that was promised was not kept.
    """
    return run(Scenario.of_seed(seed, events), digested=digested)


def _live(world: World) -> None:
    _rest(world, WARM_UP)
    clock, begin = world.clock, world.clock.events
    moments = deque(world.scenario.moments)
    while clock.events < begin + world.scenario.events:
        while moments and moments[0].events <= clock.events - begin:
            world.do(moments.popleft().action)
        clock.step()
    world.calm()
    _rest(world, SETTLE)
    judge(world)


def _rest(world: World, seconds: float) -> None:
    """Let time pass until nothing is left to do."""
    clock = world.clock
    deadline, look_at = clock.now + seconds, clock.now
    while True:
        clock.step()
        if clock.now >= look_at:
            look_at = clock.now + LOOK_EVERY
            left = list(leftovers(world))
            if not left:
                return
            expect(clock.now < deadline, "all comes to an end", *left)
