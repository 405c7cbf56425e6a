"""Many seeds, on all cores."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple

from .run import Failure, run
from .scenario import Scenario

CHUNK = 25


class Swept(NamedTuple):
    """What came of some seeds.

    Attributes:
        seeds: how many.
        events: how many there were, all in all.
        failures: what failed, in words, by seed.
    """

    seeds: int
    events: int
    failures: dict[int, str]


def sweep(
    seeds: range, events: int, *, jobs: int, keep: int = 60, validate_every: int = 1
) -> Iterator[Swept]:
    """Run the scenarios of seeds; what came of them, as it comes.

    Args:
        seeds: which.
        events: how many there are before all troubles end.
        jobs: processes to use.
        keep: how many entries of the trace of a failure are told.
        validate_every: see `Ground`.
    """
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    work = partial(_run_all, events=events, keep=keep, validate_every=validate_every)
    if jobs == 1:
        yield from map(work, chunks)
        return
    # Not forked: the threads of whoever calls would be missing there.
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        try:
            for done in as_completed([pool.submit(work, chunk) for chunk in chunks]):
                yield done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _run_all(seeds: range, *, events: int, keep: int, validate_every: int) -> Swept:
    happened, failures = 0, dict[int, str]()
    for seed in seeds:
        try:
            scenario = Scenario.of_seed(seed, events)
            happened += run(scenario, keep=keep, validate_every=validate_every).events
        except Failure as failure:
            failures[seed] = str(failure)
    return Swept(len(seeds), happened, failures)
