"""Functions that need what not every host has run where it is, and nowhere else."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gates import Gate, wait_at
from hands import ByHand, Process
from watching import members, wait_until

from cloudburst import CloudburstConnection, DagError, InvalidName, LocalCluster, UsageError

SOON = 30.0
"""Seconds within which every end has to come."""


@pytest.fixture
def plain(by_hand: ByHand) -> Iterator[CloudburstConnection]:
    """A cluster with one host that has nothing but two executors."""
    by_hand.scheduler("s")
    with CloudburstConnection(by_hand.address("s")) as connection:
        by_hand.host("s", 2)
        wait_until(lambda: len(connection.status().executors) == 2, "the plain host is there")
        yield connection


def add_gpu_host(by_hand: ByHand, connection: CloudburstConnection) -> Process:
    before = len(connection.status().executors)
    host = by_hand.host("s", 1, "--resources", "gpu")
    wait_until(lambda: len(connection.status().executors) > before, "the other host is there")
    return host


def forked_by(host: Process) -> int:
    """The process that forks the executors of a host."""
    (zygote,) = members(host.pid, "zygote")
    return zygote.pid


def parent(*_: object) -> int:
    """Who has forked this executor."""
    return os.getppid()


def test_what_no_host_has_is_refused_with_the_reason(
    plain: CloudburstConnection, by_hand: ByHand
) -> None:
    reason = "needs 'gpu', which no host of this cluster has .there is none.; start a host with"
    with pytest.raises(UsageError, match=f"function 'needy' {reason} --resources gpu"):
        plain.register(parent, "needy", needs="gpu")
    plain.register(parent, "step")
    with pytest.raises(DagError, match=f"step 'step' {reason}"):
        plain.check_dag(["step"], [], gpu_functions=["step"])
    with pytest.warns(UserWarning, match=reason):
        assert not plain.register_dag("d", ["step"], [], gpu_functions=["step"])
    assert (plain.list(), plain.list_dags()) == (["step"], [])

    add_gpu_host(by_hand, plain)

    with pytest.raises(UsageError, match=r"needs 'tpu', which no host.*there is gpu"):
        plain.register(parent, "needy", needs="tpu")
    plain.register(parent, "needy", needs="gpu")
    assert plain.register_dag("d", ["step"], [], gpu_functions=["step"])


def test_it_runs_only_where_it_finds_what_it_needs(
    plain: CloudburstConnection, by_hand: ByHand
) -> None:
    gpu_host = add_gpu_host(by_hand, plain)
    needy = plain.register(parent, "needy", needs="gpu")
    other = plain.register(parent, "other")

    runs = [(needy(), other()) for _ in range(50)]

    assert {run.get(SOON) for run, _ in runs} == {forked_by(gpu_host)}
    assert all(run.get(SOON) for _, run in runs)


def test_what_needs_nothing_leaves_it_to_those_who_do(
    plain: CloudburstConnection, by_hand: ByHand
) -> None:
    gpu_host = add_gpu_host(by_hand, plain)
    other = plain.register(parent, "other")
    found = []

    for _ in range(10):
        found.append(other().get(SOON))
        wait_until(lambda: plain.status()[2:4] == (0, 0), "the run is over for the scheduler, too")

    assert forked_by(gpu_host) not in found


def test_it_waits_for_its_own_kind_and_holds_up_nobody(
    plain: CloudburstConnection, by_hand: ByHand, make_gate: Callable[[], Gate]
) -> None:
    add_gpu_host(by_hand, plain)
    gate = make_gate()
    at_gate = plain.register(wait_at, "at_gate", needs="gpu")(gate.path)
    gate.wait_for_arrival()
    needy = plain.register(parent, "needy", needs="gpu")
    other = plain.register(parent, "other")

    waiting = [needy() for _ in range(5)]

    assert all(other().get(SOON) for _ in range(20))
    assert not any(run.done() for run in waiting)
    gate.open()
    assert at_gate.get(SOON) == "gate0"
    assert len({run.get(SOON) for run in waiting}) == 1


def test_steps_of_a_dag_go_where_each_belongs(plain: CloudburstConnection, by_hand: ByHand) -> None:
    gpu_host = add_gpu_host(by_hand, plain)

    class Model:
        def __init__(self) -> None:
            self.calls = 0

        def run(self, before: Any) -> list[int]:
            self.calls += 1
            return [os.getppid(), self.calls]

    plain.register(parent, "pre")
    plain.register(Model, "model")
    plain.register(lambda _, found: [*found, os.getppid()], "post")
    steps, edges = ["pre", "model", "post"], [("pre", "model"), ("model", "post")]
    assert plain.register_dag("d", steps, edges, gpu_functions=["model"])

    found = [plain.call_dag("d", {}).get(SOON) for _ in range(20)]

    there = forked_by(gpu_host)
    assert [(where, calls) for where, calls, _ in found] == [(there, n) for n in range(1, 21)]


def test_prewarming_goes_there_too(plain: CloudburstConnection, by_hand: ByHand) -> None:
    add_gpu_host(by_hand, plain)
    before = set(plain.status().executors)
    plain.register(parent, "needy", needs="gpu")

    assert plain.prewarm("needy", 1) == 1

    assert set(plain.status().executors) == before


def test_calls_wait_while_the_host_that_has_it_is_gone(
    plain: CloudburstConnection, by_hand: ByHand
) -> None:
    first = add_gpu_host(by_hand, plain)
    needy = plain.register(parent, "needy", needs="gpu")
    other = plain.register(parent, "other")
    assert needy().get(SOON) == forked_by(first)
    first.kill()
    first.wait(10)
    wait_until(lambda: len(plain.status().executors) == 2, "its executor is missed")

    waiting = needy()

    assert other().get(SOON)
    assert not waiting.done()
    second = add_gpu_host(by_hand, plain)
    assert waiting.get(SOON) == forked_by(second)


def test_a_local_cluster_may_have_it(run_dir: Path) -> None:
    with LocalCluster(1, resources=["gpu", "big"]) as cluster, cluster.connect() as connection:
        needy = connection.register(parent, "needy", needs="big")
        assert needy().get(SOON)
        connection.register(lambda _, value: value, "same")
        steps, edges = ["needy", "same"], [("needy", "same")]
        assert connection.register_dag("d", steps, edges, gpu_functions=["same"])
        assert connection.call_dag("d", {}).get(SOON)


def test_the_pool_grows_for_it(run_dir: Path, make_gate: Callable[[], Gate]) -> None:
    with (
        LocalCluster(min=1, max=3, resources="gpu") as cluster,
        cluster.connect() as connection,
    ):
        at_gate = connection.register(wait_at, "at_gate", needs="gpu")
        gates = [make_gate() for _ in range(3)]
        runs = [at_gate(gate.path) for gate in gates]

        for gate in gates:
            gate.wait_for_arrival()  # all at the same time

        for gate in gates:
            gate.open()
        assert [run.get(SOON) for run in runs] == ["gate0", "gate1", "gate2"]


@pytest.mark.parametrize("wrong", [5, [5], {"gpu": 1}])
def test_resources_are_a_list_of_names(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"resources is a list of names|resource name is a string"):
        LocalCluster(1, resources=wrong)


def test_a_resource_has_a_name(plain: CloudburstConnection) -> None:
    with pytest.raises(InvalidName, match="resource"):
        plain.register(parent, "needy", needs="a gpu")
    with pytest.raises(InvalidName, match="resource"):
        LocalCluster(1, resources=["a gpu"])
    plain.register(parent, "step")
    with pytest.raises(DagError, match="'setp', in gpu_functions, is not a step; did"):
        plain.check_dag(["step"], [], gpu_functions=["setp"])
