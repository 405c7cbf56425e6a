"""Hosts and executors come, fall silent, are named by heartbeats, and come back or do not."""

from __future__ import annotations

import pytest
from scheduling import Cluster, sent, started

from cloudburst.core.hosts import NOBODY, Fence, Heartbeat, Knock
from cloudburst.core.messages import PROTOCOL, ExecutorReady, ExecutorUnknown, RunState
from cloudburst.core.requests import ClusterStatus, ExecutorStatus, GetStatus
from cloudburst.scheduler.events import Command, Send

NOBODY_TO_REPLACE = Send("host", Fence(()))


def members(cluster: Cluster) -> list[str]:
    return list(cluster.state.members.executors)


def unknown(commands: list[Command]) -> list[str]:
    """Who is asked to introduce itself."""
    return [to for to, _ in sent(commands, ExecutorUnknown)]


def test_there_is_nothing_to_wake_up_for_without_hosts() -> None:
    assert Cluster().state.next_deadline() is None


def test_a_silent_host_is_lost_with_its_executors(cluster: Cluster) -> None:
    cluster.call("r1")
    assert cluster.state.members.next_deadline() == 3.0
    cluster.pass_time(2.0)
    cluster.heartbeat("c", host="other")
    cluster.join("c", host="other")

    assert started(cluster.pass_time(0.9)) == []
    assert members(cluster) == ["a", "b", "c"]
    assert started(cluster.pass_time(0.1)) == [("r1", "c")]
    assert members(cluster) == ["c"]
    assert cluster.state.members.next_deadline() == 5.0


def test_a_heartbeat_keeps_a_host(cluster: Cluster) -> None:
    for _ in range(10):
        cluster.pass_time(2.0)
        assert cluster.heartbeat("a", "b") == [NOBODY_TO_REPLACE]

    assert members(cluster) == ["a", "b"]


def test_a_lost_host_starts_each_run_again_once_and_blames_none(cluster: Cluster) -> None:
    """However many executors it had, and though they are lost one after the other."""
    cluster.join("c", "d", "e")
    cluster.dag("fan", [(n, "f") for n in "xyz"] + [("end", "f")], [(n, "end") for n in "xyz"])
    cluster.call("lone")
    cluster.call("wide", "fan")

    commands = cluster.pass_time(3.0)

    assert members(cluster) == []
    assert commands == []
    assert {run.deaths for run in cluster.runs.values()} == {0}
    assert started(cluster.join("x", host="other")) == [("lone", "x")]
    assert cluster.epoch("lone") == 2


def test_an_executor_the_scheduler_does_not_know_is_asked_to_say_who_it_is(
    cluster: Cluster,
) -> None:
    commands = cluster.heartbeat("a", "new", "b")

    assert commands == [
        Send("new", ExecutorUnknown("new")),
        Send("host", Knock("new")),  # it may run code that takes its time
        NOBODY_TO_REPLACE,
    ]
    cluster.join("new")
    assert cluster.heartbeat("a", "new", "b") == [NOBODY_TO_REPLACE]


def test_an_executor_its_host_no_longer_names_is_gone(cluster: Cluster) -> None:
    cluster.call("r1")

    cluster.heartbeat("b")
    assert started(cluster.heartbeat("b")) == [("r1", "b")]
    assert members(cluster) == ["b"]


def test_a_heartbeat_sent_before_the_executor_was_forked_does_not_kill_it(
    cluster: Cluster,
) -> None:
    cluster.join("new")
    for names in (("a", "b"), ("a", "b", "new"), ("a", "b")):
        assert cluster.heartbeat(*names) == [NOBODY_TO_REPLACE]

    assert members(cluster) == ["a", "b", "new"]


def test_a_heartbeat_says_nothing_about_the_executors_of_other_hosts(cluster: Cluster) -> None:
    cluster.join("c", host="other")

    for _ in range(3):
        cluster.heartbeat("c", host="other")

    assert members(cluster) == ["a", "b", "c"]


def test_a_name_that_was_reported_dead_is_never_accepted_again(cluster: Cluster) -> None:
    cluster.die("a")

    assert cluster.join("a") == []
    assert cluster.heartbeat("a", "b") == [NOBODY_TO_REPLACE]
    assert members(cluster) == ["b"]


def test_a_death_reported_before_the_executor_introduced_itself_counts(cluster: Cluster) -> None:
    cluster.die("late")
    cluster.join("late")

    assert members(cluster) == ["a", "b"]


def test_executors_that_were_only_silent_come_back_if_they_had_no_run(cluster: Cluster) -> None:
    """A machine that was asleep must not be lost for ever."""
    cluster.call("r1")
    cluster.pass_time(60.0)
    assert members(cluster) == []

    commands = cluster.heartbeat("a", "b")

    assert unknown(commands) == ["b"]
    assert started(cluster.join("b")) == [("r1", "b")]
    assert cluster.epoch("r1") == 2


def test_an_executor_whose_connection_broke_comes_back(cluster: Cluster) -> None:
    cluster.cut_off("a")
    assert members(cluster) == ["b"]

    assert unknown(cluster.heartbeat("a", "b")) == ["a"]
    cluster.join("a")
    assert members(cluster) == ["b", "a"]


