"""Calls that run while a process of their cluster is killed, or stopped: they end as ever."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from watching import members, wait_gone

from cloudburst import CloudburstConnection, LocalCluster

WAVES = 5
WAVE = 20


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    with LocalCluster(2, data_dir=tmp_path / "data") as cluster:
        yield cluster


@pytest.fixture
def connection(cluster: LocalCluster) -> Iterator[CloudburstConnection]:
    with cluster.connect() as connection:
        yield connection


class Caller:
    """A thread that calls without a pause, and notes what came."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.answers: list[int] = []
        self.failure: Exception | None = None
        self._enough = threading.Event()
        self._beginning = threading.Event()
        self._cluster = cluster
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Caller":
        self._thread.start()
        assert self._beginning.wait(10.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            with self._cluster.connect() as connection:
                square = connection.register(lambda _, x: x * x, "square")
                while not self._enough.is_set():
                    futures = [square(number) for number in range(WAVE)]
                    self.answers += [future.get(20) for future in futures]
                    self._beginning.set()
        except Exception as error:
            self.failure = error
            self._beginning.set()


KILLED = [(role, signal.SIGKILL) for role in ("executor", "zygote", "host", "scheduler", "store")]
STOPPED = [(role, signal.SIGSTOP) for role in ("executor", "zygote")]


@pytest.mark.parametrize(("role", "number"), [*KILLED, *STOPPED])
def test_calls_go_on(
    cluster: LocalCluster, connection: CloudburstConnection, role: str, number: signal.Signals
) -> None:
    increment = connection.register(lambda _, x: x + 1, "increment")
    connection.put_object("kept", 17)
    victim = members(os.getpid(), role)[0]
    with Caller(cluster) as caller:
        victim.send_signal(number)

        wait_gone([victim], 10.0)
        for wave in range(WAVES):
            futures = [increment(number) for number in range(WAVE)]
            assert [f.get(20) for f in futures] == list(range(1, WAVE + 1)), f"wave {wave}"

    assert caller.failure is None
    assert caller.answers == [n * n for n in range(WAVE)] * (len(caller.answers) // WAVE)
    assert connection.get_object("kept") == 17
    assert cluster.owned
