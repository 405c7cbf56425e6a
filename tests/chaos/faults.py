"""Which processes are to fall when, drawn from a seed."""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Part(enum.StrEnum):
    """What a fault befalls."""

    EXECUTOR = "executor"
    ZYGOTE = "zygote"
    HOST = "host"
    MACHINE = "machine"
    """A host with all that it has started, as if its machine were suspended."""
    SCHEDULER = "scheduler"
    STORE = "store"
    CLIENT = "client"


class Action(enum.StrEnum):
    """What is done to it."""

    KILL = "kill"
    TERM = "terminate"
    STOP = "stop"


class Fault(NamedTuple):
    """One fault, as it is planned.

    Attributes:
        pause: seconds since the one before.
        which: which of several, as a fraction of their number.
        hold: seconds between SIGSTOP and what follows.
        then_kill: whether that is SIGKILL, and not SIGCONT.
        restart_after: seconds until who has died is started again.
    """

    pause: float
    part: Part
    action: Action
    which: float
    hold: float
    then_kill: bool
    restart_after: float


@dataclass(slots=True)
class Happened:
    """A fault that was carried out. Times are seconds since the epoch; 0 for what did not come.

    Attributes:
        fault: what was planned.
        at: when it began.
        died_at: when the process had ended.
        back_at: when it was started again, or went on.
        up_at: for a store: when it answered again.
    """

    fault: Fault
    at: float
    died_at: float = 0.0
    back_at: float = 0.0
    up_at: float = 0.0

    def tell(self, since: float) -> str:
        """What happened when, in seconds since then."""
        times = {"": self.at, "died": self.died_at, "back": self.back_at, "up": self.up_at}
        told = [f"{word} {when - since:.2f}".strip() for word, when in times.items() if when]
        return f"{', '.join(told)}: {self.label}"

    @property
    def is_kill(self) -> bool:
        """Whether a process ended by it."""
        return self.fault.action is not Action.STOP or self.fault.then_kill

    @property
    def counts(self) -> bool:
        """Whether it is a kill of a part of the cluster."""
        return self.is_kill and self.fault.part is not Part.CLIENT

    @property
    def label(self) -> str:
        """What it was, in words."""
        fault = self.fault
        if fault.action is not Action.STOP:
            return f"{fault.part} {fault.action}"
        return f"{fault.part} stop, then {'kill' if fault.then_kill else 'go on'}"


_DECK = {
    Part.EXECUTOR: 8,
    Part.ZYGOTE: 1,
    Part.HOST: 3,
    Part.MACHINE: 1,
    Part.SCHEDULER: 3,
    Part.STORE: 3,
    Part.CLIENT: 2,
}
"""What falls how often before everything has had its turn, so that short runs have some of all."""

_ACTIONS: dict[Part, dict[Action, int]] = {
    Part.EXECUTOR: {Action.KILL: 14, Action.TERM: 3, Action.STOP: 3},
    Part.ZYGOTE: {Action.KILL: 1},
    Part.HOST: {Action.KILL: 4, Action.TERM: 3, Action.STOP: 3},
    Part.MACHINE: {Action.STOP: 1},
    Part.SCHEDULER: {Action.KILL: 6, Action.TERM: 2, Action.STOP: 2},
    Part.STORE: {Action.KILL: 5, Action.TERM: 1, Action.STOP: 4},
    Part.CLIENT: {Action.KILL: 1},
}
_BURST = 0.2
"""The share of faults that follow at once upon another."""

_HOLDS = {
    Part.HOST: (0.1, 6.0),
    Part.MACHINE: (1.0, 6.0),
    Part.STORE: (0.5, 2.5),
    Part.SCHEDULER: (0.1, 2.5),
}
"""Seconds of SIGSTOP: from the shortest to the longest. After three, a host's runs go elsewhere."""


def plan(seed: str, mean_pause: float) -> Iterator[Fault]:
    """Faults without end."""
    rng = random.Random(f"{seed}/faults")
    deck: list[Part] = []
    while True:
        if not deck:
            deck = rng.sample(list(_DECK), sum(_DECK.values()), counts=list(_DECK.values()))
        fault = _draw(rng, deck.pop(), mean_pause)
        yield fault
        if (fault.part, fault.action) == (Part.STORE, Action.STOP):
            # What the scheduler has promised, and could not record, dies with it.
            pause = fault.hold * rng.uniform(0.3, 0.9)
            yield Fault(
                pause=pause,
                part=Part.SCHEDULER,
                action=Action.KILL,
                which=0.0,
                hold=0.0,
                then_kill=False,
                restart_after=rng.uniform(0.0, 1.0),
            )


def _draw(rng: random.Random, part: Part, mean_pause: float) -> Fault:
    actions = _ACTIONS[part]
    action = rng.choices(list(actions), list(actions.values()))[0]
    pause = rng.uniform(0.0, 0.3) if rng.random() < _BURST else rng.uniform(0.5, 2.0)
    return Fault(
        pause=pause * mean_pause / (0.15 * _BURST + 1.25 * (1 - _BURST)),
        part=part,
        action=action,
        which=rng.random(),
        hold=rng.uniform(*_HOLDS.get(part, (0.1, 0.5))),
        # A stopped executor is killed by its zygote.
        then_kill=part is Part.EXECUTOR or (part is not Part.MACHINE and rng.random() < 0.3),
        restart_after=rng.uniform(0.0, 1.0),
    )
