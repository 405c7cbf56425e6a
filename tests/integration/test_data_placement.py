"""Functions run where what they refer to is cached, and it is there when they begin."""

import os
from collections.abc import Callable, Iterator
from statistics import mean
from typing import NamedTuple

import numpy as np
import pytest
from gates import Gate, wait_at
from hands import ByHand
from records import plain_client
from watching import members, wait_until

from cloudburst import CloudburstConnection, CloudburstReference
from cloudburst.cache.folder import file_name, folders
from cloudburst.kvs.keys import object_key
from cloudburst.scheduler.policy import BUSY

SOON = 30.0
PROBES = 60
BIG = 1_000_000

Make = Callable[[], Gate]


def parent(*_: object) -> int:
    """Who has forked this executor."""
    return os.getppid()


class Hosts(NamedTuple):
    """A cluster of two hosts, with the processes that fork their executors.

    What is left open goes to the plain one: the other has what few functions need.
    """

    connection: CloudburstConnection
    plain: int
    gpu: int


@pytest.fixture
def hosts(by_hand: ByHand) -> Iterator[Hosts]:
    by_hand.scheduler("s")
    with CloudburstConnection(by_hand.address("s")) as connection:
        plain = by_hand.host("s", 4)
        gpu = by_hand.host("s", 4, "--resources", "gpu")
        wait_until(lambda: len(connection.status().executors) == 8, "both hosts are there", SOON)
        (plain_zygote,) = members(plain.pid, "zygote")
        (gpu_zygote,) = members(gpu.pid, "zygote")
        connection.register(parent, "where")
        connection.register(parent, "load", needs="gpu")
        connection.register(wait_at, "stand", needs="gpu")
        yield Hosts(connection, plain_zygote.pid, gpu_zygote.pid)


def cached(connection: CloudburstConnection, key: str) -> bool:
    """Whether a host of this cluster has it in its cache."""
    hosts = {executor.host for executor in connection.status().details}
    ours = [folder for folder in folders() if folder.name.rpartition("-")[2] in hosts]
    return any((folder / "objects" / file_name(key)).exists() for folder in ours)


def where(hosts: Hosts, key: str) -> int:
    """Who has forked the executor where a function runs that refers to it."""
    function = hosts.connection.get_function("where")
    assert function is not None
    return int(function(CloudburstReference(key)).get(SOON))


def load(hosts: Hosts, *keys: str) -> None:
    """Have objects cached on the second host, and the scheduler know of it."""
    connection, load = hosts.connection, hosts.connection.get_function("load")
    assert load is not None
    probes = [f"probe {number} of {keys}" for number in range(PROBES)]
    connection.mput(dict.fromkeys(probes, np.zeros(10_000)))
    connection.mput(dict.fromkeys(keys, np.zeros(BIG)))

    def is_loaded(key: str) -> bool:
        assert load(CloudburstReference(key)).get(SOON) == hosts.gpu
        return cached(connection, key)

    for key in (*keys, *probes):
        wait_until(lambda key=key: is_loaded(key), "it is cached")  # type: ignore[misc]
    # A probe that is asked for too soon is cached on the other host, too, and is of no use then.
    left = iter(probes)
    wait_until(lambda: where(hosts, next(left)) == hosts.gpu, "the scheduler knows of it")


def test_a_function_runs_on_the_host_that_has_what_it_refers_to(hosts: Hosts) -> None:
    hosts.connection.put_object("nowhere", np.zeros(BIG))
    load(hosts, "k")

    assert [where(hosts, "k") for _ in range(20)] == [hosts.gpu] * 20
    assert where(hosts, "nowhere") == hosts.plain
    assert hosts.connection.register_dag("d", ["where"], [])
    assert hosts.connection.call_dag("d", {"where": [CloudburstReference("k")]}).get(SOON) == (
        hosts.gpu
    )


def busiest(connection: CloudburstConnection) -> float:
    """The utilisation of the host that has most to do."""
    of_hosts: dict[str, list[float]] = {}
    for executor in connection.status().details:
        of_hosts.setdefault(executor.host, []).append(executor.utilisation)
    return max(map(mean, of_hosts.values()))


