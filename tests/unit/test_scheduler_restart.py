"""A scheduler that was restarted goes on with the runs an earlier one accepted."""

from __future__ import annotations

from scheduling import Cluster, operations, sent, started

from cloudburst.core.messages import Accepted, Call, Finished, RunState, RunStatus, Start, Watch
from cloudburst.errors import UnknownFunction
from cloudburst.kvs import keys
from cloudburst.kvs.base import DropMember, RecordRun
from cloudburst.scheduler.events import Fail, Restored, Send, Write


def call(run_id: str, target: str = "f", references: tuple[str, ...] = ()) -> Call:
    return Call(
        run_id,
        target,
        is_dag=False,
        arguments=((target, "", 1),),
        references=references,
        reply_to="@c",
        store=True,
        output_key="",
        timeout=10.0,
        frames=[b"value"],
    )


def restarted() -> Cluster:
    """A scheduler that has read back what is registered, and has not heard of any executor."""
    cluster = Cluster()
    cluster.register("f")
    return cluster


def test_a_restored_run_goes_on_under_a_higher_epoch() -> None:
    cluster = restarted()
    assert cluster.feed(Restored("client", call("r1"), 4)) == []

    ((to, start),) = sent(cluster.join("a"), Start)

    assert (to, start.epoch, start.frames) == ("a", 5, [b"value"])


def test_a_restored_run_is_recorded_again_but_not_accepted_again() -> None:
    cluster = restarted()
    cluster.feed(Restored("client", call("r1"), 1))

    commands = cluster.join("a")

    (record,) = operations(commands, RecordRun)
    assert (record.state, record.epoch, record.call) == ("RUNNING", 2, b"")
    assert sent(cluster.write(commands), Accepted) == []


def test_the_executor_that_still_works_on_an_older_epoch_does_not_end_it() -> None:
    cluster = restarted()
    cluster.feed(Restored("client", call("r1"), 1))
    cluster.join("a")

    cluster.tell("a", Finished("r1", 1, RunState.SUCCEEDED, ()))
    assert "r1" in cluster.state.runs

    cluster.tell("a", Finished("r1", 2, RunState.SUCCEEDED, ()))
    assert cluster.idle()


def test_restored_runs_are_served_before_new_ones() -> None:
    cluster = restarted()
    for number in range(3):
        cluster.feed(Restored("client", call(f"r{number}"), 1))
    cluster.call("new")

    served = started(cluster.join("a"))
    for number in range(3):
        served += started(cluster.finish(f"r{number}"))

    assert [run for run, _ in served] == ["r0", "r1", "r2", "new"]


def test_a_call_sent_again_after_the_restart_runs_once() -> None:
    cluster = restarted()
    cluster.feed(Restored("client", call("r1"), 1))

    assert cluster.tell("client", call("r1")) == []


def test_a_restored_run_can_be_watched() -> None:
    cluster = restarted()
    cluster.feed(Restored("client", call("r1"), 1))
    assert cluster.tell("w", Watch("r1")) == [Send("w", RunStatus("r1", "PENDING"))]
    cluster.join("a")

    assert sent(cluster.finish("r1"), RunStatus) == [("w", RunStatus("r1", "SUCCEEDED"))]


def test_a_restored_run_of_what_is_not_registered_any_more_fails() -> None:
    cluster = restarted()

    failure, dropped = cluster.feed(Restored("client", call("r1", "gone"), 2))
    assert dropped == Write((DropMember(keys.OPEN_RUNS, "r1"),))

    assert isinstance(failure, Fail)
    assert (failure.client, failure.call.run_id, failure.epoch) == ("client", "r1", 3)
    assert isinstance(failure.error, UnknownFunction)
    assert cluster.idle()


def test_a_restored_run_waits_for_another_that_was_restored() -> None:
    cluster = restarted()
    cluster.feed(Restored("client", call("r1"), 1))
    cluster.feed(Restored("client", call("r2", references=("r1",)), 0))

    assert started(cluster.join("a", "b")) == [("r1", "a")]
    assert started(cluster.finish("r1")) == [("r2", "a")]


def test_restored_runs_are_not_refused_however_many_there_are() -> None:
    cluster = Cluster(max_waiting=2)
    cluster.register("f")
    for number in range(5):
        assert cluster.feed(Restored("client", call(f"r{number}"), 1)) == []

    assert len(cluster.state.runs) == 5
