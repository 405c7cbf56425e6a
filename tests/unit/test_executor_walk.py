"""A random walk: any DAG, placed anyhow, over a network that shuffles and repeats, gives what a
plain evaluation gives; every share is reported, and nothing is left. So it is if the run is
stopped at any time, asked after, or handed back because a value could not be sent."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from executing import Executor, Job, job, only, plan_of, reports, said, steps, text

from cloudburst.core.messages import Finished, HandBack, Probe, RunState, Standing, Stop
from cloudburst.executor.events import (
    Command,
    Deliver,
    Event,
    FetchPlan,
    Interrupt,
    PlanLoaded,
    PlanMissing,
    Report,
    SendTrigger,
    Undelivered,
    Work,
)

Given = list[tuple[str, str, str]]

SEEDS = range(150)
LETTERS = "abcdefghij"
PLAN_LOST = [b"lost"]


def random_edges(chooser: random.Random) -> str:
    """Edges of a DAG with one sink, in random order; or a lone function."""
    names = LETTERS[: chooser.randint(1, len(LETTERS))]
    edges = [
        source + target
        for number, source in enumerate(names[:-1])
        for target in chooser.sample(names[number + 1 :], k=1)
        + [other for other in names[number + 1 :] if chooser.random() < 0.15]
    ]
    unique = list(dict.fromkeys(edges))
    chooser.shuffle(unique)
    return " ".join(unique) or names


def evaluated(call: Job, given: Given) -> str:
    """The value of the sink: each step's is its name with its arguments in brackets."""
    values: list[str] = []
    for segment in call.plan.segments:
        upstream = [values[parent] for parent in segment.parents]
        for number in segment.steps:
            upstream = [applied(call.plan.steps[number].name, given, upstream)]
        values += upstream
    return values[-1]


def applied(step: str, given: Given, upstream: list[str]) -> str:
    own = [keyword + value for name, keyword, value in given if name == step]
    return f"{step}({','.join(own + upstream)})"


def ran(work: Work) -> str:
    """What a runner would make of it."""
    plan = work.route.plan
    given = [(plan.steps[a.step].name, a.keyword, text(a.frames)) for a in work.arguments]
    values = [text(value) for value in work.inputs]
    for step in steps(work):
        values = [applied(step, given, values)]
    return values[0]


