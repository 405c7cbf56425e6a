"""Runs that are cancelled, or whose time is over: what waits never starts, what runs is stopped."""

from __future__ import annotations

import pytest
from scheduling import Cluster, endings, ends, operations, sent, started

from cloudburst.core.hosts import Knock
from cloudburst.core.messages import Result, RunState, RunStatus, Stop, Watch
from cloudburst.errors import InvocationCancelledError
from cloudburst.kvs import keys
from cloudburst.kvs.base import Commit, CommitRun, DropMember, RecordRun
from cloudburst.scheduler.closing import COMMIT_AGAIN
from cloudburst.scheduler.events import Command, Send


def told(commands: list[Command]) -> list[tuple[str, str]]:
    """(client, state) of every `RunStatus`, in order."""
    return [(to, str(status.state)) for to, status in sent(commands, RunStatus)]


CANCELLED = [("r1", InvocationCancelledError)]


# what has not begun


def test_a_run_that_waits_never_starts() -> None:
    cluster = Cluster()
    cluster.register("f")
    cluster.call("r1")

    commands = cluster.cancel("r1")

    ((client, _, error),) = endings(commands)
    assert client == "client"
    assert isinstance(error, InvocationCancelledError)
    assert str(error) == "run r1 of 'f' was cancelled"
    assert told(commands) == [("client", "CANCELLED")]
    assert cluster.idle()
    assert cluster.join("a") == []


def test_a_stored_run_that_waits_has_ended_when_the_store_says_so() -> None:
    cluster = Cluster()
    cluster.register("f")
    cluster.accept("r1")

    commands = cluster.cancel("r1")

    (commit,) = operations(commands, CommitRun)
    assert (commit.run_id, commit.state, commit.epoch) == ("r1", "CANCELLED", 0)
    assert sent(commands, Result) == []
    assert told(commands) == []
    said = cluster.write(commands)
    assert ends(said) == CANCELLED
    assert told(said) == [("client", "CANCELLED")]
    assert cluster.idle()
    assert cluster.join("a") == []


def test_a_run_is_open_until_its_end_is_stored() -> None:
    """The store may take the one and refuse the other, and the scheduler die before it tries again:
    nobody would ever start or end the run."""
    cluster = Cluster()
    cluster.register("f")
    cluster.accept("r1")

    commands = cluster.cancel("r1")
    assert operations(commands, DropMember) == []
    assert operations(cluster.refuse(commands), DropMember) == []
    said = cluster.write(cluster.pass_time(COMMIT_AGAIN))

    assert operations(said, DropMember) == [DropMember(keys.OPEN_RUNS, "r1")]
    assert cluster.idle()


def test_a_run_that_waits_for_a_result_is_cancelled_alone(cluster: Cluster) -> None:
    cluster.call("slow")
    cluster.call("r1", references=("slow",))

    assert ends(cluster.cancel("r1")) == CANCELLED

    assert cluster.places("slow") == ["a"]
    assert started(cluster.finish("slow")) == []
    assert cluster.idle()


def test_who_waits_for_the_result_of_a_cancelled_run_goes_on(cluster: Cluster) -> None:
    cluster.call("slow")
    cluster.call("r1", references=("slow",))
    cluster.call("r2", references=("r1",))

    assert started(cluster.cancel("r1")) == [("r2", "b")]


def test_others_in_the_queue_keep_their_order() -> None:
    cluster = Cluster()
    cluster.register("f")
    for name in ("r0", "r1", "r2", "r3"):
        cluster.call(name)

    cluster.cancel("r1")

    assert started(cluster.join("a")) == [("r0", "a")]
    assert started(cluster.finish("r0")) == [("r2", "a")]
    assert started(cluster.finish("r2")) == [("r3", "a")]


def test_a_cancelled_run_makes_room_in_a_full_queue() -> None:
    cluster = Cluster(max_waiting=1)
    cluster.register("f")
    cluster.call("r1")
    cluster.cancel("r1")

    cluster.call("r2")

    assert cluster.runs.keys() == {"r2"}


def test_a_run_that_waits_to_be_tried_again_is_not(cluster: Cluster) -> None:
    cluster.call("r1", max_retries=3)
    cluster.hand_back("a", "r1", raised=True)

    assert ends(cluster.cancel("r1")) == CANCELLED

    assert started(cluster.live(60.0)) == []
    assert cluster.idle()


# what is under way


def test_the_executor_is_told_and_knocked_at(cluster: Cluster) -> None:
    cluster.call("r1")

    assert cluster.cancel("r1") == [
        Send("a", Stop("r1", 1, "CANCELLED")),
        Send("host", Knock("a")),
        Send("client", RunStatus("r1", "CANCELLING")),
    ]


