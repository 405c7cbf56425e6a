"""Clusters that grow while long work waits, and shrink when it is gone."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from gates import Gate
from watching import member, members, wait_gone, wait_until

from cloudburst import CloudburstConnection, LocalCluster, UsageError, UserLibrary

pytestmark = pytest.mark.usefixtures("run_dir")

IDLE = 0.5
PATIENCE = 30.0

Make = Callable[[], Gate]


class Counter:
    def __init__(self, start: int) -> None:
        self.calls = start

    def run(self) -> tuple[int, int]:
        self.calls += 1
        return os.getpid(), self.calls


def stand(library: UserLibrary, path: str) -> int:
    """Tell where it runs, and stand at the gate until it opens. Returns the process."""
    library.put(Path(path).name, os.getpid())
    Path(path).read_bytes()
    return os.getpid()


def meet(library: UserLibrary, number: int, count: int) -> tuple[int, list[int]]:
    """Hear from all, each of which has to be there at the same time.

    The last one tells the others who there is. Returns the process, and who was heard.
    """
    library.put(f"id{number}", library.get_id())
    if number == count - 1:
        names = [f"id{other}" for other in range(count)]
        while None in (ids := [*library.get(names).values()]):
            pass
        for other in ids:
            library.send(other, ids)
    heard: list[int] = []
    while len(heard) < count and (mail := library.recv(timeout=PATIENCE)):
        for _, message in mail:
            if isinstance(message, int):
                heard.append(message)
            else:
                for other in message:
                    library.send(other, number)
    return os.getpid(), sorted(heard)


def lead(library: UserLibrary, count: int) -> list[Any]:
    """Wait until all followers have said something; it has no idea that it waits."""
    names = [f"said{number}" for number in range(count)]
    while None in (said := [*library.get(names).values()]):
        pass
    return said


def follow(library: UserLibrary, number: int) -> None:
    library.put(f"said{number}", number)


@contextmanager
def elastic(least: int, most: int, idle_timeout: float = IDLE) -> Iterator[CloudburstConnection]:
    """A cluster of that size, whose least executors are ready."""
    with (
        LocalCluster(min=least, max=most, idle_timeout=idle_timeout) as cluster,
        cluster.connect() as connection,
    ):
        wait_for(connection, least)
        yield connection


def wait_for(connection: CloudburstConnection, executors: int) -> None:
    """Until the cluster has so many executors, and no process of any other."""

    def reached() -> bool:
        known = len(connection.status().executors)
        return known == executors == len(members(os.getpid(), "executor"))

    wait_until(reached, f"there are {executors} executors", 20.0)


def crowd(connection: CloudburstConnection, gates: list[Gate]) -> list[Any]:
    """As many runs as there are gates, each of which stands at its own."""
    function = connection.register(stand, "stand")
    futures = [function(gate.path) for gate in gates]
    for gate in gates:
        gate.wait_for_arrival()
    return futures


def where(connection: CloudburstConnection, gate: Gate) -> int:
    """The process that stands at a gate."""
    pid: int = connection.get_object(Path(gate.path).name)
    return pid


def test_a_burst_grows_the_pool_up_to_its_maximum_and_leaves_it_at_its_minimum(
    make_gate: Make,
) -> None:
    with elastic(2, 16) as connection:
        gates = [make_gate() for _ in range(20)]
        function = connection.register(stand, "stand")
        futures = [function(gate.path) for gate in gates]
        wait_for(connection, 16)
        wait_until(lambda: connection.status()[2:4] == (16, 4), "there is a run on each")

        for gate in gates:
            gate.open()
        assert len({future.get(PATIENCE) for future in futures}) == 16
        wait_for(connection, 2)


def test_a_pool_that_has_shrunk_grows_again(make_gate: Make) -> None:
    with elastic(1, 4) as connection:
        for _ in range(2):
            gates = [make_gate() for _ in range(4)]
            futures = crowd(connection, gates)
            wait_for(connection, 4)
            for gate in gates:
                gate.open()
            assert len({future.get(PATIENCE) for future in futures}) == 4
            wait_for(connection, 1)


def test_functions_that_wait_for_each_other_all_run_however_few_may_be_busy() -> None:
    with elastic(1, 2) as connection:
        function = connection.register(meet, "meet")

        met = [future.get(PATIENCE) for future in [function(number, 10) for number in range(10)]]

        assert [heard for _, heard in met] == [[*range(10)]] * 10
        assert len({pid for pid, _ in met}) == 10
        wait_for(connection, 1)


def test_a_leader_that_polls_leaves_room_for_its_followers() -> None:
    with elastic(1, 4) as connection:
        leader = connection.register(lead, "lead")(5)
        wait_until(lambda: connection.status()[2:4] == (1, 0), "the leader runs")
        follower = connection.register(follow, "follow")

        followers = [follower(number) for number in range(5)]

        assert leader.get(PATIENCE) == [*range(5)]
        assert [future.get(PATIENCE) for future in followers] == [None] * 5


def test_an_executor_that_keeps_an_instance_is_not_let_go(make_gate: Make) -> None:
    with elastic(1, 3) as connection:
        connection.register((Counter, 10), "counter")
        connection.register_dag("count", ["counter"], [])
        home, calls = connection.call_dag("count", {}).get(PATIENCE)
        assert calls == 11
        gates = [make_gate() for _ in range(3)]
        futures = crowd(connection, gates)

        # It is idle for longer than the others.
        order = sorted(range(3), key=lambda number: where(connection, gates[number]) != home)
        for number in order:
            gates[number].open()
            futures[number].get(PATIENCE)

        wait_for(connection, 1)
        assert connection.call_dag("count", {}).get(PATIENCE) == (home, 12)


def test_an_executor_that_is_killed_is_replaced_while_there_is_work(make_gate: Make) -> None:
    with elastic(1, 3) as connection:
        gates = [make_gate() for _ in range(3)]
        futures = crowd(connection, gates)
        victim = psutil.Process(where(connection, gates[2]))

        victim.kill()
        wait_gone([victim])
        gates[2].close()

        # A thread of the dead process may hold the pipe for another moment.
        wait_until(lambda: where(connection, gates[2]) != victim.pid, "another one runs it")
        gates[2].wait_for_arrival()
        wait_for(connection, 3)
        for gate in gates:
            gate.open()
        assert len({future.get(PATIENCE) for future in futures}) == 3
        wait_for(connection, 1)


def test_an_idle_extra_executor_that_is_killed_changes_nothing(make_gate: Make) -> None:
    with elastic(1, 3, idle_timeout=3600.0) as connection:
        gates = [make_gate() for _ in range(3)]
        futures = crowd(connection, gates)
        for gate in gates:
            gate.open()
        pids = [future.get(PATIENCE) for future in futures]

        victim = psutil.Process(pids[2])
        victim.kill()
        wait_gone([victim])

        wait_for(connection, 3)
        assert {process.pid for process in members(os.getpid(), "executor")} > {*pids[:2]}


def test_the_next_scheduler_knows_that_the_pool_has_grown_and_shrinks_it(make_gate: Make) -> None:
    with elastic(1, 4) as connection:
        gates = [make_gate() for _ in range(4)]
        futures = crowd(connection, gates)
        wait_for(connection, 4)

        scheduler = member(os.getpid(), "scheduler")
        scheduler.kill()
        wait_gone([scheduler])
        for gate in gates:
            gate.stay_open()

        assert len([future.get(PATIENCE) for future in futures]) == 4
        wait_for(connection, 1)


def test_a_fixed_number_of_executors_stays(make_gate: Make) -> None:
    with LocalCluster(2) as cluster, cluster.connect() as connection:
        wait_for(connection, 2)
        before = {process.pid for process in members(os.getpid(), "executor")}
        gates = [make_gate() for _ in range(8)]
        function = connection.register(stand, "stand")
        futures = [function(gate.path) for gate in gates]

        for gate, future in zip(gates, futures, strict=True):
            gate.open()
            assert future.get(PATIENCE) in before
            assert {process.pid for process in members(os.getpid(), "executor")} == before


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"executors": 2, "max": 4}, "not both"),
        ({"executors": 2, "min": 2}, "not both"),
        ({"min": 4, "max": 2}, "at least 4 executors cannot be had with at most 2"),
        ({"min": 0}, "has 1 to 10,000 executors, not 0"),
        ({"max": 10_001}, "has 1 to 10,000 executors, not 10001"),
        ({"max": "many"}, "has 1 to 10,000 executors, not 'many'"),
        ({"idle_timeout": float("nan")}, "idle_timeout is a number of seconds, not nan"),
        ({"idle_timeout": "long"}, "idle_timeout is a number of seconds, not 'long'"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        LocalCluster(**options)


@pytest.mark.parametrize(
    ("role", "flags", "text"),
    [
        ("up", ("--executors", "2", "--max", "4"), "not both"),
        ("up", ("--min", "4", "--max", "2"), "at least 4 executors cannot be had with at most 2"),
        ("host", ("--min", "3", "--max", "2"), "at least 3 executors cannot be had with at most 2"),
        ("host", ("--executors", "0"), "has 1 to 10,000 executors, not 0"),
    ],
)
def test_so_they_are_on_the_command_line(role: str, flags: tuple[str, ...], text: str) -> None:
    line = [sys.executable, "-m", "cloudburst", role, *flags]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert ended.returncode not in (0, None)
    assert text in ended.stderr
    assert "Traceback" not in ended.stderr
