"""What processes are told at their start, and how it travels there."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from cloudburst import config
from cloudburst.config import (
    EXECUTORS_PER_CORE,
    MAX_BLOCKED,
    ExecutorConfig,
    HostConfig,
    LocalConfig,
    SchedulerConfig,
    cache_memory,
    default_executors,
    executor_memory,
    executor_range,
    log_level,
    run_root,
    usable_cores,
)
from cloudburst.errors import UsageError

CONFIGS = [
    SchedulerConfig(address="tcp://0.0.0.0:7480", kvs_url="redis://kvs"),
    HostConfig(scheduler="ipc:///s", kvs_url="unix:///k", bind="ipc:///d", min_executors=3),
    ExecutorConfig("e-1", "host", "ipc:///s", "unix:///k", "ipc:///d"),
    LocalConfig(directory="/run/dir with spaces/é", min_executors=2, shared=True),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_a_configuration_travels_as_one_line(config: SchedulerConfig) -> None:
    line = config.to_json()

    assert "\n" not in line
    assert type(config).from_json(line) == config


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_a_configuration_does_not_change(config: SchedulerConfig) -> None:
    with pytest.raises(AttributeError):
        config.kvs_url = "other"  # type: ignore[misc]


def test_fields_that_are_not_given_have_their_defaults() -> None:
    config = SchedulerConfig.from_json('{"address": "ipc:///a", "kvs_url": "redis://b"}')

    assert (config.max_waiting, config.host_timeout, config.result_ttl) == (10_000, 3.0, 86_400.0)


@pytest.mark.parametrize("text", ["", "{", "not json", '{"address": }'])
def test_text_that_is_not_json(text: str) -> None:
    with pytest.raises(UsageError, match="not JSON"):
        SchedulerConfig.from_json(text)


@pytest.mark.parametrize("text", ["[]", "null", "5", '"text"', '["address"]'])
def test_json_that_is_not_an_object(text: str) -> None:
    with pytest.raises(UsageError, match="is a JSON object, not"):
        SchedulerConfig.from_json(text)


def test_unknown_fields_are_named() -> None:
    text = json.dumps({"address": "a", "kvs_url": "k", "adress": "b", "x": 1})

    with pytest.raises(UsageError, match="SchedulerConfig has no adress, x"):
        SchedulerConfig.from_json(text)


def test_missing_fields_are_named() -> None:
    with pytest.raises(UsageError, match="HostConfig needs bind, kvs_url, min_executors"):
        HostConfig.from_json('{"scheduler": "ipc:///s"}')


def test_there_are_at_least_two_executors() -> None:
    assert default_executors() == max(2, usable_cores())
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_by_default_a_cluster_grows_with_the_cores() -> None:
    least, most = executor_range(None)

    assert least == default_executors()
    assert most == max(least, EXECUTORS_PER_CORE * usable_cores())


def test_a_number_is_both_least_and_most() -> None:
    assert executor_range(5) == (5, 5)


def test_a_range_is_taken_as_it_is() -> None:
    assert executor_range(None, 2, 16) == (2, 16)
    assert executor_range(None, 3, 3) == (3, 3)


def test_what_is_not_said_of_a_range_fits_the_rest() -> None:
    assert executor_range(None, most=1) == (1, 1)
    assert executor_range(None, least=9999) == (9999, 9999)
    assert executor_range(None, most=10_000) == (default_executors(), 10_000)


@pytest.mark.parametrize("wrong", [0, -1, 10_001, 2.0, "2", True])
def test_a_cluster_has_a_sensible_number_of_executors(wrong: int) -> None:
    for given in ((wrong, None, None), (None, wrong, None), (None, None, wrong)):
        with pytest.raises(UsageError, match=rf"has 1 to 10,000 executors, not {wrong!r}"):
            executor_range(*given)


def test_there_are_not_more_at_least_than_at_most() -> None:
    with pytest.raises(UsageError, match="at least 3 executors cannot be had with at most 2"):
        executor_range(None, 3, 2)


@pytest.mark.parametrize("bounds", [(2, None), (None, 2), (2, 2)])
def test_either_a_number_or_a_range(bounds: tuple[int | None, int | None]) -> None:
    with pytest.raises(UsageError, match="not both"):
        executor_range(2, *bounds)


def test_a_host_that_is_told_no_maximum_stays_at_its_minimum() -> None:
    host = HostConfig(scheduler="ipc:///s", kvs_url="unix:///k", bind="ipc:///d", min_executors=3)
    assert (host.most, host.ceiling) == (3, 3 + MAX_BLOCKED)

    elastic = dataclasses.replace(host, max_executors=7)
    assert (elastic.most, elastic.ceiling) == (7, 7 + MAX_BLOCKED)


def test_an_executor_binds_a_socket_of_its_name_or_a_free_port() -> None:
    executor = ExecutorConfig("h.1", "h", "ipc:///s", "unix:///k", "ipc:///d")
    assert executor.own_address == "ipc:///d/h.1"

    far = dataclasses.replace(executor, bind="tcp://[::1]")
    assert far.own_address == "tcp://[::1]:*"


def test_the_folder_of_clusters_can_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDBURST_RUN_DIR", "/elsewhere")
    assert run_root() == Path("/elsewhere")

    monkeypatch.setenv("CLOUDBURST_RUN_DIR", "")
    assert run_root().name == f"cloudburst-{os.getuid()}"
    monkeypatch.delenv("CLOUDBURST_RUN_DIR")
    assert run_root().name == f"cloudburst-{os.getuid()}"


@pytest.mark.parametrize(
    ("text", "level"), [(None, "WARNING"), ("", "WARNING"), ("debug", "DEBUG"), ("ERROR", "ERROR")]
)
def test_the_log_level_is_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, text: str | None, level: str
) -> None:
    monkeypatch.delenv("CLOUDBURST_LOG", raising=False)
    if text is not None:
        monkeypatch.setenv("CLOUDBURST_LOG", text)

    assert log_level() == level


@pytest.mark.parametrize("text", ["junk", "10", " INFO", "x" * 10_000])
def test_another_log_level_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CLOUDBURST_LOG", text)

    with pytest.raises(UsageError, match="CLOUDBURST_LOG is one of DEBUG, INFO") as raised:
        log_level()
    assert len(str(raised.value)) < 200


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight GiB and four cores, and nothing said about memory."""
    monkeypatch.delenv("CLOUDBURST_EXECUTOR_MEMORY", raising=False)
    monkeypatch.delenv("CLOUDBURST_CACHE_MEMORY", raising=False)
    monkeypatch.setattr(config, "usable_cores", lambda: 4)
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 2 << 20, "SC_PAGE_SIZE": 4096}.__getitem__)


