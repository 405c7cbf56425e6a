"""What is found after the faults: in the journals, in the store, and on the machine."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Container, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

import redis

from cloudburst import CloudburstConnection, RunTimeoutError
from cloudburst.core.messages import ENDED, RunState
from cloudburst.kvs import keys
from cloudburst.kvs.base import GetFields, Members
from cloudburst.kvs.redis import RedisStore

from .cluster import Cluster
from .faults import Happened
from .journal import Account
from .workload import OBJECT_PREFIX, TRIES_PREFIX, describe_error, describe_value

UNREADABLE = "no answer"
_AT_ONCE = 500
_QUIET = 10.0


class Record(NamedTuple):
    """A run's record in the store; times are the store's, 0 for those that are not there."""

    state: str
    epoch: int
    accepted: float
    started: float
    finished: float
    reasons: str


@dataclass(slots=True)
class Keys:
    """What is in the store.

    Attributes:
        kinds: how many keys there are of each kind.
        strange: keys that nobody should have left.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    strange: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Remains:
    """What is there although nothing is being done.

    Attributes:
        executors: that are ready.
        under_way: runs that the scheduler still has.
        open_runs: those that the store takes for unfinished.
        keys: in the store.
        forced: processes that did not end when they were told to.
        processes: that outlived the cluster.
        sockets: of clients that were killed; nobody but themselves removes them.
        files: in the run directory afterwards.
        memory: names of shared memory that were not there before.
        complaints: of the logs.
    """

    executors: int = 0
    under_way: int = 0
    open_runs: list[str] = field(default_factory=list)
    keys: Keys = field(default_factory=Keys)
    forced: list[str] = field(default_factory=list)
    processes: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    memory: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Evidence:
    """All that is judged. Times are seconds since the epoch.

    Attributes:
        accounts: of all clients.
        records: of all runs that the store knows.
        finals: what a fresh connection read of each run in the end.
        happened: the faults.
        crashes: who died although nobody had wanted that.
        executors: how many there are to be.
        began: when the load did.
        ceased: when the faults had been mended.
        ended: when the clients were told to stop.
    """

    accounts: list[Account]
    records: dict[str, Record]
    finals: dict[str, str]
    happened: list[Happened]
    crashes: list[str]
    executors: int
    remains: Remains
    began: float
    ceased: float
    ended: float


def wait_quiet(connection: CloudburstConnection, store: RedisStore, remains: Remains) -> None:
    """Wait until nothing is under way, or too long; say what still is."""
    deadline = time.monotonic() + _QUIET
    while True:
        status = connection.status()
        (open_runs,) = store.execute([Members(keys.OPEN_RUNS)])
        remains.under_way = status.running + status.waiting
        remains.open_runs = list(open_runs)
        if not (remains.under_way or open_runs) or time.monotonic() > deadline:
            return
        time.sleep(0.1)


def read_records(store: RedisStore, run_ids: Iterable[str]) -> dict[str, Record]:
    """The records that are there."""
    wanted = list(run_ids)
    found: dict[str, Record] = {}
    for first in range(0, len(wanted), _AT_ONCE):
        part = wanted[first : first + _AT_ONCE]
        all_fields = store.execute([GetFields(keys.run_key(run_id)) for run_id in part])
        for run_id, fields in zip(part, all_fields, strict=True):
            if fields:
                found[run_id] = Record(
                    state=fields["state"].decode(),
                    epoch=int(fields["epoch"]),
                    accepted=float(fields.get("accepted", 0)),
                    started=float(fields.get("started", 0)),
                    finished=float(fields.get("finished", 0)),
                    reasons=fields.get("reasons", b"").decode(),
                )
    return found


def read_finals(connection: CloudburstConnection, run_ids: Iterable[str]) -> dict[str, str]:
    """What each run has come to, for one who knows nothing but its id."""
    return {run_id: _read_final(connection, run_id) for run_id in run_ids}


def _read_final(connection: CloudburstConnection, run_id: str) -> str:
    future = connection.future(run_id)
    try:
        return describe_value(future.get(2.0))
    except RunTimeoutError:
        return UNREADABLE
    except Exception as error:
        if future.is_settled():
            return describe_error(error)
        return f"{UNREADABLE}: {describe_error(error)}"


_RUN_KEY = re.compile(r"cb:(?:run|object):\{([0-9a-f]{16})-\d+\}\Z")
_ARGUMENT_KEY = re.compile(r"cb:object:\{(([0-9a-f]{16})-\d+)/\d+\}\Z")


def count_keys(url: str, accounts: Iterable[Account], known: Container[str]) -> Keys:
    """Count the store's keys, and name those that are nobody's.

    Args:
        url: the store's.
        accounts: of all clients.
        known: the runs that have a record.
    """
    owners = {account.owner: account.mortal for account in accounts}
    remains = Keys()
    mine = (f"cb:object:{{{OBJECT_PREFIX}", f"cb:object:{{{TRIES_PREFIX}")
    names = ("functions", "dags", "options", "code", "plan", "host", "scheduler", "term")
    kinds = {f"cb:{name}" for name in names}
    with closing(redis.Redis.from_url(url)) as client:
        for raw in client.scan_iter(count=1_000):
            key = raw.decode()
            kind = ":".join(key.split(":")[:2])
            remains.kinds[kind] += 1
            run, argument = _RUN_KEY.match(key), _ARGUMENT_KEY.match(key)
            is_known = run is not None and (run[1] in owners or _is_child(client, run[0]))
            # Of a client, or a function, that was killed before it could call with it.
            is_known |= (
                argument is not None
                and owners.get(argument[2], True)
                and (argument[1] not in known)
                and not client.exists(f"cb:run:{{{argument[1]}}}")
            )
            if not (is_known or key.startswith(mine) or kind in kinds):
                remains.strange.append(key)
    return remains


def _is_child(client: redis.Redis, key: str) -> bool:
    """Whether that is of a run that a function called, and that has ended."""
    name = key[key.index("{") : key.index("}") + 1]
    state, parent = client.hmget(f"cb:run:{name}", "state", "parent")
    return parent is not None and RunState(state.decode()) in ENDED


_COMPLAINT = re.compile(
    r"Traceback \(most recent call last\)|CRITICAL|Assertion|Segmentation fault"
    r"|died.*: (?:exit code [1-9]|SIGSEGV|SIGABRT|SIGBUS)"
)


def read_logs(cluster: Cluster, remains: Remains) -> None:
    """Look for what must not be in the logs."""
    for log in sorted(cluster.logs.iterdir()):
        for line in log.read_text(errors="replace").splitlines():
            if _COMPLAINT.search(line):
                remains.complaints.append(f"{log.name}: {line[:300]}")
