"""The host with real executors, seen from the scheduler's socket."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hosting import Scheduler
from watching import alive, family, members, wait_gone

from cloudburst.child import start_role
from cloudburst.config import HostConfig
from cloudburst.core.hosts import ExecutorDied, Heartbeat
from cloudburst.core.messages import PROTOCOL, ExecutorReady
from cloudburst.errors import ClusterError
from cloudburst.kvs.embedded import EmbeddedServer


@pytest.fixture
def directory(run_dir: Path) -> Iterator[Path]:
    """A folder for the sockets, with a store in it."""
    server = EmbeddedServer(run_dir)
    server.start()
    yield run_dir
    server.stop()
    for socket in run_dir.iterdir():
        socket.unlink()


@pytest.fixture(params=["fork", "spawn"])
def scheduler(directory: Path, request: pytest.FixtureRequest) -> Iterator[Scheduler]:
    scheduler = Scheduler(directory, EmbeddedServer(directory).url, start_method=request.param)
    scheduler.host.wait_ready()
    yield scheduler
    scheduler.close()


def test_the_scheduler_hears_who_is_there(scheduler: Scheduler) -> None:
    ready = scheduler.listen(ExecutorReady, 2)

    names = {message.name for message in ready}
    assert {message.host for message in ready} == {scheduler.host.answer()}
    assert {message.pid for message in ready} <= {p.pid for p in family(scheduler.host.pid)}
    assert scheduler.names_alive() == names


def test_heartbeats_come_twice_a_second(scheduler: Scheduler) -> None:
    so_far = len(scheduler.listen(Heartbeat))
    began = time.monotonic()

    *_, last = scheduler.listen(Heartbeat, so_far + 3)

    assert 0.9 < time.monotonic() - began < 2.5
    assert last.protocol == PROTOCOL
    senders = {who for who, message in scheduler.heard if isinstance(message, Heartbeat)}
    assert senders == {last.host}, "the identity is the host's name"


def test_a_killed_executor_is_reported_and_replaced(scheduler: Scheduler) -> None:
    first, second = scheduler.listen(ExecutorReady, 2)

    os.kill(first.pid, signal.SIGKILL)

    (death,) = scheduler.listen(ExecutorDied)
    assert death == ExecutorDied(first.host, first.name, "SIGKILL (signal 9)", "")
    *_, third = scheduler.listen(ExecutorReady, 3)
    assert third.name not in (first.name, second.name)
    assert scheduler.names_alive() == {second.name, third.name}
    assert not Path(first.address.removeprefix("ipc://")).exists()


def test_a_killed_zygote_is_replaced_and_its_executors_are_lost(scheduler: Scheduler) -> None:
    first, second = scheduler.listen(ExecutorReady, 2)
    lost = [psutil.Process(message.pid) for message in (first, second)]

    zygote_of(first).kill()

    deaths = scheduler.listen(ExecutorDied, 2)
    assert {death.executor for death in deaths} == {first.name, second.name}
    assert {death.reason for death in deaths} == {"its zygote died: SIGKILL (signal 9)"}
    wait_gone(lost)
    fresh = {message.name for message in scheduler.listen(ExecutorReady, 4)[2:]}
    assert not fresh & {first.name, second.name}
    assert scheduler.names_alive() == fresh


def zygote_of(executor: ExecutorReady) -> psutil.Process:
    parent = psutil.Process(executor.pid).parent()
    assert parent is not None
    return parent


def test_a_scheduler_that_comes_late_hears_nothing_outdated(directory: Path) -> None:
    config = HostConfig(
        scheduler=f"ipc://{directory}/scheduler",
        kvs_url=EmbeddedServer(directory).url,
        bind=f"ipc://{directory}",
        min_executors=2,
        start_method="fork",
    )
    host = start_role("host", config.to_json())
    name = host.wait_ready()
    first_executor = members(host.pid, "executor")[0]
    first_executor.kill()
    wait_gone([first_executor])

    scheduler = Scheduler(directory, config.kvs_url, host)

    first = scheduler.listen(Heartbeat)[0]
    ready = scheduler.listen(ExecutorReady, 2)
    assert first.host == name
    assert set(first.executors) == {message.name for message in ready}
    (death,) = scheduler.listen(ExecutorDied)
    assert death.reason == "SIGKILL (signal 9)"
    assert death.executor not in first.executors
    scheduler.close()


def test_a_host_that_ends_takes_its_executors_along(scheduler: Scheduler) -> None:
    scheduler.listen(ExecutorReady, 2)
    processes = family(scheduler.host.pid)
    assert len(processes) == 3

    scheduler.host.let_go()

    assert scheduler.host.wait(2.0) == 0
    assert not [process for process in processes if alive(process)]


def test_a_host_that_is_killed_takes_its_executors_along(scheduler: Scheduler) -> None:
    scheduler.listen(ExecutorReady, 2)
    processes = family(scheduler.host.pid)

    os.kill(scheduler.host.pid, signal.SIGKILL)

    wait_gone(processes, 2.0)


def test_executors_that_cannot_live_are_not_started_over_and_over(directory: Path) -> None:
    scheduler = Scheduler(
        directory,
        EmbeddedServer(directory).url,
        bind=f"ipc://{directory}/nowhere",
        min_executors=1,
        start_method="fork",
    )
    scheduler.listen(ExecutorDied, timeout=20.0)
    began = time.monotonic()

    deaths = scheduler.listen(ExecutorDied, 5, timeout=20.0)

    # After the second death it waits 0.1 s, then 0.2 s and 0.4 s.
    assert time.monotonic() - began >= 0.7
    assert {death.reason for death in deaths} == {"exit code 1"}
    assert len({death.executor for death in deaths}) == len(deaths)
    scheduler.close()


def test_a_host_whose_zygote_cannot_work_says_so(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "numpy").mkdir()
    (directory / "numpy" / "__init__.py").write_text("raise ImportError('no numbers today')")
    monkeypatch.syspath_prepend(str(directory))
    scheduler = Scheduler(directory, EmbeddedServer(directory).url, start_method="fork")

    with pytest.raises(ClusterError, match=r"host cannot start: .*zygote.*no numbers today"):
        scheduler.host.wait_ready()
    scheduler.close()
    shutil.rmtree(directory / "numpy")
