"""Executors die under runs: the next epoch, three times at most, and nothing stale counts."""

from __future__ import annotations

from scheduling import SHORT, Cluster, context, endings, ends, operations, sent, started

from cloudburst.core.hosts import Knock, Retire
from cloudburst.core.messages import Rejected, Result, RunState, RunStatus, Start, Stop, Watch
from cloudburst.errors import ExecutorDiedError
from cloudburst.kvs.base import CommitRun, RecordRun
from cloudburst.scheduler.events import Send

DIAMOND = [("top", "left"), ("top", "right"), ("left", "bottom"), ("right", "bottom")]


def with_diamond(cluster: Cluster) -> Cluster:
    cluster.dag("d", [(name, "f") for name in ("top", "left", "right", "bottom")], DIAMOND)
    return cluster


def test_a_run_starts_over_elsewhere_under_the_next_epoch(cluster: Cluster) -> None:
    arguments, frames = (("f", "", 1),), [b"value"]
    cluster.call("r1", arguments=arguments, frames=frames)

    ((to, start),) = sent(cluster.die("a"), Start)

    assert (to, start.epoch) == ("b", 2)
    assert (start.arguments, start.frames) == (((0, "", 1),), frames)


def test_a_run_without_another_executor_waits_for_one() -> None:
    cluster = Cluster()
    cluster.join("a")
    cluster.register("f")
    cluster.call("r1")

    assert cluster.die("a") == []
    ((to, start),) = sent(cluster.join("b"), Start)
    assert (to, start.epoch) == ("b", 2)


def test_the_record_follows_the_epochs(cluster: Cluster) -> None:
    cluster.accept("r1")

    given_up, begun = operations(cluster.die("a"), RecordRun)

    assert (given_up.state, given_up.epoch, given_up.executor) == ("PENDING", 1, "")
    assert given_up.reason == "killed by signal 9"
    assert (begun.state, begun.epoch, begun.executor) == ("RUNNING", 2, "b")
    assert given_up.call == begun.call == b""


def test_the_survivors_of_a_run_are_told_to_stop_it(cluster: Cluster) -> None:
    """Whatever they do: their host knocks, should they be in the middle of it."""
    with_diamond(cluster).call("r1", "d")
    assert set(cluster.places("r1")) == {"a", "b"}

    assert cluster.die("b") == [Send("a", Stop("r1", 1, "PENDING")), Send("host", Knock("a"))]


def test_a_survivor_that_has_done_its_share_is_not_told(cluster: Cluster) -> None:
    with_diamond(cluster).call("r1", "d")
    cluster.report("b", "r1", 1, RunState.RUNNING)

    commands = cluster.die("a")

    assert sent(commands, Stop) == []
    assert started(commands) == [("r1", "b")]


def test_a_run_starts_over_even_if_the_dead_executor_had_done_its_share(cluster: Cluster) -> None:
    """What it sent to the next executor may have died with it."""
    with_diamond(cluster).call("r1", "d")
    cluster.report("b", "r1", 1, RunState.RUNNING)

    commands = cluster.die("b")

    assert sent(commands, Stop) == [("a", Stop("r1", 1, "PENDING"))]
    assert cluster.runs["r1"].deaths == 1
    assert started(cluster.let_go("a", "r1")) == [("r1", "a")]
    assert cluster.epoch("r1") == 2


def test_a_run_that_has_cost_three_executors_is_given_up() -> None:
    cluster = Cluster()
    cluster.join("a", "b", "c", "d")
    cluster.register("f")
    cluster.call("r1")
    assert endings([*cluster.die("a"), *cluster.die("b")]) == []

    commands = cluster.die("c", "killed by signal 11")

    ((_, result),) = sent(commands, Result)
    assert (result.epoch, result.failed) == (3, True)
    ((client, run_id, error),) = endings(commands)
    assert (client, run_id) == ("client", "r1")
    assert isinstance(error, ExecutorDiedError)
    assert str(error) == (
        "run r1 of 'f' was given up: its executor died 3 times, "
        "the last time executor c: killed by signal 11"
    )
    assert started(commands) == []
    assert cluster.idle()


def test_a_stored_run_is_given_up_in_the_store_before_its_client_is_told() -> None:
    cluster = Cluster()
    cluster.join("a", "b", "c", "d")
    cluster.register("f")
    cluster.accept("r1")
    cluster.write([*cluster.die("a"), *cluster.die("b")])

    commands = cluster.die("c", "killed by signal 11")

    assert sent(commands, Result) == []
    (commit,) = operations(commands, CommitRun)
    assert (commit.run_id, commit.state, commit.epoch) == ("r1", "FAILED", 3)
    assert "its executor died 3 times" in commit.reason
    ((client, run_id, error),) = endings(cluster.write(commands))
    assert (client, run_id) == ("client", "r1")
    assert isinstance(error, ExecutorDiedError)
    assert cluster.idle()


