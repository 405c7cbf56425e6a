"""What an executor makes of the messages about runs: what may run, with what, and who is told."""

from __future__ import annotations

import pytest
from executing import (
    SECONDS,
    Executor,
    arguments,
    inputs,
    job,
    only,
    packed,
    reports,
    steps,
    text,
    triggers,
)

from cloudburst.core.messages import Finished, RunState
from cloudburst.executor.events import Deliver, Event, Local, Report, SendTrigger

DIAMOND = "ab ac bd cd"


def test_a_lone_function_runs_and_its_value_is_delivered() -> None:
    call = job("f", "A", given="f")
    executor = Executor("A", call)

    assert executor.take(call.start(("f", "", "1"), ("f", "key", "2"))) == []
    work = executor.peek()
    assert (steps(work), inputs(work)) == ("f", [])
    assert arguments(work) == [("f", "", "1"), ("f", "key", "2")]

    end = only(executor.run("value"), Deliver)
    assert end.frames == packed("value")
    assert (end.context, end.failed) == (call.context, False)
    assert end.finished == Finished("run", 1, RunState.SUCCEEDED, ((0, SECONDS),))
    assert executor.holds_nothing()


def test_a_function_without_arguments_waits_for_its_start_all_the_same() -> None:
    call = job("f", "A")
    executor = Executor("A", call)

    assert executor.idle()
    executor.take(call.start())
    assert executor.waiting() == ["f"]


def test_a_chain_is_one_piece_of_work_with_the_arguments_of_all_its_steps() -> None:
    call = job("ab bc", "A", given="abc")
    executor = Executor("A", call)

    executor.take(call.start(("a", "", "1"), ("c", "", "3"), ("b", "x", "2")))
    work = executor.work()
    assert steps(work) == "abc"
    assert arguments(work) == [("a", "", "1"), ("c", "", "3"), ("b", "x", "2")]
    assert executor.idle()


def test_an_argument_keeps_all_its_frames() -> None:
    call = job("f", "A", given="f")
    executor = Executor("A", call)
    start = call.start()._replace(
        arguments=((0, "", 2), (0, "", 1), (0, "", 0)), frames=[b"head", b"array", b"single"]
    )

    executor.take(start)
    frames = [argument.frames for argument in executor.work().arguments]
    assert frames == [[b"head", b"array"], [b"single"], []]


def test_work_runs_in_the_order_in_which_it_became_ready() -> None:
    first, second = job("f", "A", run_id="first"), job("f", "A", run_id="second")
    executor = Executor("A", first)

    executor.take(second.start(), first.start())
    assert [executor.work().run_id, executor.work().run_id] == ["second", "first"]


# a diamond on one executor


def test_a_diamond_on_one_executor_runs_from_top_to_bottom() -> None:
    call = job(DIAMOND, "AAAA")
    executor = Executor("A", call)

    executor.take(call.start())
    assert executor.waiting() == ["a"]
    assert executor.run("top") == []
    assert executor.waiting() == ["b", "c"]
    assert executor.run("left") == executor.run("right") == []
    assert executor.waiting() == ["d"]
    end = only(executor.run("end"), Deliver)

    assert text(end.frames) == "end"
    assert reports([end]) == [(1, "SUCCEEDED", [0, 1, 2, 3])]
    assert executor.holds_nothing()


def test_a_value_with_one_reader_is_handed_over_in_memory_and_others_are_packed() -> None:
    call = job(DIAMOND, "AAAA")
    executor = Executor("A", call)
    executor.take(call.start())

    top = executor.peek()
    assert top.route.keep_local == {1, 2}  # not the top: it has two readers
    executor.run("top")

    left = executor.peek()
    assert left.inputs == [packed("top")]
    executor.run("left")
    executor.run("right")
    assert executor.work().inputs == [Local("left"), Local("right")]


