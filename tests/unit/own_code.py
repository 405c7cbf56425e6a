"""A module as users have them beside their programs: importable here, not on executors."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import own_code  # modules refer to each other, and so to themselves

LIMIT = 10


class Suit(enum.Enum):
    HEARTS = 1
    SPADES = 2


class Shape(ABC):
    made = 0

    @abstractmethod
    def area(self) -> float: ...


@dataclass
class Square(Shape):
    side: float

    def area(self) -> float:
        return min(self.side**2, LIMIT)


class Refusal(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


def mean(values: list[float]) -> float:
    return float(np.mean(values))


def factorial(n: int) -> int:
    return 1 if n < 2 else n * factorial(n - 1)


def also_factorial(n: int) -> int:
    return own_code.factorial(n)
