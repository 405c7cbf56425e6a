"""The zygote, driven as its host drives it, with executors that do what a test needs."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from watching import alive, wait_gone, wait_until
from zygotes import Host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.close()


def test_an_executor_is_started_and_its_end_reported(host: Host) -> None:
    host.fork("a", "pass")

    pid = host.hear("started", "a")

    assert pid != host.zygote.pid
    assert host.hear("died", "a") == "exit code 0"
    assert not psutil.pid_exists(pid), "it was waited for"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("sys.exit(3)", "exit code 3"),
        ("sys.exit()", "exit code 0"),
        ("sys.exit('in words')", "exit code 1"),
        ("1 / 0", "exit code 1"),
        ("os._exit(7)", "exit code 7"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL (signal 9)"),
        ("os.abort()", "SIGABRT (signal 6)"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV (signal 11)"),
    ],
)
def test_every_way_to_die_is_told_apart(host: Host, code: str, reason: str) -> None:
    host.fork("a", code)

    assert host.hear("died", "a") == reason
    host.fork("b", "pass")
    assert host.hear("died", "b") == "exit code 0"


def test_many_deaths_at_once_are_all_reported(host: Host) -> None:
    """Signals of one kind are merged when several children die together."""
    names = [f"e{number}" for number in range(30)]
    for name in names:
        host.fork(name, "pass")

    assert [host.hear("died", name) for name in names] == ["exit code 0"] * 30


def test_a_forked_executor_starts_in_milliseconds(host: Host) -> None:
    times = []
    for number in range(10):
        began = time.monotonic()
        host.fork(f"e{number}", "report(time.monotonic())")
        times.append(float(host.report_of(f"e{number}")) - began)

    print(f"fork to running: {sorted(times)[5] * 1000:.1f} ms in the median")
    assert min(times) < 0.1


def test_each_executor_has_random_numbers_of_its_own(host: Host) -> None:
    code = "import random, numpy; report((random.random(), numpy.random.random()))"
    for name in ("a", "b"):
        host.fork(name, code)
        host.hear("died", name)

    first, second = (
        json.loads(host.report_of(n).replace("(", "[").replace(")", "]")) for n in "ab"
    )
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_threads_of_numerical_libraries_are_limited(tmp_path: Path) -> None:
    host = Host(tmp_path, executors=1000)

    host.fork("a", "report([os.environ[name] for name in zygote.THREAD_LIMITS])")

    assert host.report_of("a") == str(["1"] * 5)
    host.close()


def test_thread_limits_of_the_user_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "77")
    host = Host(tmp_path, executors=1000)

    host.fork("a", "report((os.environ['OMP_NUM_THREADS'], os.environ['MKL_NUM_THREADS']))")

    assert host.report_of("a") == "('77', '1')"
    host.close()


def test_an_executor_is_left_nothing_of_the_zygote(host: Host) -> None:
    host.fork(
        "a",
        "report([[signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGCHLD)]"
        " == [signal.SIG_DFL] * 2, signal.getsignal(signal.SIGINT) is signal.default_int_handler,"
        " signal.set_wakeup_fd(-1), signal.pthread_sigmask(signal.SIG_BLOCK, []),"
        " sys.stdin.read(), threading.active_count()])",
    )

    assert host.report_of("a") == "[True, True, -1, set(), '', 1]"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_an_executor_holds_no_descriptors_but_its_own(host: Host) -> None:
    own = "[life_fd, config.board_fd]"
    host.fork("a", f"report(sorted(int(fd) for fd in os.listdir('/proc/self/fd')) + {own})")

    *fds, life_fd, board_fd = json.loads(host.report_of("a"))

    others = set(fds) - {0, 1, 2, life_fd, board_fd}
    assert {life_fd, board_fd} <= set(fds)
    assert len(others) == 1, "one is of the listing itself"


def test_executors_are_in_the_zygotes_session_and_each_in_a_group_of_its_own(host: Host) -> None:
    host.fork("a", "time.sleep(60)")

    pid = host.hear("started", "a")

    assert os.getsid(pid) == host.zygote.pid
    assert os.getpgid(pid) == pid


def test_what_an_executor_started_ends_with_it(host: Host) -> None:
    host.fork("a", "report(subprocess.Popen(['sleep', '60']).pid); time.sleep(60)")
    helper = psutil.Process(int(host.report_of("a")))

    os.kill(host.hear("started", "a"), signal.SIGKILL)

    wait_gone([helper])
    assert host.hear("died", "a") == "SIGKILL (signal 9)"


def test_the_zygote_answers(host: Host) -> None:
    host.channel.send("ping")

    assert host.hear_all("pong") == ["pong"]


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGTSTP])
def test_an_executor_that_is_stopped_is_lost(host: Host, number: signal.Signals) -> None:
    host.fork("a", "report(subprocess.Popen(['sleep', '60']).pid); time.sleep(60)")
    helper = psutil.Process(int(host.report_of("a")))

    os.kill(host.hear("started", "a"), number)

    reason = f"stopped by {number.name}"
    assert host.hear_all("died", "a") == ["died", "a", reason, False, False]
    wait_gone([helper])


def test_an_executor_is_killed_on_order_with_what_it_started(host: Host) -> None:
    host.fork("a", "report(subprocess.Popen(['sleep', '60']).pid); time.sleep(60)")
    helper = psutil.Process(int(host.report_of("a")))

    host.channel.send("kill", "a", "", "it is not wanted")

    assert host.hear_all("died", "a") == ["died", "a", "it is not wanted", True, False]
    wait_gone([helper])


def test_an_executor_is_killed_for_the_run_that_it_runs(host: Host) -> None:
    host.fork("a", "writer_of(config.board_fd, config.slot)('run-1'); time.sleep(60)", slot=2)
    wait_until(lambda: host.board.read(2) == "run-1", "it runs")

    host.channel.send("kill", "a", "run-1", "too late")

    assert host.hear_all("died", "a") == ["died", "a", "too late", True, True]
    assert host.board.read(2) == "run-1", "the host is yet to read it"


def test_an_executor_is_spared_if_it_runs_another_run(host: Host) -> None:
    host.fork(
        "a",
        "writer_of(config.board_fd, config.slot)('run-2'); report('runs'); os.read(life_fd, 1)",
        slot=1,
    )
    host.report_of("a")

    for unwanted in ("run-1", "run-22", "run"):
        host.channel.send("kill", "a", unwanted, "too late")
    host.channel.send("kill", "b", "run-2", "too late")
    host.channel.send("ping")
    host.hear_all("pong")

    assert alive(psutil.Process(host.hear("started", "a")))
    host.channel.send("kill", "a", "run-2", "too late")
    assert host.hear("died", "a") == "too late"


def test_no_other_run_is_ever_hit(host: Host) -> None:
    """It changes runs all the time, and says in a slot of its own which one it began."""
    code = """
