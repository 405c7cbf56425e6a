"""Steps that run on the same executor because the DAG says so."""

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from cloudburst import CloudburstConnection, DagError, UserLibrary

SOON = 30.0
"""Seconds within which every end has to come."""

EXECUTORS = 3
"""An executor for each branch."""

SIDES = ["left", "right", "third"]


def where(library: UserLibrary, *before: dict[str, int]) -> dict[str, int]:
    """The process of each step up to here. Long enough that branches have one each."""
    time.sleep(0.02)
    found = {name: pid for item in before for name, pid in item.items()}
    return found | {library.step: os.getpid()}


Run = Callable[..., list[dict[str, int]]]


@pytest.fixture
def processes(connection: CloudburstConnection) -> Run:
    """Runs a DAG of three branches, again and again, and says where its steps have run."""
    connection.register(where, "where")
    names = ["top", *SIDES, "bottom"]
    edges = [("top", side) for side in SIDES] + [(side, "bottom") for side in SIDES]

    def run(colocated: Any = (), times: int = 10) -> list[dict[str, int]]:
        steps = [(name, "where") for name in names]
        assert connection.register_dag("d", steps, edges, colocated=colocated)
        return [connection.call_dag("d", {}).get(SOON) for _ in range(times)]

    return run


def test_branches_spread_if_nothing_is_said(processes: Run) -> None:
    assert max(len({found[side] for side in SIDES}) for found in processes()) == 3


def test_branches_that_are_colocated_run_in_one_process(processes: Run) -> None:
    found = processes(["left", "right"])

    assert all(pids["left"] == pids["right"] for pids in found)
    assert any(pids["left"] != pids["third"] for pids in found)


def test_steps_that_follow_one_another_at_a_distance(processes: Run) -> None:
    for found in processes(["top", "third", "bottom"]):
        assert found["top"] == found["third"] == found["bottom"]


def test_there_may_be_several_groups(processes: Run) -> None:
    for found in processes([["left", "right"], ["top", "third"]]):
        assert found["left"] == found["right"]
        assert found["top"] == found["third"]


def test_colocated_sources_start_together(connection: CloudburstConnection) -> None:
    connection.register(where, "where")
    steps = [(name, "where") for name in ("a", "b", "c", "end")]
    edges = [(name, "end") for name in "abc"]
    assert connection.register_dag("d", steps, edges, colocated=["a", "b"])

    for _ in range(10):
        found = connection.call_dag("d", {}).get(SOON)
        assert found["a"] == found["b"]


def test_what_is_colocated_belongs_to_the_shape_of_the_dag(
    connection: CloudburstConnection,
) -> None:
    connection.register(where, "where")
    steps = [("a", "where"), ("b", "where")]
    assert connection.register_dag("d", steps, [("a", "b")], colocated=["a", "b"])

    with pytest.warns(UserWarning, match="another DAG is registered as 'd'"):
        assert not connection.register_dag("d", steps, [("a", "b")])


@pytest.mark.parametrize(
    ("colocated", "reason"),
    [
        (["top", "lfet"], "'lfet', in colocated, is not a step; did you mean"),
        ("top", "colocated is a list of step names, not 'top'"),
        (5, "colocated is a list of step names, not 5"),
        ([["top", "left"], ["left", "right"]], "'left' is in colocated twice"),
    ],
)
def test_only_steps_can_be_colocated(
    connection: CloudburstConnection, colocated: Any, reason: str
) -> None:
    connection.register(where, "where")
    steps = [(name, "where") for name in ("top", "left", "right")]
    edges = [("top", "left"), ("left", "right")]

    with pytest.raises(DagError, match=reason):
        connection.check_dag(steps, edges, colocated=colocated)
    with pytest.warns(UserWarning, match=reason):
        assert not connection.register_dag("d", steps, edges, colocated=colocated)
