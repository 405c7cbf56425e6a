"""What each process is told at its start: one frozen dataclass per process.

A configuration travels to a child process as JSON (`to_json`, `from_json`), so that a process
started by hand and one started by another are told the same things in the same words.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Self

from cloudburst.core.ids import check_name
from cloudburst.errors import UsageError

CONFIG_VARIABLE = "CLOUDBURST_CONFIG"
"""In the environment of a process that another one starts: its configuration, as JSON."""

DEFAULT_PORT = 7480
DAY = 24 * 3600.0
APPENDFSYNC = ("always", "everysec", "no")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

POLICIES = ("locality", "least-loaded", "round-robin", "random")

MAX_EXECUTORS = 10_000
"""More on one machine can only be a mistake."""

EXECUTORS_PER_CORE = 8
"""Executors that a host may have per core, by default, besides those that are blocked."""

MAX_BLOCKED = 256
"""Executors of a host that may be blocked, waiting for others, and do not count as busy ones."""

IDLE_TIMEOUT = 30.0
"""Seconds without work after which an executor above the minimum is let go."""


@dataclass(frozen=True, slots=True)
class _Config:
    def to_json(self) -> str:
        """The configuration as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`.

        Raises:
            UsageError: the text is not a JSON object, lacks a field that has no default, or has
                one that this configuration does not know.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise UsageError(f"the configuration is not JSON: {error}") from None
        if not isinstance(values, dict):
            raise UsageError(f"a {cls.__name__} is a JSON object, not {text:.80}")
        unknown = values.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise UsageError(f"{cls.__name__} has no {', '.join(sorted(unknown))}")
        missing = {field.name for field in fields(cls) if field.default is MISSING} - values.keys()
        if missing:
            raise UsageError(f"{cls.__name__} needs {', '.join(sorted(missing))}")
        return cls(**values)


@dataclass(frozen=True, slots=True)
class SchedulerConfig(_Config):
    """The scheduler.

    Attributes:
        address: where to bind, as ZeroMQ writes it: ``tcp://0.0.0.0:7480``, ``ipc://path``.
        kvs_url: the key-value store; told to every client.
        max_waiting: runs that may wait for an executor; one more is refused as `Overloaded`.
        host_timeout: seconds without a heartbeat after which a host is lost.
        result_ttl: seconds that results and run records are kept.
        policy: which of several executors with room a run begins on, see
            `cloudburst.scheduler.policy`.
        resources: what its hosts are known to have before they are heard of, as in `HostConfig`.
    """

    address: str
    kvs_url: str
    max_waiting: int = 10_000
    host_timeout: float = 3.0
    result_ttl: float = DAY
    policy: str = POLICIES[0]
    resources: str = ""


@dataclass(frozen=True, slots=True)
class HostConfig(_Config):
    """A host and its executors.

    Attributes:
        scheduler: address of the scheduler.
        kvs_url: the key-value store.
        bind: where executors bind: ``ipc:///directory`` (a socket each in it) or ``tcp://ip``
            (a free port each).
        min_executors: how many to keep running in any case.
        max_executors: how many to run while there is work for them; 0 for as many as
            ``min_executors``. Those that are blocked, waiting for others, do not count.
        idle_timeout: seconds without work after which one above the minimum is let go.
        executor_memory: MiB that each may take before it lets go of class instances that DAGs
            keep there, see `executor_memory`; 0 for any number.
        cache_memory: MiB of shared memory for objects that its executors read, see
            `cache_memory`; 0 for no cache.
        start_method: ``fork`` from a warm zygote, or ``spawn`` a fresh interpreter each, where
            forking is not safe.
        drain_timeout: seconds that runs have to end once a signal asked the host to.
        resources: what it has that functions may need, ``gpu`` say; names with commas between.
    """

    scheduler: str
    kvs_url: str
    bind: str
    min_executors: int
    max_executors: int = 0
    idle_timeout: float = IDLE_TIMEOUT
    executor_memory: int = 0
    cache_memory: int = 0
    start_method: str = "spawn" if sys.platform == "darwin" else "fork"
    drain_timeout: float = 30.0
    resources: str = ""

    @property
    def most(self) -> int:
        """How many executors may run besides those that are blocked."""
        return max(self.min_executors, self.max_executors)

    @property
    def ceiling(self) -> int:
        """How many executors there may be at all."""
        return self.most + MAX_BLOCKED


@dataclass(frozen=True, slots=True)
class ExecutorConfig(_Config):
    """One executor.

    Attributes:
        name: unique in the cluster and never used again.
        host: name of the host it belongs to.
        scheduler: address of the scheduler.
        kvs_url: the key-value store.
        bind: as in `HostConfig`.
        instance_idle: seconds after which an unused class instance of a DAG is let go.
        executor_memory: as in `HostConfig`.
        cache: the folder of its host's cache, or "" if there is none.
        board_fd: the descriptor of its host's board, or -1 if there is none.
        slot: its place on the board.
        resources: as in `HostConfig`.
    """

    name: str
    host: str
    scheduler: str
    kvs_url: str
    bind: str
    instance_idle: float = 600.0
    executor_memory: int = 0
    cache: str = ""
    board_fd: int = -1
    slot: int = -1
    resources: str = ""

    @property
    def own_address(self) -> str:
        """Where it binds: a socket of its name, or a free port."""
        socket = f"/{self.name}" if self.bind.startswith("ipc://") else ":*"
        return self.bind + socket


@dataclass(frozen=True, slots=True)
class LocalConfig(_Config):
    """A cluster on this machine.

    Attributes:
        directory: its private run directory.
        min_executors: as in `HostConfig`.
        max_executors: as in `HostConfig`.
        idle_timeout: as in `HostConfig`.
        executor_memory: as in `HostConfig`.
        cache_memory: as in `HostConfig`.
        policy: as in `SchedulerConfig`.
        kvs_url: an external key-value store, or "" for the embedded one.
        data_dir: where the embedded store keeps its data, or "" to keep it in memory only.
        appendfsync: when that data reaches the disk, one of `APPENDFSYNC`.
        shared: whether the user's other processes find it.
        resources: as in `HostConfig`.
    """

    directory: str
    min_executors: int
    max_executors: int = 0
    idle_timeout: float = IDLE_TIMEOUT
    executor_memory: int = 0
    cache_memory: int = 0
    policy: str = POLICIES[0]
    kvs_url: str = ""
    data_dir: str = ""
    appendfsync: str = "everysec"
    shared: bool = False
    resources: str = ""


def resources_in(said: object) -> tuple[str, ...]:
    """The resources that a list names, or a text with commas, each once.

    Raises:
        UsageError: it is neither.
        InvalidName: nothing can be called so.
    """
    match said:
        case str():
            names: list[object] = [name.strip() for name in said.split(",") if name.strip()]
        case [*items] if all(isinstance(item, str) for item in items):
            names = list(items)
        case _:
            raise UsageError(f"resources is a list of names, not {said!r:.80}")
    return tuple(dict.fromkeys(check_name(name, "resource") for name in names))


def log_level() -> str:
    """The lowest level that processes log: ``CLOUDBURST_LOG``, or WARNING if that is not set.

    Raises:
        UsageError: there is no such level.
    """
    chosen = os.environ.get("CLOUDBURST_LOG") or "WARNING"
    if chosen.upper() not in LOG_LEVELS:
        raise UsageError(f"CLOUDBURST_LOG is one of {', '.join(LOG_LEVELS)}, not {chosen!r:.80}")
    return chosen.upper()


def usable_cores() -> int:
    """How many cores this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return usable or 1


def default_executors() -> int:
    """As many executors as this process may use cores, and at least two."""
    return max(2, usable_cores())


def executor_range(
    executors: int | None, least: int | None = None, most: int | None = None
) -> tuple[int, int]:
    """How many executors to run at least, and at most.

    Args:
        executors: exactly so many; or else
        least: by default as many as this process may use cores, and at least two.
        most: by default 8 for each core.

    Raises:
        UsageError: there cannot be so many, or both a number and a range are given.
    """
    if executors is not None:
        if least is not None or most is not None:
            raise UsageError("say how many executors, or how many at least and at most, not both")
        least = most = executors
    for number in (least, most):
        if number is not None and (type(number) is not int or not 0 < number <= MAX_EXECUTORS):
            raise UsageError(f"a cluster has 1 to {MAX_EXECUTORS:,} executors, not {number!r:.80}")
    if least is None:
        least = default_executors() if most is None else min(default_executors(), most)
    if most is None:
        most = max(least, EXECUTORS_PER_CORE * usable_cores())
    if least > most:
        raise UsageError(f"at least {least} executors cannot be had with at most {most}")
    return least, most


def executor_memory(given: int | None = None) -> int:
    """How many MiB an executor may take before it lets go of class instances; 0 for any number.

    Args:
        given: so many; or else ``CLOUDBURST_EXECUTOR_MEMORY``, or if that is not set half of the
            machine's memory, divided by the cores that this process may use.

    Raises:
        UsageError: it is no such number.
    """
    chosen = _mebibytes("an executor's memory", "any", given, "CLOUDBURST_EXECUTOR_MEMORY")
    return _machine_memory() // (2 * usable_cores() << 20) if chosen is None else chosen


def cache_memory(given: int | None = None) -> int:
    """How many MiB of shared memory a host may use for objects that its executors read.

    Args:
        given: so many; or else ``CLOUDBURST_CACHE_MEMORY``, or if that is not set a quarter of
            the machine's memory. 0 for no cache.

    Raises:
        UsageError: it is no such number.
    """
    chosen = _mebibytes("the cache's memory", "none", given, "CLOUDBURST_CACHE_MEMORY")
    return _machine_memory() // (4 << 20) if chosen is None else chosen


def _mebibytes(what: str, zero: str, given: int | None, variable: str) -> int | None:
    chosen: int | str | None = given
    if chosen is None:
        chosen = os.environ.get(variable) or None
    if chosen is None:
        return None
    text = str(chosen)
    if re.fullmatch("[0-9]{1,12}", text) is None:
        raise UsageError(f"{what} is a number of MiB, 0 for {zero}, not {text:.80}")
    return int(text)


def _machine_memory() -> int:
    """Bytes of memory that this machine has; 0 if it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0


def run_root() -> Path:
    """The folder in which this user's local clusters have their run directories.

    ``CLOUDBURST_RUN_DIR`` moves it; two folders are two separate worlds.
    """
    chosen = os.environ.get("CLOUDBURST_RUN_DIR")
    return Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"cloudburst-{os.getuid()}"