def test_it_runs_elsewhere_if_that_host_has_too_much_to_do(hosts: Hosts, make_gate: Make) -> None:
    connection, stand = hosts.connection, hosts.connection.get_function("stand")
    assert stand is not None
    load(hosts, "k", "l")
    gates = [make_gate() for _ in range(4)]
    for gate in gates[:3]:
        stand(gate.path)
        gate.wait_for_arrival()

    wait_until(lambda: busiest(connection) > BUSY, "three of its four executors count as busy")
    assert where(hosts, "k") == hosts.plain
    last = stand(gates[3].path)
    gates[3].wait_for_arrival()
    assert where(hosts, "l") == hosts.plain
    for gate in gates:
        gate.open()
    assert last.get(SOON) == gates[3].path.rpartition("/")[2]


def test_what_a_host_has_cached_is_forgotten_with_the_host(by_hand: ByHand, hosts: Hosts) -> None:
    load(hosts, "k")
    by_hand.processes[-1].kill()

    wait_until(lambda: len(hosts.connection.status().executors) == 4, "it is lost", SOON)
    assert where(hosts, "k") == hosts.plain
    by_hand.host("s", 1)  # which removes what the other has left
    wait_until(lambda: len(hosts.connection.status().executors) == 5, "another host is there", SOON)


@pytest.fixture
def single(by_hand: ByHand) -> Iterator[CloudburstConnection]:
    """A cluster with one executor."""
    by_hand.scheduler("s")
    by_hand.host("s", 1)
    with CloudburstConnection(by_hand.address("s")) as connection:
        connection.register(wait_at, "stand")
        connection.register(lambda _, before, array: (before, float(array.sum())), "total")
        wait_until(lambda: connection.status().executors, "the host is there", SOON)
        yield connection


def fetched_bytes(connection: CloudburstConnection) -> int:
    """What the store has sent so far."""
    with plain_client(connection) as client:
        return int(client.info("stats")["total_net_output_bytes"])


def test_what_a_waiting_run_refers_to_is_there_when_it_begins(
    single: CloudburstConnection, make_gate: Make
) -> None:
    single.put_object("k", np.ones(BIG))
    gate = make_gate()
    standing = single.get_function("stand")(gate.path)  # type: ignore[misc]
    gate.wait_for_arrival()
    future = single.get_function("total")("", CloudburstReference("k"))  # type: ignore[misc]

    wait_until(lambda: cached(single, "k"), "it is fetched while the other runs")
    before = fetched_bytes(single)
    gate.open()
    assert standing.get(SOON)
    assert future.get(SOON) == ("", BIG)
    assert fetched_bytes(single) - before < BIG  # of its eight
    with plain_client(single) as client:
        assert client.strlen(object_key("k")) > 8 * BIG


def test_what_a_later_step_refers_to_comes_while_the_first_runs(
    single: CloudburstConnection, make_gate: Make
) -> None:
    single.put_object("k", np.ones(BIG))
    assert single.register_dag("d", ["stand", "total"], [("stand", "total")])
    single.register(lambda _, array, before: (before, float(array.sum())), "total")
    gate = make_gate()
    arguments = {"stand": gate.path, "total": [CloudburstReference("k")]}
    future = single.call_dag("d", arguments)
    gate.wait_for_arrival()

    wait_until(lambda: cached(single, "k"), "it is fetched while the first step runs")
    before = fetched_bytes(single)
    gate.open()
    assert future.get(SOON) == (gate.path.rpartition("/")[2], BIG)
    assert fetched_bytes(single) - before < BIG


def test_what_changes_after_it_was_fetched_is_not_read(
    single: CloudburstConnection, make_gate: Make
) -> None:
    single.put_object("k", np.ones(BIG))
    gate = make_gate()
    single.get_function("stand")(gate.path)  # type: ignore[misc]
    gate.wait_for_arrival()
    future = single.get_function("total")("", CloudburstReference("k"))  # type: ignore[misc]
    wait_until(lambda: cached(single, "k"), "it is fetched while the other runs")

    single.put_object("k", np.full(BIG, 2.0))
    gate.open()
    assert future.get(SOON) == ("", 2 * BIG)
