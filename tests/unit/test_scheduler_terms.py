"""One scheduler after another: what the earlier one has started is told apart, and stopped."""

from __future__ import annotations

from scheduling import Cluster, sent, started, stops

from cloudburst.core.hosts import Knock, Replace
from cloudburst.core.messages import Call, RunState, Start
from cloudburst.core.options import NOTHING_SAID
from cloudburst.scheduler.checks import CHECK_EVERY, REMINDERS
from cloudburst.scheduler.events import Command, Restored
from cloudburst.scheduler.run import EPOCHS, first_epoch

TERM = 7 * EPOCHS


def later(term: int = 7) -> Cluster:
    """A scheduler that comes after others, before any executor is there."""
    cluster = Cluster()
    cluster.state.begin(term)
    cluster.register("f")
    return cluster


def restore(cluster: Cluster, run_id: str, epoch: int) -> list[Command]:
    call = Call(run_id, "f", False, (), (), "@c", True, "", 10.0, NOTHING_SAID)  # noqa: FBT003
    return cluster.feed(Restored("client", call, epoch, RunState.RUNNING, 0.0))


# epochs


def test_the_epochs_of_a_term_are_higher_than_all_before() -> None:
    cluster = later()
    cluster.join("a")
    ((_, start),) = sent(cluster.call("r1"), Start)

    assert start.epoch == TERM + 1
    assert first_epoch(6) + 10**8 < start.epoch < first_epoch(8)


def test_a_run_whose_last_epoch_was_not_recorded_gets_a_higher_one() -> None:
    """The earlier scheduler may have started it again, and died before it could say so."""
    cluster = later()
    restore(cluster, "r1", 6 * EPOCHS + 2)
    never_recorded = 6 * EPOCHS + 3

    ((_, start),) = sent(cluster.join("a"), Start)

    assert start.epoch == TERM + 3 > never_recorded


def test_how_often_a_run_was_started_is_not_forgotten() -> None:
    assert first_epoch(7, 6 * EPOCHS + 41) == TERM + 41
    assert first_epoch(7, 0) == TERM


def test_epochs_never_go_back() -> None:
    """Not even if the store has lost its count of schedulers."""
    assert first_epoch(1, TERM + 2) == TERM + 2


# what executors hold


def test_work_of_a_run_that_was_restored_is_stopped_at_once() -> None:
    cluster = later()
    restore(cluster, "r1", 6 * EPOCHS + 1)

    commands = cluster.join("a", holds=(("r1", 6 * EPOCHS + 1),))

    assert stops(commands) == [("a", "r1", 6 * EPOCHS + 1)]
    assert sent(commands, Knock) == [("host", Knock("a"))]


def test_an_executor_that_is_still_at_it_is_not_idle() -> None:
    cluster = later()
    restore(cluster, "r1", 6 * EPOCHS + 1)
    cluster.join("a", holds=(("r1", 6 * EPOCHS + 1),))
    assert not cluster.places("r1")

    assert started(cluster.join("b")) == [("r1", "b")]


def test_once_it_has_let_go_it_gets_work() -> None:
    cluster = later()
    restore(cluster, "r1", 6 * EPOCHS + 1)
    cluster.join("a", holds=(("r1", 6 * EPOCHS + 1),))

    assert started(cluster.let_go("a", "r1", 6 * EPOCHS + 1)) == [("r1", "a")]
    cluster.finish("r1")
    assert cluster.idle()


def test_what_nothing_is_known_of_has_a_moment_to_end() -> None:
    """A run that is not stored is known to its executors and its client alone."""
    cluster = later()

    assert stops(cluster.join("a", holds=(("direct", 3),))) == []
    assert stops(cluster.live(0.9 * CHECK_EVERY)) == []
    commands = cluster.live(0.2 * CHECK_EVERY)

    assert stops(commands) == [("a", "direct", 3)]
    assert sent(commands, Knock) == [("host", Knock("a"))]
    cluster.let_go("a", "direct", 3)
    assert cluster.idle()


def test_code_that_does_not_stop_costs_its_process() -> None:
    cluster = later()
    cluster.join("a", holds=(("endless", 3),))

    commands = cluster.live(REMINDERS * CHECK_EVERY)
    assert (len(stops(commands)), sent(commands, Replace)) == (REMINDERS, [])
    ((host, replace),) = sent(cluster.live(CHECK_EVERY), Replace)

    assert (host, replace.executor, replace.run_id) == ("host", "a", "endless")
    cluster.die("a", running="endless")
    assert cluster.idle()
