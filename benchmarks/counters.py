"""What processes have cost so far: CPU seconds, context switches and memory, by role."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import psutil

CLIENT = "client"

Roles: TypeAlias = Mapping[str, tuple[int, ...]]
"""Process ids by role, such as ``scheduler`` or ``executor``."""


class Usage(NamedTuple):
    """CPU seconds and context switches of some processes, all their threads included."""

    cpu: float
    switches: int


Reading: TypeAlias = Mapping[str, Mapping[int, Usage]]
"""What each process of each role has used up to now."""


def reading(roles: Roles) -> Reading:
    """What every process has used; those that have ended are left out."""
    return {role: _of_processes(pids) for role, pids in roles.items()}


def difference(before: Reading, after: Reading) -> dict[str, Usage]:
    """What each role used between two looks; of processes that were there at both."""
    return {
        role: _sum(
            Usage(after[role][pid].cpu - spent.cpu, after[role][pid].switches - spent.switches)
            for pid, spent in used.items()
            if pid in after[role]
        )
        for role, used in before.items()
    }


class Memory(NamedTuple):
    """Megabytes (10^6) of some processes.

    Attributes:
        resident: of each, added up: what several share is counted several times.
        proportional: the same with each shared page counted once, in parts.
    """

    resident: float
    proportional: float


def memory(roles: Roles) -> Memory:
    """What all processes of all roles take now."""
    resident = proportional = 0
    for pid in {pid for pids in roles.values() for pid in pids}:
        with contextlib.suppress(psutil.NoSuchProcess):
            found = psutil.Process(pid).memory_full_info()
            resident += found.rss
            # macOS does not say what is shared.
            proportional += getattr(found, "pss", found.rss)
    return Memory(resident / 1e6, proportional / 1e6)


def this_process() -> Roles:
    """The process that calls, which every contender needs."""
    return {CLIENT: (os.getpid(),)}


class Family:
    """The processes that were started between two moments, and all that these start.

    The first moment is when this is made, the second when `settle` is called.
    """

    def __init__(self) -> None:
        self._before = _descendants()
        self._roots: list[psutil.Process] = []

    def settle(self) -> None:
        """All that was started is there."""
        self._roots = [psutil.Process(pid) for pid in _descendants() - self._before]

    def pids(self) -> tuple[int, ...]:
        """Of those that are there now."""
        found = set()
        for root in self._roots:
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= {root.pid, *(child.pid for child in root.children(recursive=True))}
        return tuple(sorted(found))


def _descendants() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def cluster_roles(pids: Iterable[int]) -> Roles:
    """Which part of a cluster each process is, and this process as its client."""
    roles = dict(this_process())
    for pid in sorted(pids):
        with contextlib.suppress(psutil.NoSuchProcess):
            role = _role_of(psutil.Process(pid))
            roles[role] = (*roles.get(role, ()), pid)
    return roles


def _role_of(process: psutil.Process) -> str:
    line = process.cmdline()
    if any("valkey-server" in word for word in line):
        return "store"
    if "cloudburst" not in line or "benchmarks.crowd" in line:
        return "other"
    role = line[line.index("cloudburst") + 1]
    parent = process.parent()
    # A forked executor has the command line of its zygote.
    forked = role == "zygote" and parent is not None and "zygote" in parent.cmdline()
    return "executor" if forked else role


def _of_processes(pids: Iterable[int]) -> Mapping[int, Usage]:
    read = _from_proc if sys.platform == "linux" else _from_psutil
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError, psutil.NoSuchProcess):
            found[pid] = read(pid)
    return found


def _sum(usages: Iterable[Usage]) -> Usage:
    listed = list(usages)
    return Usage(sum(item.cpu for item in listed), sum(item.switches for item in listed))


def _from_proc(pid: int) -> Usage:
    # schedstat counts nanoseconds, where stat counts ticks of 10 ms; of one thread each.
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            found.append(_of_thread(task))
    return _sum(found)


def _of_thread(task: Path) -> Usage:
    nanoseconds = int((task / "schedstat").read_text().split()[0])
    lines = (task / "status").read_text().splitlines()
    switches = sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return Usage(nanoseconds / 1e9, switches)


def _from_psutil(pid: int) -> Usage:
    process = psutil.Process(pid)
    times, switches = process.cpu_times(), process.num_ctx_switches()
    return Usage(times.user + times.system, switches.voluntary + switches.involuntary)
