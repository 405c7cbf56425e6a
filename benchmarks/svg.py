"""A line plot with logarithmic axes, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple, TypeAlias

WIDTH, HEIGHT = 860, 420
LEFT, RIGHT, TOP, BOTTOM = 80, 250, 40, 50

COLOURS = (
    *("#0b5fa5", "#4aa3df", "#444444", "#c1440e", "#e08e45", "#2e7d32", "#8bc34a"),
    *("#6a1b9a", "#ba68c8", "#00838f", "#ad1457", "#827717", "#5d4037"),
)
"""Ours come first, and are blue; on white and on black they can be told from the background."""

Points: TypeAlias = Sequence[tuple[float, float]]


class Axis(NamedTuple):
    """Where numbers are on a logarithmic axis.

    Attributes:
        low, high: powers of ten between which all numbers are.
        start, end: pixels.
    """

    low: int
    high: int
    start: float
    end: float

    def place(self, value: float) -> float:
        """The pixel of a number."""
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self) -> list[float]:
        """The powers of ten."""
        return [10.0**power for power in range(self.low, self.high + 1)]


def plot(title: str, across: str, up: str, lines: Mapping[str, Points]) -> str:
    """A picture of several lines.

    Args:
        title: above it.
        across: what is on the horizontal axis.
        up: what is on the vertical axis.
        lines: the points of each, by name; all numbers above 0.

    Raises:
        ValueError: there is no point, or one that is not above 0.
    """
    points = [point for line in lines.values() for point in line]
    if not points or min(min(point) for point in points) <= 0:
        raise ValueError(f"{title} has no points that a logarithmic axis can show")
    xs = _axis([x for x, _ in points], LEFT, WIDTH - RIGHT)
    ys = _axis([y for _, y in points], HEIGHT - BOTTOM, TOP)
    parts = [*_frame(title, across, up, xs, ys)]
    for number, (name, line) in enumerate(lines.items()):
        parts += _line(name, line, number, xs, ys)
    return "\n".join([_HEAD, *parts, "</svg>"]) + "\n"


_HEAD = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
    'font-family="sans-serif" font-size="12">\n'
    f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
)


def _axis(values: Sequence[float], start: float, end: float) -> Axis:
    low = math.floor(math.log10(min(values)))
    high = max(low + 1, math.ceil(math.log10(max(values))))
    return Axis(low, high, start, end)


def _frame(title: str, across: str, up: str, xs: Axis, ys: Axis) -> Iterator[str]:
    """All but the lines."""
    yield _text((LEFT + WIDTH - RIGHT) / 2, 22, title, "middle", size=15)
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, across, "middle")
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield (
        f'<text x="18" y="{middle:.1f}" text-anchor="middle" '
        f'transform="rotate(-90 18 {middle:.1f})">{escape(up)}</text>'
    )
    for tick in xs.ticks():
        x = xs.place(tick)
        yield _stroke(x, ys.start, x, ys.end)
        yield _text(x, ys.start + 16, _short(tick), "middle")
    for tick in ys.ticks():
        y = ys.place(tick)
        yield _stroke(xs.start, y, xs.end, y)
        yield _text(xs.start - 6, y + 4, _short(tick), "end")


def _line(name: str, line: Points, number: int, xs: Axis, ys: Axis) -> Iterator[str]:
    """One line, its points, and its name beside the picture."""
    colour = COLOURS[number % len(COLOURS)]
    places = [(xs.place(x), ys.place(y)) for x, y in sorted(line)]
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    yield f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for x, y in places:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
    y = TOP + 12 + 20 * number
    yield f'<rect x="{WIDTH - RIGHT + 20}" y="{y - 9}" width="12" height="9" fill="{colour}"/>'
    yield _text(WIDTH - RIGHT + 38, y, name, "start")


def _stroke(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="#dddddd"/>'


def _text(x: float, y: float, text: str, anchor: str, size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">'
        f"{escape(text)}</text>"
    )


def _short(value: float) -> str:
    """A power of ten in a few characters."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g} {letter}"
    return f"{value:g}"
