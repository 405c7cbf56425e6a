"""Real servers on ports of this machine: a cluster, and a primary that sentinels watch."""

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hiredis

from cloudburst.kvs import embedded
from cloudburst.kvs.channel import pack
from cloudburst.kvs.commands import Command

SERVICE = "cloudburst"
_PATIENCE = 20.0
EMPTY = '""'


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses at the moment."""
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [sock.getsockname()[1] for sock in sockets]


def eventually(condition: Callable[[], Any], what: str, timeout: float = _PATIENCE) -> Any:
    """The first true value of the condition."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout:g} seconds: {what}"
        time.sleep(0.01)
    return value


@dataclass
class Valkey:
    """A server's process. Call it with the words of a command."""

    directory: Path
    port: int
    options: dict[str, str] = field(default_factory=dict)
    sentinel: bool = False
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.directory.mkdir(exist_ok=True)
        log = self.directory / "log"
        options = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.directory)}
        if not self.sentinel:
            options |= {"save": "", "appendonly": "no", "io-threads": "1"}
        file = self.directory / "conf"
        if not file.exists():  # sentinels write into theirs
            lines = [f"{name} {value or EMPTY}" for name, value in (options | self.options).items()]
            file.write_text("\n".join(lines) + "\n")
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [str(embedded._binary()), str(file), *(["--sentinel"] if self.sentinel else [])],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=embedded._death_signal(),
            )
        eventually(self.answers, f"a server on port {self.port} ({log})")

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "log").read_text()
        try:
            return self("PING") == b"PONG"
        except (OSError, AssertionError):
            return False

    def __call__(self, *words: str) -> Any:
        reply = self.said(*words)
        assert not isinstance(reply, hiredis.ReplyError), reply
        return reply

    def said(self, *words: str) -> Any:
        """The reply, also if it is an error."""
        with socket.create_connection(("127.0.0.1", self.port), 5.0) as sock:
            sock.sendall(b"".join(bytes(piece) for piece in pack([Command(words, None)])))
            reader = hiredis.Reader(notEnoughData=...)
            while (reply := reader.gets()) is ...:
                data = sock.recv(65536)
                if not data:
                    raise ConnectionResetError
                reader.feed(data)
        return reply

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """It does nothing, but its sockets stay open."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="cb-", dir="/tmp"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@contextlib.contextmanager
def server(**options: str) -> Iterator[Valkey]:
    """One server."""
    with folder() as directory:
        one = Valkey(directory, free_ports(1)[0], options)
        try:
            one.start()
            yield one
        finally:
            one.kill()


@dataclass
class Cluster:
    """Primaries, which share the slots, and perhaps replicas of them."""

    nodes: list[Valkey]
    ports: list[int]
    replicas: list[Valkey] = field(default_factory=list)

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def flush(self) -> None:
        for node in self.nodes:
            node("FLUSHALL")

    def owner_of(self, slot: int) -> Valkey:
        """The primary that has a slot, as the first node that runs knows."""
        node = next(node for node in [*self.nodes, *self.replicas] if is_running(node))
        for first, last, (_, port, *_), *_ in node("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                everyone = zip([*self.nodes, *self.replicas], [*self.ports], strict=False)
                known = {port: node for node, port in everyone}
                known |= {replica.port: replica for replica in self.replicas}
                return known[port]
        raise LookupError(slot)

    def migrate(self, slot: int, target: Valkey) -> None:
        """Move a slot with all its keys."""
        source = self.owner_of(slot)
        self.begin_to_migrate(slot, target)
        self.move_keys(slot, target)
        self.finish_migration(slot, source, target)

    def begin_to_migrate(self, slot: int, target: Valkey) -> None:
        source = self.owner_of(slot)
        target("CLUSTER", "SETSLOT", str(slot), "IMPORTING", name_of(source))
        source("CLUSTER", "SETSLOT", str(slot), "MIGRATING", name_of(target))

    def move_keys(self, slot: int, target: Valkey, count: int = 1000) -> list[bytes]:
        """Move so many keys of a slot that is on its way."""
        source = self.owner_of(slot)
        keys: list[bytes] = source("CLUSTER", "GETKEYSINSLOT", str(slot), str(count))
        for key in keys:
            words = ("MIGRATE", "127.0.0.1", str(target.port), key.decode(), "0", "5000")
            assert source(*words) == b"OK"
        return keys

    def finish_migration(self, slot: int, source: Valkey, target: Valkey) -> None:
        others = [node for node in self.nodes if node not in (source, target)]
        for node in (target, source, *others):  # these would hear of it, but later
            node("CLUSTER", "SETSLOT", str(slot), "NODE", name_of(target))
        # A slot that went on before all know the epoch of this move could end up with nobody.
        eventually(lambda: len(set(map(_view, self.nodes))) == 1, "the nodes agree")


def _view(node: Valkey) -> tuple[tuple[bytes, ...], ...]:
    """Every primary's name, epoch and slots, as a node sees them."""
    lines = (line.split() for line in node("CLUSTER", "NODES").splitlines())
    return tuple(sorted((words[0], words[6], *words[8:]) for words in lines))


