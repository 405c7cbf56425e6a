"""A host that is told what to do, that is stopped or cut off, or that is to end."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hosting import Scheduler
from watching import alive, family, member, wait_gone, wait_until

from cloudburst.core.hosts import (
    NOBODY,
    Drained,
    Draining,
    ExecutorDied,
    Fence,
    Heartbeat,
    Knock,
    Replace,
)
from cloudburst.core.messages import ExecutorReady
from cloudburst.executor.board import Board
from cloudburst.executor.lease import TERM, clock
from cloudburst.kvs import keys
from cloudburst.kvs.base import Get
from cloudburst.kvs.embedded import EmbeddedServer
from cloudburst.kvs.redis import RedisStore

FORKED = {"min_executors": 2, "start_method": "fork"}


@pytest.fixture
def store(run_dir: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(run_dir)
    server.start()
    yield server
    server.stop()
    for left in run_dir.iterdir():
        left.unlink()


@pytest.fixture
def scheduler(run_dir: Path, store: EmbeddedServer) -> Iterator[Scheduler]:
    scheduler = Scheduler(run_dir, store.url, **FORKED)
    scheduler.host.wait_ready()
    yield scheduler
    scheduler.close()


@pytest.fixture
def board(scheduler: Scheduler) -> Iterator[Board]:
    """The host's own board, on which tests write what executors would."""
    files = Path(f"/proc/{scheduler.host.pid}/fd")
    if not files.exists():
        pytest.skip("needs /proc")
    fd = next(file for file in files.iterdir() if "cloudburst-board" in str(file.readlink()))
    board = Board.open(os.open(fd, os.O_RDWR))
    yield board
    board.close()


def slot_of(executor: ExecutorReady) -> int:
    """The first executors of a host fill its slots in order."""
    return int(executor.name.rpartition(".")[2]) - 1


def successor_of(scheduler: Scheduler, dead: ExecutorReady) -> ExecutorReady:
    """The third executor, once the heartbeats name it in place of the dead one."""
    third = scheduler.listen(ExecutorReady, 3)[-1]
    wait_until(lambda: third.name in (alive := scheduler.names_alive()) and alive, "it is named")
    assert dead.name not in scheduler.names_alive()
    return third


def test_an_executor_is_replaced_while_it_runs_that_run(scheduler: Scheduler, board: Board) -> None:
    first = scheduler.listen(ExecutorReady, 2)[0]
    board.writer(slot_of(first))("run-1")

    scheduler.say(Replace(first.name, "run-1", "it did not stop in time"))

    (death,) = scheduler.listen(ExecutorDied)
    assert death == ExecutorDied(first.host, first.name, "it did not stop in time", "run-1")
    successor_of(scheduler, first)
    assert board.read(slot_of(first)) == ""


def test_an_executor_that_runs_another_run_is_left_alone(
    scheduler: Scheduler, board: Board
) -> None:
    ready = scheduler.listen(ExecutorReady, 2)
    board.writer(slot_of(ready[0]))("run-2")

    scheduler.say(Replace(ready[0].name, "run-1", "it did not stop in time"))
    scheduler.say(Fence((ready[1].name,)))

    (death,) = scheduler.listen(ExecutorDied)
    assert death.executor == ready[1].name, "the later order was carried out, the first was not"
    assert ready[0].name in scheduler.names_alive()


def test_executors_that_were_given_up_are_replaced_without_blame(
    scheduler: Scheduler, board: Board
) -> None:
    first = scheduler.listen(ExecutorReady, 2)[0]
    board.writer(slot_of(first))("run-1")

    scheduler.say(Fence((first.name, "somebody.else")))

    (death,) = scheduler.listen(ExecutorDied)
    assert death[1:] == (first.name, "the scheduler had given it up", NOBODY)
    successor_of(scheduler, first)


def test_a_death_tells_what_ran_and_the_next_one_does_not(
    scheduler: Scheduler, board: Board
) -> None:
    first = scheduler.listen(ExecutorReady, 2)[0]
    board.writer(slot_of(first))("run-1")

    os.kill(first.pid, signal.SIGKILL)
    assert scheduler.listen(ExecutorDied)[0].running == "run-1"
    os.kill(successor_of(scheduler, first).pid, signal.SIGKILL)

    assert scheduler.listen(ExecutorDied, 2)[1].running == ""


def test_an_idle_executor_does_not_mind_a_knock(scheduler: Scheduler) -> None:
    first = scheduler.listen(ExecutorReady, 2)[0]

    scheduler.say(Knock(first.name))
    scheduler.say(Knock("somebody.else"))

    scheduler.hear_for(0.5)
    assert alive(psutil.Process(first.pid))
    assert first.name in scheduler.names_alive()


def test_an_executor_that_is_stopped_is_replaced(scheduler: Scheduler) -> None:
    first = scheduler.listen(ExecutorReady, 2)[0]

    os.kill(first.pid, signal.SIGSTOP)

    assert scheduler.listen(ExecutorDied)[0].reason == "stopped by SIGSTOP"
    successor_of(scheduler, first)


def test_a_zygote_that_is_stopped_is_replaced(scheduler: Scheduler) -> None:
    first = scheduler.listen(ExecutorReady, 2)[0]
    processes = family(scheduler.host.pid)
    zygote = psutil.Process(first.pid).parent()
    assert zygote is not None

    zygote.suspend()

    deaths = scheduler.listen(ExecutorDied, 2)
    assert {death.reason for death in deaths} == {"its zygote died: it did not answer for 3 s"}
    wait_gone(processes)
    fresh = {message.name for message in scheduler.listen(ExecutorReady, 4)[2:]}
    assert scheduler.names_alive() == fresh


