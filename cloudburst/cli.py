"""``python -m cloudburst``: flags to a configuration, and one process started with it.

Every process of a cluster begins here, so each imports its server only when it is chosen: what
the others need would cost it a tenth of a second and more.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cloudburst.config import (
    APPENDFSYNC,
    CONFIG_VARIABLE,
    DEFAULT_PORT,
    IDLE_TIMEOUT,
    POLICIES,
    ExecutorConfig,
    HostConfig,
    LocalConfig,
    SchedulerConfig,
    cache_memory,
    executor_memory,
    executor_range,
    log_level,
)
from cloudburst.errors import CloudburstError, ClusterError, UsageError
from cloudburst.life import Life

if TYPE_CHECKING:
    from cloudburst.executor.zygote import Trade
    from cloudburst.local import LocalCluster

ORPHAN_PATIENCE = 1.0
"""Seconds for the kernel to finish with a supervisor that was killed."""

_log = logging.getLogger(__name__)

Config = TypeVar("Config", SchedulerConfig, HostConfig, ExecutorConfig, LocalConfig)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    flags = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = flags.command
    try:
        configure_logging(flags.role, flags.log_level)
        command(flags)
    except (CloudburstError, OSError) as error:
        _log.critical("%s", error)
        return 1
    return 0


def configure_logging(role: str, level: str | None = None) -> None:
    """Log to stderr, with the process's role and number.

    Args:
        role: what this process is.
        level: name of the lowest level shown; by default ``CLOUDBURST_LOG``, or WARNING.

    Raises:
        UsageError: there is no such level.
    """
    if level:
        os.environ["CLOUDBURST_LOG"] = level  # for the processes that this one starts
    line = f"%(asctime)s cloudburst {role}[%(process)d] %(levelname)s %(message)s"
    logging.basicConfig(format=line, level=log_level(), force=True)
    # What functions log is wanted, whatever is heard of Cloudburst itself.
    logging.getLogger("cloudburst.user").setLevel(logging.INFO)


def add_cluster_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that describe a local cluster, for `up` and whoever else starts one."""
    _add_pool_flags(parser)
    parser.add_argument("--policy", choices=POLICIES, default=POLICIES[0], help="where runs begin")
    _add_kvs_flag(parser, "kvs", "a store of yours")
    parser.add_argument("--data-dir", metavar="DIR", help="where the own store keeps its data")
    parser.add_argument(
        "--appendfsync",
        choices=APPENDFSYNC,
        default="everysec",
        help="when that data reaches the disk; default %(default)s",
    )


def _add_pool_flags(parser: argparse.ArgumentParser) -> None:
    flag = parser.add_argument
    flag("--executors", type=int, metavar="N", help="run exactly so many executors; or else")
    flag("--min", type=int, metavar="N", help="run so many at least")
    flag("--max", type=int, metavar="N", help="run so many while there is work for them")
    flag(
        "--idle-timeout",
        type=float,
        default=IDLE_TIMEOUT,
        metavar="S",
        help="let go of one that had no work for so long; default %(default)s",
    )
    flag(
        "--executor-memory",
        type=int,
        metavar="MIB",
        help="let go of class instances where an executor takes more; 0: never; default: half of "
        "the machine's memory, divided by its cores",
    )
    flag(
        "--cache-memory",
        type=int,
        metavar="MIB",
        help="shared memory for objects that functions read; 0: none; default: a quarter of the "
        "machine's memory",
    )
    _add_resources_flag(parser)


