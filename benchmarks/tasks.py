"""The functions that every system runs, as plain Python. What they make is what must come back."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

IMAGE, HIDDEN, CLASSES = 784, 512, 10
PAGE = 4096 // 8
"""Numbers of eight bytes in a page of memory."""


def same(number: int) -> int:
    """Do nothing."""
    return number


def increment(number: int) -> int:
    return number + 1


def square(number: int) -> int:
    return number * number


def composed(number: int) -> int:
    return square(increment(number))


def total(numbers: Iterable[int]) -> int:
    return sum(numbers)


def arrays(size: int, count: int = 10) -> list[Array]:
    """So many arrays, that have so many bytes together."""
    return [np.random.default_rng(number).random(size // count // 8) for number in range(count)]


def added_up(found: Iterable[Array]) -> float:
    """The sum of all their numbers, always in the same order."""
    return float(sum([array.sum() for array in found]))


def produce(number: int, size: int) -> tuple[Array, float]:
    """An array of so many bytes, and when it was ready."""
    array = np.full(max(1, size // 8), float(number))
    return array, time.perf_counter()


def consume(produced: tuple[Array, float]) -> tuple[float, float]:
    """The mean of one number of each page, and the seconds from `produce` until it was known."""
    array, ready = produced
    found = float(array[::PAGE].mean())
    return found, time.perf_counter() - ready


def weights() -> tuple[Array, Array]:
    """Of a model with one hidden layer: 3.3 MB."""
    source = np.random.default_rng(7)
    return source.standard_normal((IMAGE, HIDDEN)), source.standard_normal((HIDDEN, CLASSES))


def image(number: int) -> Array:
    """Pixels of 0 to 255 that differ from number to number."""
    return np.random.default_rng(number).integers(0, 256, IMAGE).astype(np.float64)


def preprocess(pixels: Array) -> Array:
    return (pixels - 128.0) / 128.0


def infer(inputs: Array, model: Sequence[Array]) -> Array:
    first, second = model
    hidden: Array = np.maximum(inputs @ first, 0.0)
    scores: Array = hidden @ second
    return scores


def postprocess(scores: Array) -> int:
    return int(scores.argmax())
