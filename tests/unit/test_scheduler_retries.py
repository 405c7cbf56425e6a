"""Runs that are tried again: for exceptions if so asked, for no fault of their own at any time."""

from __future__ import annotations

import pytest
from scheduling import SHORT, Cluster, context, endings, ends, operations, sent, started

from cloudburst.core.hosts import Knock
from cloudburst.core.messages import Rejected, Result, RunState, RunStatus, Start, Stop, Watch
from cloudburst.errors import ExecutorDiedError
from cloudburst.kvs.base import RecordRun
from cloudburst.scheduler.events import Command, Send
from cloudburst.scheduler.run import FIRST_PAUSE, LONGEST_PAUSE


def retried(commands: list[Command]) -> list[bool]:
    """What executors are told of each start: whether an exception is not the end."""
    return [context(start).retried for _, start in sent(commands, Start)]


# user code raised


def test_an_exception_is_the_end_unless_somebody_said_otherwise(cluster: Cluster) -> None:
    assert retried(cluster.call("r1")) == [False]
    assert retried(cluster.call("r2", max_retries=1)) == [True]


def test_it_is_tried_again_after_a_pause_under_the_next_epoch(cluster: Cluster) -> None:
    frames = [b"value"]
    cluster.call("r1", arguments=(("f", "", 1),), frames=frames, max_retries=1)

    assert started(cluster.hand_back("a", "r1", raised=True)) == []
    assert started(cluster.live(FIRST_PAUSE * 0.9)) == []
    ((to, start),) = sent(cluster.live(FIRST_PAUSE * 0.2), Start)

    assert (to, start.epoch, start.frames) == ("a", 2, frames)


def test_the_last_attempt_ends_the_run_whatever_it_does(cluster: Cluster) -> None:
    cluster.call("r1", max_retries=2)
    told = []
    for epoch in (1, 2):
        cluster.hand_back("a", "r1", epoch, raised=True)
        told += retried(cluster.live(5.0))
    assert told == [True, False]

    cluster.finish("r1", state=RunState.FAILED)

    assert cluster.idle()


def test_pauses_grow_until_they_are_ten_seconds(cluster: Cluster) -> None:
    cluster.call("r1", max_retries=20)
    pauses = []
    for epoch in range(1, 12):
        cluster.hand_back("a", "r1", epoch, raised=True)
        given_back = cluster.now
        while not cluster.places("r1"):
            deadline = cluster.state.next_deadline()
            assert deadline is not None
            cluster.live(deadline - cluster.now)
        pauses.append(cluster.now - given_back)

    expected = [min(LONGEST_PAUSE, FIRST_PAUSE * 2**number) for number in range(11)]
    assert pauses == pytest.approx(expected)


def test_the_executor_is_free_during_the_pause(cluster: Cluster) -> None:
    cluster.call("r1", max_retries=1)
    cluster.call("r2")
    cluster.call("r3")

    assert started(cluster.hand_back("a", "r1", raised=True)) == [("r3", "a")]


def test_when_the_pause_is_over_it_goes_before_younger_ones(cluster: Cluster) -> None:
    cluster.call("r1", max_retries=1)
    cluster.call("r2")
    cluster.hand_back("a", "r1", raised=True)
    cluster.call("r3")
    cluster.call("r4")

    assert started(cluster.live(1.0)) == []
    assert started(cluster.finish("r2")) == [("r1", "b")]


def test_whoever_holds_another_share_lets_go(fork: Cluster) -> None:
    fork.call("r1", "fork", max_retries=1)

    commands = fork.hand_back("b", "r1", raised=True)

    assert commands == [Send("a", Stop("r1", 1, "PENDING")), Send("host", Knock("a"))]
    fork.let_go("a", "r1")
    assert started(fork.live(1.0)) == [("r1", "a"), ("r1", "b")]


def test_two_shares_that_are_handed_back_are_one_attempt(fork: Cluster) -> None:
    fork.call("r1", "fork", max_retries=5)
    fork.hand_back("b", "r1", raised=True)

    fork.hand_back("a", "r1", raised=True)

    assert fork.runs["r1"].raised == 1
    fork.live(1.0)
    assert fork.epoch("r1") == 2


