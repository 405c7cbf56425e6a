"""What processes are told and say of each other, without a process."""

import json
import os
import signal
import socket
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudburst.child import child_environment, describe_exit
from cloudburst.config import HostConfig, LocalConfig, default_executors, usable_cores
from cloudburst.executor.control import Channel


@pytest.fixture
def line() -> Iterator[tuple[Channel, Channel]]:
    ends = tuple(Channel(end) for end in socket.socketpair())
    yield ends[0], ends[1]
    for end in ends:
        end.close()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exit code 0"),
        (3, "exit code 3"),
        (-9, "SIGKILL (signal 9)"),
        (-signal.SIGSEGV, "SIGSEGV (signal 11)"),
        (-250, "signal 250"),
    ],
)
def test_the_end_of_a_process_in_words(status: int, words: str) -> None:
    assert describe_exit(status) == words


def test_children_get_what_is_importable_here_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    monkeypatch.setattr(sys, "path", [str(first), *sys.path, str(second), str(first)])

    paths = child_environment()["PYTHONPATH"].split(os.pathsep)

    assert paths[0] == str(first)
    assert paths[-1] == str(second)
    assert paths.count(str(first)) == 1


def test_the_current_directory_is_given_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])

    assert child_environment()["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path)


def test_what_every_interpreter_finds_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    own = list(sysconfig.get_paths().values())
    monkeypatch.setattr(sys, "path", [*own, "/no/such/place"])

    assert child_environment()["PYTHONPATH"] == ""


def test_the_rest_of_the_environment_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING_OF_THE_USER", "kept")

    assert child_environment()["SOMETHING_OF_THE_USER"] == "kept"


def test_words_arrive_as_they_were_said(line: tuple[Channel, Channel]) -> None:
    host, zygote = line

    host.send("fork", "h.1", HostConfig("a", "b", "c", 2).to_json())
    zygote.send("started", "h.1", 4711)
    zygote.send("died", "h.1", "in two\nlines")

    ((verb, name, config),) = zygote.receive()
    assert (verb, name) == ("fork", "h.1")
    assert HostConfig.from_json(config) == HostConfig("a", "b", "c", 2)
    assert host.receive() == [["started", "h.1", 4711], ["died", "h.1", "in two\nlines"]]


def test_nothing_said_is_nothing_heard(line: tuple[Channel, Channel]) -> None:
    assert line[0].receive() == []
    assert not line[0].ended


def test_words_that_arrive_in_pieces_are_put_together() -> None:
    raw, end = socket.socketpair()
    with raw:
        channel = Channel(end)
        said = json.dumps(["started", "h.1", 1]).encode() + b"\n"
        heard = []
        for byte in said * 2:
            raw.send(bytes([byte]))
            heard += channel.receive()
        assert heard == [["started", "h.1", 1]] * 2
        channel.close()


def test_last_words_are_heard_before_the_end() -> None:
    raw, end = socket.socketpair()
    channel = Channel(end)
    raw.send(b'["died", "h.1", "exit code 3"]\n["unfin')
    raw.close()

    assert channel.receive() == [["died", "h.1", "exit code 3"]]
    assert channel.ended
    assert channel.receive() == []
    channel.close()


def test_speaking_to_nobody_is_noticed_and_does_not_raise() -> None:
    raw, end = socket.socketpair()
    raw.close()
    channel = Channel(end)

    channel.send("fork", "h.1", "{}")

    assert channel.ended
    channel.close()


def test_a_local_configuration_travels_whole() -> None:
    config = LocalConfig("/run/01234567", 3, data_dir="/data", shared=True)

    assert LocalConfig.from_json(config.to_json()) == config
    assert not LocalConfig("/run/01234567", 3).shared


def test_at_least_two_executors_and_else_one_for_each_core() -> None:
    assert usable_cores() >= 1
    assert default_executors() == max(2, usable_cores())
