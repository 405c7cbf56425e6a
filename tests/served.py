"""Stores in servers of their own, for tests of everything above a store."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from grants import grant
from tls import make_certificate, tls_proxies
from valkeys import Valkey, cluster, folder, free_ports, server, watched

PASSWORD = "s3cret"


@dataclass
class Served:
    """A store.

    Attributes:
        url: where it is.
        servers: its primaries; call one with the words of a command.
    """

    url: str
    servers: list[Valkey]

    def flush(self) -> None:
        """Empty it."""
        for each in self.servers:
            each("FLUSHALL")


@contextlib.contextmanager
def single() -> Iterator[Served]:
    """One server, over TCP."""
    with server() as one:
        yield Served(f"redis://127.0.0.1:{one.port}", [one])


@contextlib.contextmanager
def clustered() -> Iterator[Served]:
    """Three primaries."""
    with cluster() as nodes:
        yield Served(nodes.url, nodes.nodes)


@contextlib.contextmanager
def sentinel() -> Iterator[Served]:
    """A primary and a replica, and a sentinel that watches them."""
    with watched() as servers:
        yield Served(servers.url, [servers.primary])


@contextlib.contextmanager
def secured(keys: str = "cb:*") -> Iterator[Served]:
    """A server behind TLS, for a user who may do what Cloudburst needs and nothing else."""
    with folder() as directory, server() as one:
        user, options = _restrict([one], keys, directory)
        (port,) = free_ports(1)
        with tls_proxies(make_certificate(directory), [(port, one.port)]):
            yield Served(f"rediss://{user}@127.0.0.1:{port}?{options}", [one])


@contextlib.contextmanager
def secured_cluster(keys: str = "cb:*") -> Iterator[Served]:
    """The same with a cluster, whose nodes name the ports of their proxies."""
    ports, shown = free_ports(3), free_ports(3)
    with folder() as directory, cluster(ports=ports, announced=shown) as nodes:
        user, options = _restrict(nodes.nodes, keys, directory)
        with tls_proxies(make_certificate(directory), list(zip(shown, ports, strict=True))):
            yield Served(f"rediss+cluster://{user}@127.0.0.1:{shown[0]}?{options}", nodes.nodes)


def _restrict(servers: list[Valkey], keys: str, directory: Path) -> tuple[str, str]:
    """Nobody else may read or write; what URLs say of the user, and of the certificate."""
    for one in servers:
        grant(one, "cb", PASSWORD, keys)
        one("ACL", "SETUSER", "default", "resetkeys")
    return f"cb:{PASSWORD}", f"ssl_ca_certs={directory / 'cert.pem'}"


KINDS: dict[str, Callable[[], AbstractContextManager[Served]]] = {
    "single": single,
    "cluster": clustered,
    "sentinel": sentinel,
    "tls": secured,
    "tls-cluster": secured_cluster,
}
"""What ``CLOUDBURST_TEST_KVS`` may say; see tests/integration/clusters.py."""
