"""How the command line learns of the store."""

import pytest

from cloudburst.cli import _config, _parser
from cloudburst.config import CONFIG_VARIABLE, SchedulerConfig
from cloudburst.errors import UsageError


def config(*words: str) -> SchedulerConfig:
    return _config(SchedulerConfig, _parser().parse_args(["scheduler", *words]))


def test_the_environment_stands_for_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDBURST_KVS", "redis://u:s3cret@h")

    assert config().kvs_url == "redis://u:s3cret@h"
    assert config("--kvs", "redis://other").kvs_url == "redis://other"
    for role in ("host", "executor", "up"):
        flags = _parser().parse_args([role])
        assert "redis://u:s3cret@h" in vars(flags).values()


@pytest.mark.parametrize("value", [None, ""])
def test_without_either_it_asks_for_the_flag(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("CLOUDBURST_KVS", raising=False)
    if value is not None:
        monkeypatch.setenv("CLOUDBURST_KVS", value)

    with pytest.raises(UsageError, match="needs --kvs"):
        config()


def test_who_was_started_by_another_is_told_in_its_environment_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = SchedulerConfig("ipc:///x", "redis://u:s3cret@h")
    monkeypatch.setenv(CONFIG_VARIABLE, said.to_json())
    with pytest.raises(UsageError):
        config()  # a user started this one

    assert config("--life") == said
    with pytest.raises(UsageError):
        config("--life")
