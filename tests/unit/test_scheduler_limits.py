"""Time limits: from the call to the end, waiting and trying again included."""

from __future__ import annotations

import pytest
from scheduling import Cluster, endings, ends, operations, sent, started

from cloudburst.core.hosts import Knock, Replace
from cloudburst.core.messages import Call, Result, RunStatus, Stop
from cloudburst.core.options import RunOptions
from cloudburst.errors import InvocationCancelledError, InvocationTimedOutError
from cloudburst.kvs import keys
from cloudburst.kvs.base import CommitRun, GetFields, Members, RecordRun
from cloudburst.scheduler.events import Command, Restored, Send

OUT_OF_TIME = [("r1", InvocationTimedOutError)]


@pytest.fixture
def empty() -> Cluster:
    """A function ``f`` and no executor."""
    cluster = Cluster()
    cluster.register("f")
    return cluster


def test_waiting_counts(empty: Cluster) -> None:
    empty.call("r1", timeout=2.0)
    assert empty.live(1.9) == []

    commands = empty.live(0.1)

    ((client, _, error),) = endings(commands)
    assert client == "client"
    assert isinstance(error, InvocationTimedOutError)
    assert str(error) == "run r1 of 'f' took longer than its 2 seconds"
    assert empty.idle()
    assert empty.join("a") == []


def test_running_counts(cluster: Cluster) -> None:
    cluster.call("r1", timeout=0.5)

    assert cluster.pass_time(0.5) == [
        Send("a", Stop("r1", 1, "TIMED_OUT")),
        Send("host", Knock("a")),
    ]
    assert ends(cluster.let_go("a", "r1")) == OUT_OF_TIME
    assert cluster.idle()


def test_the_limit_is_counted_from_the_call_not_from_the_start(empty: Cluster) -> None:
    empty.call("r1", timeout=2.0)
    empty.live(1.5)
    assert started(empty.join("a")) == [("r1", "a")]

    assert sent(empty.live(0.4), Stop) == []
    assert sent(empty.live(0.1), Stop) == [("a", Stop("r1", 1, "TIMED_OUT"))]


def test_all_attempts_together_have_one_limit(cluster: Cluster) -> None:
    cluster.join("c")
    cluster.call("r1", timeout=2.5)
    cluster.live(1.0)
    cluster.die("a")
    cluster.live(1.0)
    cluster.die("b")
    assert cluster.epoch("r1") == 3

    assert sent(cluster.live(0.5), Stop) == [("c", Stop("r1", 3, "TIMED_OUT"))]


def test_the_pause_before_it_is_tried_again_counts(cluster: Cluster) -> None:
    cluster.call("r1", timeout=0.05, max_retries=3)
    cluster.hand_back("a", "r1", raised=True)
    assert cluster.runs["r1"].pause > 0.05

    assert ends(cluster.live(0.05)) == OUT_OF_TIME
    assert started(cluster.live(5.0)) == []
    assert cluster.idle()


@pytest.mark.parametrize("store", [True, False])
def test_it_is_not_tried_again_when_both_are_due_at_once(cluster: Cluster, store: bool) -> None:
    """The server may have had something else to do when either was."""
    cluster.call("r1", timeout=0.05, max_retries=3, store=store)
    cluster.write(cluster.record())
    cluster.hand_back("a", "r1", raised=True)

    commands = cluster.pass_time(2.0)

    assert started(commands) == []
    assert ends([*commands, *cluster.write(commands)]) == OUT_OF_TIME
    assert cluster.idle()


def test_who_waits_for_a_result_is_not_kept_beyond_its_time(cluster: Cluster) -> None:
    cluster.call("slow")
    cluster.call("r1", references=("slow",), timeout=1.0)

    assert ends(cluster.live(1.0)) == OUT_OF_TIME
    assert started(cluster.finish("slow")) == []


def test_who_ends_in_time_is_left_alone(cluster: Cluster) -> None:
    cluster.call("r1", timeout=1.0)
    cluster.finish("r1")

    assert cluster.idle()
    assert endings(cluster.live(5.0)) == []