def test_watchers_are_told_that_a_run_was_given_up(cluster: Cluster) -> None:
    cluster.join("c")
    cluster.call("r1")
    cluster.tell("w", Watch("r1"))

    commands = [*cluster.die("a"), *cluster.die("b"), *cluster.die("c")]

    assert sent(commands, RunStatus) == [("w", RunStatus("r1", "FAILED"))]


def test_survivors_of_a_run_that_is_given_up_stop_it() -> None:
    cluster = Cluster()
    cluster.join("a", "b", "c", "d", "e", "g")
    cluster.register("f")
    with_diamond(cluster).call("r1", "d")
    cluster.die("b")
    cluster.die("d")
    assert cluster.places("r1") == ["e", "e", "g", "e"]

    commands = cluster.die("g")

    assert len(endings(commands)) == 1
    assert sent(commands, Stop) == [("e", Stop("r1", 3, "FAILED"))]
    for epoch, survivor in enumerate("ace", 1):
        assert not cluster.idle()
        cluster.report(survivor, "r1", epoch, RunState.FAILED)
    assert cluster.idle()


def test_the_stopped_share_counts_until_its_executor_says_so(cluster: Cluster) -> None:
    with_diamond(cluster).call("r1", "d")
    cluster.die("b")
    assert cluster.places("r1") == []

    assert started(cluster.report("a", "r1", 1, RunState.RUNNING)) == [("r1", "a")]
    assert cluster.epoch("r1") == 2


def test_a_stale_end_makes_room_but_does_not_end_the_run() -> None:
    cluster = Cluster()
    cluster.join("a", "b", "c")
    cluster.register("f")
    with_diamond(cluster).call("r1", "d")
    assert cluster.places("r1") == ["a", "a", "b", "a"]
    cluster.die("b")
    assert (set(cluster.places("r1")), cluster.epoch("r1")) == ({"c"}, 2)
    cluster.call("next")

    commands = cluster.report("a", "r1", 1, RunState.SUCCEEDED)

    assert started(commands) == [("next", "a")]
    assert set(cluster.places("r1")) == {"c"}


def test_a_stale_end_while_the_run_waits_again_does_not_end_it(cluster: Cluster) -> None:
    with_diamond(cluster).call("r1", "d")
    sink = cluster.places("r1")[3]
    assert sink == "a"
    cluster.call("next")
    cluster.die("b")
    assert cluster.places("r1") == []

    commands = cluster.report("a", "r1", 1, RunState.SUCCEEDED)

    assert started(commands) == [("r1", "a")]
    assert cluster.epoch("r1") == 2


def test_a_stale_share_on_the_executor_of_the_next_epoch_does_not_release_it() -> None:
    cluster = Cluster()
    cluster.join("a", "b")
    cluster.register("f")
    with_diamond(cluster).learn("d", SHORT)
    cluster.call("r1", "d")
    cluster.runs["r1"].epoch = 5

    cluster.report("a", "r1", 0, RunState.RUNNING)

    assert "r1" in cluster.state.members.executors["a"].shares


def test_a_dead_executor_has_no_say() -> None:
    cluster = Cluster()
    cluster.join("a", "b")
    cluster.register("f")
    cluster.call("r1")
    cluster.die("a")

    assert cluster.report("a", "r1", 2, RunState.SUCCEEDED) == []
    assert cluster.places("r1") == ["b"]


def test_all_runs_of_a_dead_executor_start_over_in_order(cluster: Cluster) -> None:
    cluster.learn("f", SHORT)
    cluster.call("on a")
    cluster.call("on b")
    cluster.call("ahead on a")
    assert cluster.places("ahead on a") == ["a"]
    cluster.finish("on b", SHORT)

    assert started(cluster.die("a")) == [("on a", "b")]
    assert started(cluster.finish("on a", SHORT)) == [("ahead on a", "b")]


