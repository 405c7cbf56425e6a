"""One run: a cluster, its clients, the faults, and the evidence of what came of it."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cloudburst.cache.folder import dead_folders
from cloudburst.config import run_root

from . import evidence as find
from .client import READY, ClientConfig
from .cluster import EXECUTORS, HOSTS, Cluster, Process
from .director import Director
from .evidence import Evidence, Remains
from .faults import plan
from .journal import Account, read
from .workload import (
    DAGS,
    FUNCTIONS,
    HOW,
    OBJECT_PREFIX,
    OBJECTS,
    REPLICAS,
    steps_of,
    stored_object,
)

LASTING = 2


@dataclass(frozen=True)
class Options:
    """What is to be done.

    Attributes:
        seed: of all that is drawn.
        seconds: for how long there are faults.
        transport: ``ipc`` or ``tcp``.
        rate: calls a second that clients try to make.
        mean_pause: seconds between two faults.
        limit: seconds after the faults in which all accepted calls must have ended.
        keep: whether logs, journals and data are kept.
    """

    seed: str
    seconds: float
    transport: str = "ipc"
    rate: float = 140.0
    mean_pause: float = 1.6
    limit: float = 30.0
    keep: bool = False


class Chaos:
    """A cluster in trouble; a context manager.

    Args:
        options: what is to be done.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        run_root().mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = Path(tempfile.mkdtemp(prefix="ch", dir=run_root()))
        self.memory = dead_folders()
        self.cluster = Cluster(self.directory, options.transport)
        self.accounts: list[tuple[Path, str, bool]] = []
        self.clients: list[Process] = []
        self.director = Director(self.cluster)
        self.remains = Remains()
        self.began = self.ceased = self.ended = 0.0
        self.is_stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for client in self.clients:
            client.end(1.0)
        if not self.is_stopped:
            self.cluster.stop()
        if not self.options.keep:
            shutil.rmtree(self.directory)

    def run(self) -> None:
        """Start everything, let the faults happen, and wait for the clients' ends."""
        self.cluster.start()
        self._prepare()
        self.clients = [self._client(number, mortal=False) for number in range(LASTING)]
        mortal = self._client(LASTING, mortal=True)
        self.clients.append(mortal)
        for client in self.clients:
            client.start()
        self._wait_until_they_call()
        self.began = time.time()
        faults = plan(self.options.seed, self.options.mean_pause)
        self.director.run(faults, self.options.seconds, mortal, self._reborn)
        self.ceased = self.ended = time.time()
        for client in self.clients:
            client.let_go()
        deadline = time.monotonic() + self.options.limit + 15.0
        while any(client.exit_code() is None for client in self.clients):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)

    def gather(self) -> Evidence:
        """Read everything that there is to be read of a cluster that is at rest."""
        store = self.cluster.open_store()
        accounts = [read(path, seed, mortal=mortal) for path, seed, mortal in self.accounts]
        run_ids = [noted.run_id for account in accounts for noted in account.calls.values()]
        with self.cluster.connect() as connection:
            self.remains.executors = self.cluster.wait_whole(connection, 10.0)
            find.wait_quiet(connection, store, self.remains)
            finals = find.read_finals(connection, run_ids)
        records = find.read_records(store, run_ids)
        store.close()
        self.remains.keys = find.count_keys(self.cluster.store.url, accounts, records)
        return self._evidence(accounts, records, finals)

    def stop(self) -> None:
        """End the cluster, and look for what is left of it."""
        self.remains.forced = self.cluster.stop()
        self.is_stopped = True
        self.remains.processes, files = self.cluster.leftovers()
        self.remains.sockets = [name for name in files if name.startswith("c-")]
        self.remains.files = [name for name in files if not name.startswith("c-")]
        self.remains.memory = sorted(map(str, dead_folders() - self.memory))
        find.read_logs(self.cluster, self.remains)

    def _evidence(
        self, accounts: list[Account], records: dict[str, find.Record], finals: dict[str, str]
    ) -> Evidence:
        return Evidence(
            accounts=accounts,
            records=records,
            finals=finals,
            happened=self.director.happened,
            crashes=self.director.crashes,
            executors=HOSTS * EXECUTORS,
            remains=self.remains,
            began=self.began,
            ceased=self.ceased,
            ended=self.ended,
        )

    def _prepare(self) -> None:
        with self.cluster.connect() as connection:
            for name, function in FUNCTIONS.items():
                connection.register(function, name, **HOW.get(name, {}))
            for name, (_, edges) in DAGS.items():
                replicas = REPLICAS.get(name, 1)
                assert connection.register_dag(name, steps_of(name), edges, replicas=replicas)
            for index in range(OBJECTS):
                connection.put_object(f"{OBJECT_PREFIX}{index}", stored_object(index))

    def _client(self, number: int, *, mortal: bool) -> Process:
        seed = f"{self.options.seed}/{number}/{len(self.accounts)}"
        path = self.directory / f"journal-{len(self.accounts)}"
        self.accounts.append((path, seed, mortal))
        rate = self.options.rate / LASTING
        config = ClientConfig(
            address=self.cluster.address,
            ip=self.cluster.ip,
            seed=seed,
            journal=str(path),
            rate=rate * (0.1 if mortal else 0.9),
            direct_rate=0.0 if mortal else rate * 0.1,
            limit=self.options.limit,
        )
        path.touch(mode=0o600)
        return self.cluster.process(f"client{number}", f"{__package__}.client", config.to_json())

    def _reborn(self) -> None:
        """Start the mortal client again, as another one in its place."""
        mortal = self.clients[LASTING]
        mortal.command = self._client(LASTING, mortal=True).command
        mortal.start()

    def _wait_until_they_call(self) -> None:
        deadline = time.monotonic() + 20.0
        for client in self.clients:
            log = self.cluster.logs / f"{client.name}.log"
            while READY not in log.read_text():
                assert time.monotonic() < deadline, f"{client.name} does not start"
                time.sleep(0.02)