def test_it_has_ended_when_its_executor_has_let_go(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.cancel("r1")
    assert cluster.tell("w", Watch("r1")) == [Send("w", RunStatus("r1", "CANCELLING"))]

    said = cluster.let_go("a", "r1")

    assert ends(said) == CANCELLED
    assert sorted(told(said)) == [("client", "CANCELLED"), ("w", "CANCELLED")]
    assert cluster.idle()


def test_all_executors_that_hold_a_share_are_told(fork: Cluster) -> None:
    fork.call("r1", "fork")

    commands = fork.cancel("r1")

    assert [to for to, _ in sent(commands, Stop)] == ["a", "b"]
    assert [knock.executor for _, knock in sent(commands, Knock)] == ["a", "b"]
    assert ends(fork.let_go("b", "r1")) == []
    assert ends(fork.let_go("a", "r1")) == CANCELLED


def test_an_executor_that_has_done_its_share_is_not_told(fork: Cluster) -> None:
    fork.call("r1", "fork")
    fork.let_go("b", "r1")

    assert [to for to, _ in sent(fork.cancel("r1"), Stop)] == ["a"]
    assert ends(fork.let_go("a", "r1")) == CANCELLED


def test_its_executor_takes_the_next_run_as_soon_as_it_has_let_go() -> None:
    cluster = Cluster()
    cluster.join("a")
    cluster.register("f")
    cluster.call("r1")
    cluster.call("next")

    assert started(cluster.cancel("r1")) == []
    assert started(cluster.let_go("a", "r1")) == [("next", "a")]


def test_the_record_says_so_first_so_that_nothing_else_can_be_committed(cluster: Cluster) -> None:
    cluster.accept("r1")

    commands = cluster.cancel("r1")

    (record,) = operations(commands, RecordRun)
    assert (record.state, record.epoch) == ("CANCELLING", 1)
    assert record.reason == "CANCELLED: run r1 of 'f' was cancelled"
    cluster.write(commands)
    assert cluster.commit("r1").name == "STALE"

    (commit,) = operations(said := cluster.let_go("a", "r1"), CommitRun)
    assert (commit.state, commit.epoch) == ("CANCELLED", 1)
    assert ends(cluster.write(said)) == CANCELLED


def test_a_run_is_recorded_to_be_cancelled_though_it_was_not_recorded_before(
    cluster: Cluster,
) -> None:
    cluster.call("r1", store=True)

    cluster.write(cluster.cancel("r1"))

    assert cluster.commit("r1").name == "STALE"
    assert ends(cluster.write(cluster.let_go("a", "r1"))) == CANCELLED
    assert operations(cluster.record(), RecordRun) == []
    assert cluster.idle()


def test_a_direct_run_writes_nothing_when_it_is_cancelled(cluster: Cluster) -> None:
    cluster.call("r1")
    commands = [*cluster.cancel("r1"), *cluster.let_go("a", "r1")]

    assert operations(commands, RecordRun) == operations(commands, CommitRun) == []


# what cannot be cancelled


@pytest.mark.parametrize("run_id", ["ended", "never called"])
def test_what_is_not_there_is_unknown(cluster: Cluster, run_id: str) -> None:
    cluster.call("ended")
    cluster.finish("ended")

    assert cluster.cancel(run_id) == [Send("client", RunStatus(run_id, "UNKNOWN"))]


def test_who_cancels_twice_stops_it_once(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.cancel("r1")

    assert cluster.cancel("r1") == [Send("client", RunStatus("r1", "CANCELLING"))]
    assert ends(cluster.let_go("a", "r1")) == CANCELLED


def test_a_run_whose_end_is_being_written_ends_so(cluster: Cluster) -> None:
    cluster.accept("r1", max_retries=0)
    given_up = cluster.die("a")

    assert cluster.cancel("r1") == []

    said = cluster.write(given_up)
    assert [name for name, _ in ends(said)] == ["r1"]
    assert ends(said) != CANCELLED
    assert told(said) == [("client", "FAILED")]


# what the answer may say


def test_nobody_is_told_before_the_store_has_it(cluster: Cluster) -> None:
    """An executor's commit may be faster, and then the run has succeeded."""
    cluster.accept("r1")

    commands = cluster.cancel("r1")

    assert told(commands) == []
    assert told(cluster.tell("other", Watch("r1"))) == [("other", "RUNNING")]
    assert told(cluster.write(commands)) == [("client", "CANCELLING"), ("other", "CANCELLING")]
    assert told(cluster.cancel("r1")) == [("client", "CANCELLING")]


def test_a_commit_that_was_faster_is_what_is_told(cluster: Cluster) -> None:
    cluster.accept("r1")
    commands = cluster.cancel("r1")
    assert cluster.commit("r1") is Commit.STORED

    assert told(cluster.write(commands)) == []
    said = cluster.report("a", "r1", 1, RunState.SUCCEEDED)

    assert told(said) == [("client", "SUCCEEDED")]
    assert cluster.idle()


def test_an_end_that_another_was_before_is_not_told(cluster: Cluster) -> None:
    """The run waits again, but an executor that was given up has committed its result."""
    cluster.accept("r1", max_retries=3)
    cluster.hand_back("a", "r1", raised=True)
    commands = cluster.cancel("r1")
    assert cluster.commit("r1") is Commit.STORED

    assert told(cluster.write(commands)) == [("client", "UNKNOWN")]


def test_while_the_store_is_away_nothing_is_certain(cluster: Cluster) -> None:
    cluster.accept("r1")
    commands = cluster.cancel("r1")

    assert told(cluster.refuse(commands)) == []
    over = cluster.let_go("a", "r1")
    assert told(over) == []
    assert told(cluster.write(over)) == [("client", "CANCELLED")]


def test_of_a_run_that_is_not_stored_the_client_decides(cluster: Cluster) -> None:
    cluster.call("r1")

    assert told(cluster.cancel("r1")) == [("client", "CANCELLING")]


def test_anybody_may_cancel_and_the_caller_is_told(cluster: Cluster) -> None:
    cluster.call("r1")

    assert told(cluster.cancel("r1", client="other")) == [("other", "CANCELLING")]

    said = cluster.let_go("a", "r1")
    assert [to for to, _ in sent(said, Result)] == ["client"]
    assert told(said) == [("other", "CANCELLED")]


# races


def test_a_run_that_succeeded_meanwhile_has_succeeded(cluster: Cluster) -> None:
    cluster.accept("r1")
    assert cluster.commit("r1").name == "STORED"
    cluster.write(cluster.cancel("r1"))

    said = cluster.finish("r1")

    assert told(said) == [("client", "SUCCEEDED")]
    assert operations(said, CommitRun) == []
    assert sent(said, Result) == []
    assert len(operations(said, DropMember)) == 1
    assert cluster.idle()


def test_a_run_that_failed_meanwhile_has_failed_and_its_others_let_go(fork: Cluster) -> None:
    fork.call("r1", "fork")
    fork.cancel("r1")

    said = fork.report("b", "r1", 1, RunState.FAILED)

    assert told(said) == [("client", "FAILED")]
    assert sent(said, Result) == []
    assert sent(said, Stop) == [("a", Stop("r1", 1, "FAILED"))]
    fork.let_go("a", "r1")
    assert fork.idle()


def test_a_run_whose_executor_dies_meanwhile_is_cancelled_not_tried_again(
    cluster: Cluster,
) -> None:
    cluster.call("r1")
    cluster.cancel("r1")

    said = cluster.die("a", running="r1")

    assert ends(said) == CANCELLED
    assert started(said) == []
    assert cluster.idle()


def test_the_death_of_one_of_its_executors_leaves_the_other_to_wait_for(fork: Cluster) -> None:
    fork.call("r1", "fork")
    fork.cancel("r1")

    assert ends(fork.die("b")) == []
    assert ends(fork.let_go("a", "r1")) == CANCELLED


def test_a_run_whose_host_falls_silent_meanwhile_is_cancelled(cluster: Cluster) -> None:
    cluster.call("r1", grace_period=60.0)
    cluster.cancel("r1")

    assert ends(cluster.pass_time(3.0)) == CANCELLED


@pytest.mark.parametrize("raised", [True, False])
def test_a_share_that_is_handed_back_meanwhile_is_not_tried_again(
    cluster: Cluster, raised: bool
) -> None:
    cluster.call("r1", max_retries=3)
    cluster.cancel("r1")

    assert ends(cluster.hand_back("a", "r1", raised=raised)) == CANCELLED
    assert started(cluster.live(60.0)) == []
    assert cluster.idle()


def test_what_an_executor_says_after_the_end_changes_nothing(cluster: Cluster) -> None:
    cluster.accept("r1")
    cluster.write(cluster.cancel("r1"))
    commands = cluster.let_go("a", "r1")

    for state in (RunState.SUCCEEDED, RunState.FAILED, RunState.RUNNING):
        assert cluster.report("a", "r1", 1, state) == []
    assert ends(cluster.write(commands)) == CANCELLED