def test_a_share_of_an_earlier_epoch_that_is_handed_back_only_makes_room(fork: Cluster) -> None:
    fork.join("c")
    fork.call("r1", "fork", max_retries=5)
    fork.hand_back("b", "r1")
    assert (fork.places("r1"), fork.epoch("r1")) == (["b", "c", "b"], 2)
    fork.call("next")

    assert started(fork.hand_back("a", "r1", epoch=1, raised=True)) == [("next", "a")]
    assert fork.places("r1") == ["b", "c", "b"]
    assert fork.runs["r1"].raised == 0


def test_the_record_says_why_and_where(cluster: Cluster) -> None:
    cluster.accept("r1", max_retries=1)

    (record,) = operations(cluster.hand_back("a", "r1", raised=True), RecordRun)
    assert (record.state, record.epoch, record.executor) == ("PENDING", 1, "")
    assert record.reason == "ValueError: no"

    (record,) = operations(cluster.live(1.0), RecordRun)
    assert (record.state, record.epoch, record.executor) == ("RUNNING", 2, "a")


def test_who_asks_during_the_pause_is_told_that_it_is_pending(cluster: Cluster) -> None:
    cluster.call("r1", max_retries=1)
    cluster.hand_back("a", "r1", raised=True)

    assert cluster.tell("w", Watch("r1")) == [Send("w", RunStatus("r1", "PENDING"))]


def test_a_run_that_pauses_is_called_once(cluster: Cluster) -> None:
    cluster.call("r1", max_retries=1)
    cluster.hand_back("a", "r1", raised=True)

    assert cluster.call("r1") == []


def test_executors_that_die_during_the_pause_cost_it_nothing(cluster: Cluster) -> None:
    cluster.call("r1", max_retries=1)
    cluster.hand_back("a", "r1", raised=True)

    assert cluster.die("a", running="r1") == []

    assert cluster.runs["r1"].deaths == 0
    assert started(cluster.live(1.0)) == [("r1", "b")]


# no fault of the run


def test_a_run_that_could_not_be_done_there_starts_again_at_once(cluster: Cluster) -> None:
    cluster.call("r1", max_retries=0)

    commands = cluster.hand_back("a", "r1")

    assert started(commands) == [("r1", "a")]
    assert (cluster.epoch("r1"), cluster.runs["r1"].deaths) == (2, 0)


def test_it_counts_neither_as_an_exception_nor_as_a_death(cluster: Cluster) -> None:
    cluster.call("r1", max_retries=1)
    for epoch in range(1, 9):
        cluster.hand_back("a", "r1", epoch)
        assert endings(cluster.live(20.0)) == []

    run = cluster.runs["r1"]
    assert (run.returned, run.raised, run.deaths) == (8, 0, 0)
    assert cluster.epoch("r1") == 9


def test_from_the_second_time_on_there_is_a_pause(cluster: Cluster) -> None:
    cluster.call("r1")
    assert started(cluster.hand_back("a", "r1", 1))
    assert started(cluster.hand_back("a", "r1", 2)) == []
    assert started(cluster.live(FIRST_PAUSE)) == [("r1", "a")]
    assert started(cluster.hand_back("a", "r1", 3)) == []
    assert started(cluster.live(FIRST_PAUSE)) == []
    assert started(cluster.live(FIRST_PAUSE)) == [("r1", "a")]


def test_a_stored_run_goes_on_though_its_result_could_not_be_stored(cluster: Cluster) -> None:
    cluster.accept("r1")

    commands = cluster.hand_back("a", "r1")

    pending, running = operations(commands, RecordRun)
    assert pending.reason == "executor @b could not be reached"
    assert (running.state, running.epoch) == ("RUNNING", 2)
    cluster.write(commands)
    assert cluster.commit("r1", epoch=1).name == "STALE"
    assert cluster.commit("r1", epoch=2).name == "STORED"


def test_a_run_that_everybody_takes_for_done_starts_again(cluster: Cluster) -> None:
    """An executor that has ended that epoch before drops what it is sent of it, and says so."""
    cluster.call("r1")

    assert started(cluster.let_go("a", "r1")) == []

    assert started(cluster.live(FIRST_PAUSE)) == [("r1", "a")]
    assert cluster.epoch("r1") == 2


