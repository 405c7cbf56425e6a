"""A scheduler that was restarted goes on with the runs an earlier one accepted."""

from __future__ import annotations

import pytest
from scheduling import Cluster, endings, ends, error_in, operations, sent, started

from cloudburst.core.messages import Accepted, Call, Finished, RunState, RunStatus, Start, Watch
from cloudburst.core.options import NOTHING_SAID, RunOptions
from cloudburst.errors import (
    CloudburstError,
    InvocationCancelledError,
    InvocationTimedOutError,
    UnknownFunction,
)
from cloudburst.kvs import keys
from cloudburst.kvs.base import Commit, CommitRun, DropMember, RecordRun
from cloudburst.scheduler.events import Command, Restored, Send


def call(
    run_id: str,
    target: str = "f",
    references: tuple[str, ...] = (),
    options: RunOptions = NOTHING_SAID,
) -> Call:
    return Call(
        run_id,
        target,
        is_dag=False,
        arguments=((target, "", 1),),
        references=references,
        reply_to="@c",
        store=True,
        output_key="",
        patience=10.0,
        options=options,
        frames=[b"value"],
    )


def restarted() -> Cluster:
    """A scheduler that has read back what is registered, and has not heard of any executor."""
    cluster = Cluster()
    cluster.register("f")
    return cluster


def restore(
    cluster: Cluster, lost: Call, epoch: int, state: str = "RUNNING", age: float = 0.0
) -> list[Command]:
    """What the scheduler does with a run that it finds recorded so."""
    return cluster.feed(Restored("client", lost, epoch, state, age))


def test_a_restored_run_goes_on_under_a_higher_epoch() -> None:
    cluster = restarted()
    assert restore(cluster, call("r1"), 4) == []

    ((to, start),) = sent(cluster.join("a"), Start)

    assert (to, start.epoch, start.frames) == ("a", 5, [b"value"])


def test_a_restored_run_is_recorded_again_but_not_accepted_again() -> None:
    cluster = restarted()
    restore(cluster, call("r1"), 1)

    commands = cluster.join("a")

    (record,) = operations(commands, RecordRun)
    assert (record.state, record.epoch, record.call) == ("RUNNING", 2, b"")
    assert sent(cluster.write(commands), Accepted) == []


def test_the_executor_that_still_works_on_an_older_epoch_does_not_end_it() -> None:
    cluster = restarted()
    restore(cluster, call("r1"), 1)
    cluster.join("a")

    cluster.tell("a", Finished("r1", 1, RunState.SUCCEEDED, ()))
    assert "r1" in cluster.runs

    cluster.tell("a", Finished("r1", 2, RunState.SUCCEEDED, ()))
    assert cluster.idle()


def test_restored_runs_are_served_before_new_ones() -> None:
    cluster = restarted()
    for number in range(3):
        restore(cluster, call(f"r{number}"), 1)
    cluster.call("new")

    served = started(cluster.join("a"))
    for number in range(3):
        served += started(cluster.finish(f"r{number}"))

    assert [run for run, _ in served] == ["r0", "r1", "r2", "new"]


def test_a_call_sent_again_after_the_restart_runs_once() -> None:
    cluster = restarted()
    restore(cluster, call("r1"), 1)

    assert cluster.tell("client", call("r1")) == [Send("client", Accepted(("r1",)))]
    cluster.join("a", "b")
    assert cluster.places("r1") == ["a"]
    assert not cluster.state.members.executors["b"].shares


def test_a_restored_run_can_be_watched() -> None:
    cluster = restarted()
    restore(cluster, call("r1"), 1)
    assert cluster.tell("w", Watch("r1")) == [Send("w", RunStatus("r1", "PENDING"))]
    cluster.join("a")

    assert sent(cluster.finish("r1"), RunStatus) == [("w", RunStatus("r1", "SUCCEEDED"))]


def test_a_restored_run_of_what_is_not_registered_any_more_fails() -> None:
    cluster = restarted()

    commands = restore(cluster, call("r1", "gone"), 2)

    (commit,) = operations(commands, CommitRun)
    assert (commit.run_id, commit.state, commit.epoch, commit.ttl) == ("r1", "FAILED", 3, 60.0)
    assert operations(commands, DropMember) == [DropMember(keys.OPEN_RUNS, "r1")]
    # Nobody is told, as another end may have been committed before; the client will ask.
    assert endings([*commands, *cluster.write(commands)]) == []
    assert isinstance(error_in([commit.result]), UnknownFunction)
    assert cluster.idle()


@pytest.mark.parametrize(
    ("timeout", "age", "state", "error"),
    [
        (-1.0, 1e6, "CANCELLED", InvocationCancelledError),
        (0.0, 1e6, "CANCELLED", InvocationCancelledError),
        (5.0, 4.9, "CANCELLED", InvocationCancelledError),
        (5.0, 5.0, "TIMED_OUT", InvocationTimedOutError),
    ],
)
def test_a_run_that_was_being_stopped_ends_so_although_it_cannot_be_called_any_more(
    timeout: float, age: float, state: str, error: type[CloudburstError]
) -> None:
    """The store takes no other end of it."""
    cluster = restarted()
    cluster.store.execute([RecordRun("r1", "CANCELLING", 2, "gone", "", "", b"", ttl=0.0)])
    lost = call("r1", "gone", options=NOTHING_SAID._replace(timeout=timeout))

    commands = restore(cluster, lost, 2, "CANCELLING", age)

    (commit,) = operations(commands, CommitRun)
    assert (commit.state, commit.epoch) == (state, 3)
    assert type(error_in([commit.result])) is error
    assert commit.reason == str(error_in([commit.result]))
    assert cluster.store.execute([commit]) == [Commit.STORED]
    assert operations(commands, DropMember) == [DropMember(keys.OPEN_RUNS, "r1")]
    assert cluster.idle()


def test_a_run_that_refers_to_one_that_was_being_stopped_waits_for_its_end() -> None:
    cluster = restarted()
    cluster.join("a")
    restore(cluster, call("r2", references=("r1",)), 1)
    assert cluster.places("r2") == ["a"]

    stopped = restore(cluster, call("r1"), 1, "CANCELLING")

    assert started(stopped) == []
    assert cluster.runs["r2"].waits_for == {"r1"}
    told = cluster.write(stopped)
    assert ends(told) == [("r1", InvocationCancelledError)]
    assert started(told) == []
    assert started(cluster.let_go("a", "r2")) == []


def test_a_restored_run_waits_for_another_that_was_restored() -> None:
    cluster = restarted()
    restore(cluster, call("r1"), 1)
    restore(cluster, call("r2", references=("r1",)), 0)

    assert started(cluster.join("a", "b")) == [("r1", "a")]
    assert started(cluster.finish("r1")) == [("r2", "a")]


def test_restored_runs_are_not_refused_however_many_there_are() -> None:
    cluster = Cluster(max_waiting=2)
    cluster.register("f")
    for number in range(5):
        assert restore(cluster, call(f"r{number}"), 1) == []

    assert len(cluster.runs) == 5
