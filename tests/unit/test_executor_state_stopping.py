"""Being told to stop, and being asked how a run stands."""

from __future__ import annotations

import pytest
from executing import (
    Executor,
    Job,
    full,
    inputs,
    job,
    join_on_b,
    only,
    over,
    packed,
    reports,
    standing,
    told,
    triggers,
)

from cloudburst.core.messages import RunState, Standing, Stop
from cloudburst.executor.events import Deliver, Interrupt

STOP = Stop("run", 1, RunState.CANCELLED)
DIAMOND = "ab ac bd cd"


@pytest.fixture
def call() -> Job:
    """A join on B with an argument of its own, whose sources run on A."""
    return join_on_b()


# stopped


def test_a_share_that_waits_is_dropped(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call)[:2])

    assert told(executor.take(STOP)) == [over()]
    assert executor.holds_nothing()


def test_what_comes_for_a_stopped_share_is_dropped(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(full(call)[0], STOP)

    assert executor.take(*full(call)[1:]) == []
    assert told(executor.take(full(call)[0])) == [over()]
    assert executor.holds_nothing()


def test_work_that_is_ready_does_not_run(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call))

    assert told(executor.take(STOP)) == [over()]
    assert executor.idle()


def test_it_is_said_what_had_run() -> None:
    call = job(DIAMOND, "AAAA")
    executor = Executor("A", call)
    executor.take(call.start())
    executor.run("top")
    executor.run("left")

    assert told(executor.take(STOP)) == [over(1, 0, 1)]


@pytest.mark.parametrize("state", [RunState.CANCELLED, RunState.TIMED_OUT, RunState.PENDING])
def test_code_that_runs_is_interrupted_and_told_why(call: Job, state: RunState) -> None:
    executor = Executor("B", call)
    executor.take(*full(call))
    executor.work()

    assert executor.take(Stop("run", 1, state)) == [Interrupt("run", state)]


@pytest.mark.parametrize("failed", [False, True])
def test_only_its_end_is_the_end_of_the_share(call: Job, failed: bool) -> None:
    executor = Executor("B", call)
    executor.take(*full(call))
    running = executor.work()
    executor.take(STOP)
    assert standing(executor) == Standing("run", 1, active=True)

    assert told(executor.finish(running, "nobody wants it", failed=failed)) == [over(1, 2)]
    assert standing(executor) == over()
    assert executor.holds_nothing()


def test_steps_that_follow_the_interrupted_one_never_run() -> None:
    call = job(DIAMOND, "AABA")
    executor = Executor("A", call)
    executor.take(call.start())
    running = executor.work()
    executor.take(STOP)

    commands = executor.finish(running, "top")
    assert triggers(commands) == []
    assert executor.take(call.trigger("d", 1, "right")) == []
    assert executor.idle()


def test_told_twice_it_interrupts_twice_and_ends_once(call: Job) -> None:
    # The scheduler says it again when the grace period is over.
    executor = Executor("B", call)
    executor.take(*full(call))
    running = executor.work()

    assert executor.take(STOP, STOP) == [Interrupt("run", "CANCELLED")] * 2
    assert told(executor.finish(running)) == [over(1, 2)]


def test_another_run_that_runs_is_not_disturbed(call: Job) -> None:
    other = job("f", "B", run_id="other")
    executor = Executor("B", call, other)
    executor.take(other.start(), *full(call))
    running = executor.work()

    assert told(executor.take(STOP)) == [over()]
    assert only(executor.finish(running, "fine"), Deliver).frames == packed("fine")


def test_another_run_that_waits_is_not_disturbed(call: Job) -> None:
    other = job("f", "B", run_id="other")
    executor = Executor("B", call, other)
    executor.take(*full(call), other.start())
    running = executor.work()
    executor.take(STOP)
    executor.finish(running)

    assert only(executor.run("fine"), Deliver).finished.run_id == "other"


def test_a_run_that_is_not_known_here_is_over_all_the_same(call: Job) -> None:
    executor = Executor("B", call)

    assert told(executor.take(STOP)) == [over()]
    assert standing(executor) == over()
    executor.take(*full(call))
    assert executor.holds_nothing()


def test_a_run_that_has_ended_here_has_ended_as_it_did(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call))
    executor.run("v")

    assert told(executor.take(STOP)) == [over()]
    assert standing(executor) == over(state="SUCCEEDED")


