"""The zygote, driven as its host drives it, with executors that do what a test needs."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from watching import alive, wait_gone, wait_until

from cloudburst.child import Child, start
from cloudburst.config import ExecutorConfig, HostConfig
from cloudburst.executor.control import Channel

# An executor here does what its "bind" says, and "host" is the file it may write to.
ZYGOTE = """
import argparse, os, select, signal, socket, subprocess, sys, threading, time
from cloudburst.config import HostConfig
from cloudburst.executor import zygote
from cloudburst.executor.control import Channel
from cloudburst.life import Life
flags = argparse.ArgumentParser()
flags.add_argument("--life", action="store_true")
flags.add_argument("--ready-fd", type=int)
flags.add_argument("config")
flags.add_argument("control", type=int)
flags = flags.parse_args()

def load():
    def run(config, life_fd):
        def report(text):
            draft = config.host + ".draft"
            open(draft, "w").write(str(text))
            os.rename(draft, config.host)
        exec(config.bind, {**globals(), "report": report, "life_fd": life_fd})
    return run

life = Life(stdin=flags.life, ready_fd=flags.ready_fd)
channel = Channel(socket.socket(fileno=flags.control))
zygote.main(HostConfig.from_json(flags.config), life, channel, load)
"""


class Host:
    """What a host does with a zygote."""

    def __init__(self, folder: Path, executors: int = 1) -> None:
        self.folder = folder
        self.heard: list[list[Any]] = []
        config = HostConfig("ipc://none", "unix://none", "", executors, start_method="fork")
        ours, theirs = socket.socketpair()
        with theirs:
            end = theirs.fileno()
            line = ["-c", ZYGOTE, config.to_json(), str(end)]
            self.zygote: Child = start("zygote", line, fds=[end])
        self.channel = Channel(ours)
        self.zygote.wait_ready()

    def fork(self, name: str, code: str) -> None:
        config = ExecutorConfig(
            name, str(self.folder / name), "ipc://none", "unix://none", bind=code
        )
        self.channel.send("fork", name, config.to_json())

    def hear(self, verb: str, name: str) -> Any:
        """Wait until the zygote says so. Returns the third word."""

        def said() -> list[Any] | None:
            self.heard += self.channel.receive()
            return next((words for words in self.heard if words[:2] == [verb, name]), None)

        return wait_until(said, f"the zygote says {verb} {name}")[2]

    def report_of(self, name: str) -> str:
        """Wait until an executor reports something."""
        path = self.folder / name
        wait_until(path.exists, f"{name} reports")
        return path.read_text()

    def close(self) -> None:
        self.zygote.stop(2.0)
        self.channel.close()


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
    host.fork("a", "report(sorted(int(fd) for fd in os.listdir('/proc/self/fd')) + [life_fd])")

    *fds, life_fd = json.loads(host.report_of("a"))

    # The last one is of the listing itself.
    assert [fd for fd in fds if fd > 2][:-1] == [life_fd]


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
