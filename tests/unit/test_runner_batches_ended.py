"""Batches whose code is interrupted, or whose calls are cancelled."""

from __future__ import annotations

from typing import Any

import pytest
from running import Stage, given

from cloudburst.core.messages import HandBack, Result, RunState, Stop
from cloudburst.core.options import Batch
from cloudburst.errors import CallerEnded, InvocationCancelledError
from cloudburst.executor.events import Deliver, Done, Ending, Report
from cloudburst.executor.library import UserLibrary
from cloudburst.kvs import keys
from cloudburst.kvs.base import Get
from cloudburst.serialization import pack_cluster_failure

MANY = Batch(8, 0.0)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def interrupted_by(stage: Stage, *run_ids: str) -> None:
    """Whoever waits for something is interrupted, because these runs have ended."""

    def come(_: float) -> bool:
        for run_id in run_ids:
            stage.state.handle(Stop(run_id, 1, RunState.CANCELLED))
        stage.doorbell.ring(run_ids[-1], RunState.CANCELLED)
        stage.doorbell.raise_if_rung()
        return True

    stage.waits = come


def wait(library: UserLibrary, *lists: list[Any]) -> list[Any]:
    """Waits for a message, and says that it was called at all."""
    library.put("called-with-" + "-".join(map(str, lists[0])), 1)
    library.recv(timeout=1.0)
    return lists[0]


def wait_and_make_do(library: UserLibrary, *lists: list[Any]) -> list[Any]:
    library.put("called-with-" + "-".join(map(str, lists[0])), 1)
    try:
        library.recv(timeout=1.0)
    except InvocationCancelledError:
        return lists[0]
    return []


def was_called(stage: Stage, name: str) -> bool:
    (blob,) = stage.memory.execute([Get(keys.object_key(f"called-with-{name}"))])
    return blob is not None


def test_a_batch_that_is_interrupted_is_over(stage: Stage) -> None:
    stage.register(MANY, f=wait)
    interrupted_by(stage, *stage.begin(stage.lone("f"), given(1), given(2)))

    assert stage.ends() == {}
    assert stage.state.holds() == ()


@pytest.mark.parametrize("code", [wait, wait_and_make_do])
def test_what_it_had_not_called_by_then_is_not_called(stage: Stage, code: Any) -> None:
    stage.register(MANY, f=code)
    interrupted_by(stage, *stage.begin(stage.lone("f"), given(1), given(2, 3), given(4)))
    assert stage.ends() == {}

    assert was_called(stage, "1-4")
    assert not was_called(stage, "2")


def test_the_next_batch_is_not_interrupted_with_it(stage: Stage) -> None:
    stage.register(MANY, f=wait)
    interrupted_by(stage, *stage.begin(stage.lone("f"), given(1)))
    stage.ends()
    stage.waits = lambda _: False

    stage.begin(stage.lone("f"), given(5), given(6, 7))
    assert stage.outcomes() == [5, 6]


# calls of a batch are those of its first run


def cancelled_by(stage: Stage, *calls: int) -> None:
    """Of all calls that are made those with these numbers are cancelled, with who has made them."""
    link = stage.nested._link
    made: dict[str, int] = {}

    def come(_: float) -> bool:
        for future in stage.nested._futures:
            number = made.setdefault(future.obj_id, len(made))
            error = CallerEnded("it has ended") if number in calls else ValueError("other")
            frames = pack_cluster_failure(error)  # type: ignore[arg-type]
            link.put(Result(future.obj_id, 1, failed=True, frames=frames))
        return True

    stage.waits = come
    link._waiting = stage.post._waiting


def ask(library: UserLibrary, *lists: list[Any]) -> list[Any]:
    try:
        library.call("other").get()
    except ValueError:
        return lists[0]
    raise AssertionError


def told(stage: Stage, dones: list[Done]) -> list[object]:
    """What is said of each run."""
    commands = [command for done in dones for command in stage.state.handle(done)]
    return [c.message if isinstance(c, Report) else c for c in commands]


def test_all_runs_whose_code_has_made_them_start_again(stage: Stage) -> None:
    stage.register(MANY, f=ask)
    cancelled_by(stage, 0)
    first, second = stage.begin(stage.lone("f"), given(1), given(2))
    stage.state.next_work(0.0)
    stage.state.ready.works.extend(stage.state.running)
    stage.state.running = ()
    dones = stage.batch()
    assert [done.ending is Ending.ABANDONED for done in dones] == [True, True]

    stage.state.handle(Stop(first, 1, RunState.CANCELLED))
    (back,) = told(stage, dones)
    assert back == HandBack(second, 1, raised=False, reason="calls of its batch were cancelled")


@pytest.mark.parametrize("cancelled", [0, 1])
def test_but_not_those_whose_code_was_called_by_itself(stage: Stage, cancelled: int) -> None:
    stage.register(MANY, f=ask)
    cancelled_by(stage, cancelled)
    ids = stage.begin(stage.lone("f"), given(1), given(2, 3))
    dones = stage.batch()

    assert [done.ending is Ending.ABANDONED for done in dones] == [cancelled == 0, cancelled == 1]
    said = told(stage, dones)
    assert isinstance(said[1 - cancelled], Deliver)
    back = said[cancelled]
    assert isinstance(back, HandBack)
    assert back.run_id == ids[cancelled]
