"""Code that waits for others: the scheduler hears of it, and gets back what it may wait for."""

from __future__ import annotations

import pytest
from executing import Executor, Job, full, job, join_on_b, over, said, standing, steps, told

from cloudburst.core.messages import (
    Blocked,
    Bounce,
    Finished,
    HandBack,
    Probe,
    RunState,
    Standing,
    Stop,
    Yield,
)
from cloudburst.executor.events import Interrupt, Waits

BOUNCE = Bounce("B")
BACK = HandBack("run", 1, raised=False, reason="its executor waits for others")


@pytest.fixture
def code() -> Job:
    """A lone function."""
    return job("f", "B", run_id="code", epoch=3)


@pytest.fixture
def executor(code: Job) -> Executor:
    """On B the function waits for what others do."""
    executor = Executor("B", code, join_on_b())
    executor.take(code.start())
    executor.work()
    executor.take(Waits(waits=True))
    return executor


def test_code_that_waits_says_so_and_when_it_goes_on(code: Job) -> None:
    executor = Executor("B", code)
    executor.take(code.start())
    executor.work()

    assert told(executor.take(Waits(waits=True))) == [Blocked("code", 3, waits=True)]
    assert told(executor.take(Waits(waits=False))) == [Blocked("code", 3, waits=False)]


def test_where_no_code_runs_nobody_waits() -> None:
    executor = Executor("B")

    assert executor.take(Waits(waits=True)) == []
    assert not executor.state.blocked


def test_who_asks_after_code_that_has_waited_hears_again_whether_it_does(
    executor: Executor,
) -> None:
    """What was said of it may have been lost."""
    active = Standing("code", 3, active=True)
    assert told(executor.take(Probe("code", 3))) == [active, Blocked("code", 3, waits=True)]

    executor.take(Waits(waits=False))
    assert told(executor.take(Probe("code", 3))) == [active, Blocked("code", 3, waits=False)]


def test_who_asks_after_a_run_that_could_run_hears_what_runs_in_its_place(
    executor: Executor,
) -> None:
    """Nobody may know of that: its start was under way when its scheduler died."""
    executor.take(*full(join_on_b()))

    assert told(executor.take(Probe("run", 1))) == [
        Standing("run", 1, active=True),
        Standing("code", 3, active=True),
    ]
    assert standing(executor, 2, run_id="code") == Standing("code", 2, active=False)


def test_what_has_not_begun_is_yielded_as_ever(executor: Executor) -> None:
    executor.take(job("f", "B", run_id="other").start())

    assert told(executor.take(BOUNCE)) == [Yield("other", 1)]


def test_what_has_begun_elsewhere_and_could_run_here_is_handed_back(executor: Executor) -> None:
    executor.take(*full(join_on_b()))
    assert executor.waiting() == ["c"]

    assert told(executor.take(BOUNCE)) == [BACK]
    assert executor.waiting() == []
    assert standing(executor) == BACK, "in case nobody heard it"


def test_it_is_handed_back_once_and_runs_here_under_no_older_epoch(executor: Executor) -> None:
    executor.take(*full(join_on_b()))
    executor.take(BOUNCE)

    assert executor.take(BOUNCE) == []
    executor.take(*full(join_on_b())[1:])
    assert executor.waiting() == []
    executor.take(*full(join_on_b().again(2)))
    assert executor.waiting() == ["c"]


def test_what_still_waits_for_its_inputs_stays(executor: Executor) -> None:
    executor.take(*full(join_on_b())[:-1])

    assert executor.take(BOUNCE) == []
    assert executor.state.shares.keys() == {"code", "run"}


def test_what_is_over_is_not_handed_back(executor: Executor) -> None:
    executor.take(*full(join_on_b()))
    executor.take(Stop("run", 1, RunState.PENDING))
    assert executor.take(BOUNCE) == []

    executor.take(*full(join_on_b().again(2))[:1])
    assert executor.take(BOUNCE) == [], "of its second attempt nothing could run"


CROWDED = "its steps wait for each other in one place"


def test_a_run_whose_code_waits_before_another_branch_of_it_starts_again_elsewhere() -> None:
    """It may wait for just that branch, which would never begin."""
    call = job("ab ac bd cd", "BBBA")
    executor = Executor("B", call)
    executor.take(call.start())
    executor.run("top")
    work = executor.work()
    assert steps(work) == "b"

    blocked, back, interrupt = executor.take(Waits(waits=True))

    assert said(blocked) == Blocked("run", 1, waits=True)
    assert said(back) == HandBack("run", 1, raised=False, reason=CROWDED, crowded=True)
    assert interrupt == Interrupt("run", RunState.PENDING)
    (last,) = told(executor.finish(work))
    assert isinstance(last, Finished)
    assert last.state == RunState.RUNNING
    assert executor.holds_nothing()


def test_also_if_the_branch_is_ready_only_while_the_code_waits() -> None:
    call = job("ac bc xb yb", "BAABB")
    executor = Executor("B", call)
    executor.take(call.start())
    assert steps(executor.work()) == "a"
    assert told(executor.take(Waits(waits=True))) == [Blocked("run", 1, waits=True)]

    assert executor.take(call.trigger("b", 0, "x")) == []
    back, _ = executor.take(call.trigger("b", 1, "y"))

    assert isinstance(said(back), HandBack)


def test_steps_that_come_after_the_code_that_waits_are_not_waited_for() -> None:
    call = job("ab cb", "BAB")
    executor = Executor("B", call)
    executor.take(call.start())
    assert steps(executor.work()) == "a"

    assert told(executor.take(Waits(waits=True))) == [Blocked("run", 1, waits=True)]


def test_code_that_does_not_wait_keeps_what_has_begun(executor: Executor) -> None:
    executor.take(*full(join_on_b()))
    executor.take(Waits(waits=False))

    assert executor.take(BOUNCE) == []
    assert executor.waiting() == ["c"]


def test_the_code_that_comes_next_does_not_wait_yet(code: Job) -> None:
    executor = Executor("B", code, join_on_b())
    executor.take(code.start(), job("f", "B", run_id="next").start())
    waiting = executor.work()
    executor.take(Waits(waits=True))
    executor.finish(waiting, "v")
    assert executor.work().run_id == "next"
    assert standing(executor, run_id="next") == Standing("next", 1, active=True)

    executor.take(*full(join_on_b()))
    assert executor.take(BOUNCE) == []


def test_code_that_is_stopped_while_it_waits_is_over_once_it_has_ended(executor: Executor) -> None:
    (work,) = executor.state.running
    executor.take(Stop("code", 3, RunState.CANCELLED))

    assert told(executor.take(Waits(waits=False))) == [Blocked("code", 3, waits=False)]
    (ended,) = told(executor.finish(work, "interrupted", failed=True))
    assert ended == over(3, 0)._replace(run_id="code")
