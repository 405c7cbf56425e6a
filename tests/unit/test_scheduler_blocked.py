"""Code that waits for what others do keeps nobody waiting."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from scheduling import SHORT, Cluster, sent, started

from cloudburst.core.hosts import Knock
from cloudburst.core.messages import Bounce, Yield
from cloudburst.scheduler.events import Command
from cloudburst.scheduler.placing import ASK_BLOCKED, GIVE_WAY


@pytest.fixture
def one() -> Cluster:
    """Executor ``a``, and a function ``f`` that is so short that several runs are sent ahead."""
    cluster = Cluster()
    cluster.join("a")
    cluster.register("f")
    cluster.learn("f", SHORT)
    return cluster


def asked(commands: Iterable[Command]) -> list[str]:
    """The executors that are asked to give back what has not begun."""
    return [to for to, _ in sent(commands, Bounce)]


def test_what_waits_behind_blocked_code_is_asked_for_at_once(one: Cluster) -> None:
    one.call("r1")
    one.call("r2")

    commands = one.block("a", "r1")

    assert sent(commands, Bounce) == [("a", Bounce("a"))]
    assert sent(commands, Knock) == [("host", Knock("a"))]


def test_what_is_given_back_goes_to_another_and_not_behind_it_again(one: Cluster) -> None:
    one.call("r1")
    one.call("r2")
    one.block("a", "r1")

    assert started(one.tell("a", Yield("r2", 1))) == []
    assert started(one.join("b")) == [("r2", "b")]


def test_who_keeps_nobody_waiting_is_asked_for_nothing(one: Cluster) -> None:
    one.call("r1")

    assert one.block("a", "r1") == []
    assert asked(one.live(1.0)) == []


def test_nothing_new_is_sent_to_blocked_code(one: Cluster) -> None:
    one.call("r1")
    one.block("a", "r1")

    assert started(one.call("r2")) == []


def test_code_that_goes_on_is_given_work_ahead_again(one: Cluster) -> None:
    one.call("r1")
    one.block("a", "r1")
    one.call("r2")
    one.call("r3")
    assert one.block("a", "r1", waits=False) == []

    assert started(one.finish("r1", SHORT)) == [("r2", "a"), ("r3", "a")]


def test_code_that_ends_is_blocked_no_more(one: Cluster) -> None:
    one.call("r1")
    one.block("a", "r1")

    one.finish("r1", SHORT)

    assert not one.state.members.executors["a"].is_blocked
    assert started(one.call("r2")) == [("r2", "a")]


@pytest.mark.parametrize(("run_id", "epoch"), [("r1", 0), ("r1", 2), ("r2", 1), ("never", 1)])
def test_only_code_that_is_counted_on_there_can_be_blocked(
    cluster: Cluster, run_id: str, epoch: int
) -> None:
    cluster.call("r1")
    cluster.call("r2")
    assert (cluster.places("r1"), cluster.places("r2")) == (["a"], ["b"])

    assert cluster.block("a", run_id, epoch) == []
    assert not cluster.state.members.executors["a"].is_blocked


def test_a_stranger_cannot_be_blocked(one: Cluster) -> None:
    one.call("r1")

    assert one.block("stranger", "r1") == []


def test_blocked_code_is_asked_again_for_what_may_have_come_meanwhile(one: Cluster) -> None:
    one.call("r1")
    one.call("r2")
    assert asked(one.block("a", "r1")) == ["a"]

    assert asked(one.live(ASK_BLOCKED * 0.9)) == []
    assert asked(one.live(ASK_BLOCKED * 2.5)) == ["a", "a"]


def test_what_is_heard_again_is_no_news(one: Cluster) -> None:
    one.call("r1")
    one.call("r2")
    assert asked(one.block("a", "r1")) == ["a"]
    since = one.state.members.executors["a"].since
    one.now += ASK_BLOCKED / 2

    assert one.block("a", "r1") == []
    assert one.state.members.executors["a"].since == since


def test_blocked_code_that_keeps_nobody_waiting_any_more_is_left_alone(one: Cluster) -> None:
    one.call("r1")
    one.call("r2")
    one.block("a", "r1")
    one.tell("a", Yield("r2", 1))

    assert asked(one.live(10 * ASK_BLOCKED)) == []


def test_code_that_goes_on_is_asked_only_if_it_is_late(one: Cluster) -> None:
    one.call("r1")
    one.call("r2")
    one.block("a", "r1")
    one.block("a", "r1", waits=False)
    assert asked(one.live(GIVE_WAY * 0.5)) == []

    assert asked(one.live(2 * GIVE_WAY)) == ["a"]


def test_later_steps_go_where_nobody_waits(cluster: Cluster) -> None:
    """Nobody knows for how long blocked code waits; what another has to do is known."""
    cluster.learn("f", 0.02)
    cluster.call("r1")
    cluster.call("r2")
    cluster.block("a", "r1")
    cluster.join("c")
    edges = [("top", "x"), ("top", "y"), ("x", "end"), ("y", "end")]
    cluster.dag("d", [(name, "f") for name in ("top", "x", "y", "end")], edges)

    cluster.call("r3", "d")

    assert cluster.places("r3") == ["c", "c", "b", "c"]
