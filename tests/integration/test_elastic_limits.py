"""Functions of which only so many run at a time, on a pool that grows."""

import time
from pathlib import Path
from typing import Any

import pytest

from cloudburst import LocalCluster, UsageError


def when(_: Any) -> tuple[float, float]:
    begin = time.monotonic()
    time.sleep(0.02)
    return begin, time.monotonic()


def most_at_a_time(spans: list[tuple[float, float]]) -> int:
    return max(sum(begin <= moment < end for begin, end in spans) for moment, _ in spans)


def test_never_more_than_the_limit_run_and_all_do(run_dir: Path) -> None:
    with LocalCluster(min=2, max=8) as cluster, cluster.connect() as connection:
        free = connection.register(when, "free")
        limited = connection.register(when, "limited", max_concurrency=2)
        steps = [("x", "limited"), ("y", "limited"), ("z", "limited"), ("end", "gather")]
        connection.register(lambda _, *spans: spans, "gather")
        assert connection.register_dag("d", steps, [(name, "end") for name in "xyz"])

        others = [free() for _ in range(20)]
        spans = [future.get(30) for future in [limited() for _ in range(20)]]
        runs = [connection.call_dag("d", {}) for _ in range(5)]
        of_dags = [span for run in runs for span in run.get(30)]

        assert most_at_a_time(spans) == 2
        # In the order of their calls, but for the two that go on side by side.
        assert all(earlier[0] < later[0] for earlier, later in zip(spans, spans[2:], strict=False))
        assert len(of_dags) == 15
        assert most_at_a_time(of_dags) <= 2
        assert all(future.get(30) for future in others)


def test_a_limit_is_a_number(run_dir: Path) -> None:
    with LocalCluster(1) as cluster, cluster.connect() as connection:
        for wrong in (0, -1, 1.5, True, "2"):
            with pytest.raises(UsageError, match="max_concurrency is a number of runs"):
                connection.register(when, "f", max_concurrency=wrong)  # type: ignore[arg-type]
            with pytest.raises(UsageError, match="max_per_host is a number of runs"):
                connection.register(when, "f", max_per_host=wrong)  # type: ignore[arg-type]