def _add_kvs_flag(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    # A password in the environment is not in the list of processes.
    url = os.environ.get("CLOUDBURST_KVS") or None
    text = f"URL of {text}; default: CLOUDBURST_KVS of the environment"
    parser.add_argument("--kvs", dest=name, default=url, metavar="URL", help=text)


def _add_resources_flag(parser: argparse.ArgumentParser) -> None:
    text = "what functions may need and find here: gpu, say; commas between several"
    parser.add_argument("--resources", default="", metavar="NAMES", help=text)


def up(flags: argparse.Namespace) -> None:
    """Run the user's shared local cluster until Ctrl-C or SIGTERM.

    Raises:
        ClusterError: there is one already, or it cannot be started, or it died.
    """
    from cloudburst.local import LocalCluster  # with all of the client; children need neither

    if flags.executor_memory is not None:
        memory = str(flags.executor_memory)
        os.environ["CLOUDBURST_EXECUTOR_MEMORY"] = memory  # for the cluster that this one starts
    if flags.cache_memory is not None:
        os.environ["CLOUDBURST_CACHE_MEMORY"] = str(flags.cache_memory)
    life = Life()
    try:
        with LocalCluster(
            flags.executors,
            min=flags.min,
            max=flags.max,
            idle_timeout=flags.idle_timeout,
            policy=flags.policy,
            kvs=flags.kvs,
            data_dir=flags.data_dir,
            appendfsync=flags.appendfsync,
            shared=True,
            resources=flags.resources,
        ) as cluster:
            if not cluster.owned:
                raise ClusterError(f"your local cluster is running already: {cluster.address}")
            sys.stdout.write(_welcome(cluster))
            sys.stdout.flush()
            _stay(cluster, life)
    finally:
        life.close()


def _welcome(cluster: LocalCluster) -> str:
    return (
        f"Cloudburst is running at {cluster.address}\n"
        "Connect from any process of yours on this machine:\n\n"
        "    from cloudburst.client.client import CloudburstConnection\n"
        "    cloudburst = CloudburstConnection(local=True)\n\n"
        "Ctrl-C ends it.\n"
    )


def _stay(cluster: LocalCluster, life: Life) -> None:
    from cloudburst.transport import Poller  # as in `up`

    poller = Poller(life, cluster)
    while not life.ended():
        if cluster.fileno() in poller.wait(None):
            raise ClusterError("the cluster has died; its processes said why")


def _supervise(flags: argparse.Namespace, life: Life) -> None:
    from cloudburst import supervisor

    supervisor.main(_config(LocalConfig, flags), life)


def _scheduler(flags: argparse.Namespace, life: Life) -> None:
    from cloudburst.scheduler import server

    server.main(_config(SchedulerConfig, flags), life)


def _host(flags: argparse.Namespace, life: Life) -> None:
    from cloudburst.executor import host

    if not flags.config:
        flags.min_executors, flags.max_executors = executor_range(
            flags.executors, flags.min, flags.max
        )
        flags.executor_memory = executor_memory(flags.executor_memory)
        flags.cache_memory = cache_memory(flags.cache_memory)
    host.main(_config(HostConfig, flags), life)


def _zygote(flags: argparse.Namespace, life: Life) -> None:
    import socket

    from cloudburst.executor import zygote
    from cloudburst.executor.control import Channel

    os.set_inheritable(flags.control_fd, False)  # noqa: FBT003  (positional only)
    channel = Channel(socket.socket(fileno=flags.control_fd))
    zygote.main(_config(HostConfig, flags), life, channel, flags.board_fd, _load_executor)


def _load_executor() -> Trade:
    from cloudburst.executor.trade import ExecutorTrade

    return ExecutorTrade(configure_logging)


def _executor(flags: argparse.Namespace, life: Life) -> None:
    # The executor minds its signals and its pipe itself.
    _load_executor().perform(_config(ExecutorConfig, flags), life.detach())


_ROLES: dict[str, Callable[[argparse.Namespace, Life], None]] = {
    "supervise": _supervise,
    "scheduler": _scheduler,
    "host": _host,
    "zygote": _zygote,
    "executor": _executor,
}

# Seconds they have to end once their parent is gone. Who forks must not have the guard's thread.
_GUARDED = {"supervise": 4.0, "scheduler": 2.0, "host": 2.0}


def _run_role(flags: argparse.Namespace) -> None:
    """Run a process that may have a parent, and tell it of an error before it is ready."""
    life = Life(stdin=flags.life, ready_fd=flags.ready_fd)
    if flags.life and flags.role in _GUARDED:
        life.guard(_GUARDED[flags.role], lambda: _clear_orphan(flags.run_dir, 0.0))
    try:
        if not life.ended():
            _ROLES[flags.role](flags, life)
    except (CloudburstError, OSError) as error:
        if not life.failed(str(error)):
            raise
        sys.exit(1)
    except Exception as error:
        life.failed(f"{type(error).__name__}: {error}")
        raise
    finally:
        if flags.run_dir:
            _clear_orphan(flags.run_dir, ORPHAN_PATIENCE if life.orphaned() else 0.0)


def _clear_orphan(run_dir: str, patience: float) -> None:
    if not run_dir:
        return
    from cloudburst.cache.folder import remove_dead
    from cloudburst.kvs import embedded
    from cloudburst.rundir import clear_orphan

    clear_orphan(Path(run_dir), embedded.sweep, patience)
    remove_dead()


def _config(kind: type[Config], flags: argparse.Namespace) -> Config:
    # Not for the processes that this one, or the user's code, may start.
    inherited = os.environ.pop(CONFIG_VARIABLE, None) if flags.life else None
    config = inherited if flags.config is None else flags.config
    if config is not None:
        return kind.from_json(config)
    given = {
        field.name: value
        for field in fields(kind)
        if (value := getattr(flags, field.name, None)) is not None
    }
    needed = [f.name for f in fields(kind) if f.default is MISSING and f.name not in given]
    if needed:
        names = ", ".join(f"--{name.removesuffix('_url').replace('_', '-')}" for name in needed)
        raise UsageError(f"{flags.role} needs {names} (or --config)")
    return kind(**given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cloudburst", description="Stateful functions and DAGs.")
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and end")
    roles = parser.add_subparsers(dest="role", required=True, metavar="COMMAND")
    _add_up(roles)
    _add_scheduler(roles)
    _add_host(roles)
    _add_executor(roles)
    for role in ("supervise", "zygote"):
        # Without help: these two are started by others only.
        child = _add(roles, role)
        child.add_argument("--control-fd", type=int, default=-1, help=argparse.SUPPRESS)
        child.add_argument("--board-fd", type=int, default=-1, help=argparse.SUPPRESS)
    return parser


def _add_up(roles: Any) -> None:
    parser = roles.add_parser("up", help="run a cluster on this machine until Ctrl-C")
    parser.add_argument("--log-level", help="DEBUG, INFO, WARNING or ERROR")
    add_cluster_flags(parser)
    parser.set_defaults(command=up)


def _add_scheduler(roles: Any) -> None:
    parser = _add(roles, "scheduler", "run a scheduler")
    flag = parser.add_argument
    address = f"tcp://127.0.0.1:{DEFAULT_PORT}"
    flag("--address", default=address, help="where to bind; default %(default)s")
    _add_kvs_flag(parser, "kvs_url", "the key-value store")
    flag("--max-waiting", type=int, metavar="N", help="runs that may wait for an executor")
    flag("--host-timeout", type=float, metavar="S", help="a host silent so long is lost")
    flag("--result-ttl", type=float, metavar="S", help="how long results are kept")
    flag("--policy", choices=POLICIES, help="where runs begin; default locality")


def _add_host(roles: Any) -> None:
    parser = _add(roles, "host", "run a host and its executors")
    flag = parser.add_argument
    flag("--scheduler", metavar="ADDRESS", help="the scheduler's address")
    _add_kvs_flag(parser, "kvs_url", "the key-value store")
    flag("--bind", metavar="tcp://IP", help="where executors bind: ipc:///directory or tcp://ip")
    _add_pool_flags(parser)
    flag("--start-method", choices=("fork", "spawn"), help="how executors are started")
    flag("--drain-timeout", type=float, metavar="S", help="how long runs have to end with it")


def _add_executor(roles: Any) -> None:
    parser = _add(roles, "executor", "run one executor that no host watches")
    for name in ("--name", "--host", "--scheduler", "--bind"):
        parser.add_argument(name, help="as hosts tell it")
    _add_resources_flag(parser)
    _add_kvs_flag(parser, "kvs_url", "the key-value store")


def _add(roles: Any, role: str, text: str = "") -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = roles.add_parser(role, **({"help": text} if text else {}))
    parser.set_defaults(command=_run_role)
    flag = parser.add_argument
    flag("--config", metavar="JSON", help="all the configuration at once")
    flag("--log-level", help="DEBUG, INFO, WARNING or ERROR")
    flag("--life", action="store_true", help="end when stdin ends")
    flag("--ready-fd", type=int, default=-1, help=argparse.SUPPRESS)
    flag("--run-dir", default="", help=argparse.SUPPRESS)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_ignored: object) -> None:
        from importlib.metadata import version  # 20 ms

        sys.stdout.write(f"cloudburst {version('cloudburst')}\n")
        parser.exit()
