"""Steps that are fired by the first result that counts: one at a time is tried, the first first."""

from __future__ import annotations

import pytest
from executing import (
    Executor,
    Job,
    arguments,
    inputs,
    job,
    only,
    over,
    reports,
    standing,
    steps,
    text,
    told,
    triggers,
)

from cloudburst.core.messages import Bounce, RunState, Standing, Stop
from cloudburst.errors import ProtocolError
from cloudburst.executor.events import Deliver, Local

STOP = Stop("run", 1, RunState.CANCELLED)


@pytest.fixture
def call() -> Job:
    """The first of three on B, which run on A."""
    return job("ad bd cd", "AAAB", first_of="d")


@pytest.fixture
def executor(call: Job) -> Executor:
    return Executor("B", call)


# fired


@pytest.mark.parametrize("position", [0, 1, 2])
def test_the_first_that_comes_fires_it(call: Job, executor: Executor, position: int) -> None:
    executor.take(call.trigger("d", position, "v"))

    work = executor.work()
    assert (steps(work), inputs(work), work.others) == ("d", ["v"], 2)
    assert text(only(executor.finish(work, "end"), Deliver).frames) == "end"
    assert executor.holds_nothing()


def test_those_that_come_while_it_runs_do_not_run_it_again(call: Job, executor: Executor) -> None:
    executor.take(call.trigger("d", 1, "b"))
    work = executor.work()
    executor.take(call.trigger("d", 0, "a"), call.trigger("d", 2, "c"))
    assert executor.idle()

    executor.finish(work, "end")
    assert executor.holds_nothing()


def test_nor_do_those_that_come_when_it_has_run(call: Job, executor: Executor) -> None:
    executor.take(call.trigger("d", 1, "b"))
    executor.run("end")

    assert executor.take(call.trigger("d", 0, "a"), call.trigger("d", 2, "c")) == []
    assert executor.holds_nothing()


def test_nor_if_other_segments_of_its_run_are_still_here() -> None:
    call = job("ac bc cd ce df ef", "BBAAAA", first_of="c")
    executor = Executor("A", call)
    executor.take(call.trigger("c", 1, "b"))
    executor.run("fired")
    assert executor.take(call.trigger("c", 0, "a")) == []

    assert executor.waiting() == ["d", "e"]


def test_one_that_was_tried_is_the_only_one_in_the_meantime(call: Job, executor: Executor) -> None:
    executor.take(call.trigger("d", 2, "c"), call.trigger("d", 0, "a"))

    assert executor.waiting() == ["d"]
    assert inputs(executor.work()) == ["c"]
    assert executor.idle()


# what does not count


def test_if_one_does_not_count_the_next_is_tried(call: Job, executor: Executor) -> None:
    executor.take(*[call.trigger("d", n, "abc"[n]) for n in (2, 0, 1)])

    tried: list[tuple[list[str], int]] = []
    while executor.waiting():
        work = executor.work()
        tried.append((inputs(work), work.others))
        executor.finish_void(work)
    assert tried == [(["c"], 2), (["a"], 1), (["b"], 0)], "in the order in which they came"


def test_if_none_is_there_it_waits_for_the_next(call: Job, executor: Executor) -> None:
    executor.take(call.trigger("d", 2, "c"))
    executor.finish_void(executor.work())
    assert executor.idle()
    assert executor.state.idle() == {("run", 1)}

    executor.take(call.trigger("d", 1, "b"))
    assert inputs(executor.peek()) == ["b"]
    assert text(only(executor.run("end"), Deliver).frames) == "end"


def test_one_that_comes_while_another_is_tried_is_not_lost(call: Job, executor: Executor) -> None:
    executor.take(call.trigger("d", 2, "c"))
    work = executor.work()
    executor.take(call.trigger("d", 0, "a"))

    assert executor.finish_void(work) == []
    assert inputs(executor.work()) == ["a"]


def test_what_did_not_count_does_not_count_if_it_comes_again(call: Job, executor: Executor) -> None:
    executor.take(call.trigger("d", 2, "c"))
    executor.finish_void(executor.work())
    executor.take(call.trigger("d", 2, "c"))

    assert executor.idle()
    executor.take(call.trigger("d", 0, "a"), call.trigger("d", 0, "a"))
    work = executor.work()
    assert (inputs(work), work.others) == (["a"], 1)
    executor.finish_void(work)
    assert executor.idle()


def test_of_the_last_it_is_known_that_it_is(call: Job, executor: Executor) -> None:
    executor.take(*[call.trigger("d", n, "v") for n in (0, 1, 2)])
    executor.finish_void(executor.work())
    executor.finish_void(executor.work())

    work = executor.work()
    assert work.others == 0
    end = only(executor.finish(work, "none counts", failed=True), Deliver)
    assert (end.failed, end.finished.state) == (True, RunState.FAILED)


def test_a_try_takes_no_time_of_the_step(call: Job, executor: Executor) -> None:
    executor.take(*[call.trigger("d", n, "v") for n in (0, 1)])
    executor.finish_void(executor.work())

    assert reports(executor.run("end")) == [(1, "SUCCEEDED", [3])]


# what else it waits for


@pytest.fixture
def given() -> Job:
    """The same, and the step has an argument of its own."""
    return job("ad bd cd", "AAAB", first_of="d", given="d")


def test_it_waits_for_its_own_arguments(given: Job) -> None:
    executor = Executor("B", given)
    executor.take(given.trigger("d", 1, "b"), given.trigger("d", 0, "a"))
    assert executor.idle()
    assert executor.state.idle() == {("run", 1)}

    executor.take(given.start(("d", "", "own")))
    work = executor.work()
    assert (inputs(work), arguments(work)) == (["b"], [("d", "", "own")])
    assert executor.idle()


