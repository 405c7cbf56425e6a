"""User code that was interrupted and does not end is killed with its process."""

from __future__ import annotations

from scheduling import Cluster, ends, sent, started

from cloudburst.core.hosts import Knock, Replace
from cloudburst.core.messages import Probe, Stop
from cloudburst.errors import InvocationCancelledError
from cloudburst.scheduler.events import Command
from cloudburst.scheduler.stopping import KILL_AGAIN

CANCELLED = [("r1", InvocationCancelledError)]


def kills(commands: list[Command]) -> list[str]:
    """The executors to be replaced."""
    return [replace.executor for _, replace in sent(commands, Replace)]


def test_code_that_goes_on_is_killed_after_the_grace_period(cluster: Cluster) -> None:
    cluster.call("r1", grace_period=2.0)
    cluster.cancel("r1")
    assert kills(cluster.live(1.9)) == []

    commands = cluster.live(0.2)

    why = "run r1 did not stop within 2 seconds"
    assert sent(commands, Replace) == [("host", Replace("a", "r1", why))]
    assert sent(commands, Stop) == [("a", Stop("r1", 1, "CANCELLED"))]
    assert sent(commands, Knock) == [("host", Knock("a"))]


def test_five_seconds_are_given_if_nobody_says_otherwise(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.cancel("r1")

    assert kills(cluster.live(4.9)) == []
    assert kills(cluster.live(0.1)) == ["a"]


def test_it_is_killed_again_until_it_is_dead(cluster: Cluster) -> None:
    """The order may have been lost, and so may the news that it was carried out."""
    cluster.call("r1", grace_period=1.0)
    cluster.cancel("r1")
    cluster.live(1.0)

    for _ in range(3):
        assert kills(cluster.live(KILL_AGAIN)) == ["a"]

    assert ends(cluster.die("a", "killed by signal 9", running="r1")) == CANCELLED
    assert kills(cluster.live(5.0)) == []
    assert cluster.idle()


def test_only_who_has_not_let_go_is_killed(fork: Cluster) -> None:
    fork.call("r1", "fork", grace_period=1.0)
    fork.cancel("r1")
    fork.let_go("a", "r1")

    assert kills(fork.live(1.0)) == ["b"]
    assert ends(fork.let_go("b", "r1")) == CANCELLED
    assert kills(fork.live(5.0)) == []


def test_who_lets_go_in_time_is_not_killed(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.cancel("r1")
    cluster.let_go("a", "r1")

    assert kills(cluster.live(10.0)) == []


def test_without_a_grace_period_it_is_killed_at_once(cluster: Cluster) -> None:
    cluster.call("r1", grace_period=0.0)
    cluster.cancel("r1")

    assert cluster.state.next_deadline() == cluster.now
    assert kills(cluster.pass_time(0.0)) == ["a"]


def test_who_dies_of_it_costs_the_others_there_no_attempt(cluster: Cluster) -> None:
    cluster.learn("f")
    for name in ("r1", "r2", "r3"):
        cluster.call(name, max_retries=0)
    assert cluster.places("r3") == ["a"]
    cluster.cancel("r1")

    said = cluster.die("a", "killed by signal 9", running="r1")

    assert ends(said) == CANCELLED
    assert started(said)[0] == ("r2", "b")
    assert cluster.runs["r2"].deaths == cluster.runs["r3"].deaths == 0


def test_a_cancelled_run_is_asked_after_like_any_other(cluster: Cluster) -> None:
    cluster.call("r1", grace_period=60.0)
    cluster.cancel("r1")

    assert sent(cluster.live(1.0), Probe) == [("a", Probe("r1", 1))]
