"""Functions and DAGs change while runs of them wait and work."""

from __future__ import annotations

import pytest
from scheduling import SHORT, Cluster, context, operations, sent, started

from cloudburst.core.messages import DropDag, RunState, Start
from cloudburst.core.options import NOTHING_SAID
from cloudburst.core.plan import FunctionInfo, unpack_plan
from cloudburst.core.requests import DeleteDag, DeleteFunction, Done, RegisterFunction
from cloudburst.kvs import keys
from cloudburst.kvs.base import Put
from cloudburst.scheduler.events import Command, Send


def plans(commands: list[Command]) -> list[str]:
    return [context(start).plan for _, start in sent(commands, Start)]


def delete_dag(cluster: Cluster, name: str) -> list[Command]:
    return cluster.write(cluster.tell("client", DeleteDag(99, name)))


@pytest.fixture
def counter(cluster: Cluster) -> Cluster:
    """A DAG ``one`` of one class step."""
    cluster.register("C", is_class=True)
    cluster.dag("one", ["C"])
    return cluster


def test_the_next_call_gets_the_new_code(cluster: Cluster) -> None:
    (old,) = plans(cluster.call("r1"))
    cluster.register("f", "v2")

    (new,) = plans(cluster.call("r2"))

    assert new != old
    assert cluster.runs["r2"].plan.steps[0].version == "v2"


def test_a_dag_gets_the_new_code_of_its_functions(cluster: Cluster) -> None:
    cluster.register("g")
    cluster.dag("d", ["f", "g"], [("f", "g")])
    cluster.register("f", "v2")

    cluster.call("r1", "d")

    assert [step.version for step in cluster.runs["r1"].plan.steps] == ["v2", "v1"]


def test_a_plan_is_in_the_store_before_anyone_is_given_it(cluster: Cluster) -> None:
    cluster.dag("d", ["f"])
    commands = cluster.tell(
        "client", RegisterFunction(9, FunctionInfo("f", "v2", is_class=False), NOTHING_SAID)
    )
    puts = operations(commands, Put)
    stored = {put.key: unpack_plan(bytes(put.value)) for put in puts}

    (before,) = plans(cluster.call("r1", "d"))
    cluster.write(commands)
    (after,) = plans(cluster.call("r2", "d"))

    assert keys.plan_key(before) not in stored
    assert stored[keys.plan_key(after)] == cluster.runs["r2"].plan


def test_runs_that_were_called_before_keep_their_version(cluster: Cluster) -> None:
    (old, *_) = plans([*cluster.call("r1"), *cluster.call("r2")])
    cluster.call("waiting")
    cluster.register("f", "v2")

    assert plans(cluster.finish("r1")) == [old]
    assert plans(cluster.die("b")) == []
    assert plans(cluster.finish("waiting")) == [old]
    assert cluster.places("r2") == ["a"]


def test_new_code_is_not_taken_to_be_as_fast_as_the_old(cluster: Cluster) -> None:
    cluster.learn("f", SHORT)
    cluster.register("f", "v2")
    commands = [command for n in range(3) for command in cluster.call(f"r{n}")]

    assert started(commands) == [("r0", "a"), ("r1", "b")]


def test_what_old_code_took_is_forgotten_with_its_last_run(cluster: Cluster) -> None:
    cluster.call("r1")
    old = cluster.runs["r1"].plan
    cluster.register("f", "v2")
    assert old.id in cluster.state.members.executors["a"].plans
    cluster.finish("r1", SHORT)
    cluster.register("f", "v3")

    assert cluster.times.of(old) == [1.0]
    assert cluster.state.members.executors["a"].plans == set()


def test_a_deleted_function_cannot_be_called_but_its_runs_go_on(cluster: Cluster) -> None:
    for number in range(3):
        cluster.call(f"r{number}")

    said = cluster.write(cluster.tell("client", DeleteFunction(9, "f")))

    assert said == [Send("client", Done(9, changed=True))]
    assert started(cluster.call("r3")) == []
    assert started(cluster.finish("r0")) == [("r2", "a")]
    cluster.finish("r1")
    cluster.finish("r2")
    assert cluster.idle()


def test_instances_are_dropped_with_their_dag(counter: Cluster) -> None:
    counter.call("busy")
    counter.call("r1", "one")
    counter.finish("r1")

    said = delete_dag(counter, "one")

    assert sent(said, DropDag) == [("b", DropDag("one"))]
    assert counter.homes == {}


def test_a_dag_without_instances_drops_nothing(cluster: Cluster) -> None:
    cluster.dag("d", ["f"])
    cluster.call("r1", "d")
    cluster.finish("r1")

    assert sent(delete_dag(cluster, "d"), DropDag) == []


def test_a_run_of_a_deleted_dag_takes_its_instance_with_it(counter: Cluster) -> None:
    """It may have made one after the DAG was dropped."""
    counter.call("r1", "one")
    counter.call("r2", "one")
    delete_dag(counter, "one")
    assert counter.places("r2") == ["b"], "there is nothing to wait for any more"

    assert sent(counter.finish("r1"), DropDag) == [("a", DropDag("one"))]
    assert sent(counter.finish("r2", state=RunState.FAILED), DropDag) == [("b", DropDag("one"))]
    assert counter.homes == {}


def test_a_dag_of_the_same_name_starts_with_new_instances(counter: Cluster) -> None:
    counter.call("busy")
    counter.call("r1", "one")
    counter.finish("r1")
    counter.finish("busy")
    delete_dag(counter, "one")
    counter.dag("one", ["C"])

    assert started(counter.call("r2", "one")) == [("r2", "a")]
