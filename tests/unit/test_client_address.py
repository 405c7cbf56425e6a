"""Where a cluster is, as users write it, and what is there instead when nobody answers."""

from __future__ import annotations

import math
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from cloudburst.client.address import inbox_address, not_reached, scheduler_address
from cloudburst.client.client import CloudburstConnection
from cloudburst.errors import ConnectionFailed, UsageError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1", "tcp://127.0.0.1:7480"),
        ("127.0.0.1 ", "tcp://127.0.0.1:7480"),  # as in the first program everybody runs
        ("\tlocalhost\n", "tcp://localhost:7480"),
        ("host:5000", "tcp://host:5000"),
        ("tcp://host:5000", "tcp://host:5000"),
        ("tcp://host", "tcp://host:7480"),
        ("a.b-c.example", "tcp://a.b-c.example:7480"),
        ("host:1", "tcp://host:1"),
        ("host:65535", "tcp://host:65535"),
        ("[::1]", "tcp://[::1]:7480"),
        ("::1", "tcp://[::1]:7480"),
        ("tcp://[fe80::1%eth0]:5000", "tcp://[fe80::1%eth0]:5000"),
        ("tcp://[::1]", "tcp://[::1]:7480"),
        ("[::1]:5000", "tcp://[::1]:5000"),
        ("ipc:///run/dir/scheduler", "ipc:///run/dir/scheduler"),
        (" ipc://relative ", "ipc://relative"),
    ],
)
def test_addresses_are_understood(text: str, address: str) -> None:
    assert scheduler_address(text) == address


@pytest.mark.parametrize("text", ["", " ", "\n", None, 7480, b"host", ["host"]])
def test_what_is_no_text_is_refused(text: Any) -> None:
    with pytest.raises(UsageError, match="host name or address"):
        scheduler_address(text)


@pytest.mark.parametrize(
    "text", ["host:", "host:0", "host:65536", "host:port", "host:-1", "host:80/path", "http://host"]
)
def test_ports_are_checked(text: str) -> None:
    with pytest.raises(UsageError, match="no port between 1 and 65535"):
        scheduler_address(text)


@pytest.mark.parametrize(
    "text",
    [
        *("udp://host:5", "tcp://", ":7480", "two hosts", "http://h:80", "user@host:80"),
        *("[::1", "::1]:5", "[::1]x:5", "x[::1]:5", "[host]:5", "[::g]:5", "tcp://[]:5"),
        *("ipc://", "ipc:///a\0b", "host\0:5", "\ud800", "x" * 1000 + " " + "x"),
    ],
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        scheduler_address(text)


def test_a_bad_address_is_refused_before_anything_is_opened() -> None:
    with pytest.raises(UsageError, match="is not host, host:port"):
        CloudburstConnection("two hosts")


def test_an_ip_of_another_machine_is_refused() -> None:
    for ip in ("192.0.2.1", "nonsense"):
        with pytest.raises(UsageError, match=rf"{ip}.*Is ip an address of this machine\?"):
            CloudburstConnection("127.0.0.1:1", ip=ip, timeout=0.1)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"timeout": "a"}, "timeout is a number of seconds, not 'a'"),
        ({"timeout": None}, "timeout is a number of seconds, not None"),
        ({"timeout": math.nan}, "timeout is a number of seconds, not nan"),
        ({"tid": "1"}, "tid is a number, not '1'"),
        ({"tid": 10**30}, "tid is a number, and at most"),
        ({"tid": 10**5000}, "tid is a number, and at most"),
        ({"ip": 5}, "the ip is a string, not 5"),
        ({"ip": "\ud800"}, "half of a surrogate pair"),
    ],
)
def test_other_arguments_of_a_connection_are_checked(
    arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        CloudburstConnection("127.0.0.1:1", **({"timeout": 0.1} | arguments))


# where results come to


def test_on_one_machine_results_come_to_a_socket_beside_the_schedulers(tmp_path: Path) -> None:
    for ip in (None, "10.0.0.1"):
        address = inbox_address(f"ipc://{tmp_path}/scheduler", ip, "c0-1")
        assert address == f"ipc://{tmp_path}/c-c0-1"


def test_a_scheduler_whose_directory_is_gone_is_not_there() -> None:
    with pytest.raises(ConnectionFailed, match="there is no such socket"):
        inbox_address("ipc:///no/such/directory/scheduler", None, "c0-1")


def test_between_machines_results_come_to_the_ip_that_was_given() -> None:
    assert inbox_address("tcp://host:7480", " 10.0.0.1 ", "c0-1") == "tcp://10.0.0.1:*"


def test_without_an_ip_results_take_the_way_through_the_scheduler() -> None:
    assert inbox_address("tcp://host:7480", None, "c0-1") == ""
    assert inbox_address("tcp://host:7480", "", "c0-1") == ""


# nobody answers


def test_an_address_with_nobody() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        error = not_reached(f"tcp://127.0.0.1:{port}", 2.5)

    assert isinstance(error, ConnectionFailed)
    assert f"answered at tcp://127.0.0.1:{port} within 2.5 seconds" in str(error)
    assert "refused" in str(error)
    assert "pass local=True" in str(error)


def test_an_address_of_something_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        error = not_reached(f"tcp://127.0.0.1:{server.getsockname()[1]}", 1.0)

    assert "something else listens there" in str(error)


def test_a_name_that_is_none() -> None:
    error = not_reached("tcp://no-such-host.invalid:7480", 1.0)

    assert "'no-such-host.invalid' cannot be resolved" in str(error)
    assert "cannot be resolved" in str(not_reached(f"tcp://{'x' * 300}:7480", 1.0))


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    assert "there is no such socket" in str(not_reached(f"ipc://{tmp_path}/s", 1.0))
    (tmp_path / "s").touch()
    assert "the socket is there" in str(not_reached(f"ipc://{tmp_path}/s", 1.0))


def test_connecting_to_something_else_says_so_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConnectionFailed, match="something else listens"):
            CloudburstConnection(f"127.0.0.1:{port}", timeout=0.3)


def test_a_server_of_another_protocol_that_talks_back() -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        talker = threading.Thread(target=_talk_http, args=(server, stop))
        talker.start()
        try:
            with pytest.raises(ConnectionFailed, match="something else listens"):
                CloudburstConnection(f"127.0.0.1:{server.getsockname()[1]}", timeout=0.3)
        finally:
            stop.set()
            talker.join()


def _talk_http(server: socket.socket, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            connection, _ = server.accept()
        except TimeoutError:
            continue
        with connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
