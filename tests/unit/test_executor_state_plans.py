"""Plans that an executor does not have yet, and messages that do not fit theirs."""

from __future__ import annotations

from typing import Any

import pytest
from executing import Executor, Job, inputs, job, join_on_b, only, packed, plan_of, reports, steps

from cloudburst.core.messages import RunState, Start, Stop, Trigger
from cloudburst.core.wire import pack_context
from cloudburst.errors import ProtocolError
from cloudburst.executor.events import Deliver, FetchPlan, PlanLoaded, PlanMissing
from cloudburst.executor.share import make_route

LOST = [b"the plan is lost"]


@pytest.fixture
def call() -> Job:
    return join_on_b()


def test_a_plan_is_fetched_once_and_messages_wait_for_it(call: Job) -> None:
    executor = Executor("B")

    assert executor.take(call.trigger("c", 1, "b")) == [FetchPlan(call.plan.id)]
    assert executor.take(call.start(("c", "", "own")), call.trigger("c", 0, "a")) == []
    assert executor.idle()

    assert executor.take(PlanLoaded(call.plan)) == []
    work = executor.work()
    assert (steps(work), inputs(work)) == ("c", ["a", "b"])


def test_a_plan_is_kept(call: Job) -> None:
    executor = Executor("B", call)

    assert executor.take(call.trigger("c", 0, "a")) == []
    assert executor.take(call._replace(run_id="other").trigger("c", 0, "a")) == []


def test_runs_of_several_plans_wait_for_their_own() -> None:
    one, two = job("f", "A", run_id="one"), job("g", "A", run_id="two")
    executor = Executor("A")
    asked = executor.take(one.start(), two.start(), one._replace(run_id="three").start())
    assert asked == [FetchPlan(one.plan.id), FetchPlan(two.plan.id)]

    executor.take(PlanLoaded(two.plan))
    assert executor.waiting() == ["g"]
    executor.take(PlanLoaded(one.plan))
    assert executor.waiting() == ["g", "f", "f"]


def test_a_plan_that_comes_unasked_for_is_kept() -> None:
    executor = Executor("A")
    assert executor.take(PlanLoaded(plan_of("f"))) == []

    executor.take(job("f", "A").start())
    assert executor.waiting() == ["f"]


def test_runs_fail_whose_plan_cannot_be_had(call: Job) -> None:
    executor = Executor("B")
    executor.take(call.trigger("c", 0, "a"), call.start(("c", "", "own")))
    executor.take(call._replace(run_id="other").trigger("c", 0, "a"))

    ends = executor.take(PlanMissing(call.plan.id, LOST))
    assert [(e.finished.run_id, e.frames) for e in ends if isinstance(e, Deliver)] == [
        ("run", LOST),
        ("other", LOST),
    ]
    assert reports(ends) == [(1, "FAILED", []), (1, "FAILED", [])]
    assert executor.holds_nothing()


def test_a_missing_plan_is_asked_for_again_by_the_next_run(call: Job) -> None:
    executor = Executor("B")
    executor.take(call.trigger("c", 0, "a"), PlanMissing(call.plan.id, LOST))

    assert executor.take(call.trigger("c", 0, "late")) == []
    again = call._replace(run_id="other").trigger("c", 0, "a")
    assert executor.take(again) == [FetchPlan(call.plan.id)]


def test_stopping_while_messages_wait_for_their_plan(call: Job) -> None:
    executor = Executor("B")
    executor.take(call.trigger("c", 0, "a"), call.trigger("c", 1, "b"))

    assert reports(executor.take(Stop("run", 1, RunState.PENDING))) == [(1, "RUNNING", [])]
    assert executor.take(PlanLoaded(call.plan)) == []
    assert executor.holds_nothing()


def test_a_run_that_was_stopped_does_not_fail_for_want_of_its_plan(call: Job) -> None:
    executor = Executor("B")
    executor.take(call.trigger("c", 0, "a"), Stop("run", 1, RunState.PENDING))

    assert executor.take(PlanMissing(call.plan.id, LOST)) == []
    assert executor.holds_nothing()


def test_a_newer_epoch_does_not_fail_for_want_of_an_older_plan() -> None:
    old, new = job("f", "A"), job("g", "A", epoch=2)  # the function was registered again
    executor = Executor("A", new)
    executor.take(old.start(), new.start())

    assert executor.take(PlanMissing(old.plan.id, LOST)) == []
    assert reports(executor.run("v")) == [(2, "SUCCEEDED", [0])]


def test_the_newest_epoch_counts_of_those_that_waited(call: Job) -> None:
    executor = Executor("B")
    executor.take(call.trigger("c", 0, "old"), call.again(2).trigger("c", 0, "a"))
    executor.take(call.trigger("c", 1, "old"), call.again(2).trigger("c", 1, "b"))
    executor.take(call.again(2).start(("c", "", "own")))

    executor.take(PlanLoaded(call.plan))
    work = executor.work()
    assert (work.epoch, inputs(work)) == (2, ["a", "b"])


# messages that do not fit


def changed(call: Job, **fields: Any) -> Job:
    return call._replace(context=call.context._replace(**fields))


def refuses(executor: Executor, message: Start | Trigger, why: str) -> None:
    """The message is refused, and is as if it had never come."""
    before = executor.state.shares.copy()
    with pytest.raises(ProtocolError, match=why):
        executor.take(message)
    executor.state.validate()
    assert executor.state.shares == before


