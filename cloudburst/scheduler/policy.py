"""Which of several executors with room a run begins on. Deterministic: a seed is passed in."""

from __future__ import annotations

import enum
import random

from cloudburst.scheduler.membership import Executor

BUSY = 0.7
"""Share of its time above which an executor is not preferred for what it keeps warm."""


_ROUND = 1e12
"""More than there will ever be executors."""


class Policy(enum.StrEnum):
    """What is preferred, among those that have room.

    Runs go to where least waits in any case; policies decide between those that are idle, or as
    good as idle.
    """

    LOCALITY = "locality"  # who ran the same code before, unless it is busy most of the time
    LEAST_LOADED = "least-loaded"  # who was busy least, lately
    ROUND_ROBIN = "round-robin"  # one after another
    RANDOM = "random"


class Preference:
    """A policy, and what it has to remember.

    Args:
        policy: which.
        seed: of the random one.
    """

    def __init__(self, policy: Policy = Policy.LOCALITY, seed: int = 0) -> None:
        self.policy = policy
        self._dice = random.Random(seed)  # noqa: S311  nobody gains by guessing it
        self._last = 0

    def rank(self, executor: Executor, plan_id: str) -> float:
        """Of executors with equally little to do, that with the lowest rank is preferred."""
        match self.policy:
            case Policy.LOCALITY:
                cold = plan_id not in executor.plans or executor.utilisation > BUSY
                # What others may need is taken last; who needs it has no choice.
                return cold + 2.0 * bool(executor.resources)
            case Policy.LEAST_LOADED:
                return executor.utilisation
            case Policy.ROUND_ROBIN:
                return executor.order + (_ROUND if executor.order <= self._last else 0.0)
            case Policy.RANDOM:
                return self._dice.random()

    def chose(self, executor: Executor) -> None:
        """A run begins there."""
        self._last = executor.order
