"""Runs go where what they refer to is cached, unless they would begin sooner elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from caching_hosts import MB, CachingCluster
from scheduling import sent, started

from cloudburst.core.hosts import CacheChanges, Recount
from cloudburst.core.messages import Bounce, Yield
from cloudburst.scheduler.policy import Policy

NEXT_TO_IT = 0.004
"""Seconds of a function, which are worth to be waited for if 20 MB would have to be fetched."""


def two_hosts(policy: Policy = Policy.LOCALITY) -> CachingCluster:
    """Executors ``a`` and ``b`` on one host, ``c`` and ``d`` on another, and a function."""
    cluster = CachingCluster(policy=policy)
    cluster.join("a", "b", host="near")
    cluster.join("c", "d", host="far")
    cluster.register("f")
    return cluster


@pytest.fixture
def cluster() -> CachingCluster:
    return two_hosts()


def busy(cluster: CachingCluster, names: Iterable[str], share: float = 0.9) -> None:
    """These had work for that share of their time, lately."""
    for name in names:
        cluster.state.members.executors[name].utilisation = share


def place(cluster: CachingCluster, run_id: str, *names: str) -> str:
    """Where a call goes that refers to these."""
    ((_, executor),) = started(cluster.call(run_id, references=names))
    return executor


def test_a_run_goes_where_what_it_refers_to_is_cached(cluster: CachingCluster) -> None:
    assert place(cluster, "r1", "k") == "a"
    cluster.cache("far", k=MB)

    assert place(cluster, "r2", "k") == "c"
    assert place(cluster, "r3", "k") == "d"
    assert place(cluster, "r4", "other") == "b"


def test_of_several_hosts_the_one_with_most_bytes(cluster: CachingCluster) -> None:
    cluster.cache("near", k=3 * MB, l=MB)
    cluster.cache("far", l=MB, m=5 * MB)

    assert place(cluster, "r1", "k", "l", "m") == "c"
    assert place(cluster, "r2", "k", "l") == "a"


def test_a_few_bytes_decide_among_equals(cluster: CachingCluster) -> None:
    cluster.cache("far", k=70_000)

    assert place(cluster, "r1", "k") == "c"


def test_what_is_cached_no_more_draws_nobody(cluster: CachingCluster) -> None:
    cluster.cache("far", k=MB, l=MB)
    cluster.cache("far", "k")

    assert place(cluster, "r1", "k") == "a"


def test_nor_does_what_a_lost_host_had(cluster: CachingCluster) -> None:
    cluster.cache("far", k=MB)
    cluster.now = 2.0
    cluster.heartbeat("a", "b", host="near")
    cluster.pass_time(1.5)

    assert list(cluster.state.life.placing.holdings.hosts) == []
    assert place(cluster, "r1", "k") == "a"


def test_on_the_host_one_that_has_the_code_is_preferred(cluster: CachingCluster) -> None:
    cluster.cache("far", k=MB)
    place(cluster, "r1", "k")
    place(cluster, "r2", "k")
    cluster.finish("r2")

    cluster.register("g")
    cluster.finish("r1")
    assert place(cluster, "r3", "k") == "c"


# waiting or fetching


def test_where_nobody_has_room_it_is_not_waited_for(cluster: CachingCluster) -> None:
    cluster.cache("far", k=100 * MB)
    place(cluster, "r1", "k")
    place(cluster, "r2", "k")

    assert place(cluster, "r3", "k") == "a"


def test_unless_it_comes_sooner_than_the_bytes_would(cluster: CachingCluster) -> None:
    cluster.learn("f", NEXT_TO_IT)
    cluster.cache("far", k=20 * MB, l=MB)
    assert [place(cluster, f"r{n}", "k") for n in range(7)] == [*"cdcdcd", "a"]
    assert place(cluster, "r7", "l") == "b"


def test_waiting_is_counted_from_when_the_other_began(cluster: CachingCluster) -> None:
    cluster.learn("f", NEXT_TO_IT)
    cluster.cache("far", k=3 * MB)
    assert [place(cluster, f"r{n}", "k") for n in range(2)] == ["c", "d"]

    assert place(cluster, "r2", "k") == "a"
    cluster.now += NEXT_TO_IT / 2
    assert place(cluster, "r3", "k") == "c"


def test_who_takes_longer_than_expected_is_not_waited_for(cluster: CachingCluster) -> None:
    cluster.learn("f", NEXT_TO_IT)
    cluster.cache("far", k=20 * MB)
    assert [place(cluster, f"r{n}", "k") for n in range(3)] == ["c", "d", "c"]

    cluster.now += 0.015
    assert place(cluster, "r3", "k") == "a"
    assert ("c", Bounce("c")) in sent(cluster.pass_time(0.0), Bounce)
    assert started(cluster.tell("c", Yield("r2", 1))) == [("r2", "b")]


def test_if_nobody_has_room_it_waits_for_whoever_is_free_first(cluster: CachingCluster) -> None:
    cluster.cache("far", k=MB)
    for number in range(4):
        cluster.call(f"r{number}")
    assert started(cluster.call("r4", references=("k",))) == []

    assert started(cluster.finish("r0")) == [("r4", "a")]


# hosts that have too much to do


def test_an_overloaded_host_draws_nobody(cluster: CachingCluster) -> None:
    cluster.cache("far", k=MB)
    busy(cluster, "cd")
    assert place(cluster, "r1", "k") == "a"

    busy(cluster, "d", 0.4)  # both together: 65 %
    assert place(cluster, "r2", "k") == "c"


def test_then_it_goes_where_the_second_most_is(cluster: CachingCluster) -> None:
    cluster.join("e", host="third")
    cluster.cache("far", k=5 * MB)
    cluster.cache("third", k=5 * MB)
    busy(cluster, "cd")

    assert place(cluster, "r1", "k") == "e"


def test_if_all_are_overloaded_it_goes_where_its_bytes_are(cluster: CachingCluster) -> None:
    cluster.cache("far", k=MB)
    busy(cluster, "abcd")

    assert place(cluster, "r1", "k") == "c"


@pytest.mark.parametrize("policy", [Policy.LEAST_LOADED, Policy.ROUND_ROBIN])
def test_other_policies_look_at_no_data(policy: Policy) -> None:
    cluster = two_hosts(policy)
    cluster.cache("far", k=MB)

    assert place(cluster, "r1", "k") == "a"


# steps


def test_branches_go_to_their_data(cluster: CachingCluster) -> None:
    steps = [(name, "f") for name in ("x", "y", "end")]
    cluster.dag("d", steps, [("x", "end"), ("y", "end")])
    cluster.cache("near", k=MB)
    cluster.cache("far", l=MB, m=50 * MB)

    cluster.call("r1", "d", references=("l", "k"), readers=("x", "y"))
    assert cluster.places("r1")[:2] == ["c", "a"]
    cluster.finish("r1")
    cluster.call("r2", "d", references=("k", "l"), readers=("x", "y"))
    assert cluster.places("r2")[:2] == ["a", "c"]
    cluster.finish("r2")
    cluster.call("r3", "d", references=("k", "k", "m"), readers=("x", "y", "end"))
    x, y, end = cluster.places("r3")
    assert {x, y} == {"a", "b"}
    assert end in "cd"


def test_what_is_for_all_sources_draws_all(cluster: CachingCluster) -> None:
    steps = [(name, "f") for name in ("x", "y", "end")]
    cluster.dag("d", steps, [("x", "end"), ("y", "end")])
    cluster.cache("far", k=MB)

    arguments = (("", "", 1),)
    cluster.call("r1", "d", references=("k",), readers=("",), arguments=arguments, frames=[b"r"])
    assert sorted(cluster.places("r1")[:2]) == ["c", "d"]


def test_a_short_branch_leaves_its_parent_only_for_many_bytes(cluster: CachingCluster) -> None:
    steps = [(name, "f") for name in ("top", "x", "y", "end")]
    cluster.dag("d", steps, [("top", "x"), ("top", "y"), ("x", "end"), ("y", "end")])
    cluster.learn("d", 20e-6)
    cluster.cache("far", k=70_000, l=MB)

    cluster.call("r1", "d", references=("k",), readers=("x",))
    assert cluster.places("r1") == ["a"] * 4
    cluster.finish("r1", 20e-6)
    cluster.call("r2", "d", references=("l",), readers=("x",))
    assert cluster.places("r2") == ["a", "c", "a", "a"]


def test_instances_and_needs_go_before_data(cluster: CachingCluster) -> None:
    cluster.join("g", host="gpus", resources=("gpu",))
    cluster.cache("far", k=MB)
    cluster.heartbeat("g", host="gpus", resources=("gpu",))
    cluster.register("C", is_class=True)
    cluster.dag("kept", ["C"])
    cluster.register("h", needs="gpu")
    cluster.call("r1", "kept")
    cluster.finish("r1")

    cluster.call("r2", "kept", references=("k",), readers=("C",))
    assert cluster.places("r2") == ["a"]
    cluster.call("r3", "h", references=("k",))
    assert cluster.places("r3") == ["g"]


def test_readers_that_nobody_knows_are_nobody(cluster: CachingCluster) -> None:
    cluster.cache("far", k=MB)
    cluster.call("r1", references=("k", "k"), readers=("stranger",))

    assert cluster.places("r1") == ["a"]


# what hosts say


def test_a_host_of_whose_changes_some_were_lost_is_asked_for_all(cluster: CachingCluster) -> None:
    assert sent(cluster.cache("far", k=MB), Recount) == []
    cluster.told["far"] = 6
    assert sent(cluster.cache("far", l=MB), Recount) == [("far", Recount(7))]
    assert place(cluster, "r1", "k", "l") == "a"

    whole = CacheChanges(8, (("l", MB),), whole=True)
    assert sent(cluster.says("far", whole), Recount) == []
    assert place(cluster, "r2", "l") == "c"


def test_nobody_speaks_of_the_cache_of_another(cluster: CachingCluster) -> None:
    cluster.says("far", CacheChanges(1, (("k", MB),)), sender="stranger")

    assert place(cluster, "r1", "k") == "a"
