"""One executor more is forked ahead, where the pool may grow."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from watching import wait_gone, wait_until
from zygotes import Host

from cloudburst.executor import zygote


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """One whose pool does not grow."""
    host = Host(tmp_path)
    yield host
    host.close()


@pytest.fixture
def elastic(tmp_path: Path) -> Iterator[Host]:
    """A host that may want one more executor at any time."""
    host = Host(tmp_path, most=8)
    yield host
    host.close()


def standby_of(host: Host) -> psutil.Process:
    """The one executor that was forked ahead."""
    found = wait_until(lambda: psutil.Process(host.zygote.pid).children(), "one stands by")
    (standby,) = found
    return standby


def test_an_executor_is_forked_ahead(elastic: Host) -> None:
    standby = standby_of(elastic)

    elastic.fork("a", "report(Trade.rehearsed)")

    assert elastic.hear("started", "a") == standby.pid
    assert elastic.report_of("a") == "unix://none"
    assert elastic.hear("died", "a") == "exit code 0"
    assert standby_of(elastic).pid != standby.pid


def test_more_than_one_at_once_are_forked_when_they_are_wanted(elastic: Host) -> None:
    standby = standby_of(elastic)
    for name in ("a", "b", "c"):
        elastic.fork(name, "time.sleep(60)")

    pids = [elastic.hear("started", name) for name in ("a", "b", "c")]

    assert pids[0] == standby.pid
    assert len(set(pids)) == 3
    wait_until(lambda: len(psutil.Process(elastic.zygote.pid).children()) == 4, "one stands by")


def test_a_pool_that_does_not_grow_has_nobody_standing_by(host: Host) -> None:
    host.fork("a", "pass")
    host.hear("died", "a")
    time.sleep(4 * zygote.PREPARE_AFTER)

    assert psutil.Process(host.zygote.pid).children() == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_who_stands_by_may_die(elastic: Host, how: signal.Signals) -> None:
    standby = standby_of(elastic)

    standby.send_signal(how)
    wait_gone([standby])

    elastic.fork("a", "report('hello')")
    assert elastic.report_of("a") == "hello"
    assert [words for words in elastic.heard if standby.pid in words] == []


def test_it_may_die_at_the_moment_at_which_it_is_needed(elastic: Host) -> None:
    for number in range(5):
        standby_of(elastic).kill()

        elastic.fork(f"e{number}", "report('hello')")

        # If it lived a moment too long, its host hears of the death of an executor.
        how = elastic.hear("died", f"e{number}")
        assert how in ("exit code 0", "SIGKILL (signal 9)")
        assert how != "exit code 0" or elastic.report_of(f"e{number}") == "hello"


def test_who_stands_by_ends_with_its_zygote(elastic: Host) -> None:
    standby = standby_of(elastic)
    elastic.fork("a", "time.sleep(60)")
    elastic.hear("started", "a")
    other = wait_until(
        lambda: [p for p in psutil.Process(elastic.zygote.pid).children() if p != standby],
        "another stands by",
    )

    psutil.Process(elastic.zygote.pid).kill()

    wait_gone([standby, *other])


def test_if_the_rehearsal_goes_wrong_executors_are_forked_as_they_are_wanted(
    tmp_path: Path,
) -> None:
    host = Host(tmp_path, most=8, store="unix://never")
    time.sleep(4 * zygote.PREPARE_AFTER)

    host.fork("a", "report('hello')")

    assert host.report_of("a") == "hello"
    host.close()
