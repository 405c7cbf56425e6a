"""What a system can be asked to do. Each is one row, or one point of a plot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Noop:
    """Call a function that returns its argument."""


@dataclass(frozen=True)
class TwoFunctions:
    """``square(increment(x))``."""


@dataclass(frozen=True)
class Chain:
    """``increment`` so many times, one after another; the time is that of a step."""

    steps: int


@dataclass(frozen=True)
class Fan:
    """``increment``, then ``increment`` in so many branches, and the sum of these."""

    branches: int


@dataclass(frozen=True)
class Burst:
    """So many jobs at once, and all their results; the time is that of a job.

    Attributes:
        jobs: how many.
        steps: 1: each returns its argument; 2: each is ``square(increment(x))``.
        clients: that many do so at the same time.
    """

    jobs: int
    steps: int
    clients: int = 1


@dataclass(frozen=True)
class Arrays:
    """The sum of ten arrays that the system keeps, so many bytes together."""

    size: int


@dataclass(frozen=True)
class Edge:
    """So many bytes from a step in one process to the next step in another.

    The time is that from the end of the first step until the second has seen every page.
    """

    size: int


@dataclass(frozen=True)
class Prediction:
    """``postprocess(infer(preprocess(image), weights))`` with weights that the system keeps."""


Work: TypeAlias = Noop | TwoFunctions | Chain | Fan | Burst | Arrays | Edge | Prediction
