"""One run: its states, its epochs' messages, and the call it was made of."""

from __future__ import annotations

import itertools

import pytest

from cloudburst.core.dag import Dag, make_steps
from cloudburst.core.messages import ENDED, SOURCES, Arguments, Call, RunState
from cloudburst.core.options import NOTHING_SAID, RunOptions
from cloudburst.core.plan import FunctionInfo, Plan, compile_dag, compile_function
from cloudburst.core.wire import unpack_context
from cloudburst.errors import (
    InvocationCancelledError,
    InvocationTimedOutError,
    ProtocolError,
    UnknownStep,
)
from cloudburst.kvs.base import RecordRun
from cloudburst.scheduler.membership import Executor
from cloudburst.scheduler.run import LONGEST_PAUSE, Run, new_run

F = FunctionInfo("f", "v1", is_class=False)
LONE = compile_function(F)
JOIN = compile_dag(
    Dag("d", make_steps([(name, "f") for name in "xyz"]), (("x", "z"), ("y", "z"))), {"f": F}
)
DEFAULTS = RunOptions(timeout=0.0, grace_period=5.0, result_ttl=60.0)
A, B, C = (Executor(name, "host", f"@{name}", order) for order, name in enumerate("abc"))


def call(
    arguments: Arguments = (),
    frames: tuple[bytes, ...] = (),
    options: RunOptions = NOTHING_SAID,
) -> Call:
    return Call(
        run_id="r1",
        target="d",
        is_dag=True,
        arguments=arguments,
        references=(),
        reply_to="@client",
        store=True,
        output_key="out",
        patience=5.0,
        options=options,
        frames=frames,
    )


def run(
    plan: Plan = LONE,
    arguments: Arguments = (),
    frames: tuple[bytes, ...] = (),
    options: RunOptions = NOTHING_SAID,
) -> Run:
    return new_run(1, "client", call(arguments, frames, options), plan, DEFAULTS)


def placed(*executors: Executor, arguments: Arguments = (), frames: tuple[bytes, ...] = ()) -> Run:
    one = run(JOIN if len(executors) > 1 else LONE, arguments, frames)
    one.placed_on, one.epoch = executors, 1
    return one


def test_a_new_run_has_not_begun() -> None:
    one = run()

    assert (one.state, one.epoch, one.deaths) == (RunState.PENDING, 0, 0)
    assert one.shares() == {}
    assert not one.recorded


def test_arguments_belong_to_steps_by_index() -> None:
    arguments = (("z", "", 1), ("x", "k", 1), ("z", "", 1))

    one = run(JOIN, arguments, (b"1", b"2", b"3"))

    assert one.arguments == ((2, "", 1), (0, "k", 1), (2, "", 1))
    assert one.given == (2, 0)


def test_what_is_for_all_sources_is_for_each_of_them() -> None:
    arguments = (("y", "", 1), (SOURCES, "", 2), ("z", "", 1))

    one = run(JOIN, arguments, (b"1", b"2", b"3", b"4"))

    assert one.arguments == ((1, "", 1), (0, "", 2), (1, "", 2), (2, "", 1))
    assert one.call.frames == [b"1", b"2", b"3", b"2", b"3", b"4"]
    assert run(JOIN, one.call.arguments, tuple(one.call.frames)).arguments == one.arguments


def test_a_lone_function_is_a_source() -> None:
    assert run(LONE, ((SOURCES, "", 1),), (b"1",)).arguments == ((0, "", 1),)


def test_what_is_for_all_sources_comes_with_its_frames() -> None:
    with pytest.raises(ProtocolError):
        run(JOIN, ((SOURCES, "", 2),), (b"1",))


def test_an_argument_of_no_step_is_the_callers_mistake() -> None:
    with pytest.raises(UnknownStep, match="'d' has no step 'q'; it has x, y, z"):
        run(JOIN, (("q", "", 1),), (b"",))


@pytest.mark.parametrize("count", [-1, 0, 2, 10**9])
def test_arguments_that_do_not_name_the_frames_are_refused(count: int) -> None:
    with pytest.raises(ProtocolError, match="run r1 came with frames"):
        run(LONE, (("f", "", count),), (b"one",))


def test_frames_of_negative_count_do_not_make_up_for_others() -> None:
    with pytest.raises(ProtocolError):
        run(LONE, (("f", "", 2), ("f", "", -1)), (b"one",))


ALLOWED = {
    (RunState.PENDING, RunState.RUNNING),
    (RunState.PENDING, RunState.FAILED),
    (RunState.PENDING, RunState.CANCELLED),
    (RunState.PENDING, RunState.TIMED_OUT),
    (RunState.RUNNING, RunState.PENDING),
    (RunState.RUNNING, RunState.CANCELLING),
    *((RunState.RUNNING, end) for end in ENDED),
    *((RunState.CANCELLING, end) for end in ENDED),
}


@pytest.mark.parametrize(
    ("before", "after"),
    [pair for pair in itertools.product(RunState, RunState) if RunState.UNKNOWN not in pair],
)
def test_states_follow_one_another_as_the_table_says(before: RunState, after: RunState) -> None:
    one = run()
    one.state = before

    if (before, after) in ALLOWED:
        one.become(after)
        assert one.state is after
    else:
        with pytest.raises(ValueError, match=f"is {before} and cannot become {after}"):
            one.become(after)
        assert one.state is before


