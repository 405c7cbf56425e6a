"""Waiting for what other processes do, always within a bound."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, timeout: float = 10.0) -> T:
    """The first true value of ``condition``, asked again and again until the timeout."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout:g} seconds: {what}"
        time.sleep(0.01)
    return value


def alive(process: psutil.Process) -> bool:
    """Whether it runs; a zombie, which waits for a distant parent to look at it, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_gone(processes: Iterable[psutil.Process], timeout: float = 5.0) -> None:
    """Wait until none of them runs."""
    left = list(processes)

    def none_left() -> bool:
        left[:] = [process for process in left if alive(process)]
        return not left

    wait_until(none_left, f"{left} end", timeout)


def family(pid: int) -> list[psutil.Process]:
    """All descendants of a process, but for the one that Python itself may keep beside it."""
    return [each for each in psutil.Process(pid).children(recursive=True) if not _python_s(each)]


def _python_s(process: psutil.Process) -> bool:
    """Whether it is what ``multiprocessing`` begins with the first pool, and keeps."""
    try:
        return any("multiprocessing.resource_tracker" in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False


def role_of(process: psutil.Process) -> str:
    """Which part of a cluster a process is: ``supervise``, ``host``, ``zygote``, ..."""
    try:
        line = process.cmdline()
        parent = process.parent()
        if any("valkey-server" in word for word in line):
            return "store"
        if "cloudburst" not in line:
            return ""
        role = line[line.index("cloudburst") + 1]
        # A forked executor has the command line of its zygote.
        forked = role == "zygote" and parent is not None and "zygote" in parent.cmdline()
        if forked and process.name() == "standby":
            return "standby"
    except psutil.NoSuchProcess:
        return ""
    return "executor" if forked else role


def members(pid: int, role: str) -> list[psutil.Process]:
    """The descendants of a process that are this part of a cluster."""
    return [process for process in family(pid) if alive(process) and role_of(process) == role]


def member(pid: int, role: str) -> psutil.Process:
    """The one descendant that is this part of a cluster."""
    (found,) = members(pid, role)
    return found


def files_under(directory: Path) -> list[str]:
    """Everything below a directory, which need not exist."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def script(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python program of its own, with its stdout piped."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def next_line(process: subprocess.Popen[str]) -> str:
    """The next line a program prints; it is an error if it ends instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"{process.args!r} ended: {process.wait(10)}"
    return line.rstrip("\n")