def test_and_then_for_the_first_that_counts(given: Job) -> None:
    executor = Executor("B", given)
    executor.take(given.start(("d", "k", "own")))
    assert executor.idle()

    executor.take(given.trigger("d", 1, "b"))
    assert inputs(executor.work()) == ["b"]


def test_every_try_has_the_steps_own_arguments(given: Job) -> None:
    executor = Executor("B", given)
    executor.take(given.start(("d", "", "own")), given.trigger("d", 1, "b"))
    executor.finish_void(executor.work())
    executor.take(given.trigger("d", 2, "c"))

    work = executor.work()
    assert (inputs(work), arguments(work)) == (["c"], [("d", "", "own")])


def test_a_start_that_comes_twice_starts_it_once(given: Job) -> None:
    executor = Executor("B", given)
    start = given.start(("d", "", "own"))
    executor.take(start, given.trigger("d", 1, "b"))
    work = executor.work()
    executor.take(start)
    assert executor.idle()

    executor.finish_void(work)
    executor.take(start)
    assert executor.idle()


# within one executor


def test_on_one_executor_the_first_that_has_run_fires_it() -> None:
    call = job("ac bc", "AAA", first_of="c")
    executor = Executor("A", call)
    executor.take(call.start())
    assert executor.run("a") == []
    executor.run("b")

    work = executor.work()
    assert (inputs(work), work.inputs) == (["a"], [Local("a")])
    assert text(only(executor.finish(work, "end"), Deliver).frames) == "end"
    assert executor.holds_nothing()


def test_what_has_not_run_by_then_does_not_run() -> None:
    call = job("ac bc", "AAB", first_of="c")
    executor = Executor("A", call)
    executor.take(call.start())
    assert triggers(executor.run("a")) == [("B", 2, 0, "a")]

    # The scheduler says so, as soon as the run has ended.
    assert told(executor.take(Stop("run", 1, RunState.SUCCEEDED))) == [over(1, 0)]
    assert executor.holds_nothing()


def test_the_sinks_other_sources_are_dropped_with_the_end() -> None:
    call = job("ac bc dc", "BAAA", first_of="c")
    executor = Executor("A", call)
    executor.take(call.start(), call.trigger("c", 0, "a"))
    while steps(executor.peek()) != "c":
        executor.run("slow")

    only(executor.run("end"), Deliver)
    assert executor.holds_nothing()


# what does not fit


@pytest.mark.parametrize("position", [-1, 3, 1000])
def test_a_value_for_no_position_is_refused(call: Job, executor: Executor, position: int) -> None:
    with pytest.raises(ProtocolError, match=f"no input {position}"):
        executor.take(call.trigger("d", position, "v"))
    assert executor.holds_nothing()


@pytest.mark.parametrize("position", [-1, 3])
def test_also_if_the_share_is_known(call: Job, executor: Executor, position: int) -> None:
    executor.take(call.trigger("d", 1, "b"))
    executor.finish_void(executor.work())
    with pytest.raises(ProtocolError):
        executor.take(call.trigger("d", position, "v"))

    assert executor.idle()
    assert executor.state.idle() == {("run", 1)}


@pytest.mark.parametrize("position", [-1, 2])
def test_so_it_is_for_a_step_that_waits_for_all(position: int) -> None:
    call = job("ac bc", "AAB")
    executor = Executor("B", call)
    executor.take(call.trigger("c", 0, "a"))
    with pytest.raises(ProtocolError, match=f"no input {position}"):
        executor.take(call.trigger("c", position, "v"))

    executor.take(call.trigger("c", 1, "b"))
    assert inputs(executor.work()) == ["a", "b"]


def test_one_that_is_placed_elsewhere_is_not_tried_here(call: Job) -> None:
    with pytest.raises(ProtocolError, match="not placed here"):
        Executor("A", call).take(call.trigger("d", 0, "v"))


# asked, stopped, taken back


def test_while_one_is_tried_the_share_is_active(call: Job, executor: Executor) -> None:
    executor.take(call.trigger("d", 1, "b"))
    assert standing(executor) == Standing("run", 1, active=True)
    assert executor.state.idle() == set()
    work = executor.work()
    assert standing(executor) == Standing("run", 1, active=True)
    assert executor.state.idle() == set()

    executor.finish_void(work)
    assert standing(executor) == Standing("run", 1, active=False)
    assert executor.state.idle() == {("run", 1)}
    assert executor.state.holds() == (("run", 1),)


def test_one_that_is_stopped_while_it_is_tried_tries_no_other(
    call: Job, executor: Executor
) -> None:
    executor.take(call.trigger("d", 1, "b"), call.trigger("d", 0, "a"))
    work = executor.work()
    executor.take(STOP)

    assert told(executor.finish_void(work)) == [over(1, 3)]
    assert executor.holds_nothing()


def test_what_an_older_epoch_tried_is_of_no_account(call: Job, executor: Executor) -> None:
    executor.take(call.trigger("d", 1, "old"))
    work = executor.work()
    newer = call.again(2)
    executor.take(newer.trigger("d", 2, "new"))

    assert executor.finish_void(work) == []
    assert inputs(executor.peek()) == ["new"]
    assert reports(executor.run("end")) == [(2, "SUCCEEDED", [3])]


def test_who_has_tried_one_keeps_the_run(call: Job, executor: Executor) -> None:
    executor.take(call.trigger("d", 1, "b"))
    executor.finish_void(executor.work())
    executor.take(call.trigger("d", 0, "a"))

    assert executor.take(Bounce("B")) == []
    assert inputs(executor.work()) == ["a"]
