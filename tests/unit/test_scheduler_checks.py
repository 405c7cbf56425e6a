"""Messages get lost: runs that nobody works on are found by asking, and started again."""

from __future__ import annotations

import pytest
from scheduling import LONG, Cluster, ends, operations, sent, started, stops

from cloudburst.core.hosts import Knock
from cloudburst.core.messages import Finished, Probe, RunState, RunStatus, Stop, Watch
from cloudburst.errors import InvocationCancelledError
from cloudburst.kvs.base import RecordRun
from cloudburst.scheduler.checks import CHECK_EVERY, KNOCK_AFTER
from cloudburst.scheduler.events import Command, Send


def asked(commands: list[Command]) -> list[tuple[str, str, int]]:
    """(executor, run, epoch) of every question, in order."""
    return [(to, *probe) for to, probe in sent(commands, Probe)]


def next_round(cluster: Cluster) -> list[Command]:
    return cluster.live(CHECK_EVERY)


# who is asked


def test_a_run_is_asked_after_every_second(cluster: Cluster) -> None:
    cluster.call("r1")
    assert asked(cluster.live(0.9)) == []

    for _ in range(3):
        assert asked(next_round(cluster)) == [("a", "r1", 1)]


def test_a_run_that_has_just_begun_is_not_asked_after(cluster: Cluster) -> None:
    cluster.call("old")
    cluster.live(0.5)
    cluster.call("young")

    assert asked(cluster.live(0.5)) == [("a", "old", 1)]
    assert asked(next_round(cluster)) == [("a", "old", 1), ("b", "young", 1)]


def test_only_those_that_hold_a_share_are_asked(fork: Cluster) -> None:
    fork.call("r1", "fork")
    assert asked(next_round(fork)) == [("a", "r1", 1), ("b", "r1", 1)]

    fork.let_go("b", "r1")

    assert asked(next_round(fork)) == [("a", "r1", 1)]


def test_runs_that_wait_are_not_asked_after(cluster: Cluster) -> None:
    for name in ("r1", "r2", "waits"):
        cluster.call(name)
    cluster.call("parked", references=("waits",))

    assert {run_id for _, run_id, _ in asked(next_round(cluster))} == {"r1", "r2"}