@pytest.mark.usefixtures("machine")
def test_by_default_executors_share_half_of_the_memory() -> None:
    assert executor_memory() == 8 * 1024 // 2 // 4


@pytest.mark.usefixtures("machine")
def test_a_machine_that_does_not_tell_its_memory_has_no_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def tells_nothing(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", tells_nothing)

    assert executor_memory() == 0


@pytest.mark.usefixtures("machine")
def test_a_budget_that_is_given_goes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLOUDBURST_EXECUTOR_MEMORY", "300")
    assert executor_memory() == 300
    assert executor_memory(200) == 200
    assert executor_memory(0) == 0

    monkeypatch.setenv("CLOUDBURST_EXECUTOR_MEMORY", "0")
    assert executor_memory() == 0
    monkeypatch.setenv("CLOUDBURST_EXECUTOR_MEMORY", "")
    assert executor_memory() == 1024


@pytest.mark.parametrize("text", ["much", "-1", "1.5", "1 GB", "٣", "9" * 5000])
def test_another_budget_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CLOUDBURST_EXECUTOR_MEMORY", text)

    with pytest.raises(UsageError, match="memory is a number of MiB, 0 for any, not") as raised:
        executor_memory()
    assert len(str(raised.value)) < 200


def test_this_machine_has_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLOUDBURST_EXECUTOR_MEMORY", raising=False)

    assert executor_memory() > 10


@pytest.mark.usefixtures("machine")
def test_the_cache_may_use_a_quarter_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_memory() == 8 * 1024 // 4
    monkeypatch.setenv("CLOUDBURST_CACHE_MEMORY", "300")
    assert cache_memory() == 300
    assert cache_memory(200) == 200
    assert cache_memory(0) == 0
    monkeypatch.setenv("CLOUDBURST_CACHE_MEMORY", "0")
    assert cache_memory() == 0


@pytest.mark.parametrize("text", ["much", "-1", "1.5", "1 GB", "9" * 5000])
def test_another_size_of_the_cache_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CLOUDBURST_CACHE_MEMORY", text)

    with pytest.raises(UsageError, match="memory is a number of MiB, 0 for none, not") as raised:
        cache_memory()
    assert len(str(raised.value)) < 200
