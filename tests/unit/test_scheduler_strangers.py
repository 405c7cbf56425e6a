"""Executors and hosts speak for themselves, and nobody else does."""

from __future__ import annotations

import pytest
from scheduling import Cluster, started

from cloudburst.core.hosts import Draining, ExecutorDied, Heartbeat
from cloudburst.core.messages import (
    PROTOCOL,
    ExecutorReady,
    Finished,
    Message,
    RunState,
    Standing,
    Yield,
)


@pytest.mark.parametrize(
    "message",
    [
        ExecutorReady(PROTOCOL, "nobody", "host", "@nobody", 1, ()),
        ExecutorReady(PROTOCOL, "nobody", "stranger", "@nobody", 1, ()),
        Heartbeat(PROTOCOL, "host", (), 1, 1, 1, 30.0),
        ExecutorDied("host", "a", "killed by signal 9", "r1"),
        Draining("host"),
        Finished("r1", 1, RunState.SUCCEEDED, ()),
        Yield("r1", 1),
        Standing("r1", 1, active=False),
    ],
)
def test_what_a_stranger_says_in_their_name_changes_nothing(
    cluster: Cluster, message: Message
) -> None:
    cluster.call("r1")
    for _ in range(3):
        assert cluster.tell("stranger", message) == []

    assert [*cluster.state.members.executors] == ["a", "b"]
    assert cluster.runs["r1"].state is RunState.RUNNING
    assert [*started(cluster.call("r2"))]
    cluster.state.validate()
