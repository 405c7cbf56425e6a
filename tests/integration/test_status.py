"""What a cluster tells of its executors."""

from collections.abc import Callable
from pathlib import Path

import pytest
from gates import Gate
from watching import wait_until

from cloudburst import LocalCluster

SOON = 20.0

pytestmark = pytest.mark.usefixtures("run_dir")


def test_the_status_tells_how_busy_executors_are_and_where(make_gate: Callable[[], Gate]) -> None:
    gate = make_gate()
    with LocalCluster(2) as cluster, cluster.connect() as connection:
        wait_until(lambda: len(connection.status().executors) == 2, "both are there")
        (host,) = {executor.host for executor in connection.status().details}
        assert all(name.startswith(f"{host}.") for name in connection.status().executors)
        run = connection.register(lambda _, path: Path(path).read_bytes(), "stand")(gate.path)
        gate.wait_for_arrival()

        wait_until(lambda: max(connection.status().utilisations) > 0.9, "one is known to be busy")
        assert min(connection.status().utilisations) < 0.1
        gate.open()
        assert run.get(SOON) == b""
        wait_until(lambda: max(connection.status().utilisations) < 0.1, "all are known to be idle")