def test_a_newer_epoch_is_not_meant(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call.again(2)))

    assert told(executor.take(STOP)) == [over()]
    assert reports(executor.run("v")) == [(2, "SUCCEEDED", [2])]


def test_what_ran_of_it_is_not_said_of_the_older_one() -> None:
    call = job(DIAMOND, "AAAA", epoch=2)
    executor = Executor("A", call)
    executor.take(call.start())
    executor.run("top")

    assert told(executor.take(STOP)) == [over()]


def test_nor_is_one_that_runs(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call.again(2)))
    running = executor.work()

    assert told(executor.take(STOP)) == [over()]
    assert reports(executor.finish(running, "v")) == [(2, "SUCCEEDED", [2])]


def test_a_newer_epoch_that_ended_is_not_brought_back(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call.again(2)))
    executor.run("v")

    executor.take(STOP, call.again(2).trigger("c", 0, "late"))
    assert executor.holds_nothing()


def test_an_older_epoch_is_meant_too(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call))

    assert told(executor.take(STOP._replace(epoch=2))) == [over(2)]
    assert executor.holds_nothing()
    executor.take(*full(call.again(3)))
    assert executor.waiting() == ["c"]


def test_code_of_an_older_epoch_is_interrupted_although_the_newer_one_is_here(call: Job) -> None:
    # A trigger of the second epoch was faster than the scheduler.
    executor = Executor("B", call)
    executor.take(*full(call))
    running = executor.work()
    executor.take(call.again(2).trigger("c", 0, "a"))

    assert executor.take(STOP) == [Interrupt("run", "CANCELLED")]
    assert told(executor.finish(running)) == [over(1, 2)]
    executor.take(*full(call.again(2)))
    assert inputs(executor.work()) == ["a", "b"]


# asked how a run stands


def test_a_run_that_nobody_knows_is_not_active(call: Job) -> None:
    assert standing(Executor("B", call)) == Standing("run", 1, active=False)


def test_nor_is_a_share_that_waits(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call)[:2])

    assert standing(executor) == Standing("run", 1, active=False)


def test_a_share_that_could_run_is_active(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call))

    assert standing(executor) == Standing("run", 1, active=True)


def test_so_is_one_that_runs(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call))
    executor.work()

    assert standing(executor) == Standing("run", 1, active=True)


def test_a_share_of_which_a_part_has_run_waits_for_the_rest() -> None:
    call = job(DIAMOND, "AABA")
    executor = Executor("A", call)
    executor.take(call.start())
    executor.run("top")
    assert standing(executor) == Standing("run", 1, active=True)  # the left could run
    executor.run("left")

    assert standing(executor) == Standing("run", 1, active=False)
    executor.take(call.trigger("d", 1, "right"))
    assert standing(executor) == Standing("run", 1, active=True)


@pytest.mark.parametrize("epoch", [1, 3])
def test_another_epoch_is_not_active(call: Job, epoch: int) -> None:
    executor = Executor("B", call)
    executor.take(*full(call.again(2)))

    assert standing(executor, epoch) == Standing("run", epoch, active=False)


def test_an_epoch_whose_code_still_runs_is_active_although_a_newer_one_is_here(call: Job) -> None:
    executor = Executor("B", call)
    executor.take(*full(call))
    executor.work()
    executor.take(call.again(2).trigger("c", 0, "a"))

    assert standing(executor, 1) == Standing("run", 1, active=True)
    assert standing(executor, 2) == Standing("run", 2, active=False)


@pytest.mark.parametrize(("failed", "state"), [(False, "SUCCEEDED"), (True, "FAILED")])
def test_the_end_is_said_again(call: Job, failed: bool, state: str) -> None:
    executor = Executor("B", call)
    executor.take(*full(call))
    executor.run("v", failed=failed)

    assert [standing(executor), standing(executor)] == [over(state=state)] * 2
    assert standing(executor, 2) == Standing("run", 2, active=False)


def test_the_end_of_a_part_is_said_again() -> None:
    call = job("ac bc", "AAB")
    executor = Executor("A", call)
    executor.take(call.start())
    executor.run("a")
    executor.run("b")

    assert standing(executor) == over()


def test_a_run_that_was_forgotten_is_not_active(call: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudburst.executor.state.REMEMBERED", 1)
    executor = Executor("B", call)
    executor.take(*full(call))
    executor.run("v")
    executor.take(Stop("other", 1, ""))

    assert standing(executor) == Standing("run", 1, active=False)
