"""Batches: the same step of several runs, which begin together and end each in its own way."""

from __future__ import annotations

import pytest
from batches import THREE, Batching, delivered, ended, one, runs, stop
from executing import Executor, done, inputs, job, only, packed, reports, standing, told, triggers

from cloudburst.core.messages import Blocked, Bounce, HandBack, Probe, Standing, Yield
from cloudburst.executor.events import Deliver, Done, Ending, Leave, Waits

BOUNCE = Bounce("A")


@pytest.fixture
def executor() -> Batching:
    executor = Batching()
    assert runs(executor.works) == [("r", 1), ("s", 1), ("t", 1)]
    return executor


# begun


def test_a_batch_waits_for_more_as_long_as_it_may() -> None:
    executor = Executor("A", one("r"))
    executor.take(one("r").start(), one("s").start())

    assert executor.batch(10.0) == ()
    assert executor.state.ready.due_at() == 11.0
    assert standing(executor, run_id="r") == Standing("r", 1, active=True)
    assert runs(executor.batch(11.0)) == [("r", 1), ("s", 1)]


def test_what_waits_in_it_is_not_idle() -> None:
    executor = Executor("A", one("r"))
    executor.take(one("r").start())
    executor.batch(10.0)

    assert executor.state.idle() == set()
    assert executor.state.holds() == (("r", 1),)


def test_one_that_is_stopped_while_it_waits_is_in_no_batch() -> None:
    executor = Executor("A", one("r"))
    executor.take(one("r").start(), one("s").start())
    executor.batch(10.0)

    assert told(executor.take(stop("r"))) == [ended("r")]
    assert runs(executor.batch(11.0)) == [("s", 1)]


def test_nor_is_one_whose_next_epoch_has_come() -> None:
    executor = Executor("A", one("r"))
    executor.take(one("r").start(), one("s").start())
    executor.take(one("r").again(2).start())

    assert runs(executor.batch(11.0)) == []
    assert runs(executor.batch(12.0)) == [("s", 1), ("r", 2)]


@pytest.mark.parametrize("how", ["alone", "warms"])
def test_a_call_that_is_to_be_alone_is(how: str) -> None:
    single = job("f", "A", batched="f", batch=THREE, run_id="x", **{how: True})  # type: ignore[arg-type]
    executor = Executor("A", single)
    executor.take(single.start(), one("r").start(), one("s").start(), one("t").start())

    assert runs(executor.batch()) == [("x", 1)]
    assert runs(executor.batch()) == [("r", 1), ("s", 1), ("t", 1)]


# ended


def test_each_run_gets_its_own_value(executor: Batching) -> None:
    assert delivered(executor.end("one", "two", "three")) == {"r": "one", "s": "two", "t": "three"}
    assert executor.holds_nothing()
    assert executor.state.running == ()


def test_one_that_fails_fails_by_itself(executor: Batching) -> None:
    r, s, t = executor.works
    commands = executor.take(
        done(r, "fine"), done(s, "it broke", failed=True), done(t, "fine, too")
    )

    assert [c.failed for c in commands if isinstance(c, Deliver)] == [False, True, False]


def test_or_is_tried_again_by_itself() -> None:
    executor = Batching(retried=True)
    r, s, t = executor.works
    commands = executor.take(done(r, "1"), done(s, "it broke", failed=True), done(t, "3"))

    assert delivered(commands) == {"r": "1", "t": "3"}
    assert told(commands)[1] == HandBack("s", 1, raised=True, reason="it broke")


def test_until_all_is_over_each_of_them_runs(executor: Batching) -> None:
    r, s, _ = executor.works
    executor.take(done(r, "1"))
    assert standing(executor, run_id="r") == ended("r")._replace(state="SUCCEEDED")
    assert standing(executor, run_id="s") == Standing("s", 1, active=True)
    executor.take(done(s, "2"))

    assert standing(executor, run_id="t") == Standing("t", 1, active=True)
    assert executor.state.holds() == (("t", 1),)


def test_in_the_middle_of_a_dag_the_values_go_on_as_ever() -> None:
    calls = [job("ab bc", "AAB", batched="b", run_id=name) for name in "rs"]
    executor = Executor("A", calls[0])
    for call in calls:
        executor.take(call.start())
    executor.run("x")
    executor.run("y")

    works = executor.batch()
    assert [inputs(work) for work in works] == [["x"], ["y"]]
    commands = executor.take(done(works[0], "X"), done(works[1], "Y"))
    assert triggers(commands) == [("B", 2, 0, "X"), ("B", 2, 0, "Y")]
    assert reports(commands) == [(1, "RUNNING", [0, 1])] * 2