# executors died


@pytest.mark.parametrize(
    ("max_retries", "executors"), [(None, 3), (0, 1), (1, 2), (2, 3), (3, 3), (1000, 3)]
)
def test_a_run_may_cost_so_many_executors(max_retries: int | None, executors: int) -> None:
    cluster = Cluster()
    names = [f"e{number}" for number in range(5)]
    cluster.join(*names)
    cluster.register("f")
    cluster.call("r1", max_retries=max_retries)

    for _ in range(executors - 1):
        assert endings(cluster.die(*cluster.places("r1"), running="r1")) == []
    commands = cluster.die(*cluster.places("r1"), running="r1")

    assert ends(commands) == [("r1", ExecutorDiedError)]
    times = "time" if executors == 1 else "times"
    assert f"its executor died {executors} {times}, the last" in str(endings(commands)[0][2])


def test_the_run_whose_code_ran_is_to_blame_alone(cluster: Cluster) -> None:
    cluster.learn("f", SHORT)
    for name in ("culprit", "behind it", "and it"):
        cluster.call(name)
    assert {*cluster.places("culprit"), *cluster.places("and it")} == {"a"}

    cluster.die("a", running="culprit")

    deaths = {name: run.deaths for name, run in cluster.runs.items()}
    assert deaths == {"culprit": 1, "behind it": 0, "and it": 0}


def test_a_run_that_only_passed_through_is_not_to_blame(fork: Cluster) -> None:
    fork.call("r1", "fork", max_retries=0)
    fork.let_go("b", "r1")

    commands = fork.die("b", running="another")

    assert endings(commands) == []
    assert fork.runs["r1"].deaths == 0
    assert started(fork.let_go("a", "r1")) == [("r1", "a")]


def test_where_nobody_can_say_all_are_suspects(cluster: Cluster) -> None:
    cluster.learn("f", SHORT)
    cluster.call("r1")
    cluster.call("r2")

    cluster.die("a", running="")

    assert {run.deaths for run in cluster.runs.values()} == {1}


def test_one_that_kills_executors_takes_no_other_with_it() -> None:
    cluster = Cluster()
    cluster.join("e0")
    cluster.register("f")
    cluster.learn("f", SHORT)
    names = ["poison", *(f"r{number}" for number in range(9))]
    for name in names:
        cluster.call(name, max_retries=0 if name != "poison" else None)
    assert all(cluster.places(name) == ["e0"] for name in names)

    commands: list[Command] = []
    for number in range(1, 4):
        (executor,) = cluster.places("poison")
        commands += cluster.die(executor, running="poison")
        commands += cluster.join(f"e{number}")

    assert ends(commands) == [("poison", ExecutorDiedError)]
    assert cluster.runs.keys() == {*names} - {"poison"}


def test_a_death_that_a_broken_connection_told_of_counts_once(cluster: Cluster) -> None:
    cluster.join("c")
    cluster.call("r1")
    cluster.call("r2")
    cluster.cut_off("a")
    assert cluster.runs["r1"].deaths == 0

    for _ in range(2):
        cluster.die("a", running="r1")

    assert (cluster.runs["r1"].deaths, cluster.runs["r2"].deaths) == (1, 0)
    assert cluster.places("r1") == ["c"]


def test_exceptions_and_deaths_are_counted_apart(cluster: Cluster) -> None:
    cluster.join("c")
    cluster.call("r1", max_retries=1)
    cluster.hand_back("a", "r1", raised=True)
    cluster.live(1.0)

    commands = cluster.die("a", running="r1")
    assert endings([*commands, *cluster.live(1.0)]) == []
    (place,) = cluster.places("r1")

    assert sent(cluster.die(place, running="r1"), Result) != []


def test_runs_between_two_attempts_are_among_those_that_wait() -> None:
    cluster = Cluster(max_waiting=3)
    cluster.register("f")
    cluster.join("a")
    for number in range(3):
        cluster.call(f"r{number}", max_retries=10)
        cluster.hand_back("a", f"r{number}", raised=True)

    ((_, refusal),) = sent(cluster.call("r3"), Rejected)

    assert refusal.error == "Overloaded"
