"""Runs that functions have called: what becomes of them when their callers end or start again."""

from __future__ import annotations

import pytest
from scheduling import Cluster, endings, sent, started

from cloudburst.core.messages import Rejected, RunState, Start
from cloudburst.core.options import RunOptions
from cloudburst.errors import CallerEnded
from cloudburst.scheduler.endings import stopping_in, stopping_of
from cloudburst.scheduler.events import Restored


@pytest.fixture
def cluster() -> Cluster:
    """Three executors; ``top`` runs on ``a`` and has called ``below``, which runs on ``b``."""
    cluster = Cluster()
    cluster.join("a", "b", "c")
    cluster.register("f")
    cluster.call("top")
    cluster.call("below", parent="top", client="a")
    assert cluster.places("below") == ["b"]
    return cluster


def test_what_was_called_from_deepest_goes_first(cluster: Cluster) -> None:
    cluster.call("third")
    cluster.call("waits")
    cluster.call("deeper", parent="below", client="b")

    assert started(cluster.finish("third")) == [("deeper", "c")]


def test_who_fails_takes_along_what_it_has_called(cluster: Cluster) -> None:
    cluster.finish("top", state=RunState.FAILED)

    ((client, run_id, error),) = endings(cluster.let_go("b", "below"))
    assert (client, run_id) == ("a", "below")
    assert isinstance(error, CallerEnded)


def test_who_succeeds_leaves_it(cluster: Cluster) -> None:
    cluster.finish("top")

    assert cluster.runs["below"].state is RunState.RUNNING


def test_who_starts_again_calls_anew(cluster: Cluster) -> None:
    cluster.hand_back("a", "top")

    assert cluster.runs["below"].state is RunState.CANCELLING
    assert cluster.runs["below"].caller_ended


def test_a_call_of_an_attempt_that_is_over_is_refused(cluster: Cluster) -> None:
    cluster.cancel("top")

    ((to, rejected),) = sent(cluster.call("late", parent="top", client="a"), Rejected)
    assert (to, rejected.error) == ("a", "CallerEnded")


def test_a_caller_and_its_call_may_lose_their_executors_together(cluster: Cluster) -> None:
    cluster.runs["top"].deaths = cluster.runs["below"].deaths = 2

    cluster.pass_time(10.0)  # the host is silent

    assert "below" not in cluster.runs or cluster.runs["below"].state is not RunState.RUNNING


def test_a_call_that_waits_ends_with_its_caller_when_executors_are_lost() -> None:
    cluster = Cluster()
    cluster.join("a")
    cluster.register("f", is_class=True)
    cluster.dag("d", ["f"])
    cluster.call("top", "d")
    cluster.call("below", "d", parent="top", client="a")
    cluster.runs["top"].deaths = 2

    cluster.die("a", running="top")

    assert "below" not in cluster.runs
    assert sent(cluster.join("b"), Start) == []


@pytest.mark.parametrize(
    ("reasons", "stopping"),
    [
        ("1 CANCELLED: run r was cancelled\n", "CANCELLED"),
        ("1 an executor died\n2 TIMED_OUT: run r took longer\n", "TIMED_OUT"),
        ("", ""),
        ("no line of ours", "line of ours"),
    ],
)
def test_a_record_says_how_its_run_is_to_end(reasons: str, stopping: str) -> None:
    assert stopping_in(reasons) == stopping


@pytest.mark.parametrize(
    ("said", "age", "state"),
    [("TIMED_OUT", 0.1, "TIMED_OUT"), ("CANCELLED", 0.1, "CANCELLED"), ("", 2.0, "TIMED_OUT")],
)
def test_a_run_ends_as_it_was_to_before_the_scheduler_died(
    said: str, age: float, state: str
) -> None:
    event = Restored("client", None, 1, "CANCELLING", age, said)  # type: ignore[arg-type]

    assert stopping_of(event, RunOptions(timeout=1.0)) == state