def test_without_a_limit_a_run_may_take_for_ever(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.call("r2", timeout=0.0)

    assert sent(cluster.live(1000.0), Stop) == []
    assert cluster.places("r1") == ["a"]


def test_code_that_goes_on_has_its_grace_period(cluster: Cluster) -> None:
    cluster.call("r1", timeout=1.0, grace_period=2.0)

    assert sent(cluster.live(2.9), Replace) == []
    assert [to for to, _ in sent(cluster.live(0.1), Replace)] == ["host"]
    assert ends(cluster.die("a", running="r1")) == OUT_OF_TIME


def test_a_run_that_is_cancelled_already_stays_so(cluster: Cluster) -> None:
    cluster.call("r1", timeout=1.0)
    cluster.cancel("r1")

    assert sent(cluster.live(1.0), Stop) == []
    assert ends(cluster.let_go("a", "r1")) == [("r1", InvocationCancelledError)]


def test_who_cancels_a_run_that_is_out_of_time_is_told_why_it_ends(cluster: Cluster) -> None:
    cluster.call("r1", timeout=1.0)
    cluster.live(1.0)

    # It goes on for now, and will not end as cancelled.
    assert cluster.cancel("r1") == [Send("client", RunStatus("r1", "TIMED_OUT"))]
    commands = cluster.let_go("a", "r1")
    assert ends(commands) == OUT_OF_TIME
    assert sent(commands, RunStatus) == [("client", RunStatus("r1", "TIMED_OUT"))]


def test_the_store_learns_of_it_before_the_client(cluster: Cluster) -> None:
    cluster.accept("r1", timeout=1.0)

    late = cluster.live(1.0)
    (record,) = operations(late, RecordRun)
    assert (record.state, record.reason) == (
        "CANCELLING",
        "TIMED_OUT: run r1 of 'f' took longer than its 1 seconds",
    )
    cluster.write(late)
    let_go = cluster.let_go("a", "r1")

    assert sent(let_go, Result) == []
    (commit,) = operations(let_go, CommitRun)
    assert commit.state == "TIMED_OUT"
    assert ends(cluster.write(let_go)) == OUT_OF_TIME


def test_a_limit_passes_while_the_end_is_written(cluster: Cluster) -> None:
    cluster.accept("r1", timeout=1.0, max_retries=0)
    given_up = cluster.die("a")

    assert endings(cluster.live(5.0)) == []

    assert [name for name, _ in ends(cluster.write(given_up))] == ["r1"]
    assert cluster.idle()


# where it was said


def test_options_of_the_call_go_before_those_of_the_function(cluster: Cluster) -> None:
    cluster.register("g", options=RunOptions(timeout=5.0, grace_period=1.0))
    cluster.call("as registered", "g")
    cluster.call("as called", "g", timeout=2.0)

    assert cluster.runs["as registered"].options == RunOptions(5.0, -1, 1.0, 60.0)
    assert cluster.runs["as called"].options == RunOptions(2.0, -1, 1.0, 60.0)


def test_options_of_a_dag_are_its_own(cluster: Cluster) -> None:
    cluster.register("g", options=RunOptions(timeout=5.0))
    cluster.dag("d", ["g"], options=RunOptions(max_retries=2))
    cluster.call("r1", "d")

    assert cluster.runs["r1"].options == RunOptions(0.0, 2, 5.0, 60.0)


def test_options_said_later_are_those_of_later_calls(cluster: Cluster) -> None:
    cluster.register("g", options=RunOptions(timeout=5.0))
    cluster.call("r1", "g")
    cluster.register("g", options=RunOptions(timeout=1.0))
    cluster.call("r2", "g")

    assert [cluster.runs[name].options.timeout for name in ("r1", "r2")] == [5.0, 1.0]


def test_a_call_may_lift_the_limit_of_its_function(cluster: Cluster) -> None:
    cluster.register("g", options=RunOptions(timeout=1.0))
    cluster.call("r1", "g", timeout=0.0)

    assert sent(cluster.live(60.0), Stop) == []


# a scheduler that was restarted


def restored(cluster: Cluster, state: str, age: float, **options: float) -> list[Command]:
    call = Call(
        run_id="r1",
        target="f",
        is_dag=False,
        arguments=(),
        references=(),
        reply_to="@c",
        store=True,
        output_key="",
        patience=1.0,
        options=RunOptions(**options),
        frames=[],
    )
    return cluster.feed(Restored("client", call, 1, state, age))


def test_the_time_before_the_restart_counts(empty: Cluster) -> None:
    restored(empty, "PENDING", age=3.0, timeout=5.0)
    empty.join("a")

    assert sent(empty.live(1.9), Stop) == []
    assert sent(empty.live(0.1), Stop) == [("a", Stop("r1", 2, "TIMED_OUT"))]


def test_a_run_whose_time_passed_meanwhile_does_not_start(empty: Cluster) -> None:
    restored(empty, "RUNNING", age=6.0, timeout=5.0)
    assert empty.state.next_deadline() is not None

    commands = empty.pass_time(0.0)

    assert ends(empty.write(commands)) == OUT_OF_TIME
    assert empty.join("a") == []
    assert empty.idle()


@pytest.mark.parametrize(
    ("age", "state", "error"),
    [(4.0, "CANCELLED", InvocationCancelledError), (5.0, "TIMED_OUT", InvocationTimedOutError)],
)
def test_a_run_that_was_being_stopped_has_ended(
    empty: Cluster, age: float, state: str, error: type[Exception]
) -> None:
    """Its executors are nobody's any more, and its epoch is over for them."""
    commands = restored(empty, "CANCELLING", age=age, timeout=5.0)

    (commit,) = operations(commands, CommitRun)
    assert (commit.state, commit.epoch) == (state, 2)
    assert ends(empty.write(commands)) == [("r1", error)]
    assert empty.idle()


def test_it_has_ended_for_the_store_that_was_told_of_the_stopping(cluster: Cluster) -> None:
    cluster.accept("r1")
    cluster.write(cluster.cancel("r1"))
    again = Cluster()
    again.register("f")
    again.store = cluster.store

    again.write(restored(again, "CANCELLING", age=1.0))

    record, open_runs = again.store.execute(
        [GetFields(keys.run_key("r1")), Members(keys.OPEN_RUNS)]
    )
    assert record["state"] == b"CANCELLED"
    assert open_runs == []