def test_the_shares_of_a_run_are_segments_by_executor() -> None:
    assert placed(A, B, A).shares() == {A: [0, 2], B: [1]}


def test_the_context_names_each_executor_once() -> None:
    context = unpack_context(placed(A, B, A).context())

    assert context.executors == ("@a", "@b")
    assert context.places == (0, 1, 0)


def test_the_context_carries_what_the_call_asked_for() -> None:
    context = unpack_context(placed(A).context())

    assert (context.plan, context.client) == (LONE.id, "client")
    assert (context.reply_to, context.store, context.output_key) == ("@client", True, "out")
    assert (context.patience, context.ttl) == (5.0, 60.0)


def test_one_executor_gets_one_message_with_all_arguments() -> None:
    frames = (b"1", b"2", b"3")
    one = placed(A, A, A, arguments=(("z", "", 2), ("x", "", 1)), frames=frames)

    ((name, start),) = one.starts()

    assert name == "a"
    assert start.arguments == ((2, "", 2), (0, "", 1))
    assert start.frames is frames


def test_each_executor_gets_its_own_arguments() -> None:
    arguments = (("y", "", 1), ("x", "", 2), ("y", "k", 1), ("z", "", 1))
    one = placed(A, B, C, arguments=arguments, frames=(b"y", b"x1", b"x2", b"yk", b"z"))

    starts = dict(one.starts())

    assert list(starts) == ["a", "b", "c"]
    assert (starts["a"].arguments, list(starts["a"].frames)) == (((0, "", 2),), [b"x1", b"x2"])
    assert starts["b"].arguments == ((1, "", 1), (1, "k", 1))
    assert list(starts["b"].frames) == [b"y", b"yk"]
    assert (starts["c"].arguments, list(starts["c"].frames)) == (((2, "", 1),), [b"z"])
    assert len({start.context for start in starts.values()}) == 1


def test_an_executor_with_nothing_to_begin_and_no_arguments_gets_no_message() -> None:
    assert [name for name, _ in placed(A, B, C).starts()] == ["a", "b"]


# starting again


def test_a_run_is_given_back_once_without_a_pause_and_then_with_longer_ones() -> None:
    one = run()
    pauses = []
    for one.returned in range(13):
        pauses.append(one.pause)

    assert pauses[:5] == [0.0, 0.0, 0.1, 0.2, 0.4]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE


def test_user_code_that_raised_is_never_tried_again_at_once() -> None:
    one = run()
    pauses = []
    for one.raised in range(1, 5):
        pauses.append(one.pause)

    assert pauses == [0.1, 0.2, 0.4, 0.8]


def test_the_longer_of_two_pauses_is_made() -> None:
    one = run()
    one.raised, one.returned = 1, 5
    assert one.pause == 0.8

    one.raised = 7
    assert one.pause == 6.4


@pytest.mark.parametrize("count", [50, 10**9])
def test_no_pause_is_too_long_to_compute(count: int) -> None:
    one = run()
    one.raised = count

    assert one.pause == LONGEST_PAUSE


@pytest.mark.parametrize(
    ("max_retries", "raised", "retried"),
    [(-1, 0, False), (0, 0, False), (1, 0, True), (1, 1, False), (3, 2, True), (3, 3, False)],
)
def test_executors_are_told_whether_an_exception_is_the_end(
    max_retries: int, raised: int, retried: bool
) -> None:
    one = run(options=RunOptions(max_retries=max_retries))
    one.placed_on, one.raised = (A,), raised

    assert unpack_context(one.context()).retried is retried


# what is said of it


def test_the_record_says_how_the_run_stands() -> None:
    one = placed(A, B, C)
    one.become(RunState.RUNNING)

    assert one.record(call=b"packed", reason="why") == RecordRun(
        "r1", "RUNNING", 1, "d", "c", "why", b"packed", ttl=0.0
    )


def test_the_result_lives_as_long_as_the_call_asks_and_an_open_record_longer() -> None:
    """Of a run that has not ended, nothing may expire: who would start it again?"""
    one = run(options=RunOptions(result_ttl=5.0))

    assert one.record().ttl == 0.0
    assert unpack_context(one.context()).ttl == 5.0


def test_a_call_that_says_nothing_gets_the_defaults() -> None:
    assert run().options == DEFAULTS
    assert run(options=RunOptions(timeout=1.5)).options == RunOptions(1.5, -1, 5.0, 60.0)


def test_who_waits_is_told_why_a_run_was_stopped() -> None:
    one = run(options=RunOptions(timeout=1.5))

    cancelled = one.stop_error(RunState.CANCELLED)
    assert isinstance(cancelled, InvocationCancelledError)
    assert str(cancelled) == "run r1 of 'd' was cancelled"
    late = one.stop_error(RunState.TIMED_OUT)
    assert isinstance(late, InvocationTimedOutError)
    assert str(late) == "run r1 of 'd' took longer than its 1.5 seconds"


def test_who_waits_is_told_how_often_executors_died() -> None:
    one = run()
    one.deaths = 1
    assert "its executor died 1 time, the last time executor a: signal 9" in str(
        one.death_error("a", "signal 9")
    )

    one.deaths = 2
    assert "died 2 times" in str(one.death_error("a", "signal 9"))