def test_a_host_that_was_stopped_starts_over(scheduler: Scheduler) -> None:
    old = scheduler.listen(ExecutorReady, 2)
    scheduler.hear_for(1.0)
    host = psutil.Process(scheduler.host.pid)
    host.suspend()
    since = clock()
    wait_until(lambda: clock() > since + TERM + 0.2, "the lease ends")

    host.resume()

    deaths = scheduler.listen(ExecutorDied, 2)
    assert {death.executor for death in deaths} == {executor.name for executor in old}
    assert all(death.reason.startswith("its host stood still for 3.") for death in deaths)
    wait_gone(psutil.Process(e.pid) for e in old if psutil.pid_exists(e.pid))
    fresh = {message.name for message in scheduler.listen(ExecutorReady, 4)[2:]}
    assert scheduler.names_alive() == fresh


def wait_for_entry(store: EmbeddedServer, host: str) -> None:
    """Until the host has renewed its entry in the store."""
    connection = RedisStore(store.url)
    wait_until(
        lambda: connection.execute([Get(keys.host_key(host))])[0] == host.encode(),
        "the host's entry is there",
    )
    connection.close()


def test_a_host_that_hears_nobody_ends_its_executors_until_it_does(
    scheduler: Scheduler, store: EmbeddedServer, run_dir: Path
) -> None:
    old = [psutil.Process(executor.pid) for executor in scheduler.listen(ExecutorReady, 2)]
    wait_for_entry(store, scheduler.listen(Heartbeat)[0].host)
    scheduler.inbox.close()
    store.stop()

    wait_gone(old, TERM + 2.0)

    zygote = member(scheduler.host.pid, "zygote")
    assert zygote.children() == [], "there are no new ones without a sign"
    scheduler.bind_again(run_dir)
    fresh = {message.name for message in scheduler.listen(ExecutorReady, 4)[2:]}
    assert len(fresh) == 2
    deaths = scheduler.listen(ExecutorDied, 2)
    assert all(death.reason.startswith("its host was cut off for 3.") for death in deaths)
    wait_until(lambda: scheduler.names_alive() == fresh, "the heartbeats name them")


def test_a_host_without_its_store_goes_on_while_the_scheduler_answers(
    scheduler: Scheduler, store: EmbeddedServer
) -> None:
    names = {executor.name for executor in scheduler.listen(ExecutorReady, 2)}
    wait_for_entry(store, scheduler.listen(Heartbeat)[0].host)
    store.stop()

    scheduler.hear_for(TERM + 1.0)

    assert scheduler.names_alive() == names


def test_a_host_without_its_scheduler_goes_on_while_the_store_answers(
    scheduler: Scheduler, store: EmbeddedServer, run_dir: Path
) -> None:
    names = {executor.name for executor in scheduler.listen(ExecutorReady, 2)}
    wait_for_entry(store, scheduler.listen(Heartbeat)[0].host)
    scheduler.inbox.close()
    since = clock()

    wait_until(lambda: clock() > since + TERM + 1.0, "the scheduler's answers would be too old")

    scheduler.bind_again(run_dir)
    assert scheduler.names_alive() == names


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def by_hand(run_dir: Path, store: EmbeddedServer) -> Iterator[Start]:
    """Starts a host as a person does."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*flags: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "cloudburst", "host", "--executors", "1", *flags]
        line += ["--scheduler", f"ipc://{run_dir}/scheduler", "--bind", f"ipc://{run_dir}"]
        line += ["--kvs", store.url]
        started.append(subprocess.Popen(line, stdin=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def hearing(run_dir: Path, store: EmbeddedServer) -> Iterator[Scheduler]:
    """A scheduler without a host."""
    scheduler = Scheduler(run_dir, store.url, host=False)
    yield scheduler
    scheduler.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_host_drains_before_it_ends(
    hearing: Scheduler, by_hand: Start, number: signal.Signals
) -> None:
    host = by_hand()
    (executor,) = hearing.listen(ExecutorReady)
    processes = family(host.pid)

    host.send_signal(number)

    assert hearing.listen(Draining)[0] == Draining(executor.host)
    assert hearing.names_alive() == {executor.name}
    assert host.poll() is None
    hearing.say(Drained(executor.host))
    assert host.wait(5.0) == 0
    wait_gone(processes)
    (death,) = hearing.listen(ExecutorDied)
    assert death == ExecutorDied(executor.host, executor.name, "its host was told to end", NOBODY)


def test_a_second_signal_ends_a_host_at_once(hearing: Scheduler, by_hand: Start) -> None:
    host = by_hand()
    hearing.listen(ExecutorReady)
    processes = family(host.pid)
    host.terminate()
    hearing.listen(Draining)

    host.terminate()

    assert host.wait(5.0) == 0
    wait_gone(processes)


def test_draining_has_a_time_limit(hearing: Scheduler, by_hand: Start) -> None:
    host = by_hand("--drain-timeout", "0.7")
    hearing.listen(ExecutorReady)
    since = clock()

    host.terminate()

    hearing.listen(Draining)
    assert host.wait(5.0) == 0
    assert clock() - since >= 0.7


def test_a_host_that_nobody_hears_ends_at_once(by_hand: Start) -> None:
    host = by_hand()
    processes = wait_until(lambda: len(family(host.pid)) == 2 and family(host.pid), "it forks")

    host.terminate()

    assert host.wait(5.0) == 0
    wait_gone(processes)
