"""Runs that others must do: handed back, yielded, or not ended by what was said of them."""

from __future__ import annotations

import pytest
from executing import (
    Executor,
    Job,
    full,
    job,
    join_on_b,
    only,
    over,
    reports,
    standing,
    text,
    told,
)

from cloudburst.core.messages import Bounce, HandBack, RunState, Stop, Yield
from cloudburst.executor.events import Deliver, Event, Leave, Stale, Undelivered

STOP = Stop("run", 1, RunState.CANCELLED)
DIAMOND = "ab ac bd cd"


@pytest.fixture
def call() -> Job:
    return join_on_b()


# handed back


@pytest.fixture
def retried() -> Job:
    """A function that is tried again if it raises."""
    return job("f", "A", retried=True)


def test_a_run_that_is_tried_again_is_handed_back_when_its_code_raises(retried: Job) -> None:
    executor = Executor("A", retried)
    executor.take(retried.start())

    back = HandBack("run", 1, raised=True, reason="it broke")
    assert told(executor.run("it broke", failed=True)) == [back]
    assert executor.holds_nothing()
    assert standing(executor) == back, "in case nobody heard it"


def test_then_it_runs_under_its_next_epoch_and_not_again_under_this_one(retried: Job) -> None:
    executor = Executor("A", retried)
    executor.take(retried.start())
    executor.run("it broke", failed=True)

    executor.take(retried.start())
    assert executor.idle()
    executor.take(retried.again(2).start())
    assert reports(executor.run("v")) == [(2, "SUCCEEDED", [0])]


def test_code_that_was_interrupted_is_not_tried_again(retried: Job) -> None:
    executor = Executor("A", retried)
    executor.take(retried.start())
    running = executor.work()
    executor.take(STOP)

    assert told(executor.finish(running, "interrupted", failed=True)) == [over(1, 0)]


def test_what_is_done_of_a_run_that_is_tried_again_is_delivered(retried: Job) -> None:
    executor = Executor("A", retried)
    executor.take(retried.start())

    assert text(only(executor.run("v"), Deliver).frames) == "v"


def test_the_other_branches_of_a_run_that_is_handed_back_do_not_run() -> None:
    call = job(DIAMOND, "AAAA", retried=True)
    executor = Executor("A", call)
    executor.take(call.start())
    executor.run("top")

    assert told(executor.run("left", failed=True)) == [
        HandBack("run", 1, raised=True, reason="left")
    ]
    assert executor.holds_nothing()


# what was said turns out not to be so


def test_a_value_that_could_not_be_sent_is_the_end_of_the_share() -> None:
    call = job(DIAMOND, "AABA")
    executor = Executor("A", call)
    executor.take(call.start())
    executor.run("top")

    back = HandBack("run", 1, raised=False, reason="B is gone")
    assert told(executor.take(Undelivered("run", 1, "B is gone"))) == [back]
    assert executor.holds_nothing()
    assert standing(executor) == back


def test_a_result_that_was_not_stored_is_no_end(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call))
    executor.run("v")

    back = HandBack("run", 1, raised=False, reason="no store")
    assert told(executor.take(Undelivered("run", 1, "no store"))) == [back]
    assert standing(executor) == back


def test_a_result_that_was_not_wanted_is_no_end(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call))
    executor.run("v")

    assert told(executor.take(Stale("run", 1))) == [over()]
    assert standing(executor) == over()


@pytest.mark.parametrize("late", [Undelivered("run", 1, "why"), Stale("run", 1)])
def test_it_is_nothing_to_the_next_epoch(call: Job, late: Event) -> None:
    executor = Executor("B", call)
    executor.take(*full(call))
    executor.run("v")
    executor.take(STOP, *full(call.again(2)))

    executor.take(late)
    assert executor.waiting() == ["c"]
    assert reports(executor.run("v")) == [(2, "SUCCEEDED", [2])]


@pytest.mark.parametrize("late", [Undelivered("run", 1, "why"), Stale("run", 1)])
def test_nor_to_the_end_of_the_next_epoch(call: Job, late: Event) -> None:
    executor = Executor("B", call)
    executor.take(*full(call.again(2)))
    executor.run("v")

    executor.take(late)
    assert standing(executor, 2) == over(2, state="SUCCEEDED")


# the process is to end


def test_who_leaves_hands_back_what_has_not_begun(call: Job) -> None:
    waits, ready = call, job("f", "B", run_id="ready")
    executor = Executor("B", waits, ready)
    executor.take(*full(waits)[:1], ready.start())

    why = "its executor was ended"
    assert told(executor.take(Leave())) == [
        HandBack("run", 1, raised=False, reason=why),
        HandBack("ready", 1, raised=False, reason=why),
    ]
    assert executor.holds_nothing()
    assert executor.take(Leave()) == []


def test_but_not_the_run_that_runs(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call))
    running = executor.work()

    assert executor.take(Leave()) == []
    assert reports(executor.finish(running, "v")) == [(1, "SUCCEEDED", [2])]


# others have to give way to one that takes long


def test_runs_that_wait_behind_another_are_yielded() -> None:
    slow, quick = job("f", "A", run_id="slow"), job("g", "A", run_id="quick")
    executor = Executor("A", slow, quick)
    executor.take(slow.start(), quick.start())
    running = executor.work()

    assert told(executor.take(Bounce("e-1"))) == [Yield("quick", 1)]
    assert executor.take(Bounce("e-1")) == []
    assert standing(executor, run_id="quick") == Yield("quick", 1)
    executor.take(quick.start())
    assert executor.idle(), "it is elsewhere by now"
    assert only(executor.finish(running, "v"), Deliver).finished.run_id == "slow"


def test_a_run_that_has_begun_is_not_yielded() -> None:
    slow, begun = job("f", "A", run_id="slow"), job(DIAMOND, "AAAA")
    executor = Executor("A", slow, begun)
    executor.take(begun.start())
    executor.run("top")
    executor.take(slow.start())
    executor.state.ready.works.rotate(1)
    executor.work()

    assert executor.take(Bounce("e-1")) == []
    assert executor.waiting() == ["b", "c"]


def test_nor_is_one_of_which_others_have_a_part(call: Job) -> None:
    slow = job("f", "B", run_id="slow")
    executor = Executor("B", call, slow)
    executor.take(slow.start(), *full(call))
    executor.work()

    assert executor.take(Bounce("e-1")) == []
    assert executor.waiting() == ["c"]