@pytest.mark.parametrize(
    "fields",
    [
        {"places": (0, 0)},
        {"places": (0, 0, 1, 1)},
        {"places": ()},
        {"places": (0, 2, 1)},
        {"places": (0, -1, 1)},
        {"executors": ()},
        {"given": (3,)},
        {"given": (-1,)},
    ],
)
def test_a_context_that_does_not_fit_its_plan(call: Job, fields: dict[str, Any]) -> None:
    executor = Executor("B", call)

    refuses(executor, changed(call, **fields).trigger("c", 0, "a"), "not fit its plan|no sense")
    assert len(executor.state.routes) == 0
    assert executor.holds_nothing()


def test_a_context_that_places_nothing_here(call: Job) -> None:
    executor = Executor("elsewhere", call)

    refuses(executor, call.trigger("c", 0, "a"), "no segment on this executor")
    refuses(executor, call.start(("c", "", "own")), "no segment on this executor")
    assert executor.holds_nothing()


def test_bytes_that_are_no_context(call: Job) -> None:
    executor = Executor("B", call)

    refuses(executor, call.start()._replace(context=b"\xc1"), "msgpack")
    refuses(executor, call.start()._replace(context=b"\x90"), "context")
    assert executor.holds_nothing()


@pytest.mark.parametrize("segment", [0, 1, 3, 99, -1])
def test_a_trigger_for_a_segment_of_others(call: Job, segment: int) -> None:
    executor = Executor("B", call)
    trigger = call.trigger("c", 0, "a")._replace(segment=segment)

    refuses(executor, trigger, "not placed here")
    assert executor.holds_nothing()
    executor.take(call.trigger("c", 0, "a"))
    refuses(executor, trigger, "not placed here")


@pytest.mark.parametrize("position", [2, 99, -1])
def test_a_trigger_for_an_input_that_there_is_not(call: Job, position: int) -> None:
    executor = Executor("B", call)
    trigger = call.trigger("c", 0, "a")._replace(position=position)

    refuses(executor, trigger, "has no input")
    assert executor.holds_nothing()
    executor.take(call.start(("c", "", "own")), call.trigger("c", 0, "a"))
    refuses(executor, trigger, "has no input")
    executor.take(call.trigger("c", 1, "b"))
    assert inputs(executor.work()) == ["a", "b"]


@pytest.mark.parametrize("step", [0, 3, 99, -1])
def test_an_argument_of_a_step_that_has_none(call: Job, step: int) -> None:
    executor = Executor("B", call)
    start = call.start(("c", "", "own"))
    wrong = start._replace(arguments=(*start.arguments, (step, "", 1)), frames=[b"", b""])

    refuses(executor, wrong, "argument for no step")
    assert executor.holds_nothing()
    executor.take(call.trigger("c", 0, "a"), call.trigger("c", 1, "b"))
    refuses(executor, wrong, "argument for no step")
    executor.take(start)
    assert len(executor.work().arguments) == 1


def test_an_argument_whose_frames_did_not_come(call: Job) -> None:
    # The run fails when the argument is unpacked, which tells its caller more than silence.
    executor = Executor("B", call)
    own = call.plan.step_index["c"]
    start = call.start()._replace(arguments=((own, "", 5), (own, "", 1)), frames=[b"own"])
    executor.take(start, call.trigger("c", 0, "a"), call.trigger("c", 1, "b"))

    first, second = executor.work().arguments
    assert (first.frames, second.frames) == ([b"own"], [])


def test_one_message_that_does_not_fit_does_not_harm_those_it_waited_with(call: Job) -> None:
    executor = Executor("B")
    wrong = call._replace(run_id="wrong")
    executor.take(
        wrong.trigger("c", 0, "a")._replace(position=7),
        call.trigger("c", 0, "a"),
        changed(wrong, places=(0,)).start(),
        call.trigger("c", 1, "b"),
        call.start(("c", "", "own")),
    )

    assert executor.take(PlanLoaded(call.plan)) == []
    assert list(executor.state.shares) == ["run"]
    assert executor.waiting() == ["c"]


@pytest.mark.parametrize("epoch", [0, -1])
def test_epochs_begin_with_one(call: Job, epoch: int) -> None:
    executor = Executor("B", call)
    executor.take(call.again(epoch).trigger("c", 0, "a"), call.again(epoch).start())

    assert executor.holds_nothing()


# routes


def test_a_route_says_what_an_executor_has_to_do() -> None:
    call = job("ac bc cd ce df ef", "ABAABA", given="be")
    packed_context = pack_context(call.context)
    names = ["".join(call.plan.steps[n].name for n in s.steps) for s in call.plan.segments]
    assert names == ["a", "b", "c", "d", "e", "f"]

    here = make_route(call.context, packed_context, call.plan, "A")
    assert here.missing == {0: 1, 2: 2, 3: 1, 5: 2}
    assert here.needs_start == (0,)
    assert here.keep_local == {0, 3}
    there = make_route(call.context, packed_context, call.plan, "B")
    assert (there.missing, there.needs_start) == ({1: 1, 4: 2}, (1, 4))
    assert there.keep_local == frozenset()
    assert there.is_here(4)
    assert not there.is_here(5)


def test_the_value_of_the_sink_is_never_kept_in_memory() -> None:
    call = job("f", "A")
    executor = Executor("A", call)
    executor.take(call.start())

    assert executor.peek().route.keep_local == frozenset()
    assert only(executor.run("v"), Deliver).frames == packed("v")
