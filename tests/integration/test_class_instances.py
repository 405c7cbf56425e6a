"""Classes that keep something open, or much in memory, on real executors."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from gates import Gate
from hands import ByHand
from watching import members, wait_gone, wait_until

from cloudburst import CloudburstConnection, LocalCluster, UserLibrary

pytestmark = pytest.mark.usefixtures("run_dir")

MIB = 1 << 20
SOON = 20.0


class Journal:
    """A file that is open as long as an instance lives."""

    def __init__(self, path: str) -> None:
        self.file = Path(path).open("a")  # noqa: SIM115  that is the point
        self.lines = 0

    def run(self) -> int:
        self.lines += 1
        self.file.write(f"line {self.lines}\n")
        return self.lines

    def close(self) -> None:
        self.file.write(f"closed by {os.getpid()} after {self.lines}\n")
        self.file.close()


class Counter:
    """Puts what it has counted into the store when it is let go."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0

    def run(self) -> int:
        self.count += 1
        return self.count

    def close(self, library: UserLibrary) -> None:
        library.put(f"{self.name} closed", [*library.get(f"{self.name} closed", []), self.count])


class Hoard:
    """Keeps so many MiB."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.block = bytearray(b"x") * (size * MIB)
        self.calls = 0

    def run(self) -> int:
        self.calls += 1
        return self.calls

    def close(self, library: UserLibrary) -> None:
        library.put(f"{self.name} closed", self.calls)


class Stubborn(Counter):
    def close(self, library: UserLibrary) -> None:
        super().close(library)
        while True:
            try:
                time.sleep(3600)
            except Exception:
                library.put("excuses", 1)


def journal(tmp_path: Path) -> list[str]:
    """The lines of a journal, numbers of processes left out."""
    lines = (tmp_path / "journal").read_text().splitlines()
    return [
        " ".join(word for word in line.split() if len(word) < 2 or not word.isdigit())
        for line in lines
    ]


def counting(connection: CloudburstConnection, name: str, kind: type[Counter] = Counter) -> None:
    """A DAG of that name that counts."""
    connection.register((kind, (name,)), name)
    assert connection.register_dag(f"{name}-dag", [name], [])


def count(connection: CloudburstConnection, name: str) -> int:
    value: int = connection.call_dag(f"{name}-dag", {}).get(SOON)
    return value


def closed(connection: CloudburstConnection, name: str, *counts: int) -> None:
    """Wait until the instances that were closed had counted so far."""
    what = f"{name} is closed after {counts}"
    wait_until(lambda: connection.get_object(f"{name} closed", []) == [*counts], what)


def test_a_deleted_dag_has_its_instance_closed() -> None:
    with LocalCluster(2) as cluster, cluster.connect() as connection:
        counting(connection, "one")
        counting(connection, "two")
        assert [count(connection, "one") for _ in range(3)] == [1, 2, 3]
        assert count(connection, "two") == 1
        assert connection.get_object("one closed") is None

        assert connection.delete_dag("one-dag")

        closed(connection, "one", 3)
        assert count(connection, "two") == 2
        assert connection.get_object("two closed") is None


def test_an_instance_at_work_is_closed_after_it(make_gate: Callable[[], Gate]) -> None:
    class Waits(Counter):
        def run(self, library: UserLibrary, path: str) -> Any:  # type: ignore[override]
            library.recv(timeout=0.01)
            Path(path).read_bytes()
            library.recv(timeout=0.01)
            return super().run(), library.get("waits closed")

    gate = make_gate()
    with LocalCluster(1) as cluster, cluster.connect() as connection:
        counting(connection, "waits", Waits)
        run = connection.call_dag("waits-dag", {"waits": gate.path})
        gate.wait_for_arrival()

        assert connection.delete_dag("waits-dag")
        gate.open()

        assert run.get(SOON) == (1, None)
        closed(connection, "waits", 1)


def test_a_function_that_is_registered_again_has_its_old_instance_closed() -> None:
    with LocalCluster(1) as cluster, cluster.connect() as connection:
        counting(connection, "counter")
        assert [count(connection, "counter") for _ in range(3)] == [1, 2, 3]

        class Faster(Counter):
            def run(self) -> int:
                return 10 * super().run()

        connection.register((Faster, ("counter",)), "counter")

        assert [count(connection, "counter") for _ in range(2)] == [10, 20]
        closed(connection, "counter", 3)


def test_a_lone_call_closes_its_instance_before_it_returns() -> None:
    with LocalCluster(2) as cluster, cluster.connect() as connection:
        counter = connection.register((Counter, ("lone",)), "lone")

        assert [counter().get(SOON) for _ in range(3)] == [1, 1, 1]

        assert connection.get_object("lone closed") == [1, 1, 1]


def test_a_cluster_that_is_closed_closes_all(tmp_path: Path) -> None:
    with LocalCluster(1) as cluster, cluster.connect() as connection:
        connection.register((Journal, (str(tmp_path / "journal"),)), "journal")
        for dag in ("one", "two"):
            connection.register_dag(dag, ["journal"], [])
        assert [connection.call_dag("one", {}).get(SOON) for _ in range(2)] == [1, 2]
        assert connection.call_dag("two", {}).get(SOON) == 1
        assert not (tmp_path / "journal").read_text()

    lines = journal(tmp_path)
    assert sorted(lines) == sorted(
        ["line 1", "line 2", "closed by after 2", "line 1", "closed by after 1"]
    )


def test_what_closes_too_slowly_ends_with_its_cluster(tmp_path: Path) -> None:
    with LocalCluster(1) as cluster, cluster.connect() as connection:
        counting(connection, "stubborn", Stubborn)
        connection.register((Journal, (str(tmp_path / "journal"),)), "journal")
        connection.register_dag("writing", ["journal"], [])
        assert count(connection, "stubborn") == 1
        assert connection.call_dag("writing", {}).get(SOON) == 1
        began = time.monotonic()

    assert time.monotonic() - began < 5.0
    # It had its share of the time although the other one took all of its own.
    assert journal(tmp_path) == ["line 1", "closed by after 1"]


def test_a_close_that_hangs_costs_its_executor_a_second() -> None:
    with LocalCluster(1) as cluster, cluster.connect() as connection:
        counting(connection, "stubborn", Stubborn)
        counting(connection, "other")
        assert (count(connection, "stubborn"), count(connection, "other")) == (1, 1)
        executors = connection.status().executors

        assert connection.delete_dag("stubborn-dag")
        closed(connection, "stubborn", 1)

        began = time.monotonic()
        assert count(connection, "other") == 2
        assert time.monotonic() - began < 3.0
        assert connection.status().executors == executors
        assert connection.get_object("excuses") is None


def test_a_close_that_wants_to_end_the_process_does_not() -> None:
    class Leaves(Counter):
        def close(self, library: UserLibrary) -> None:
            super().close(library)
            sys.exit(3)

    with LocalCluster(1) as cluster, cluster.connect() as connection:
        counting(connection, "leaves", Leaves)
        executors = connection.status().executors
        lone = connection.get_function("leaves")
        assert lone is not None
        assert [lone().get(SOON) for _ in range(2)] == [1, 1]
        assert count(connection, "leaves") == 1

        assert connection.delete_dag("leaves-dag")

        closed(connection, "leaves", 1, 1, 1)
        assert connection.status().executors == executors


def test_a_host_that_drains_closes_all(by_hand: ByHand) -> None:
    by_hand.scheduler("scheduler")
    host = by_hand.host("scheduler")
    with CloudburstConnection(by_hand.address("scheduler")) as connection:
        counting(connection, "counter")
        assert [count(connection, "counter") for _ in range(2)] == [1, 2]

        host.send_signal(signal.SIGTERM)

        assert host.wait(SOON) == 0
        closed(connection, "counter", 2)


def test_an_executor_that_is_told_to_end_closes_all() -> None:
    with LocalCluster(1) as cluster, cluster.connect() as connection:
        counting(connection, "counter")
        assert [count(connection, "counter") for _ in range(2)] == [1, 2]

        (executor,) = members(os.getpid(), "executor")
        executor.terminate()

        closed(connection, "counter", 2)
        wait_gone([executor])
        assert count(connection, "counter") == 1


PROGRAM = """
import sys
from test_class_instances import Journal
from cloudburst import LocalCluster

