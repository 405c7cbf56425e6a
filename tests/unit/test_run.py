"""One run: its states, its epochs' messages, and the call it was made of."""

from __future__ import annotations

import itertools

import pytest

from cloudburst.core.dag import Dag, make_steps
from cloudburst.core.messages import Arguments, Call, RunState
from cloudburst.core.plan import FunctionInfo, Plan, compile_dag, compile_function
from cloudburst.core.wire import unpack_context
from cloudburst.errors import ProtocolError, UnknownStep
from cloudburst.scheduler.membership import Executor
from cloudburst.scheduler.run import Run, new_run

F = FunctionInfo("f", "v1", is_class=False)
LONE = compile_function(F)
JOIN = compile_dag(
    Dag("d", make_steps([(name, "f") for name in "xyz"]), (("x", "z"), ("y", "z"))), {"f": F}
)
A, B, C = (Executor(name, "host", f"@{name}", order) for order, name in enumerate("abc"))


def call(arguments: Arguments = (), frames: tuple[bytes, ...] = ()) -> Call:
    return Call(
        run_id="r1",
        target="d",
        is_dag=True,
        arguments=arguments,
        references=(),
        reply_to="@client",
        store=True,
        output_key="out",
        timeout=5.0,
        frames=frames,
    )


def run(plan: Plan = LONE, arguments: Arguments = (), frames: tuple[bytes, ...] = ()) -> Run:
    return new_run(1, "client", call(arguments, frames), plan)


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
    (RunState.RUNNING, RunState.PENDING),
    (RunState.RUNNING, RunState.SUCCEEDED),
    (RunState.RUNNING, RunState.FAILED),
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
    context = unpack_context(placed(A, B, A).context(60.0))

    assert context.executors == ("@a", "@b")
    assert context.places == (0, 1, 0)


def test_the_context_carries_what_the_call_asked_for() -> None:
    context = unpack_context(placed(A).context(60.0))

    assert (context.plan, context.client) == (LONE.id, "client")
    assert (context.reply_to, context.store, context.output_key) == ("@client", True, "out")
    assert (context.timeout, context.ttl) == (5.0, 60.0)


def test_one_executor_gets_one_message_with_all_arguments() -> None:
    frames = (b"1", b"2", b"3")
    one = placed(A, A, A, arguments=(("z", "", 2), ("x", "", 1)), frames=frames)

    ((name, start),) = one.starts(60.0)

    assert name == "a"
    assert start.arguments == ((2, "", 2), (0, "", 1))
    assert start.frames is frames


def test_each_executor_gets_its_own_arguments() -> None:
    arguments = (("y", "", 1), ("x", "", 2), ("y", "k", 1), ("z", "", 1))
    one = placed(A, B, C, arguments=arguments, frames=(b"y", b"x1", b"x2", b"yk", b"z"))

    starts = dict(one.starts(60.0))

    assert list(starts) == ["a", "b", "c"]
    assert (starts["a"].arguments, list(starts["a"].frames)) == (((0, "", 2),), [b"x1", b"x2"])
    assert starts["b"].arguments == ((1, "", 1), (1, "k", 1))
    assert list(starts["b"].frames) == [b"y", b"yk"]
    assert (starts["c"].arguments, list(starts["c"].frames)) == (((2, "", 1),), [b"z"])
    assert len({start.context for start in starts.values()}) == 1


def test_an_executor_with_nothing_to_begin_and_no_arguments_gets_no_message() -> None:
    assert [name for name, _ in placed(A, B, C).starts(60.0)] == ["a", "b"]
