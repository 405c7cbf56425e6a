"""Runs that executors put together: how many are sent where, and when they are not."""

from __future__ import annotations

import pytest
from scheduling import LONG, Cluster, context, sent, started

from cloudburst.core.messages import Bounce, Start, Yield
from cloudburst.scheduler.events import Command
from cloudburst.scheduler.placing import GIVE_WAY

SIZE = 4


@pytest.fixture
def cluster() -> Cluster:
    """Executors ``a`` and ``b``; ``m`` is run four at a time, ``f`` one by one."""
    cluster = Cluster()
    cluster.join("a", "b")
    cluster.register("f")
    cluster.register("m", batch=(SIZE, 0.0))
    return cluster


def call(cluster: Cluster, count: int, target: str = "m", name: str = "m") -> list[str]:
    """Call so many runs ``m0``, ``m1``, ...; where those went that did not wait."""
    commands = [c for n in range(count) for c in cluster.call(f"{name}{n}", target)]
    return [to for _, to in started(commands)]


def give_way(cluster: Cluster, executor: str, *names: str) -> list[Command]:
    """The executor has not begun these."""
    return [c for name in names for c in cluster.tell(executor, Yield(name, cluster.epoch(name)))]


def test_two_batches_are_sent_to_each_executor(cluster: Cluster) -> None:
    went = call(cluster, 5 * SIZE)

    assert (went.count("a"), went.count("b")) == (2 * SIZE, 2 * SIZE)
    assert len(cluster.queues) == SIZE


def test_idle_executors_are_taken_first(cluster: Cluster) -> None:
    assert call(cluster, 2) == ["a", "b"]


def test_others_are_sent_one_by_one(cluster: Cluster) -> None:
    assert call(cluster, 5, "f") == ["a", "b"]


def test_as_each_ends_another_is_sent(cluster: Cluster) -> None:
    call(cluster, 5 * SIZE)
    on_a = [run_id for run_id in cluster.runs if cluster.places(run_id) == ["a"]]

    for number, run_id in enumerate(on_a[:SIZE]):
        assert started(cluster.finish(run_id)) == [(f"m{4 * SIZE + number}", "a")]


def test_runs_of_others_are_not_put_behind_a_batch(cluster: Cluster) -> None:
    cluster.register("n", batch=(SIZE, 0.0))
    call(cluster, 2)

    assert started(cluster.call("r1", "f")) == []
    assert started(cluster.call("r2", "n")) == []


def test_nor_is_a_batch_put_behind_others(cluster: Cluster) -> None:
    call(cluster, 2, "f", "f")

    assert call(cluster, 1) == []


def test_a_batch_of_other_code_is_another(cluster: Cluster) -> None:
    call(cluster, 2)
    cluster.register("m", "v2", batch=(SIZE, 0.0))

    assert started(cluster.call("new", "m")) == []


def test_an_executor_that_had_other_work_takes_batches_once_it_is_idle(cluster: Cluster) -> None:
    cluster.call("other", "f")
    call(cluster, 2)
    assert cluster.places("m0") == ["b"] == cluster.places("m1")
    cluster.finish("other")

    assert call(cluster, 2, name="n") == ["a", "a"]


def test_a_dag_is_put_together_by_the_largest_of_its_batches(cluster: Cluster) -> None:
    cluster.register("n", batch=(2, 0.0))
    cluster.dag("d", ["n", "m", "f"], [("n", "m"), ("m", "f")])
    for number in range(4 * 2 * SIZE):
        cluster.call(f"d{number}", "d")

    held = [len(executor.shares) for executor in cluster.state.members.executors.values()]
    assert held == [2 * SIZE, 2 * SIZE]


# when they are not


def test_none_is_sent_behind_a_batch_that_takes_longer_than_expected(cluster: Cluster) -> None:
    cluster.learn("m", 0.02)
    call(cluster, 2)
    cluster.now += 0.03

    assert call(cluster, 1, name="n") == []


def test_what_has_cost_an_executor_runs_alone(cluster: Cluster) -> None:
    call(cluster, 2)
    assert started(cluster.die("a", running="m0")) == [], "b has a batch of others"

    ((to, start),) = sent(cluster.join("c"), Start)
    assert to == "c"
    assert context(start).alone
    assert call(cluster, 1, name="n") == ["b"], "nobody is put behind it"


def test_the_others_of_its_batch_are_put_together_again(cluster: Cluster) -> None:
    """Behind it: were others sent to ``b`` for ever, it would never run."""
    call(cluster, 4)
    killer, other = [run_id for run_id in cluster.runs if cluster.places(run_id) == ["a"]]
    assert started(cluster.die("a", running=killer)) == []

    commands = cluster.join("c")
    assert started(commands) == [(killer, "c"), (other, "b")]
    assert [context(start).alone for _, start in sent(commands, Start)] == [True, False]


def test_who_loads_code_is_not_put_into_a_batch(cluster: Cluster) -> None:
    call(cluster, 2)

    assert started(cluster.call("w1", "m", warm=2)) == []
    assert started(cluster.finish("m0")) == [("w1", "a")]
    assert call(cluster, 1, name="n") == ["b"]


# what waits behind a batch


def test_what_waits_behind_a_long_batch_is_taken_back(cluster: Cluster) -> None:
    call(cluster, 4)

    assert [to for to, _ in sent(cluster.pass_time(2 * GIVE_WAY), Bounce)] == ["a", "b"]


def test_what_was_taken_back_is_not_sent_there_again(cluster: Cluster) -> None:
    """It would never be taken back again, however long that batch takes."""
    call(cluster, 6)
    behind = [run_id for run_id in cluster.runs if cluster.places(run_id) == ["a"]][1:]
    cluster.pass_time(2 * GIVE_WAY)
    assert started(give_way(cluster, "a", *behind)) == []

    cluster.now += LONG
    on_b = [run_id for run_id in cluster.runs if cluster.places(run_id) == ["b"]]
    went = [pair for run_id in on_b for pair in started(cluster.finish(run_id))]
    assert went == [(run_id, "b") for run_id in behind]


def test_once_the_batch_has_ended_more_are_sent(cluster: Cluster) -> None:
    call(cluster, 6)
    on_a = [run_id for run_id in cluster.runs if cluster.places(run_id) == ["a"]]
    cluster.pass_time(2 * GIVE_WAY)
    give_way(cluster, "a", *on_a[1:])

    assert started(cluster.finish(on_a[0])) == [(run_id, "a") for run_id in on_a[1:]]
