"""Waiting for what other processes do, always within a bound."""

import time
from collections.abc import Callable

import psutil


def wait_until(condition: Callable[[], bool], what: Callable[[], str], timeout: float) -> None:
    """Ask ``condition`` again and again until it holds or the timeout."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:g} seconds: {what()}"
        time.sleep(0.01)


def alive(process: psutil.Process) -> bool:
    """Whether it runs; a zombie, which waits for a distant parent to look at it, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
