"""What processes have cost so far: CPU seconds and context switches, by the role they play."""

from __future__ import annotations

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


def usage(roles: Roles) -> dict[str, Usage]:
    """What each role has used up to now.

    Raises:
        OSError, psutil.NoSuchProcess: one of the processes has ended.
    """
    read = _from_proc if sys.platform == "linux" else _from_psutil
    return {role: _sum(map(read, pids)) for role, pids in roles.items()}


def difference(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> dict[str, Usage]:
    """What each role used between two looks."""
    return {
        role: Usage(after[role].cpu - spent.cpu, after[role].switches - spent.switches)
        for role, spent in before.items()
    }


def this_process() -> Roles:
    """The process that calls, which every contender needs."""
    return {CLIENT: (os.getpid(),)}


def descendants() -> set[int]:
    """All processes that this one has started, directly or not."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


def cluster_roles(pids: Iterable[int]) -> Roles:
    """Which part of a cluster each process is, and this process as its client."""
    roles = dict(this_process())
    for pid in sorted(pids):
        role = _role_of(psutil.Process(pid))
        roles[role] = (*roles.get(role, ()), pid)
    return roles


def _role_of(process: psutil.Process) -> str:
    line = process.cmdline()
    if any("valkey-server" in word for word in line):
        return "store"
    role = line[line.index("cloudburst") + 1]
    parent = process.parent()
    # A forked executor has the command line of its zygote.
    forked = role == "zygote" and parent is not None and "zygote" in parent.cmdline()
    return "executor" if forked else role


def _sum(usages: Iterable[Usage]) -> Usage:
    listed = list(usages)
    return Usage(sum(item.cpu for item in listed), sum(item.switches for item in listed))


def _from_proc(pid: int) -> Usage:
    # schedstat counts nanoseconds, where stat counts ticks of 10 ms; of one thread each.
    return _sum(_of_thread(task) for task in Path(f"/proc/{pid}/task").iterdir())


def _of_thread(task: Path) -> Usage:
    nanoseconds = int((task / "schedstat").read_text().split()[0])
    lines = (task / "status").read_text().splitlines()
    switches = sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return Usage(nanoseconds / 1e9, switches)


def _from_psutil(pid: int) -> Usage:
    process = psutil.Process(pid)
    times, switches = process.cpu_times(), process.num_ctx_switches()
    return Usage(times.user + times.system, switches.voluntary + switches.involuntary)