def test_an_executor_that_came_back_is_not_ended_by_what_it_did_before(cluster: Cluster) -> None:
    cluster.dag("d", [("x", "f"), ("y", "f"), ("z", "f")], [("x", "z"), ("y", "z")])
    cluster.call("r1", "d")
    assert cluster.places("r1") == ["a", "b", "a"]
    cluster.let_go("b", "r1")
    cluster.cut_off("b")
    cluster.join("b")
    assert cluster.places("r1") == ["b", "b", "b"]

    cluster.report("b", "r1", 1, RunState.SUCCEEDED)

    assert cluster.places("r1") == ["b", "b", "b"]
    assert cluster.epoch("r1") == 2


# those that had runs are replaced


def test_an_executor_whose_runs_went_to_others_must_be_replaced(cluster: Cluster) -> None:
    """It may still be at them, unheard, and must not get any more."""
    cluster.call("r1")
    cluster.cut_off("a")
    assert cluster.places("r1") == ["b"]

    commands = cluster.heartbeat("a", "b")

    assert commands == [Send("host", Fence(("a",)))]
    assert cluster.join("a") == []
    assert members(cluster) == ["b"]


def test_a_host_that_was_silent_replaces_the_executors_that_had_runs(cluster: Cluster) -> None:
    cluster.join("c", host="other")
    cluster.call("r1")
    cluster.pass_time(3.0)

    commands = cluster.heartbeat("a", "b")

    assert sent(commands, Fence) == [("host", Fence(("a",)))]
    assert unknown(commands) == ["b"]


def test_it_is_said_until_the_host_has_done_it(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.cut_off("a")
    for _ in range(3):
        assert sent(cluster.heartbeat("a", "b"), Fence) == [("host", Fence(("a",)))]

    cluster.die("a")

    assert cluster.heartbeat("a", "b") == [NOBODY_TO_REPLACE]
    assert cluster.join("a") == []


def test_who_is_to_be_replaced_has_no_say(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.cut_off("a")
    assert cluster.epoch("r1") == 2

    for epoch in (1, 2):
        assert cluster.report("a", "r1", epoch, RunState.SUCCEEDED) == []
        assert cluster.hand_back("a", "r1", epoch) == []

    assert cluster.places("r1") == ["b"]


def test_the_death_of_who_was_to_be_replaced_costs_no_run_anything(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.cut_off("a")
    deaths = cluster.runs["r1"].deaths

    assert cluster.die("a", running=NOBODY) == []

    assert cluster.runs["r1"].deaths == deaths
    assert cluster.places("r1") == ["b"]


def test_who_introduces_itself_twice_keeps_its_work(cluster: Cluster) -> None:
    cluster.call("r1")

    assert cluster.join("a") == []
    assert cluster.places("r1") == ["a"]
    assert "r1" in cluster.state.members.executors["a"].shares


@pytest.mark.parametrize("protocol", [0, PROTOCOL + 1])
def test_executors_and_hosts_of_another_protocol_are_not_used(protocol: int) -> None:
    cluster = Cluster()

    assert cluster.tell("x", ExecutorReady(protocol, "x", "host", "@x", 1, ())) == []
    assert cluster.tell("host", Heartbeat(protocol, "host", ("x",), 1, 1, 1, 30.0)) == []
    assert members(cluster) == []
    assert cluster.state.next_deadline() is None


def test_a_death_of_nobody_known_changes_nothing(cluster: Cluster) -> None:
    assert cluster.die("stranger") == []
    assert members(cluster) == ["a", "b"]


def test_the_status_names_those_who_are_alive(cluster: Cluster) -> None:
    cluster.die("a")

    status = ClusterStatus(1, ("b",), 0, 0, ("host",), (0.0,))
    assert cluster.tell("c", GetStatus(1)) == [Send("c", status)]


def test_the_status_tells_how_busy_each_executor_is_and_where_it_runs(cluster: Cluster) -> None:
    cluster.join("far", host="other")
    cluster.call("r1")  # on one of the first two, for all the time there is
    busy = cluster.places("r1")[0]
    for _ in range(20):
        cluster.pass_time(0.5)
        cluster.heartbeat("a", "b")
        cluster.heartbeat("far", host="other")

    ((_, status),) = sent(cluster.tell("c", GetStatus(1)), ClusterStatus)
    details = {executor.name: executor for executor in status.details}
    assert [*details] == [*status.executors] == ["a", "b", "far"]
    assert details["far"] == ExecutorStatus("far", "other", 0.0)
    assert details[busy].host == "host"
    assert 0.99 < details.pop(busy).utilisation <= 1.0
    assert {executor.utilisation for executor in details.values()} == {0.0}


def test_an_executor_that_has_become_idle_is_told_to_be_less_and_less_busy(
    cluster: Cluster,
) -> None:
    def utilisation() -> float:
        cluster.pass_time(0.5)
        cluster.heartbeat("a", "b")
        ((_, status),) = sent(cluster.tell("c", GetStatus(1)), ClusterStatus)
        return float(max(status.utilisations))

    cluster.call("r1")
    rising = [utilisation() for _ in range(4)]
    cluster.finish("r1")
    falling = [utilisation() for _ in range(4)]

    assert rising == [0.5, 0.75, 0.875, 0.9375]
    assert falling == [0.46875, 0.234375, 0.1171875, 0.05859375]