def test_a_join_gets_its_inputs_in_the_order_of_the_connections_not_of_their_coming() -> None:
    call = job("ab ac cd bd", "AAAA")  # c is listed before b
    executor = Executor("A", call)
    executor.take(call.start())
    executor.run("top")

    assert executor.waiting() == ["b", "c"]
    executor.run("from b")
    executor.run("from c")
    assert inputs(executor.work()) == ["from c", "from b"]


# a diamond on two executors


def test_a_diamond_on_two_executors_sends_what_is_needed_elsewhere() -> None:
    call = job(DIAMOND, "AABA")
    near, far = Executor("A", call), Executor("B", call)
    near.take(call.start())

    commands = near.run("top")
    assert triggers(commands) == [("B", 2, 0, "top")]
    assert near.run("left") == []
    assert near.idle()

    far.take(only(commands, SendTrigger).trigger)
    assert far.waiting() == ["c"]
    commands = far.run("right")
    assert triggers(commands) == [("A", 3, 1, "right")]
    assert reports(commands) == [(1, "RUNNING", [2])]
    assert far.holds_nothing()

    near.take(*[c.trigger for c in commands if isinstance(c, SendTrigger)])
    work = near.peek()
    assert (steps(work), inputs(work)) == ("d", ["left", "right"])
    assert reports(near.run("end")) == [(1, "SUCCEEDED", [0, 1, 3])]
    assert near.holds_nothing()


def test_a_value_with_one_reader_elsewhere_is_packed() -> None:
    call = job("ac bc", "ABB")
    executor = Executor("A", call)
    executor.take(call.start())

    assert executor.work().route.keep_local == frozenset()


def test_a_trigger_carries_the_context_untouched() -> None:
    call = job("ac bc", "ABB")
    executor = Executor("A", call)
    start = call.start()
    executor.take(start)

    trigger, report = executor.run("value")
    assert isinstance(trigger, SendTrigger)
    assert trigger.trigger == call.trigger("c", 0, "value")
    assert trigger.trigger.context is start.context
    assert report == Report(Finished("run", 1, RunState.RUNNING, ((0, SECONDS),)))


def test_several_readers_elsewhere_get_a_trigger_each() -> None:
    call = job("ab ac ad be ce de", "ABBCA")
    executor = Executor("A", call)
    executor.take(call.start())

    assert triggers(executor.run("v")) == [("B", 1, 0, "v"), ("B", 2, 0, "v"), ("C", 3, 0, "v")]


def test_three_sources_on_three_executors_meet_in_a_join() -> None:
    call = job("ad bd cd", "ABCB", given="ab")
    join = Executor("B", call)

    join.take(call.trigger("d", 2, "c"), call.trigger("d", 0, "a"))
    assert join.idle()
    join.take(call.start(("b", "", "1")))
    assert join.waiting() == ["b"]
    join.run("b")
    work = join.work()
    assert (inputs(work), arguments(work)) == (["a", "b", "c"], [])


def test_three_sources_on_one_executor_all_start() -> None:
    call = job("ad bd cd", "AAAA", given="b")
    executor = Executor("A", call)
    executor.take(call.start(("b", "", "1")))

    assert executor.waiting() == ["a", "b", "c"]
    assert [arguments(executor.work()) for _ in range(3)] == [[], [("b", "", "1")], []]


# arguments of a join's own


def test_a_join_with_arguments_of_its_own_waits_for_them_after_its_triggers() -> None:
    call = job("ac bc", "AAB", given="c")
    executor = Executor("B", call)

    executor.take(call.trigger("c", 0, "a"), call.trigger("c", 1, "b"))
    assert executor.idle()
    executor.take(call.start(("c", "", "own")))
    work = executor.work()
    assert (arguments(work), inputs(work)) == ([("c", "", "own")], ["a", "b"])