def is_running(node: Valkey) -> bool:
    return node.process is not None and node.process.poll() is None


def name_of(node: Valkey) -> str:
    name: bytes = node("CLUSTER", "MYID")
    return name.decode()


@contextlib.contextmanager
def cluster(
    replicas: int = 0, announced: Sequence[int] = (), ports: Sequence[int] = (), **options: str
) -> Iterator[Cluster]:
    """A cluster of three primaries.

    Args:
        replicas: so many, of the first ones.
        announced: the ports that nodes name for themselves, if they are reached otherwise.
        ports: those that they have; by default any.
        options: of every node.
    """
    count = 3 + replicas
    own = list(ports) or free_ports(count)
    buses = free_ports(count)
    shown = list(announced) or own
    with folder() as directory, contextlib.ExitStack() as stack:
        nodes = []
        for port, bus, told in zip(own, buses, shown, strict=True):
            said = {
                "cluster-enabled": "yes",
                "cluster-port": str(bus),
                "cluster-announce-port": str(told),
                "cluster-node-timeout": "1500",
                "cluster-replica-validity-factor": "0",
            }
            node = Valkey(directory / str(port), port, said | options)
            stack.callback(node.kill)
            node.start()
            nodes.append(node)
        _join(nodes, buses)
        yield Cluster(nodes[:3], shown[:3], nodes[3:])


def _join(nodes: list[Valkey], buses: list[int]) -> None:
    for index, node in enumerate(nodes):
        node("CLUSTER", "SET-CONFIG-EPOCH", str(index + 1))
    for index, node in enumerate(nodes[:3]):
        first, last = index * 16384 // 3, (index + 1) * 16384 // 3 - 1
        node("CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
    for node, bus in zip(nodes[1:], buses[1:], strict=True):
        nodes[0]("CLUSTER", "MEET", "127.0.0.1", str(node.port), str(bus))
    eventually(lambda: all(_knows(node, len(nodes)) for node in nodes), "the nodes know each other")
    for primary, replica in zip(nodes[:3], nodes[3:], strict=False):
        replica("CLUSTER", "REPLICATE", name_of(primary))
        eventually(lambda r=replica: b"master_link_status:up" in r("INFO", "replication"), "synced")
    eventually(
        lambda: all(b"cluster_state:ok" in node("CLUSTER", "INFO") for node in nodes), "it is whole"
    )


def _knows(node: Valkey, count: int) -> bool:
    info: bytes = node("CLUSTER", "INFO")
    return f"cluster_known_nodes:{count}\r".encode() in info and b"cluster_slots_ok:16384\r" in info


@dataclass
class Watched:
    """A primary and its replica, and the sentinels that watch them."""

    primary: Valkey
    replica: Valkey
    sentinels: list[Valkey]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    def flush(self) -> None:
        self.primary("FLUSHALL")


@contextlib.contextmanager
def watched(sentinels: int = 1) -> Iterator[Watched]:
    """A primary and a replica, watched by so many sentinels, most of which have to agree."""
    first, second, *others = free_ports(2 + sentinels)
    with folder() as directory, contextlib.ExitStack() as stack:

        def started(port: int, options: dict[str, str], *, sentinel: bool = False) -> Valkey:
            one = Valkey(directory / str(port), port, options, sentinel)
            stack.callback(one.kill)
            one.start()
            return one

        primary = started(first, {"repl-diskless-sync-delay": "0"})
        replica = started(second, {"replicaof": f"127.0.0.1 {first}"})
        eventually(lambda: b"master_link_status:up" in replica("INFO", "replication"), "synced")
        quorum = sentinels // 2 + 1
        monitor = {
            "sentinel monitor": f"{SERVICE} 127.0.0.1 {first} {quorum}",
            "sentinel down-after-milliseconds": f"{SERVICE} 500",
            "sentinel failover-timeout": f"{SERVICE} 3000",
        }
        who = [started(port, monitor, sentinel=True) for port in others]
        eventually(
            lambda: all(_sees_all(one, sentinels) for one in who), "sentinels find each other"
        )
        yield Watched(primary, replica, who)


def _sees_all(sentinel: Valkey, sentinels: int) -> bool:
    (facts,) = sentinel("SENTINEL", "MASTERS")
    said = dict(zip(facts[::2], facts[1::2], strict=True))
    others, replicas = int(said[b"num-other-sentinels"]), int(said[b"num-slaves"])
    return others == sentinels - 1 and replicas == 1
