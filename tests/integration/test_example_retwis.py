"""The Twitter example: it runs as a user runs it, and would notice what it says did not happen."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from example_scripts import run_example

from cloudburst import CloudburstConnection, LocalCluster


@pytest.fixture
def cloud(run_dir: Path) -> Iterator[CloudburstConnection]:
    with LocalCluster(min=1, max=4) as cluster, cluster.connect() as connection:
        yield connection


def session_of(example: ModuleType, operations: Any, user: str = "ada") -> Any:
    return example.Session(operations, user, ["ada", "grace"], seed=0)


def said(post_id: str, reply_to: str | None = None) -> dict[str, Any]:
    return {"id": post_id, "text": "", "time": 0.0, "reply_to": reply_to}


def test_runs_as_a_script_and_counts_what_was_done() -> None:
    printed = run_example("retwis", "--users", "3", "--actions", "12")

    calls = {}
    for operation in ("post", "follow", "timeline"):
        row = re.search(rf"^{operation} +(\d+) +\d+\.\d+$", printed, re.MULTILINE)
        assert row is not None
        calls[operation] = int(row[1])
    assert calls["timeline"] == 3 * 13
    assert calls["post"] + calls["follow"] == 3 * 12
    posts = calls["post"]
    assert re.search(rf"^{posts} posts, \d+ of them replies; 3 users$", printed, re.MULTILINE)
    assert re.search(r"^75 calls in \d+\.\d+ s: \d+ calls per second$", printed, re.MULTILINE)
    assert "no anomaly: nobody saw a reply before its post, and nothing was lost" in printed


def test_users_at_the_same_time_lose_nothing_and_see_nothing_wrong(
    example: ModuleType, cloud: CloudburstConnection
) -> None:
    sessions = example.use(example.deploy(cloud), ["ada", "grace", "john"], actions=10, seed=5)

    assert [session.anomalies for session in sessions] == [[], [], []]
    assert example.lost(cloud, sessions) == []
    assert sum(s.posted + len(s.seconds["follow"]) for s in sessions) == 3 * 10


def test_reply_is_shown_after_a_post_of_somebody_whom_one_does_not_follow(
    example: ModuleType, cloud: CloudburstConnection
) -> None:
    operations = example.deploy(cloud)
    tomorrow = time.time() + 24 * 3600
    cloud.put_object("post/tony/0", said("tony/0") | {"time": tomorrow})  # by a wrong clock
    grace = session_of(example, operations, "grace")
    grace.post("yes", "tony/0")
    ada = session_of(example, operations)
    assert ada.read() == []

    ada.follow("grace")

    assert [post["id"] for post in ada.read()] == ["tony/0", "grace/0"]
    assert ada.anomalies == []


def test_timeline_is_the_newest_posts(example: ModuleType, cloud: CloudburstConnection) -> None:
    operations = example.deploy(cloud)
    for number in range(example.TIMELINE + 3):
        cloud.put_object(f"post/ada/{number}", said(f"ada/{number}") | {"time": float(number)})
    cloud.put_object("count/ada", example.TIMELINE + 3)

    shown = operations["timeline"]("ada")

    assert [post["id"] for post in shown] == [f"ada/{n}" for n in range(3, example.TIMELINE + 3)]


def test_call_that_is_executed_twice_changes_nothing(
    example: ModuleType, cloud: CloudburstConnection
) -> None:
    operations = example.deploy(cloud)
    for _ in range(2):
        operations["post"]("ada", 0, "hello")
        operations["follow"]("ada", "grace")

    assert [post["id"] for post in operations["timeline"]("ada")] == ["ada/0"]
    assert cloud.get_object("following/ada") == ["grace"]


def test_what_was_lost_is_named(example: ModuleType, cloud: CloudburstConnection) -> None:
    ada = session_of(example, example.deploy(cloud))
    for text in ("one", "two"):
        ada.post(text)
    ada.follow("grace")
    assert example.lost(cloud, [ada]) == []

    cloud.delete_object("post/ada/0")
    assert example.lost(cloud, [ada]) == ["post ada/0"]
    cloud.put_object("count/ada", 1)
    cloud.put_object("following/ada", [])
    assert example.lost(cloud, [ada]) == [
        "the count of ada's posts",
        "post ada/0",
        "whom ada follows",
    ]


@pytest.mark.parametrize(
    "timeline",
    [
        [said("john/0", reply_to="grace/0")],
        [said("john/0", reply_to="grace/0"), said("grace/0")],
    ],
)
def test_reply_that_is_seen_before_its_post_is_an_anomaly(
    example: ModuleType, timeline: list[dict[str, Any]]
) -> None:
    ada = session_of(example, {"timeline": lambda user: timeline})

    ada.read()

    assert ada.anomalies == ["ada saw john/0, and no grace/0"]


def test_post_may_have_been_seen_earlier_in_the_session(example: ModuleType) -> None:
    timelines = [[said("grace/0")], [said("john/0", reply_to="grace/0")]]
    ada = session_of(example, {"timeline": lambda user: timelines.pop(0)})

    ada.read()
    ada.read()

    assert ada.anomalies == []
    assert ada.seen == {"grace/0", "john/0"}