def test_a_join_with_arguments_of_its_own_holds_them_until_its_triggers_come() -> None:
    call = job("ac bc", "AAB", given="c")
    executor = Executor("B", call)

    executor.take(call.start(("c", "", "own")), call.trigger("c", 1, "b"))
    assert executor.idle()
    executor.take(call.trigger("c", 0, "a"))
    work = executor.work()
    assert (arguments(work), inputs(work)) == ([("c", "", "own")], ["a", "b"])


def test_a_join_without_arguments_needs_no_start() -> None:
    call = job("ac bc", "AAB", given="a")
    executor = Executor("B", call)

    executor.take(call.trigger("c", 0, "a"), call.trigger("c", 1, "b"))
    assert executor.waiting() == ["c"]


def test_arguments_for_a_later_step_of_a_segment_make_its_head_wait() -> None:
    call = job("ac bc cd", "AAB", given="d")
    executor = Executor("B", call)

    executor.take(call.trigger("c", 0, "a"), call.trigger("c", 1, "b"))
    assert executor.idle()
    executor.take(call.start(("d", "", "own")))
    work = executor.work()
    assert (steps(work), arguments(work)) == ("cd", [("d", "", "own")])


def test_one_start_serves_all_segments_of_an_executor() -> None:
    call = job(DIAMOND, "AAAA", given="abd")
    executor = Executor("A", call)
    executor.take(call.start(("a", "", "1"), ("b", "", "2"), ("d", "", "3")))

    assert executor.waiting() == ["a"]
    executor.run()
    assert executor.waiting() == ["b", "c"]
    assert arguments(executor.work()) == [("b", "", "2")]


# failure


def test_a_failure_ends_the_share_at_once() -> None:
    call = job(DIAMOND, "AAAA")
    executor = Executor("A", call)
    executor.take(call.start())
    executor.run("top")
    assert executor.waiting() == ["b", "c"]

    end = only(executor.run("it broke", failed=True), Deliver)
    assert (end.failed, text(end.frames)) == (True, "it broke")
    assert reports([end]) == [(1, "FAILED", [0, 1])]
    assert executor.idle()  # the other branch does not run for nothing
    assert executor.holds_nothing()


def test_a_failure_leaves_other_runs_alone() -> None:
    broken, sound = job(DIAMOND, "AAAA"), job("f", "A", run_id="sound")
    executor = Executor("A", broken, sound)
    executor.take(broken.start(), sound.start())

    executor.run(failed=True)
    assert executor.work().run_id == "sound"


def test_what_comes_for_a_failed_run_is_dropped() -> None:
    call = job("ac bc", "AAB", given="c")
    executor = Executor("B", call)
    executor.take(call.start(("c", "", "1")), call.trigger("c", 0, "a"), call.trigger("c", 1, "b"))
    executor.run(failed=True)

    assert executor.take(call.trigger("c", 0, "a")) == []
    assert executor.holds_nothing()


@pytest.mark.parametrize("places", ["AAAA", "AABA", "ABAB", "ABCA", "ABCD"])
def test_every_share_is_reported_exactly_once(places: str) -> None:
    call = job(DIAMOND, places, given="d")
    executors = {place: Executor(place, call) for place in places}
    told = []
    mail: list[tuple[str, Event]] = [
        (places[0], call.start()),
        (places[3], call.start(("d", "", "own"))),
    ]
    if places[0] == places[3]:
        del mail[0]

    while mail or any(executor.waiting() for executor in executors.values()):
        for to, message in mail:
            executors[to].take(message)
        mail = []
        for executor in executors.values():
            commands = executor.run("v") if executor.waiting() else []
            mail += [(c.address, c.trigger) for c in commands if isinstance(c, SendTrigger)]
            told += [(executor.state.address, *report) for report in reports(commands)]

    assert sorted(name for name, *_ in told) == sorted(set(places))
    ran = sorted(segment for *_, segments in told for segment in segments)
    assert ran == [0, 1, 2, 3]
    assert all(executor.holds_nothing() for executor in executors.values())
