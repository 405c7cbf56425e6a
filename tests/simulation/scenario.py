"""What a world is to live through: what there is to call, who calls it, and what goes wrong."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from cloudburst.core.dag import Dag, Step
from cloudburst.core.options import RunOptions

from .functions import Behaviour, Function

SECONDS = (20e-6, 100e-6, 1e-3, 5e-3, 0.05, 0.3, 1.5)
STRANGE = tuple(behaviour for behaviour in Behaviour if behaviour is not Behaviour.PLAIN)


class Trouble(enum.Enum):
    """What may go wrong."""

    EXECUTOR_DIES = enum.auto()
    ZYGOTE_DIES = enum.auto()
    HOST_DIES = enum.auto()
    HOST_STOPS = enum.auto()
    MACHINE_STOPS = enum.auto()
    HOST_DRAINS = enum.auto()
    SCHEDULER_DIES = enum.auto()
    SCHEDULER_STOPS = enum.auto()
    CLIENT_DIES = enum.auto()
    STORE_DOWN = enum.auto()
    STORE_FORGETFUL = enum.auto()
    CUT = enum.auto()
    CUT_ONE_WAY = enum.auto()
    CONNECTIONS_BREAK = enum.auto()
    STORM = enum.auto()


_AMIDST = (
    *[Trouble.EXECUTOR_DIES] * 8,
    Trouble.SCHEDULER_DIES,
    Trouble.HOST_DIES,
    Trouble.CONNECTIONS_BREAK,
)


class Fault(NamedTuple):
    """Something goes wrong for some seconds; ``pick`` says with what."""

    trouble: Trouble
    pick: int
    seconds: float


class Invoke(NamedTuple):
    """A client calls something.

    ``arguments`` are (pick of a step, pick of an earlier run or -1 for a plain value). If ``warm``
    is not 0, its code is only loaded, on so many executors.
    """

    client: int
    target: int
    arguments: tuple[tuple[int, int], ...]
    store: bool
    options: RunOptions
    patience: float
    warm: int = 0


class Stop(NamedTuple):
    """A client cancels a run."""

    client: int
    run: int


class Join(NamedTuple):
    """A client waits for a run that another has called."""

    client: int
    run: int


class Renew(NamedTuple):
    """A function gets new code."""

    function: int


class Remove(NamedTuple):
    """A DAG is deleted."""

    dag: int


Action: TypeAlias = Fault | Invoke | Stop | Join | Renew | Remove


class Moment(NamedTuple):
    """After so many events, this happens."""

    events: int
    action: Action


@dataclass(frozen=True)
class Scenario:
    """Everything that makes a world, besides what is left to its dice.

    Attributes:
        seed: of the dice.
        events: how many there are before all troubles end.
        harsh: which network it has.
        latency: seconds that a message takes on the average.
        slow: how many of them take 200 times as long: a retransmission, a full queue.
        hosts: how many executors each host runs at least.
        more: how many more it may run while there is work for them.
        clients: of each, whether executors can reach it.
    """

    seed: int
    events: int
    harsh: bool
    latency: float
    slow: float
    hosts: tuple[int, ...]
    more: int
    clients: tuple[bool, ...]
    functions: tuple[Function, ...]
    dags: tuple[Dag, ...]
    moments: tuple[Moment, ...] = field(default=())

    def with_moments(self, moments: tuple[Moment, ...]) -> Scenario:
        """The same world, in which other things happen."""
        return replace(self, moments=moments)

    @classmethod
    def of_seed(cls, seed: int, events: int) -> Scenario:
        """The scenario of a seed."""
        dice = random.Random(f"{seed} scenario")
        if seed % 4 == 0:
            return cls._of_joins(seed, events, dice)
        if seed % 8 == 2:
            return cls._of_waits(seed, events, dice)
        if seed % 8 == 3:
            return cls._of_data(seed, events, dice)
        functions = _functions(dice)
        dags = tuple(_dag(dice, f"d{number}", functions) for number in range(dice.randint(1, 3)))
        if seed % 8 in (1, 6):
            functions = tuple(_special(dice, function) for function in functions)
            dags = tuple(_shaped(dice, dag) for dag in dags)
        moments = _moments(dice, events, tuple(Trouble))
        if seed % 8 in (1, 6):
            moments = tuple(_warming(dice, moment) for moment in moments)
        return cls(
            seed=seed,
            events=events,
            harsh=dice.random() < 0.5,
            latency=dice.choice((0.0001, 0.001, 0.01, 0.05)),
            slow=0.01,
            hosts=tuple(dice.randint(1, 3) for _ in range(dice.randint(1, 3))),
            more=dice.choice((0, 0, 2, 8)),
            clients=tuple(dice.random() < 0.7 for _ in range(dice.randint(1, 3))),
            functions=functions,
            dags=dags,
            moments=moments,
        )

    @classmethod
    def _of_joins(cls, seed: int, events: int, dice: random.Random) -> Scenario:
        """Branches that meet, on many executors that die while values are under way."""
        functions = (
            Function("f0", Behaviour.PLAIN, dice.choice((0.005, 0.02)), is_class=False),
            Function("f1", Behaviour.PLAIN, dice.choice((0.02, 0.1)), is_class=False),
        )
        width = dice.randint(2, 4)
        sources = tuple(Step(f"s{number}", dice.choice(("f0", "f1"))) for number in range(width))
        edges = tuple((source.name, "end") for source in sources)
        return cls(
            seed=seed,
            events=events,
            harsh=dice.random() < 0.8,
            latency=0.003,
            slow=0.1,
            hosts=dice.choice(((2,), (1, 1), (3, 2))),
            more=dice.choice((0, 3)),
            clients=(True,),
            functions=functions,
            dags=(Dag("d0", (*sources, Step("end", "f0")), edges),),
            moments=_ordered(
                events,
                dice,
                [
                    *(_invoke(dice)._replace(target=2) for _ in range(max(2, events // 8))),
                    *(_fault(dice, _AMIDST) for _ in range(max(3, events // 12))),
                ],
            ),
        )

    @classmethod
    def _of_waits(cls, seed: int, events: int, dice: random.Random) -> Scenario:
        """Code that is expected to be quick, and waits for what was sent ahead to it."""
        functions = (
            Function("f0", Behaviour.PLAIN, dice.choice((20e-6, 100e-6)), is_class=False),
            Function("f1", Behaviour.WAITS, dice.choice((100e-6, 500e-6)), is_class=False),
        )
        width = dice.randint(2, 3)
        sources = tuple(Step(f"s{number}", dice.choice(("f0", "f1"))) for number in range(width))
        edges = tuple((source.name, "end") for source in sources)
        faults = dice.choice((0, 0, 2))
        return cls(
            seed=seed,
            events=events,
            harsh=dice.random() < 0.5,
            latency=dice.choice((0.0001, 0.001)),
            slow=0.05,
            hosts=dice.choice(((2,), (1, 1), (2, 1))),
            more=dice.choice((0, 0, 2)),
            clients=(True,),
            functions=functions,
            dags=(Dag("d0", (*sources, Step("end", "f0")), edges),),
            moments=_ordered(
                events,
                dice,
                [
                    *(_invoke(dice) for _ in range(max(2, events // 5))),
                    *(_fault(dice, _AMIDST) for _ in range(faults)),
                ],
            ),
        )

    @classmethod
    def _of_data(cls, seed: int, events: int, dice: random.Random) -> Scenario:
        """Calls that refer to the same few results again and again, on several hosts."""
        functions = tuple(
            Function(f"f{number}", Behaviour.PLAIN, seconds)
            for number, seconds in enumerate((20e-6, 0.003, dice.choice((0.02, 0.3))))
        )
        dags = tuple(_dag(dice, f"d{number}", functions) for number in range(2))
        calls = [_invoke(dice) for _ in range(max(4, events // 6))]
        return cls(
            seed=seed,
            events=events,
            harsh=dice.random() < 0.5,
            latency=dice.choice((0.0001, 0.003)),
            slow=0.02,
            hosts=dice.choice(((1, 1), (2, 1), (2, 2), (1, 1, 1))),
            more=dice.choice((0, 0, 2)),
            clients=(True,),
            functions=functions,
            dags=dags,
            moments=_ordered(
                events,
                dice,
                [
                    *(call._replace(arguments=_of_few(dice)) for call in calls),
                    *(_fault(dice, (*_AMIDST, Trouble.CUT)) for _ in range(dice.choice((0, 2, 5)))),
                ],
            ),
        )


def _of_few(dice: random.Random) -> tuple[tuple[int, int], ...]:
    """Arguments most of which are references."""
    count = dice.randint(1, 4)
    picks = [dice.randrange(6) if dice.random() < 0.8 else -1 for _ in range(count)]
    return tuple((dice.randrange(9), pick) for pick in picks)


def _functions(dice: random.Random) -> tuple[Function, ...]:
    strangeness = dice.choice((0.0, 0.1, 0.3))
    functions = []
    for number in range(dice.randint(2, 5)):
        behaviour = dice.choice(STRANGE) if dice.random() < strangeness else Behaviour.PLAIN
        is_class = dice.random() < 0.2
        functions.append(Function(f"f{number}", behaviour, dice.choice(SECONDS), is_class))
    return tuple(functions)


def _dag(dice: random.Random, name: str, functions: tuple[Function, ...]) -> Dag:
    """One to six steps; every step but the last leads to a later one."""
    count = dice.randint(1, 6)
    steps = tuple(Step(f"s{number}", dice.choice(functions).name) for number in range(count))
    edges = dict[tuple[str, str], None]()
    for source in range(count - 1):
        for _ in range(dice.choice((1, 1, 1, 2))):
            edges[f"s{source}", f"s{dice.randint(source + 1, count - 1)}"] = None
    return Dag(name, steps, tuple(edges))


def _special(dice: random.Random, function: Function) -> Function:
    """A function that may be run in batches, or need what not every host has."""
    size, wait = dice.choice(((0, 0.0), (0, 0.0), (2, 0.0), (8, 0.0), (8, 0.02)))
    if function.behaviour is Behaviour.WAITS:
        size = 0  # it waits until nobody is held up, but the others of its batch are
    needs = "gpu" if dice.random() < 0.2 else ""
    return function._replace(batch_size=size, batch_wait=wait, needs=needs)


def _shaped(dice: random.Random, dag: Dag) -> Dag:
    """A DAG in which some steps take the first of several results, or run together."""
    reached = {target for _, target in dag.edges}
    steps = tuple(
        step._replace(invalid=b"some") if step.name in reached and dice.random() < 0.4 else step
        for step in dag.steps
    )
    names = [step.name for step in steps]
    groups = (tuple(dice.sample(names, 2)),) if len(names) > 1 and dice.random() < 0.3 else ()
    return dag._replace(steps=steps, colocated=groups, replicas=dice.choice((1, 1, 2, 3)))


def _moments(dice: random.Random, events: int, troubles: tuple[Trouble, ...]) -> tuple[Moment, ...]:
    actions: list[Action] = [
        _invoke(dice) for _ in range(max(2, events // dice.choice((8, 15, 30))))
    ]
    actions += [_fault(dice, troubles) for _ in range(dice.choice((0, 1, 3, max(3, events // 40))))]
    actions += [Stop(dice.randrange(9), dice.randrange(99)) for _ in range(dice.choice((0, 1, 3)))]
    actions += [Join(dice.randrange(9), dice.randrange(99)) for _ in range(dice.choice((0, 0, 2)))]
    if dice.random() < 0.2:
        actions.append(Renew(dice.randrange(9)))
    if dice.random() < 0.1:
        actions.append(Remove(dice.randrange(9)))
    return _ordered(events, dice, actions)


def _warming(dice: random.Random, moment: Moment) -> Moment:
    """The same, or a call that only loads code."""
    action = moment.action
    if not isinstance(action, Invoke) or dice.random() < 0.85:
        return moment
    return moment._replace(action=action._replace(warm=dice.choice((1, 2, 4))))


def _ordered(events: int, dice: random.Random, actions: list[Action]) -> tuple[Moment, ...]:
    moments = [Moment(dice.randrange(events), action) for action in actions]
    return tuple(sorted(moments, key=lambda moment: moment.events))


def _invoke(dice: random.Random) -> Invoke:
    said = RunOptions(
        timeout=dice.choice((0.05, 0.5, 2.0)) if dice.random() < 0.15 else -1.0,
        max_retries=dice.randint(0, 3) if dice.random() < 0.3 else -1,
        grace_period=dice.choice((0.0, 0.1, 0.5)) if dice.random() < 0.8 else -1.0,
    )
    arguments = tuple(
        (dice.randrange(9), dice.randrange(99) if dice.random() < 0.2 else -1)
        for _ in range(dice.choice((0, 1, 1, 3)))
    )
    return Invoke(
        client=dice.randrange(9),
        target=dice.randrange(99),
        arguments=arguments,
        store=dice.random() < 0.75,
        options=said,
        patience=dice.choice((2.0, 10.0)),
    )


def _fault(dice: random.Random, troubles: tuple[Trouble, ...]) -> Fault:
    seconds = dice.choice((0.01, 0.1, 0.5, 2.0, 4.0, 8.0)) * (0.5 + dice.random())
    return Fault(dice.choice(troubles), dice.randrange(99), seconds)
