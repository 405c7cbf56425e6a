"""Runs of a batch that are stopped, and start again, while it runs."""

from __future__ import annotations

import pytest
from batches import Batching, delivered, ended, one, runs, stop
from executing import Executor, done, job, standing, told

from cloudburst.core.messages import Probe, Standing
from cloudburst.executor.events import Interrupt


@pytest.fixture
def executor() -> Batching:
    executor = Batching()
    assert runs(executor.works) == [("r", 1), ("s", 1), ("t", 1)]
    return executor


# stopped


@pytest.mark.parametrize("gone", ["r", "s", "t"])
def test_one_that_is_stopped_is_over_at_once_and_the_rest_goes_on(
    executor: Batching, gone: str
) -> None:
    assert told(executor.take(stop(gone))) == [ended(gone)]
    assert standing(executor, run_id=gone) == ended(gone)

    expected = {"r": "1", "s": "2", "t": "3"}
    del expected[gone]
    assert delivered(executor.end()) == expected
    assert executor.holds_nothing()


def test_who_is_told_twice_says_it_twice(executor: Batching) -> None:
    assert told(executor.take(stop("r"), stop("r"))) == [ended("r")] * 2
    assert delivered(executor.end()).keys() == {"s", "t"}


def test_only_the_last_is_interrupted(executor: Batching) -> None:
    assert told(executor.take(stop("s"), stop("r"))) == [ended("s"), ended("r")]
    assert executor.take(stop("t")) == [Interrupt("t", "CANCELLED")]
    assert standing(executor, run_id="t") == Standing("t", 1, active=True)
    assert executor.state.holds() == (("t", 1),)

    assert told(executor.end("x", "x", "x", failed=True)) == [ended("t", 1, 0)]
    assert executor.holds_nothing()
    assert executor.state.stopped is None


@pytest.mark.parametrize("order", ["rst", "tsr", "srt"])
def test_in_whatever_order_all_are_stopped_each_is_over_once(
    executor: Batching, order: str
) -> None:
    commands = executor.take(*map(stop, order))
    assert commands[-1] == Interrupt(order[-1], "CANCELLED")
    commands = commands[:-1] + executor.end("x", "x", "x", failed=True)

    assert told(commands) == [ended(order[0]), ended(order[1]), ended(order[2], 1, 0)]
    assert executor.holds_nothing()


def test_the_last_that_has_run_by_then_was_stopped_all_the_same(executor: Batching) -> None:
    executor.take(stop("r"), stop("s"), stop("t"))

    assert told(executor.end("1", "2", "3")) == [ended("t", 1, 0)]


def test_one_that_was_never_in_it_does_not_disturb_it(executor: Batching) -> None:
    executor.take(one("u").start())

    assert told(executor.take(stop("u"), stop("nobody"))) == [ended("u"), ended("nobody")]
    assert delivered(executor.end()).keys() == {"r", "s", "t"}


def test_an_older_epoch_than_the_one_that_runs_is_not_meant() -> None:
    executor = Executor("A", one("r"))
    executor.take(one("r").again(2).start(), one("s").start())
    works = executor.batch(0.0) or executor.batch(1.0)

    assert told(executor.take(stop("r", 1))) == [ended("r")]
    commands = executor.take(done(works[0], "1"), done(works[1], "2"))
    assert delivered(commands) == {"r": "1", "s": "2"}


def test_of_one_that_was_stopped_what_had_run_is_said() -> None:
    calls = [job("ac bc", "AAA", batched="c", run_id=name) for name in "rs"]
    executor = Executor("A", calls[0])
    for call in calls:
        executor.take(call.start())
    for _ in range(4):
        executor.run("v")
    executor.batch()

    assert told(executor.take(stop("r"))) == [ended("r", 1, 0, 1)]


# begun again while the batch runs


def test_a_run_may_start_again_while_its_old_batch_runs(executor: Batching) -> None:
    executor.take(stop("r"), one("r").again(2).start())
    assert told(executor.take(Probe("r", 2))) == [
        Standing("r", 2, active=True),
        Standing("s", 1, active=True),
        Standing("t", 1, active=True),
    ]

    assert delivered(executor.end("old", "2", "3")) == {"s": "2", "t": "3"}
    (work,) = executor.batch(0.0) or executor.batch(1.0)
    assert (work.run_id, work.epoch) == ("r", 2)
    assert delivered(executor.finish(work, "new")) == {"r": "new"}


def test_also_if_its_start_is_faster_than_the_word_to_stop(executor: Batching) -> None:
    executor.take(one("r").again(2).start())
    assert told(executor.take(stop("r"))) == [ended("r")]

    assert delivered(executor.end("old", "2", "3")) == {"s": "2", "t": "3"}
    assert runs(executor.batch(0.0) or executor.batch(1.0)) == [("r", 2)]


def test_an_old_value_is_nobodys_although_nobody_said_stop(executor: Batching) -> None:
    executor.take(one("s").again(2).start())
    assert standing(executor, 1, run_id="s") == Standing("s", 1, active=True)

    assert delivered(executor.end("1", "old", "3")) == {"r": "1", "t": "3"}
    assert executor.state.running == ()


def test_the_second_epoch_may_be_stopped_while_the_first_still_runs(executor: Batching) -> None:
    executor.take(one("r").again(2).start())

    assert told(executor.take(stop("r", 2))) == [ended("r", 2)]
    executor.take(stop("s"))
    assert executor.take(stop("t")) == [Interrupt("t", "CANCELLED")], "the first does not count"
    executor.end("x", "x", "x", failed=True)
    assert executor.holds_nothing()


def test_the_only_one_left_is_interrupted_for_its_older_epoch(executor: Batching) -> None:
    executor.take(stop("s"), stop("t"), one("r").again(2).start())

    assert executor.take(stop("r", 1)) == [Interrupt("r", "CANCELLED")]
    assert told(executor.end("x", "x", "x", failed=True)) == [ended("r", 1, 0)]
    assert runs(executor.batch(0.0) or executor.batch(1.0)) == [("r", 2)]
