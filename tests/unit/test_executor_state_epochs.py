"""Attempts at a run, and its end: duplicates, echoes of the past, and how long it is known."""

from __future__ import annotations

import pytest
from executing import (
    Executor,
    Job,
    done,
    full,
    inputs,
    job,
    join_on_b,
    only,
    packed,
    reports,
    steps,
)

from cloudburst.core.messages import Finished, RunState, Stop
from cloudburst.executor import routes, state
from cloudburst.executor.events import Deliver, Local, Report

JOIN = "ac bc"
ENDS = [("old", 1), ("other", 1), ("old", 2), ("new", 1)]


@pytest.fixture
def call() -> Job:
    return join_on_b()


def test_messages_that_come_twice_count_once(call: Job) -> None:
    executor = Executor("B", call)
    for message in full(call)[:2] * 3:
        assert executor.take(message) == []
    assert executor.idle()

    executor.take(*full(call)[2:] * 2)
    assert executor.waiting() == ["c"]
    work = executor.work()
    assert (len(work.arguments), inputs(work)) == (1, ["a", "b"])
    assert executor.take(*full(call)) == []
    assert executor.idle()


def test_the_first_of_two_triggers_for_one_input_counts(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(call.trigger("c", 0, "first"), call.trigger("c", 0, "second"), *full(call))

    assert inputs(executor.work()) == ["first", "b"]


def test_a_trigger_for_a_segment_that_has_run_is_an_echo() -> None:
    call = job("ac bc ce de", "AAABB")  # c and then e run on B, their sources on A
    executor = Executor("B", call)
    executor.take(call.trigger("c", 0, "a"), call.trigger("c", 1, "b"))
    executor.run("c")

    assert executor.take(call.trigger("c", 0, "a")) == []
    assert executor.idle()
    executor.take(call.trigger("e", 1, "d"))
    assert executor.work().inputs == [Local("c"), packed("d")]


def test_a_newer_epoch_replaces_the_older_share(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(call.trigger("c", 0, "old"), call.start(("c", "", "old")))
    executor.take(*full(call.again(2), " new"))

    work = executor.work()
    assert (work.epoch, inputs(work)) == (2, ["a new", "b new"])
    assert executor.idle()
    assert reports(executor.take(done(work, "v"))) == [(2, "SUCCEEDED", [2])]


def test_inputs_of_different_epochs_never_meet(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call.again(2))[:2])

    assert executor.take(call.trigger("c", 1, "from the first epoch")) == []
    assert executor.idle()
    executor.take(call.again(2).trigger("c", 1, "from the second"))
    assert inputs(executor.work()) == ["a", "from the second"]


def test_work_of_an_older_epoch_does_not_run(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call))
    assert executor.waiting() == ["c"]

    executor.take(call.again(2).trigger("c", 0, "a"))
    assert executor.idle()


def test_the_end_of_work_of_an_older_epoch_says_nothing(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call))
    old = executor.work()
    executor.take(*full(call.again(2)))

    assert executor.take(done(old, "old"), done(old, "old", failed=True)) == []
    assert reports(executor.run("new")) == [(2, "SUCCEEDED", [2])]


def test_a_newer_epoch_may_be_placed_otherwise() -> None:
    first, second = job(JOIN, "AAB"), job(JOIN, "ABA", epoch=2)
    executor = Executor("A", first)
    executor.take(first.start())
    assert executor.waiting() == ["a", "b"]

    executor.take(second.start())
    assert executor.waiting() == ["a"]
    assert executor.run("a") == []
    executor.take(second.trigger("c", 1, "b"))
    assert (steps(executor.peek()), inputs(executor.work())) == ("c", ["a", "b"])


def test_a_run_that_ended_here_may_run_here_again_under_a_higher_epoch(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call))
    executor.run("first")

    executor.take(*full(call.again(2)))
    assert reports(executor.run("second")) == [(2, "SUCCEEDED", [2])]


# after the end


def test_late_triggers_are_dropped(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call))
    executor.run("v")

    assert executor.take(call.trigger("c", 0, "late")) == []
    assert executor.holds_nothing()


def test_a_late_start_is_told_that_there_is_nothing_to_wait_for(call: Job) -> None:
    # By a scheduler that was restarted, and does not know that the share is done.
    executor = Executor("B", call)
    executor.take(*full(call))
    executor.run("v")

    again = executor.take(call.start(("c", "", "own")))
    assert again == [Report(Finished("run", 1, RunState.RUNNING, ()))]
    assert executor.holds_nothing()


def test_a_start_of_an_epoch_that_was_replaced_is_told_the_same(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call.again(3))[:2])

    commands = executor.take(call.again(2).start(("c", "", "own")))
    assert reports(commands) == [(2, "RUNNING", [])]
    executor.take(*full(call.again(3)))
    assert executor.work().epoch == 3


# bounds


def test_ended_runs_are_remembered_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "REMEMBERED", 3)
    calls = [job("f", "A", run_id=f"run-{number}") for number in range(4)]
    executor = Executor("A", calls[0])
    for call in calls:
        executor.take(call.start())
        assert only(executor.run("v"), Deliver).frames == packed("v")

    assert list(executor.state.ended) == ["run-1", "run-2", "run-3"]
    executor.take(calls[1].start())
    assert executor.holds_nothing()
    executor.take(calls[0].start())
    assert executor.waiting() == ["f"]  # long ago: it runs again, and commits nothing


def test_a_run_that_ends_again_is_remembered_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "REMEMBERED", 2)
    executor = Executor("A")
    executor.take(*[Stop(run_id, epoch, "") for run_id, epoch in ENDS])

    assert [(end.run_id, end.epoch) for end in executor.state.ended.values()] == [
        ("old", 2),
        ("new", 1),
    ]


def test_contexts_are_kept_understood_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "ROUTES", 2)
    calls = [job("ac bc", places) for places in ("AAA", "ABA", "ABB")]
    executor = Executor("A", calls[0])
    for number, call in enumerate(calls):
        executor.take(call._replace(run_id=f"run-{number}").start())

    assert len(executor.state.routes) == 2
    assert len(executor.waiting()) == 4  # those whose context was dropped run all the same


def test_runs_that_are_placed_alike_share_what_is_understood() -> None:
    calls = [job("ac bc", "AAA", run_id=f"run-{number}") for number in range(3)]
    executor = Executor("A", calls[0])
    executor.take(*[call.start() for call in calls])

    assert len({id(executor.work().route) for _ in range(6)}) == 1
