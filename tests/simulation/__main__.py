"""Runs seeds until one fails: ``python -m tests.simulation --seeds 100000 --events 500``."""

from __future__ import annotations

import argparse
import sys
import time

from cloudburst.config import usable_cores

from .sweep import sweep

TRACE = 1_000_000

SAY_EVERY = 60.0
"""Seconds between two lines that say how far it is."""


def main() -> int:
    """Run what the command line says. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds")
    parser.add_argument("--events", type=int, default=200, help="events until all troubles end")
    parser.add_argument("--jobs", type=int, default=usable_cores(), help="processes to use")
    parser.add_argument(
        "--validate-every",
        type=int,
        default=1,
        metavar="N",
        help="look at the scheduler's state as a whole at every N-th event only, which is faster",
    )
    parser.add_argument("--trace", action="store_true", help="the whole trace of a failure")
    parser.add_argument("--all", action="store_true", help="go on after a failure")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.seeds)
    keep = TRACE if options.trace else 60
    began, done, events, failed = time.perf_counter(), 0, 0, 0
    said = began
    for swept in sweep(
        seeds,
        options.events,
        jobs=min(options.jobs, len(seeds)),
        keep=keep,
        validate_every=options.validate_every,
    ):
        done, events, failed = (
            done + swept.seeds,
            events + swept.events,
            failed + len(swept.failures),
        )
        for text in swept.failures.values():
            print(text if not options.all else "\n".join(text.splitlines()[-2:]), flush=True)
        if failed and not options.all:
            break
        if time.perf_counter() >= said + SAY_EVERY:
            said = time.perf_counter()
            print(f"{done} seeds, {failed} failed, after {said - began:.0f} s", flush=True)
    seconds = time.perf_counter() - began
    print(f"{done} seeds, {failed} failed, {events} events in {seconds:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