def test_nobody_is_asked_while_nothing_runs(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.finish("r1")

    assert asked(cluster.live(10.0)) == []
    assert cluster.state.next_deadline() == cluster.state.members.next_deadline()


def test_after_a_quiet_time_runs_are_asked_after_again(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.finish("r1")
    cluster.live(10.0)
    cluster.call("r2")

    assert asked(next_round(cluster)) == [("a", "r2", 1)]


# what is made of the answers


def test_a_run_that_nobody_works_on_starts_again_after_two_rounds(cluster: Cluster) -> None:
    cluster.call("r1")
    next_round(cluster)
    assert started(cluster.stand("a", "r1")) == []
    next_round(cluster)

    commands = cluster.stand("a", "r1")

    assert stops(commands) == [("a", "r1", 1)]
    assert started(commands) == [("r1", "b")]
    assert (cluster.epoch("r1"), cluster.runs["r1"].returned) == (2, 1)


def test_who_is_at_work_is_left_alone(cluster: Cluster) -> None:
    cluster.call("r1")
    for _ in range(10):
        next_round(cluster)
        assert started(cluster.stand("a", "r1", active=True)) == []

    assert cluster.epoch("r1") == 1


def test_once_might_be_while_a_value_is_under_way(cluster: Cluster) -> None:
    """So only two idle rounds in a row count."""
    cluster.call("r1")
    for _ in range(5):
        for active in (False, True):
            next_round(cluster)
            assert started(cluster.stand("a", "r1", active=active)) == []


def test_all_have_to_stand_still(fork: Cluster) -> None:
    fork.call("r1", "fork")
    for _ in range(3):
        next_round(fork)
        fork.stand("a", "r1")
        fork.stand("b", "r1", active=True)
    for _ in range(2):
        assert fork.runs["r1"].state is RunState.RUNNING
        next_round(fork)
        fork.stand("b", "r1")
        fork.stand("a", "r1")

    assert fork.runs["r1"].state is RunState.PENDING


def test_one_at_work_speaks_for_all_even_before_the_others_have_answered(fork: Cluster) -> None:
    fork.call("r1", "fork")
    for _ in range(5):
        next_round(fork)
        fork.stand("a", "r1", active=True)
        fork.stand("b", "r1")
        fork.stand("a", "r1")

    assert fork.epoch("r1") == 1


def test_who_does_not_answer_is_busy(fork: Cluster) -> None:
    """Its thread runs somebody's code; questions wait for the end of that."""
    fork.call("r1", "fork")
    for _ in range(10):
        next_round(fork)
        assert fork.stand("b", "r1") == []

    assert fork.runs["r1"].state is RunState.RUNNING


def test_an_answer_counts_once_in_a_round(fork: Cluster) -> None:
    fork.call("r1", "fork")
    next_round(fork)
    for _ in range(5):
        assert fork.stand("b", "r1") == []
    next_round(fork)
    for _ in range(5):
        assert fork.stand("b", "r1") == []

    assert fork.runs["r1"].state is RunState.RUNNING


def test_answers_that_nobody_asked_for_do_not_count(cluster: Cluster) -> None:
    cluster.call("r1")
    for executor, run_id, epoch in (
        ("a", "r1", 1),
        ("a", "r1", 1),
        ("b", "r1", 1),
        ("stranger", "r1", 1),
        ("a", "r1", 2),
    ):
        assert cluster.stand(executor, run_id, epoch) == []

    assert cluster.places("r1") == ["a"]


@pytest.mark.parametrize(("run_id", "epoch"), [("never called", 7), ("r1", 0)])
def test_who_waits_for_something_of_what_is_over_is_told_so(
    cluster: Cluster, run_id: str, epoch: int
) -> None:
    cluster.call("r1")

    stop, knock = cluster.stand("a", run_id, epoch)

    state = RunState.RUNNING if run_id == "r1" else RunState.UNKNOWN
    assert stop == Send("a", Stop(run_id, epoch, state))
    assert knock == Send("host", Knock("a"))


@pytest.mark.parametrize(("run_id", "epoch"), [("r1", 0), ("ended", 1)])
def test_code_of_what_is_over_that_keeps_a_run_from_its_turn_is_ended(
    cluster: Cluster, run_id: str, epoch: int
) -> None:
    """It was started by an earlier scheduler, and came after the executor had introduced itself."""
    cluster.call("r1")
    cluster.call("r2")
    assert cluster.places("r2") == ["b"]

    commands = cluster.stand("b", run_id, epoch, active=True)
    commands += next_round(cluster)

    assert ("b", run_id, epoch) in stops(commands)
    assert ("host", Knock("b")) in sent(commands, Knock)
    cluster.let_go("b", run_id, epoch)
    assert list(cluster.state.members.executors["b"].shares) == ["r2"]


def test_an_answer_of_an_earlier_epoch_leaves_the_share_that_is_there(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.hand_back("a", "r1")
    cluster.live(1.0)
    (place,) = cluster.places("r1")

    assert stops(cluster.stand(place, "r1", 1, active=True)) == [(place, "r1", 1)]

    assert cluster.state.members.executors[place].shares["r1"][0] == 2


def test_who_does_not_answer_for_long_is_knocked_for_once(cluster: Cluster) -> None:
    """Its code may be of a run of which nobody knows, and end in an hour."""
    cluster.call("r1")

    rounds = [sent(next_round(cluster), Knock) for _ in range(8)]

    assert [len(knocks) for knocks in rounds] == [0] * KNOCK_AFTER + [1] + [0] * (7 - KNOCK_AFTER)
    assert rounds[KNOCK_AFTER] == [("host", Knock("a"))]


def test_who_answers_is_not_knocked_for(cluster: Cluster) -> None:
    cluster.call("r1")

    for _ in range(KNOCK_AFTER + 3):
        assert sent(next_round(cluster), Knock) == []
        cluster.stand("a", "r1", active=True)


def test_late_answers_to_an_earlier_epoch_do_not_count(cluster: Cluster) -> None:
    cluster.call("r1")
    next_round(cluster)
    cluster.stand("a", "r1")
    next_round(cluster)
    cluster.hand_back("a", "r1")
    assert cluster.epoch("r1") == 2

    for _ in range(4):
        next_round(cluster)
        assert started(cluster.stand("a", "r1", 1)) == []

    assert cluster.epoch("r1") == 2


def test_the_rounds_are_counted_anew_for_a_new_epoch(cluster: Cluster) -> None:
    cluster.call("r1")
    next_round(cluster)
    cluster.stand("a", "r1")
    cluster.hand_back("a", "r1")
    next_round(cluster)
    next_round(cluster)

    assert cluster.stand("a", "r1", 2) == []
    assert cluster.epoch("r1") == 2


def test_a_run_that_is_lost_again_and_again_pauses(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.runs["r1"].returned = 5
    for _ in range(2):
        next_round(cluster)
        assert started(cluster.stand("a", "r1")) == []

    assert cluster.runs["r1"].pause == 1.6
    assert started(cluster.live(1.5)) == []
    assert started(cluster.live(0.1)) == [("r1", "b")]


def test_the_record_says_that_a_message_was_lost(cluster: Cluster) -> None:
    cluster.accept("r1")
    next_round(cluster)
    cluster.stand("a", "r1")
    next_round(cluster)

    lost, again = operations(cluster.stand("a", "r1"), RecordRun)

    assert lost.reason == "a message of it was lost"
    assert (lost.state, again.state, again.epoch) == ("PENDING", "RUNNING", 2)


def test_an_end_that_was_not_heard_is_told_again(cluster: Cluster) -> None:
    """The executor answers with what it had said then."""
    cluster.call("r1")
    cluster.tell("w", Watch("r1"))
    next_round(cluster)

    said = cluster.tell("a", Finished("r1", 1, RunState.SUCCEEDED, ()))

    assert sent(said, RunStatus) == [("w", RunStatus("r1", "SUCCEEDED"))]
    assert cluster.idle()


# orders that were lost


def test_a_stop_that_did_not_arrive_is_said_again(cluster: Cluster) -> None:
    cluster.call("r1", grace_period=60.0)
    cluster.cancel("r1")
    next_round(cluster)
    assert stops(cluster.stand("a", "r1")) == []
    next_round(cluster)

    commands = cluster.stand("a", "r1")

    assert stops(commands) == [("a", "r1", 1)]
    assert sent(commands, Knock) == [("host", Knock("a"))]
    assert ends(cluster.let_go("a", "r1")) == [("r1", InvocationCancelledError)]


def test_who_holds_a_share_of_what_is_over_is_reminded(fork: Cluster) -> None:
    fork.call("r1", "fork")
    fork.report("b", "r1", 1, RunState.FAILED)
    assert "r1" not in fork.runs

    for _ in range(3):
        commands = next_round(fork)
        assert sent(commands, Stop) == [("a", Stop("r1", 1, "UNKNOWN"))]

    fork.let_go("a", "r1")
    assert stops(next_round(fork)) == []
    assert fork.idle()


def test_who_holds_a_share_of_an_earlier_epoch_is_reminded(fork: Cluster) -> None:
    fork.join("c", "d")
    fork.call("r1", "fork")
    fork.die("b")
    assert (fork.places("r1"), fork.epoch("r1")) == (["c", "d", "c"], 2)

    assert stops(next_round(fork)) == [("a", "r1", 1)]


def test_who_holds_a_share_of_a_run_that_pauses_is_reminded(fork: Cluster) -> None:
    fork.call("r1", "fork", max_retries=9)
    fork.runs["r1"].raised = 8
    fork.hand_back("b", "r1", raised=True)

    assert stops(next_round(fork)) == [("a", "r1", 1)]


def test_who_holds_a_share_of_a_run_whose_end_is_written_is_reminded(fork: Cluster) -> None:
    fork.accept("r1", "fork", max_retries=0)
    given_up = fork.die("b")

    assert sent(next_round(fork), Stop) == [("a", Stop("r1", 1, "FAILED"))]
    fork.let_go("a", "r1")
    assert stops(next_round(fork)) == []
    fork.write(given_up)
    assert fork.idle()


def test_who_works_on_a_run_is_not_reminded(cluster: Cluster) -> None:
    cluster.call("r1")

    assert stops(cluster.live(10.0)) == []


@pytest.mark.parametrize("seconds", [LONG, 100.0])
def test_what_takes_its_time_ends_when_it_ends(cluster: Cluster, seconds: float) -> None:
    cluster.call("r1")
    cluster.live(seconds)

    cluster.finish("r1", seconds)

    assert cluster.idle()