def test_runs_that_died_with_another_are_not_sent_out_together_again() -> None:
    """Whichever of them kills executors, the others do not pay for it three times."""
    cluster = Cluster()
    cluster.join("e0")
    cluster.register("f")
    cluster.learn("f", SHORT)
    names = ["poison", *(f"r{number}" for number in range(9))]
    for name in names:
        cluster.call(name)
    assert all(cluster.places(name) == ["e0"] for name in names)

    given_up, number = [], 0
    while cluster.runs:
        if set(cluster.state.members.executors) == set():
            number += 1
            cluster.join(f"e{number}")
        (executor,) = cluster.state.members.executors
        held = [name for name in names if name in cluster.runs and cluster.places(name)]
        if "poison" in held:
            given_up += endings(cluster.die(executor))
        else:
            cluster.finish(held[0], SHORT)

    assert [run_id for _, run_id, _ in given_up] == ["poison"]


def test_runs_that_waited_for_the_home_of_an_instance_go_elsewhere(cluster: Cluster) -> None:
    cluster.register("C", is_class=True)
    cluster.dag("one", ["C"])
    for number in range(3):
        cluster.call(f"r{number}", "one")
    assert cluster.homes == {("one", "C"): ["a"]}

    assert started(cluster.die("a")) == [("r0", "b")]
    assert cluster.homes == {("one", "C"): ["b"]}
    assert started(cluster.finish("r0")) == [("r1", "b")]


def test_a_run_that_cannot_be_delivered_goes_elsewhere_and_has_lost_nothing(
    cluster: Cluster,
) -> None:
    (start,) = [message for _, message in sent(cluster.call("r1", max_retries=0), Start)]

    assert started(cluster.miss("a", start)) == [("r1", "b")]

    assert cluster.runs["r1"].deaths == 0
    assert list(cluster.state.members.executors) == ["b"]
    cluster.die("a")
    assert (cluster.runs["r1"].deaths, cluster.places("r1")) == (0, ["b"])


def test_who_is_out_of_reach_keeps_what_it_runs_until_its_host_says_of_what_it_died(
    cluster: Cluster,
) -> None:
    """Its socket is closed a moment before its host hears of its end: nobody is to blame yet."""
    cluster.learn("f", SHORT)
    cluster.call("guilty", max_retries=0)
    ((_, behind),) = sent(cluster.call("behind", max_retries=0), Start)
    assert cluster.places("guilty") == cluster.places("behind") == ["a"]

    assert started(cluster.miss("a", behind)) == [("behind", "b")]
    assert cluster.places("guilty") == ["a"]

    assert ends(cluster.die("a", running="guilty")) == [("guilty", ExecutorDiedError)]
    assert cluster.runs["behind"].deaths == 0


def test_a_batch_that_killed_its_executor_is_not_made_again_before_that_is_known() -> None:
    cluster = Cluster()
    cluster.join("a")
    cluster.register("f", batch=(3, 0.1))
    names = ["r1", "r2"]
    for name in names:
        cluster.call(name)
    ((_, last),) = sent(cluster.call("r3"), Start)
    cluster.join("b")
    assert cluster.places("r3") == ["a"]

    assert started(cluster.miss("a", last)) == [("r3", "b")]
    again = cluster.finish("r3") + cluster.die("a", running="")

    assert {cluster.runs[name].deaths for name in names} == {1}
    assert [context(start).alone for _, start in sent(again, Start)] == [True]


def test_who_is_out_of_reach_and_lives_is_given_up(cluster: Cluster) -> None:
    cluster.call("r1")

    assert started(cluster.cut_off("a")) == [("r1", "b")]
    assert cluster.runs["r1"].deaths == 0


def test_who_is_out_of_reach_is_not_told_to_retire(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.miss("a")

    assert sent(cluster.heartbeat("a", "b"), Retire) == []


def test_what_one_out_of_reach_has_said_before_counts(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.miss("a")

    cluster.finish("r1")

    assert cluster.runs == {}
    cluster.heartbeat("a", "b")
    cluster.heartbeat("a", "b")
    assert cluster.state.members.find("a") is None
    assert not cluster.state.members.fenced


def test_a_client_that_is_gone_changes_nothing(cluster: Cluster) -> None:
    cluster.call("r1")

    assert cluster.miss("client") == []
    assert cluster.places("r1") == ["a"]


def test_calls_are_not_refused_because_executors_died() -> None:
    cluster = Cluster(max_waiting=1)
    cluster.join("a")
    cluster.register("f")
    cluster.learn("f", SHORT)
    for number in range(4):
        cluster.call(f"r{number}")
    cluster.die("a")

    assert len(cluster.queues) == 4
    assert sent(cluster.call("one more"), Rejected)
    assert started(cluster.join("b")) == [("r0", "b")]
