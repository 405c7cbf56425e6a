"""Steps whose calls were cancelled because their run goes on without them."""

from __future__ import annotations

from typing import Any

import pytest
from running import Stage

from cloudburst.core.messages import Finished, Result, RunState
from cloudburst.errors import CallerEnded, CloudburstError, InvocationCancelledError
from cloudburst.executor.events import Done, Ending, Report
from cloudburst.serialization import pack_cluster_failure


@pytest.fixture
def stage() -> Stage:
    return Stage()


def ran(stage: Stage, name: str) -> Done:
    """What comes of a call of a function, as the state is told."""
    stage.start(stage.lone(name))
    return stage.next()


def answered_by(stage: Stage, error: CloudburstError) -> None:
    """Every call ends with that error as soon as somebody waits for it."""
    calls = stage.nested
    link = calls._link

    def come(_: float) -> bool:
        for future in calls._futures:
            link.put(Result(future.obj_id, 1, failed=True, frames=pack_cluster_failure(error)))
        return True

    stage.waits = come
    link._waiting = stage.post._waiting


def ask(library: Any) -> Any:
    return library.call("other").get()


def ask_and_make_do(library: Any) -> str:
    try:
        return str(library.call("other").get())
    except InvocationCancelledError:
        return "a value that means nothing"


@pytest.mark.parametrize("code", [ask, ask_and_make_do])
def test_whatever_the_code_makes_of_it_means_nothing(stage: Stage, code: Any) -> None:
    answered_by(stage, CallerEnded("it starts again"))
    stage.register(f=code)

    assert ran(stage, "f").ending is Ending.ABANDONED


def test_a_call_that_somebody_cancelled_is_the_codes_own_affair(stage: Stage) -> None:
    answered_by(stage, InvocationCancelledError("somebody did not want it"))
    stage.register(f=ask_and_make_do)

    done = ran(stage, "f")

    assert done.ending is Ending.SUCCEEDED


def test_the_next_step_is_not_abandoned_with_it(stage: Stage) -> None:
    answered_by(stage, CallerEnded("it starts again"))
    stage.register(f=ask, g=lambda _: 1)

    assert ran(stage, "f").ending is Ending.ABANDONED
    assert ran(stage, "g").ending is not Ending.ABANDONED


def test_the_share_is_over_and_the_run_is_not(stage: Stage) -> None:
    answered_by(stage, CallerEnded("it starts again"))
    stage.register(f=ask_and_make_do)
    done = ran(stage, "f")

    (report,) = stage.state.handle(done)

    run_id, epoch = done.work.run_id, done.work.epoch
    assert report == Report(Finished(run_id, epoch, RunState.RUNNING, ()))
    assert not stage.state.shares
