"""Failures on their way to steps that are fired by the first result that counts."""

from __future__ import annotations

import pytest
from executing import Executor, inputs, job, only, over, packed, reports, steps, told, triggers

from cloudburst.core.messages import HandBack, RunState, Stop
from cloudburst.executor.events import Deliver, Interrupt

STOP = Stop("run", 1, RunState.CANCELLED)


def test_a_failure_is_handed_on_as_what_does_not_count() -> None:
    call = job("ac bc", "AAB", first_of="c")
    executor = Executor("A", call)
    executor.take(call.start())

    assert triggers(executor.run("it broke", failed=True)) == [("B", 2, 0, "it broke")]
    commands = executor.run("b")
    assert triggers(commands) == [("B", 2, 1, "b")]
    assert reports(commands) == [(1, "RUNNING", [0, 1])]


def test_also_within_one_executor() -> None:
    call = job("ac bc", "AAA", first_of="c")
    executor = Executor("A", call)
    executor.take(call.start())
    assert executor.run("it broke", failed=True) == []
    executor.run("b")

    work = executor.work()
    assert work.inputs == [packed("it broke")]
    executor.finish_void(work)
    assert inputs(executor.work()) == ["b"]


def test_also_if_the_run_could_be_tried_again() -> None:
    call = job("ac bc", "AAA", first_of="c", retried=True)
    executor = Executor("A", call)
    executor.take(call.start())

    assert executor.run("it broke", failed=True) == []
    executor.run("b")
    executor.finish_void(executor.work())
    assert told(executor.run("none counts", failed=True)) == [
        HandBack("run", 1, raised=True, reason="none counts")
    ]


def test_also_if_several_such_steps_read_it() -> None:
    call = job("ab ac db dc be ce", "AABBB", first_of="bc")
    executor = Executor("A", call)
    executor.take(call.start())

    assert triggers(executor.run("it broke", failed=True)) == [
        ("B", 2, 0, "it broke"),
        ("B", 3, 0, "it broke"),
    ]


@pytest.mark.parametrize("retried", [False, True])
def test_but_not_if_another_step_reads_it_too(retried: bool) -> None:
    call = job("ac bc ad cd", "AAAA", first_of="c", retried=retried)
    executor = Executor("A", call)
    executor.take(call.start())

    (end,) = told(executor.run("it broke", failed=True))
    assert isinstance(end, HandBack) == retried
    assert executor.holds_nothing()


def test_the_failure_of_the_step_itself_is_the_runs() -> None:
    call = job("ac bc", "BBA", first_of="c")
    executor = Executor("A", call)
    executor.take(call.trigger("c", 0, "a"))

    assert only(executor.run("it broke", failed=True), Deliver).failed


def test_unless_such_a_step_follows_it() -> None:
    call = job("ac bc ce de", "BBBAA", first_of="ce")
    executor = Executor("A", call)
    executor.take(call.trigger("c", 1, "b"))
    assert executor.run("none counts", failed=True) == []

    work = executor.work()
    assert (steps(work), work.inputs, work.others) == ("e", [packed("none counts")], 1)


def test_a_failure_in_a_dag_without_such_steps_is_its_end() -> None:
    call = job("ac bc", "AAB")
    executor = Executor("A", call)
    executor.take(call.start())

    assert only(executor.run("it broke", failed=True), Deliver).failed


def test_a_step_that_was_stopped_hands_on_nothing() -> None:
    call = job("ac bc", "AAB", first_of="c")
    executor = Executor("A", call)
    executor.take(call.start())
    work = executor.work()
    assert executor.take(STOP) == [Interrupt("run", "CANCELLED")]

    assert told(executor.finish(work, "interrupted", failed=True)) == [over(1, 0)]
