"""What cannot be started is refused before any process is."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cloudburst import launch
from cloudburst.cli import main
from cloudburst.config import MAX_EXECUTORS
from cloudburst.errors import SerializationError, UsageError
from cloudburst.launch import OwnedCluster
from cloudburst.local import LocalCluster
from cloudburst.serialization import pack, pack_function


@pytest.fixture(autouse=True)
def starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(launch, "_start_supervisor", start)


@pytest.mark.parametrize(
    "executors", ["2", 2.0, 0, -1, True, math.nan, [2], MAX_EXECUTORS + 1], ids=repr
)
def test_executors_are_a_number_of_them(executors: Any) -> None:
    with pytest.raises(UsageError, match=r"a cluster has 1 to 10,000 executors, not "):
        LocalCluster(executors)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"kvs": 5}, "the URL of the key-value store is a string, not 5"),
        ({"data_dir": 5}, "data_dir is a folder, not 5"),
        ({"data_dir": "a\0b"}, "data_dir is a folder, not 'a"),
        ({"data_dir": "/d", "kvs": "redis://h"}, "keeps its data itself"),
        ({"appendfsync": "sometimes"}, "appendfsync is one of always, everysec, no, not"),
        ({"appendfsync": []}, "appendfsync is one of always, everysec, no, not"),
    ],
    ids=repr,
)
def test_other_arguments_are_checked_too(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        LocalCluster(1, **arguments)


def test_a_log_level_that_there_is_not_is_said_to_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLOUDBURST_LOG", "loud")

    with pytest.raises(UsageError, match=r"CLOUDBURST_LOG is one of DEBUG, .*, not 'loud'"):
        LocalCluster(1)


def test_a_log_level_that_there_is_not_ends_a_command_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CLOUDBURST_LOG", "loud")

    assert main(["scheduler", "--kvs", "redis://h"]) == 1
    assert caplog.messages == [
        "CLOUDBURST_LOG is one of DEBUG, INFO, WARNING, ERROR, CRITICAL, not 'loud'"
    ]


def test_a_cluster_is_not_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_start_supervisor", lambda _: OwnedCluster("ipc:///nowhere"))
    cluster = LocalCluster(1)

    with pytest.raises(SerializationError, match=r"^the value cannot be pickled: it is a cluster"):
        pack(cluster, "the value")
    with pytest.raises(SerializationError, match=r"'f' -> closure 'cluster' is a cluster"):
        pack_function(lambda _: cluster.address, "f")
