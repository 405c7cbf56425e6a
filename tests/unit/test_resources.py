"""What hosts have that functions may need: how it is said, and how it travels."""

from __future__ import annotations

from typing import Any

import pytest

from cloudburst import cli, launch
from cloudburst.cli import main
from cloudburst.config import ExecutorConfig, HostConfig, LocalConfig, resources_in
from cloudburst.core.hosts import Heartbeat, PoolSize
from cloudburst.core.messages import PROTOCOL, ExecutorReady, Message
from cloudburst.core.wire import decode, encode
from cloudburst.errors import InvalidName, UsageError
from cloudburst.executor import host, server
from cloudburst.launch import OwnedCluster
from cloudburst.local import LocalCluster
from cloudburst.scheduler.membership import Membership


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        (" , ,", ()),
        ("gpu", ("gpu",)),
        ("gpu,ssd", ("gpu", "ssd")),
        (" ssd , gpu ,", ("ssd", "gpu")),
        ("gpu,ssd,gpu", ("gpu", "ssd")),
        ("a100-80GB_v2.1", ("a100-80GB_v2.1",)),
    ],
)
def test_resources_are_names_with_commas_between(text: str, names: tuple[str, ...]) -> None:
    assert resources_in(text) == names


@pytest.mark.parametrize("text", ["two words", "gpu,a/b", "gpu;ssd", "é" * 300])
def test_what_cannot_be_a_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidName, match="resource"):
        resources_in(text)


# messages


@pytest.mark.parametrize("resources", [(), ("gpu",), ("gpu", "ssd")])
def test_hosts_and_executors_say_what_they_have(resources: tuple[str, ...]) -> None:
    messages: list[Message] = [
        Heartbeat(PROTOCOL, "h", ("h.1",), 1, 2, 3, 4.0, resources),
        ExecutorReady(PROTOCOL, "h.1", "h", "@h.1", 5, (("r1", 2),), resources),
    ]
    for message in messages:
        assert decode(encode(message)) == message


def test_the_size_of_a_host_is_what_it_was() -> None:
    assert Heartbeat(PROTOCOL, "h", (), 1, 2, 3, 4.0, ("gpu",)).size == PoolSize(1, 2, 3, 4.0)


def test_what_there_is_in_a_cluster_is_what_its_hosts_have_now() -> None:
    members = Membership(timeout=3.0)

    def beat(name: str, *resources: str, now: float = 0.0) -> None:
        members.heartbeat(Heartbeat(PROTOCOL, name, (), 1, 1, 1, 1.0, resources), now)

    beat("one", "gpu", "ssd")
    beat("two", "gpu")
    assert members.resources() == {"gpu", "ssd"}
    beat("one", "gpu")
    assert members.resources() == {"gpu"}
    beat("three", "tpu", now=2.0)
    members.silent(3.0)
    assert members.resources() == {"tpu"}


# flags and arguments


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The configurations with which processes were to be started."""
    configs: list[Any] = []

    def note(config: object, *_: object) -> None:
        configs.append(config)

    def start(config: LocalConfig) -> OwnedCluster:
        configs.append(config)
        raise UsageError("this is enough")

    monkeypatch.setattr(cli, "configure_logging", lambda *_: None)
    monkeypatch.setattr(host, "main", note)
    monkeypatch.setattr(server, "main", note)
    monkeypatch.setattr(launch, "_start_supervisor", start)
    return configs


HOST = ["host", "--scheduler", "tcp://s", "--kvs", "redis://k", "--bind", "tcp://h"]
EXECUTOR = ["executor", "--name", "e", "--host", "h", *HOST[1:]]


@pytest.mark.parametrize("command", [HOST, EXECUTOR])
def test_a_host_and_an_executor_are_told_of_them(told: list[Any], command: list[str]) -> None:
    main(command)
    main([*command, "--resources", "gpu, ssd"])

    assert [config.resources for config in told] == ["", "gpu, ssd"]


def test_a_configuration_that_is_given_at_once_has_its_own(told: list[Any]) -> None:
    config = HostConfig("tcp://s", "redis://k", "tcp://h", 1, resources="gpu")
    main(["host", "--config", config.to_json()])
    alone = ExecutorConfig("e", "h", "tcp://s", "redis://k", "tcp://h", resources="ssd")
    main(["executor", "--config", alone.to_json()])

    assert told == [config, alone]


@pytest.mark.parametrize(
    ("said", "resources"), [(None, ""), ("gpu", "gpu"), (" ssd,gpu ", "ssd,gpu")]
)
def test_a_local_cluster_is_told_of_them(
    told: list[Any],
    caplog: pytest.LogCaptureFixture,
    said: str | None,
    resources: str,
) -> None:
    flags = [] if said is None else ["--resources", said]

    assert main(["up", *flags]) == 1
    assert caplog.messages == ["this is enough"]
    assert [config.resources for config in told] == [resources]


@pytest.mark.parametrize(
    ("said", "resources"),
    [
        ((), ""),
        ("gpu", "gpu"),
        (["gpu", "ssd"], "gpu,ssd"),
        (("gpu", "gpu"), "gpu"),
        ("a, b", "a,b"),
    ],
)
def test_a_local_cluster_takes_a_list_or_a_text(told: list[Any], said: Any, resources: str) -> None:
    with pytest.raises(UsageError, match="this is enough"):
        LocalCluster(1, resources=said)

    assert [config.resources for config in told] == [resources]


@pytest.mark.parametrize("said", [5, None, {"gpu"}, {"gpu": 1}, ["gpu", 5], b"gpu", [["gpu"]]])
def test_a_local_cluster_takes_nothing_else(told: list[Any], said: Any) -> None:
    with pytest.raises(UsageError, match="resources is a list of names, not"):
        LocalCluster(1, resources=said)

    assert told == []


def test_names_are_checked_before_a_process_is_started(
    told: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidName, match="two words"):
        LocalCluster(1, resources=["gpu", "two words"])
    assert main(["up", "--resources", "two words"]) == 1

    assert "two words" in caplog.messages[0]
    assert told == []
