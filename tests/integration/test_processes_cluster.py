"""A local cluster's processes: they begin together, end together and leave nothing behind."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from watching import (
    alive,
    family,
    files_under,
    member,
    members,
    next_line,
    role_of,
    script,
    wait_gone,
    wait_until,
)

from cloudburst.errors import ClusterError, UsageError
from cloudburst.launch import OwnedCluster, local_address, start_cluster
from cloudburst.rundir import RunDir, is_held, new_directory

OWNER = """
import sys, time
from cloudburst.launch import start_cluster
cluster = start_cluster(2, shared="shared" in sys.argv)
print(cluster.address, cluster.owned, flush=True)
sys.stdin.read() if "stdin" in sys.argv else time.sleep(60)
"""
ALL_ROLES = ["executor", "executor", "host", "scheduler", "store", "supervise", "zygote"]


@pytest.fixture
def cluster() -> Iterator[OwnedCluster]:
    cluster = start_cluster(2)
    yield cluster
    cluster.close()


def ours() -> list[psutil.Process]:
    return family(os.getpid())


def roles(processes: list[psutil.Process]) -> list[str]:
    return sorted(filter(None, map(role_of, processes)))


def test_a_cluster_has_these_processes_and_closing_ends_them(run_dir: Path) -> None:
    cluster = start_cluster(2)
    processes = ours()
    assert roles(processes) == ALL_ROLES
    assert cluster.owned
    assert Path(cluster.address.removeprefix("ipc://")).is_socket()
    began = time.monotonic()

    cluster.close()

    assert time.monotonic() - began < 3.0
    assert not [process for process in processes if alive(process)]
    assert files_under(run_dir) == []
    assert not cluster.owned
    cluster.close()


def test_a_cluster_gets_as_many_executors_as_asked() -> None:
    cluster = start_cluster(4)
    assert len(members(os.getpid(), "executor")) == 4
    cluster.close()


def test_a_cluster_is_found_only_if_it_is_shared(cluster: OwnedCluster) -> None:
    assert local_address() is None
    shared = start_cluster(1, shared=True)
    assert local_address() == shared.address

    joined = start_cluster(1, shared=True)
    assert (joined.address, joined.owned, joined.fileno()) == (shared.address, False, -1)
    joined.close()
    assert local_address() == shared.address

    shared.close()
    assert local_address() is None


def test_owner_that_is_killed_leaves_nothing(run_dir: Path) -> None:
    owner = script(OWNER, "shared")
    next_line(owner)
    processes = family(owner.pid)
    assert roles(processes) == ALL_ROLES

    owner.kill()
    owner.communicate()

    wait_gone(processes, 5.0)
    assert files_under(run_dir) == []


def test_owner_that_is_killed_with_a_fork_of_it_alive_leaves_nothing(run_dir: Path) -> None:
    owner = script(
        "import os, time; from cloudburst.launch import start_cluster\n"
        "start_cluster(1); pid = os.fork() or time.sleep(60); print(pid); time.sleep(60)"
    )
    fork = psutil.Process(int(next_line(owner)))
    processes = [process for process in family(owner.pid) if process != fork]

    owner.kill()
    owner.wait()

    wait_gone(processes, 5.0)
    assert alive(fork)
    fork.kill()
    owner.communicate()


def test_supervisor_that_is_killed_leaves_nothing(run_dir: Path) -> None:
    cluster = start_cluster(2, shared=True)
    processes = ours()

    member(os.getpid(), "supervise").kill()

    wait_gone(processes, 5.0)
    assert files_under(run_dir) == []
    assert local_address() is None
    cluster.close()


def test_zygote_that_is_killed_is_replaced_with_its_executors(cluster: OwnedCluster) -> None:
    zygote = member(os.getpid(), "zygote")
    executors = members(os.getpid(), "executor")

    zygote.kill()

    wait_gone([zygote, *executors])
    wait_until(lambda: len(members(os.getpid(), "executor")) == 2, "two new executors run")
    assert member(os.getpid(), "zygote") != zygote


def test_closing_a_cluster_with_a_host_that_hangs(run_dir: Path) -> None:
    cluster = start_cluster(2)
    processes = ours()
    member(os.getpid(), "host").suspend()
    began = time.monotonic()

    cluster.close()

    wait_gone(processes, 5.0)
    assert time.monotonic() - began < 4.0
    assert files_under(run_dir) == []


def test_closing_a_cluster_with_a_supervisor_that_hangs(run_dir: Path) -> None:
    cluster = start_cluster(1)
    processes = ours()
    member(os.getpid(), "supervise").suspend()

    cluster.close()

    assert files_under(run_dir) == []
    wait_gone(processes, 5.0)


def test_owner_ends_while_the_cluster_starts(run_dir: Path) -> None:
    owner = script(OWNER)
    supervisor = wait_until(
        lambda: next(iter(members(owner.pid, "supervise")), None), "the supervisor starts"
    )
    wait_until(lambda: members(owner.pid, "host"), "the host starts")
    processes = [supervisor, *supervisor.children(recursive=True)]

    owner.kill()
    owner.communicate()

    wait_gone(processes, 5.0)
    wait_until(lambda: not files_under_but_locks(run_dir), "the directory is removed")
    for lock in run_dir.glob("*.lock"):
        lock.unlink()


def files_under_but_locks(directory: Path) -> list[str]:
    """A process that is killed while it holds a root lock leaves that empty file."""
    return [name for name in files_under(directory) if not name.endswith(".lock")]


def test_a_forked_process_does_not_end_its_parents_cluster(cluster: OwnedCluster) -> None:
    fork = os.fork()
    if fork == 0:
        code = int(cluster.owned)
        cluster.close()
        os._exit(code)

    assert os.waitpid(fork, 0)[1] == 0
    assert roles(ours()) == ALL_ROLES


def test_an_owner_that_forgets_to_close_ends_its_cluster_at_exit(run_dir: Path) -> None:
    owner = script(OWNER.replace("time.sleep(60)", "None"))
    next_line(owner)

    owner.communicate(timeout=10)

    assert owner.returncode == 0
    assert files_under(run_dir) == []


def test_two_who_start_the_shared_cluster_at_once_get_one() -> None:
    owners = [script(OWNER, "shared") for _ in range(3)]

    answers = [next_line(owner).split() for owner in owners]

    assert len({address for address, _ in answers}) == 1
    assert sorted(owned for _, owned in answers) == ["False", "False", "True"]
    assert sum(len(members(owner.pid, "supervise")) for owner in owners) == 1
    processes = [process for owner in owners for process in family(owner.pid)]
    for owner in owners:
        owner.kill()
        owner.communicate()
    wait_gone(processes, 5.0)


def test_a_start_sweeps_what_killed_clusters_left(run_dir: Path) -> None:
    stale = RunDir(new_directory())
    stale.publish("ipc://stale")
    os.close(stale._lock)
    assert not is_held(stale.path)

    cluster = start_cluster(1)

    assert not stale.path.exists()
    assert sorted(path.name for path in run_dir.iterdir()) == [Path(cluster.address).parent.name]
    cluster.close()


def test_a_part_that_cannot_start_says_why_to_the_owner(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ClusterError, match=r"the cluster cannot start: .*File exists.*file"):
        start_cluster(1, data_dir=str(tmp_path / "file"))
    assert files_under(run_dir) == []


def test_a_store_that_does_not_answer_is_named(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ClusterError, match=r"the cluster cannot start: the scheduler cannot start: .*nobody\.sock"
    ):
        start_cluster(1, kvs_url=f"unix://{tmp_path}/nobody.sock")
    assert files_under(run_dir) == []


def test_a_cluster_of_which_nobody_is_left_is_cleared_by_its_owner(run_dir: Path) -> None:
    cluster = start_cluster(1)
    processes = ours()
    for process in processes:
        process.suspend()
    for process in processes:
        process.kill()
    wait_gone(processes)
    assert files_under(run_dir) != []

    cluster.close()

    assert files_under(run_dir) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"executors": 0}, "has 1 to 10,000 executors, not 0"),
        ({"kvs_url": "unix://x", "data_dir": "/y"}, "keeps its data itself, not in /y"),
        ({"appendfsync": "daily"}, "one of always, everysec, no, not 'daily'"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        start_cluster(**options)


def test_interrupted_start_leaves_nothing(run_dir: Path) -> None:
    owner = script(OWNER)
    wait_until(lambda: members(owner.pid, "zygote"), "the zygote starts")
    processes = family(owner.pid)

    owner.send_signal(signal.SIGINT)

    owner.communicate(timeout=10)
    assert owner.returncode == -signal.SIGINT
    wait_gone(processes, 5.0)
    assert files_under(run_dir) == []