write, note = writer_of(config.board_fd, 0), writer_of(os.dup(config.board_fd), 1)
for number in range(10**9):
    run_id = ("r-1", "r-2")[number % 2]
    write(run_id)
    note(run_id)
    note("")
"""
    for attempt in range(30):
        host.fork(f"e{attempt}", code)
        wait_until(lambda: host.board.read(0) != "", "it runs")

        def killed(name: str = f"e{attempt}") -> bool:
            host.channel.send("kill", name, "r-1", "too late")
            host.heard += host.channel.receive()
            return any(words[:2] == ["died", name] for words in host.heard)

        wait_until(killed, "it is hit")
        assert host.board.take(0) == "r-1"
        assert host.board.take(1) in ("r-1", "")


def test_being_let_go_the_zygote_ends_its_executors(host: Host) -> None:
    host.fork("a", "time.sleep(60)")
    executor = psutil.Process(host.hear("started", "a"))

    host.zygote.let_go()

    assert host.zygote.wait(5.0) == 0
    assert not alive(executor)


def test_an_executor_may_end_in_order_after_sigterm(host: Host) -> None:
    host.fork(
        "a",
        "signal.signal(signal.SIGTERM, lambda *_: (report('in order'), sys.exit()));"
        " report('waits'); time.sleep(60)",
    )
    assert host.report_of("a") == "waits"

    host.zygote.let_go()

    assert host.zygote.wait(5.0) == 0
    assert host.report_of("a") == "in order"


def test_an_executor_that_ignores_sigterm_is_killed(host: Host) -> None:
    host.fork("a", "signal.signal(signal.SIGTERM, signal.SIG_IGN); report('deaf'); time.sleep(60)")
    executor = psutil.Process(host.hear("started", "a"))
    assert host.report_of("a") == "deaf"
    began = time.monotonic()

    host.zygote.let_go()

    assert host.zygote.wait(5.0) == 0
    assert 0.5 <= time.monotonic() - began < 2.0
    assert not alive(executor)


def test_the_pipe_ends_for_executors_when_the_zygote_is_killed_and_let_go(host: Host) -> None:
    host.fork("a", "report('waits'); os.read(life_fd, 1)")
    executor = psutil.Process(host.hear("started", "a"))
    host.report_of("a")

    os.kill(host.zygote.pid, signal.SIGKILL)
    host.zygote.let_go()

    wait_gone([executor])


def test_a_host_that_closes_the_line_ends_the_zygote(host: Host) -> None:
    host.fork("a", "time.sleep(60)")
    executor = psutil.Process(host.hear("started", "a"))

    host.channel.close()

    assert host.zygote.wait(5.0) == 0
    assert not alive(executor)


def test_the_zygote_has_one_thread(host: Host) -> None:
    host.fork("a", "pass")
    host.hear("died", "a")

    # BLAS has its own when there are more cores than executors; it stops them for each fork.
    cores = len(psutil.Process().cpu_affinity() or [1])
    assert psutil.Process(host.zygote.pid).num_threads() <= cores