class World:
    """One run on one to four executors, and the network between them.

    Args:
        seed: of all that is random.
        repeats: how likely it is that a message comes twice.
        breaks: how likely it is that a trigger cannot be sent.
    """

    def __init__(self, seed: int, *, repeats: float = 0.3, breaks: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.repeats = repeats
        self.breaks = breaks
        addresses = "ABCD"[: self.random.randint(1, 4)]
        self.executors = {address: Executor(address) for address in addresses}
        self.edges = random_edges(self.random)
        self.network: list[tuple[str, Event]] = []
        self.running: dict[str, Work] = {}
        self.interrupted: set[str] = set()
        self.handed_back: list[HandBack] = []
        self.delivered: list[Deliver] = []
        self.told: Counter[tuple[str, int]] = Counter()
        self.ran: Counter[tuple[int, int]] = Counter()
        self.plan_is_lost = False
        names = [name for name in LETTERS if name in self.edges and self.random.random() < 0.4]
        self.given = [(name, key, name.upper() + key) for name in names for key in ("", "k=")]
        self.call = self.place(1)

    def place(self, epoch: int) -> Job:
        """Place the run, or place it anew."""
        segments = len(plan_of(self.edges).segments)
        places = "".join(self.random.choice(list(self.executors)) for _ in range(segments))
        names = dict.fromkeys(step for step, _, _ in self.given)
        return job(self.edges, places, "".join(names), epoch=epoch)

    def start(self) -> None:
        """What the scheduler sends: arguments, and a word to each executor with a source."""
        plan = self.call.plan
        for address in self.addresses():
            own = [a for a in self.given if address == self.place_of(a[0])]
            sources = any(
                not segment.parents and address == self.place_of(plan.steps[segment.steps[0]].name)
                for segment in plan.segments
            )
            if own or sources:
                self.send(address, self.call.start(*own))

    def addresses(self) -> set[str]:
        """The executors that have a share."""
        return {self.call.context.executors[place] for place in self.call.context.places}

    def place_of(self, step: str) -> str:
        context, plan = self.call.context, self.call.plan
        return context.executors[context.places[plan.segment_of[plan.step_index[step]]]]

    def send(self, to: str, message: Event) -> None:
        self.network += [(to, message)] * (1 + (self.random.random() < self.repeats))

    def feed(self, address: str, event: Event) -> None:
        for command in self.executors[address].take(event):
            self.carry_out(address, command)

    def carry_out(self, address: str, command: Command) -> None:
        match command:
            case SendTrigger(trigger=trigger) if self.random.random() < self.breaks:
                self.feed(address, Undelivered(trigger.run_id, trigger.epoch, "it broke"))
            case SendTrigger(address=to, trigger=trigger):
                self.send(to, trigger)
            case Interrupt(run_id=run_id):
                assert self.running[address].run_id == run_id
                self.interrupted.add(address)
            case Report(message=HandBack() as back):
                self.handed_back.append(back)
            case FetchPlan(plan_id=plan_id):
                lost = PlanMissing(plan_id, PLAN_LOST)
                answer = lost if self.plan_is_lost else PlanLoaded(self.call.plan)
                self.network.append((address, answer))
            case Deliver():
                self.delivered.append(command)
        for epoch, _, segments in reports([command]):
            self.told[address, epoch] += bool(segments) or isinstance(command, Deliver)

    def move(self) -> None:
        """A random message arrives, or a random executor begins what is next, or ends it."""
        chosen = self.random.randrange(len(self.network) + len(self.busy()))
        if chosen < len(self.network):
            self.feed(*self.network.pop(chosen))
            return
        address = self.busy()[chosen - len(self.network)]
        executor = self.executors[address]
        if address not in self.running:
            work = self.running[address] = executor.work()
            self.ran[work.epoch, work.segment] += 1
            return
        work, interrupted = self.running.pop(address), address in self.interrupted
        self.interrupted.discard(address)
        value = "interrupted" if interrupted else ran(work)
        for command in executor.finish(work, value, failed=interrupted):
            self.carry_out(address, command)

    def busy(self) -> list[str]:
        """The executors that run something, or could."""
        return [
            address
            for address, executor in self.executors.items()
            if address in self.running or executor.waiting()
        ]

    def is_quiet(self) -> bool:
        return not self.network and not self.busy()

    def stop(self) -> None:
        """The scheduler takes the run back from all that have a share."""
        for address in self.addresses():
            self.send(address, Stop(self.call.run_id, self.call.epoch, RunState.PENDING))

    def restart(self) -> None:
        """The scheduler starts the run again, placed anew."""
        self.stop()
        self.call = self.place(self.call.epoch + 1)
        self.start()

    def walk(self, steps: int | None = None) -> None:
        """Move on, to the end or for that many steps."""
        while not self.is_quiet() and steps != 0:
            self.move()
            steps = None if steps is None else steps - 1

    def nothing_is_left(self) -> bool:
        return all(executor.holds_nothing() for executor in self.executors.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_any_dag_anywhere_gives_what_a_plain_evaluation_gives(seed: int) -> None:
    world = World(seed)
    world.start()
    world.walk()

    (end,) = world.delivered
    assert text(end.frames) == evaluated(world.call, world.given)
    assert world.ran == {(1, number): 1 for number in range(len(world.call.plan.segments))}
    assert world.told == {(address, 1): 1 for address in world.addresses()}
    assert world.nothing_is_left()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_second_epoch_takes_over_from_a_first_that_is_under_way(seed: int) -> None:
    world = World(seed)
    world.start()
    world.walk(world.random.randint(0, 20))
    before = list(world.delivered)
    world.restart()
    world.walk()

    ends = [end for end in world.delivered if end not in before]
    assert [end.finished.epoch for end in ends if end.finished.epoch == 2] == [2]
    value = evaluated(world.call, world.given)
    assert {text(end.frames) for end in world.delivered} == {value}
    assert [count for (epoch, _), count in world.ran.items() if epoch == 2] == [1] * len(
        world.call.plan.segments
    )
    assert all(world.told[address, 2] == 1 for address in world.addresses())
    assert world.nothing_is_left()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_whose_plan_is_lost_fails_everywhere_and_leaves_nothing(seed: int) -> None:
    world = World(seed)
    world.plan_is_lost = True
    world.start()
    world.walk()

    assert world.delivered
    assert {text(end.frames) for end in world.delivered} == {"lost"}
    assert max(world.told.values()) == 1
    assert not world.ran
    assert world.nothing_is_left()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_that_is_stopped_at_any_time_leaves_nothing(seed: int) -> None:
    world = World(seed)
    world.start()
    world.walk(world.random.randint(0, 20))
    for address in world.executors:
        world.send(address, Stop(world.call.run_id, 1, RunState.CANCELLED))
    world.walk()

    assert len(world.delivered) <= 1
    assert {text(end.frames) for end in world.delivered} <= {evaluated(world.call, world.given)}
    assert max(world.ran.values(), default=0) <= 1
    assert world.nothing_is_left()


@pytest.mark.parametrize("seed", SEEDS)
def test_who_was_stopped_says_so_when_nothing_runs_and_runs_nothing_from_then_on(
    seed: int,
) -> None:
    world = World(seed, repeats=0.0)
    world.start()
    world.walk(world.random.randint(0, 20))
    address = world.random.choice(list(world.executors))
    executor = world.executors[address]
    told = [said(c) for c in executor.take(Stop(world.call.run_id, 1, RunState.CANCELLED))]
    if address in world.running:
        work = world.running.pop(address)
        if told == [None]:
            told = [said(c) for c in executor.finish(work, "interrupted", failed=True)]
    before = world.ran.copy()
    world.walk()

    (finished,) = told
    assert isinstance(finished, Finished)
    assert finished[:3] == (world.call.run_id, 1, RunState.RUNNING)
    segments = [
        n for n, place in enumerate(world.call.context.places) if is_at(world, place, address)
    ]
    assert all(world.ran[1, number] == before[1, number] for number in segments)
    assert executor.holds_nothing()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_may_be_asked_after_at_any_time(seed: int) -> None:
    world = World(seed)
    world.start()
    while not world.is_quiet():
        world.move()
        for address, executor in world.executors.items():
            answer = said(only(executor.take(Probe(world.call.run_id, 1)), Report))
            has_something_to_do = address in world.busy()
            match answer:
                case Standing(active=active):
                    assert active == has_something_to_do
                case Finished(state=state):
                    assert not has_something_to_do
                    assert world.told[address, 1] == 1
                    ends = [end.finished.state for end in world.delivered]
                    assert state in (*ends, RunState.RUNNING)
                case _:
                    raise AssertionError(answer)

    (end,) = world.delivered
    assert text(end.frames) == evaluated(world.call, world.given)


@pytest.mark.parametrize("seed", SEEDS)
def test_values_that_cannot_be_sent_delay_a_run_and_lose_nothing(seed: int) -> None:
    world = World(seed, breaks=0.3)
    world.start()
    while not world.is_quiet():
        world.move()
        if any(back.epoch == world.call.epoch for back in world.handed_back):
            world.breaks *= 0.7
            world.restart()

    assert {text(end.frames) for end in world.delivered} == {evaluated(world.call, world.given)}
    assert max(world.ran.values()) == 1
    assert world.nothing_is_left()


def is_at(world: World, place: int, address: str) -> bool:
    return world.call.context.executors[place] == address


def test_the_walk_meets_what_it_is_for() -> None:
    worlds = [World(seed) for seed in SEEDS]
    plans = [world.call.plan for world in worlds]

    assert any(len(plan.steps) == 1 for plan in plans)
    assert any(len(segment.steps) > 2 for plan in plans for segment in plan.segments)
    assert any(segment.inputs > 3 for plan in plans for segment in plan.segments)
    assert sum(not s.parents for s in max(plans, key=lambda p: len(p.steps)).segments) > 1
    assert {len(world.addresses()) for world in worlds} == {1, 2, 3, 4}
    assert len({world.edges for world in worlds}) > len(SEEDS) / 2


def test_it_meets_what_interrupts_it_too() -> None:
    interrupted, handed_back = 0, Counter[int]()
    for seed in SEEDS:
        world = World(seed)
        world.start()
        world.walk(world.random.randint(0, 20))
        world.stop()
        while not world.is_quiet():
            world.move()
            interrupted += bool(world.interrupted)
        world = World(seed, breaks=0.3)
        world.start()
        world.walk()
        handed_back[len(world.handed_back)] += 1

    assert interrupted > len(SEEDS) / 5
    assert handed_back[0] > 0
    assert handed_back[1] > 0
    assert max(handed_back) > 1
