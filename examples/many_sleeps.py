"""A thousand calls that each sleep, on a pool that grows while they wait and shrinks afterwards.

The cluster begins with two executors and may have 32. How many there are is asked all the time,
and drawn when they are two again: as text here, and as an SVG file if you name one. Sleeping needs
no processor; what is seen is how fast executors come and go, not how fast your machine is.

    python examples/many_sleeps.py [--sleeps N] [--ms N] [--max N] [--idle S] [--plot FILE.svg]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cloudburst import CloudburstConnection, LocalCluster

LEAST = 2
EVERY = 0.02  # seconds between two samples
PATIENCE = 30.0  # seconds that the pool may take to shrink, besides those that it is told to wait
ROWS, COLUMNS = 24, 64  # of the plot on the terminal


class Sample(NamedTuple):
    """What the cluster said, so many seconds after the first call."""

    seconds: float
    executors: int
    unfinished: int


class Outcome(NamedTuple):
    """All samples, and after how many seconds the last sleep had ended."""

    samples: list[Sample]
    finished: float

    @property
    def most(self) -> int:
        """Executors that there were at a time."""
        return max(sample.executors for sample in self.samples)

    def first(self, executors: int) -> float:
        """After how many seconds there were so many."""
        return next(sample.seconds for sample in self.samples if sample.executors >= executors)


def nap(_: Any, seconds: float) -> None:
    """Sleep. Unlike waiting for a message, this keeps an executor busy as any work does."""
    time.sleep(seconds)


def measure(cloud: CloudburstConnection, sleeps: int, seconds: float, patience: float) -> Outcome:
    """Call `nap` so often, and watch the pool until all is over and it is small again."""
    cloud_nap = cloud.register(nap, "nap")
    samples = [Sample(0.0, len(cloud.status().executors), sleeps)]
    begin, finished = time.monotonic(), 0.0
    futures = [cloud_nap(seconds) for _ in range(sleeps)]
    while True:
        status = cloud.status()
        unfinished = sum(not future.done() for future in futures)
        now = time.monotonic() - begin
        samples.append(Sample(now, len(status.executors), unfinished))
        if not unfinished:
            finished = finished or now
            if len(status.executors) <= LEAST:
                break
            if now > finished + patience:
                raise SystemExit(f"{len(status.executors)} executors are still there")
        time.sleep(EVERY)
    for future in futures:
        future.get()  # raises what went wrong, if anything did
    return Outcome(samples, finished)


def at(samples: Sequence[Sample], seconds: float) -> Sample:
    """The last sample that is not later."""
    return [sample for sample in samples if sample.seconds <= seconds or sample is samples[0]][-1]


def text_plot(samples: Sequence[Sample]) -> str:
    """A bar for each moment, as long as there were executors."""
    end, most = samples[-1].seconds, max(sample.executors for sample in samples)
    lines = [f"{'seconds':>8}  executors{'unfinished':>{COLUMNS + 5}}"]
    for row in range(ROWS + 1):
        moment = end * row / ROWS
        _, executors, unfinished = at(samples, moment)
        bar = "#" * max(1, round(COLUMNS * executors / most))
        lines.append(f"{moment:8.2f}  {executors:3} {bar:<{COLUMNS}}{unfinished:10}")
    return "\n".join(lines)


def svg_plot(samples: Sequence[Sample]) -> str:
    """Executors (steps, scale on the left) and unfinished calls (grey, on the right) over time."""
    left, top, width, height = 50, 40, 640, 300
    right, bottom, end = left + width, top + height, samples[-1].seconds
    most = max(sample.executors for sample in samples)
    calls = max(1, *(sample.unfinished for sample in samples))

    def x(seconds: float) -> float:
        return round(left + width * seconds / end, 1)

    def y(part: float) -> float:
        return round(bottom - height * part, 1)

    corners = [(x(0), y(samples[0].executors / most))]
    for sample in samples:  # a step: along to that moment, and then up or down
        corners += [(x(sample.seconds), corners[-1][1])]
        corners += [(x(sample.seconds), y(sample.executors / most))]
    slope = [(x(sample.seconds), y(sample.unfinished / calls)) for sample in samples]
    texts = [
        (left, top - 20, "start", f"executors, at most {most}", "#06c"),
        (right, top - 20, "end", f"unfinished calls, at most {calls}", "#666"),
        (left - 8, y(1) + 4, "end", f"{most}", "#06c"),
        (left - 8, y(LEAST / most) + 4, "end", f"{LEAST}", "#06c"),
        (right + 8, y(1) + 4, "start", f"{calls}", "#666"),
        *(
            (x(end * n / 5), bottom + 20, "middle", f"{end * n / 5:.1f} s", "#000")
            for n in range(6)
        ),
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right + 50} {bottom + 40}"',
            ' font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<path d="M{left} {top}V{bottom}H{right}V{top}" fill="none" stroke="#999"/>',
            _line(slope, "#aaa"),
            _line(corners, "#06c"),
            *(
                f'<text x="{at_x}" y="{at_y}" text-anchor="{anchor}" fill="{colour}">{text}</text>'
                for at_x, at_y, anchor, text, colour in texts
            ),
            "</svg>\n",
        ]
    )


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    path = " ".join(f"{x},{y}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def report(sleeps: int, seconds: float, most: int, outcome: Outcome) -> None:
    """Print how long it took, and how fast the pool grew and shrank."""
    total, last = sleeps * seconds, outcome.samples[-1]
    print(f"{sleeps} sleeps of {seconds * 1e3:g} ms took {outcome.finished:.2f} s, of at least:")
    print(f"{total / most:.2f} s for {most} executors, {total / LEAST:.2f} s for {LEAST}")
    print(f"{outcome.most} executors {outcome.first(outcome.most):.2f} s after the first call")
    print(
        f"{last.executors} executors {last.seconds - outcome.finished:.2f} s after the last sleep"
    )


def main(argv: list[str] | None = None) -> None:
    """Sleep, watch, draw."""
    parser = argparse.ArgumentParser(description="Watch a pool grow and shrink.")
    parser.add_argument("--sleeps", type=int, default=1000, help="calls")
    parser.add_argument("--ms", type=float, default=50.0, help="milliseconds that each sleeps")
    parser.add_argument("--max", type=int, default=32, help="executors at most; at least are 2")
    parser.add_argument("--idle", type=float, default=1.0, help="seconds until one is let go")
    parser.add_argument("--plot", type=Path, help="write an SVG file there")
    arguments = parser.parse_args(argv)
    if arguments.sleeps < 1 or arguments.ms <= 0 or arguments.max < LEAST:
        parser.error("there is nothing to be seen")

    with (
        LocalCluster(min=LEAST, max=arguments.max, idle_timeout=arguments.idle) as cluster,
        cluster.connect() as cloud,
    ):
        seconds = arguments.ms / 1000
        outcome = measure(cloud, arguments.sleeps, seconds, arguments.idle + PATIENCE)

    print(text_plot(outcome.samples) + "\n")
    report(arguments.sleeps, seconds, arguments.max, outcome)
    if arguments.plot is not None:
        arguments.plot.write_text(svg_plot(outcome.samples))
        print(f"drawn in {arguments.plot}")


if __name__ == "__main__":
    main()