# asked to give way


def test_what_is_not_in_it_is_yielded(executor: Batching) -> None:
    executor.take(one("u").start())

    assert told(executor.take(BOUNCE)) == [Yield("u", 1)]
    assert delivered(executor.end()).keys() == {"r", "s", "t"}


def test_what_waits_for_more_is_yielded_too() -> None:
    executor = Executor("A", one("r"))
    executor.take(one("r").start(), one("s").start())
    executor.batch(10.0)

    assert told(executor.take(BOUNCE)) == [Yield("r", 1), Yield("s", 1)]
    assert executor.batch(20.0) == ()


def test_one_that_was_stopped_may_be_yielded_when_it_starts_again(executor: Batching) -> None:
    executor.take(stop("r"), one("r").again(2).start())

    assert told(executor.take(BOUNCE)) == [Yield("r", 2)]
    assert delivered(executor.end()).keys() == {"s", "t"}


def test_an_executor_that_leaves_gives_back_what_is_not_in_it(executor: Batching) -> None:
    executor.take(one("u").start())

    assert told(executor.take(Leave())) == [
        HandBack("u", 1, raised=False, reason="its executor was ended")
    ]
    assert delivered(executor.end()).keys() == {"r", "s", "t"}


def test_all_of_it_is_here(executor: Batching) -> None:
    executor.take(one("u").start())
    assert set(executor.state.holds()) == {(name, 1) for name in "rstu"}
    executor.take(stop("r"))

    assert set(executor.state.holds()) == {(name, 1) for name in "stu"}


# code that waits for others


def test_code_that_waits_is_said_to_be_of_the_first(executor: Batching) -> None:
    assert told(executor.take(Waits(waits=True))) == [Blocked("r", 1, waits=True)]
    assert told(executor.take(Waits(waits=False))) == [Blocked("r", 1, waits=False)]


def test_who_asks_after_any_of_it_hears_that_it_waits(executor: Batching) -> None:
    executor.take(Waits(waits=True))

    for name in "rst":
        assert told(executor.take(Probe(name, 1))) == [
            Standing(name, 1, active=True),
            Blocked(name, 1, waits=True),
        ]


def test_if_the_first_is_stopped_the_next_is_said_to_wait(executor: Batching) -> None:
    """With the first the scheduler forgets what it knew of the executor."""
    executor.take(Waits(waits=True))

    assert told(executor.take(stop("r"))) == [ended("r"), Blocked("s", 1, waits=True)]
    assert told(executor.take(stop("t"))) == [ended("t")]
    assert told(executor.take(Waits(waits=False))) == [Blocked("s", 1, waits=False)]


def test_code_that_does_not_wait_any_more_is_not_said_to(executor: Batching) -> None:
    executor.take(Waits(waits=True), Waits(waits=False))

    assert told(executor.take(stop("r"))) == [ended("r")]


def test_the_next_code_does_not_wait_yet(executor: Batching) -> None:
    executor.take(Waits(waits=True))
    executor.end()
    executor.take(one("u").start())
    (work,) = executor.batch(0.0) or executor.batch(1.0)

    assert told(executor.take(Probe("u", 1))) == [Standing("u", 1, active=True)]
    assert delivered(executor.finish(work, "4")) == {"u": "4"}


# its calls were cancelled


def test_the_rest_of_a_batch_whose_calls_were_cancelled_is_for_others(executor: Batching) -> None:
    """They were made for the first of its runs, which has ended; the others have not."""
    executor.take(stop("r"))
    commands = executor.take(*(Done(work, (), Ending.ABANDONED, 0.5) for work in executor.works))

    reason = "calls of its batch were cancelled"
    assert told(commands) == [
        HandBack("s", 1, raised=False, reason=reason),
        HandBack("t", 1, raised=False, reason=reason),
    ]
    assert executor.holds_nothing()


def test_a_batch_of_one_is_a_batch() -> None:
    executor = Executor("A", one("r"))
    executor.take(one("r").start())
    (work,) = executor.batch(0.0) or executor.batch(1.0)

    assert only(executor.finish(work, "v"), Deliver).frames == packed("v")
    assert executor.holds_nothing()
