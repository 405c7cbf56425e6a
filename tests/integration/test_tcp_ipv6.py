"""Addresses of IPv6 work wherever others do: scheduler, executors, and where results come to."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hands import ByHand, free_port
from watching import wait_until

from cloudburst import CloudburstConnection, CloudburstReference, UserLibrary
from cloudburst.kvs.embedded import EmbeddedServer


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


pytestmark = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture
def address(run_dir: Path) -> Iterator[str]:
    """A cluster with two executors that listen on IPv6."""
    address = f"tcp://[::1]:{free_port()}"
    server = EmbeddedServer(run_dir)
    server.start()
    hands = ByHand(run_dir, server.url)
    try:
        hands.start("scheduler", "--address", address)
        hands.start("host", *("--scheduler", address, "--bind", "tcp://[::1]", "--executors", "2"))
        yield address
    finally:
        hands.end()
        server.stop()
    for left in run_dir.iterdir():
        left.unlink()


def test_calls_results_and_messages_find_their_way(address: str) -> None:
    place = address.removeprefix("tcp://")
    with CloudburstConnection(address) as first:
        wait_until(lambda: len(first.status().executors) == 2, "both executors are there")

    for func_addr, ip in ((address, None), (place, "::1"), (f" {place} ", "[::1] ")):
        with CloudburstConnection(func_addr, ip) as connection:
            ask = connection.register(_ask, "ask")
            tell = connection.register(lambda library, desk: library.send(desk, "hello"), "tell")
            asked = ask()
            tell(CloudburstReference("desk")).get(10)

            assert asked.get(10) == "hello"
            assert connection.address == address
            assert connection.delete_object("desk")


def _ask(library: UserLibrary) -> object:
    library.put("desk", library.get_id())
    ((_, message),) = library.recv(timeout=10)
    return message