cluster = LocalCluster(1)
connection = cluster.connect()
connection.register((Journal, (sys.argv[1],)), "journal")
connection.register_dag("writing", ["journal"], [])
print(connection.call_dag("writing", {}).get(), flush=True)
sys.stdin.read()
"""


def test_a_program_that_is_killed_has_its_instances_closed_all_the_same(tmp_path: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "journal")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent,
    )
    with program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"1\n"
        cluster = psutil.Process(program.pid).children(recursive=True)
        program.kill()

    wait_gone(cluster)
    assert journal(tmp_path) == ["line 1", "closed by after 1"]


def test_a_killed_executor_closes_nothing(fragile: CloudburstConnection) -> None:
    counting(fragile, "counter")
    assert count(fragile, "counter") == 1
    # Or else the run may be executed again: its client hears of its end before the scheduler.
    wait_until(lambda: fragile.status()[2:4] == (0, 0), "the scheduler knows that it has ended")
    executors = members(os.getpid(), "executor")

    for executor in executors:
        executor.kill()
    wait_gone(executors)

    assert count(fragile, "counter") == 1
    assert fragile.get_object("counter closed") is None


# how much they may take


def hoarding(connection: CloudburstConnection, *names: str, size: int) -> None:
    for name in names:
        connection.register((Hoard, (name, size)), name)
        connection.register_dag(name, [name], [])


def calls(connection: CloudburstConnection, name: str) -> int:
    value: int = connection.call_dag(name, {}).get(SOON)
    return value


def resident(pid: int) -> int:
    (executor,) = members(pid, "executor")
    size: int = executor.memory_info().rss
    return size


def test_instances_are_let_go_of_before_they_take_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLOUDBURST_EXECUTOR_MEMORY", "450")
    with LocalCluster(1) as cluster, cluster.connect() as connection:
        names = [f"hoard-{number}" for number in range(6)]
        hoarding(connection, *names, size=100)

        for name in names:
            assert calls(connection, name) == 1

        wait_until(lambda: connection.get_object("hoard-0 closed"), "the oldest is closed")
        assert resident(os.getpid()) <= 450 * MIB
        # The last ones are there still, the first one is made again.
        assert (calls(connection, names[-1]), calls(connection, names[-2])) == (2, 2)
        assert connection.get_object("hoard-5 closed") is None
        assert calls(connection, names[0]) == 1


def test_without_a_budget_all_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDBURST_EXECUTOR_MEMORY", "0")
    with LocalCluster(1) as cluster, cluster.connect() as connection:
        names = [f"hoard-{number}" for number in range(6)]
        hoarding(connection, *names, size=50)

        assert [calls(connection, name) for name in (*names, *names)] == [1] * 6 + [2] * 6


def test_a_host_is_told_its_budget_on_the_command_line(by_hand: ByHand) -> None:
    by_hand.scheduler("scheduler")
    where = ("--scheduler", by_hand.address("scheduler"), "--bind", f"ipc://{by_hand.directory}")
    by_hand.start("host", *where, "--executors", "1", "--executor-memory", "1")
    with CloudburstConnection(by_hand.address("scheduler")) as connection:
        hoarding(connection, "first", "second", size=1)

        # Even the interpreter takes more than one MiB, but the one in use stays.
        assert [calls(connection, "first") for _ in range(2)] == [1, 2]
        assert [calls(connection, "second") for _ in range(2)] == [1, 2]
        assert connection.get_object("first closed") == 2
        assert calls(connection, "first") == 1


@pytest.mark.parametrize("role", ["up", "host"])
def test_a_budget_that_makes_no_sense_is_refused(role: str) -> None:
    line = [sys.executable, "-m", "cloudburst", role, "--executor-memory", "-1"]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=SOON, check=False)

    assert ended.returncode not in (0, None)
    assert "memory is a number of MiB, 0 for any, not -1" in ended.stderr
    assert "Traceback" not in ended.stderr
