"""Finding a cluster, and being told what is wrong where there is none."""

import http.server
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from cloudburst import CloudburstConnection, ConnectionFailed, LocalCluster, UsageError
from cloudburst import VersionMismatch as Mismatch
from cloudburst.core.ids import VERSION, python_version
from cloudburst.core.messages import PROTOCOL, Message, Welcome
from cloudburst.core.wire import encode

TIMEOUT = 0.4
SILENCE = 1.0
"""Seconds after which a client that waits for a result asks for it."""
Answer = Callable[[], list[bytes]]


@contextmanager
def listener(accepts: bool = True) -> Iterator[str]:
    """Somebody who listens, says nothing, and may not even accept."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if accepts:
            yield f"127.0.0.1:{port}"
            return
    yield f"127.0.0.1:{port}"


@contextmanager
def web_server() -> Iterator[str]:
    class Quiet(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def router(answer: Answer) -> Iterator[str]:
    """A ZeroMQ socket that gives the same answer to everything."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket_:
        socket_.setsockopt(zmq.LINGER, 0)
        port = socket_.bind_to_random_port("tcp://127.0.0.1")
        over = threading.Event()
        thread = threading.Thread(target=_answer, args=(socket_, answer, over))
        thread.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            over.set()
            thread.join()


def _answer(socket_: "zmq.Socket[bytes]", answer: Answer, over: threading.Event) -> None:
    while not over.is_set():
        if socket_.poll(10):
            peer, *_ = socket_.recv_multipart()
            socket_.send_multipart([peer, *answer()])


def frames_of(message: Message) -> list[bytes]:
    return [bytes(frame) for frame in encode(message)]


def connect(address: str, timeout: float = TIMEOUT) -> None:
    CloudburstConnection(address, timeout=timeout).close()


@contextmanager
def fails_in_time(kind: type[Exception], reason: str) -> Iterator[None]:
    began = time.monotonic()
    with pytest.raises(kind, match=reason):
        yield
    assert time.monotonic() - began < TIMEOUT + SILENCE + 0.8


def test_no_cluster() -> None:
    with (
        listener(accepts=False) as address,
        fails_in_time(ConnectionFailed, f"tcp://{address} within 0.4 seconds.*refused.*Start a"),
    ):
        connect(address)


def test_silent_server() -> None:
    with (
        listener() as address,
        fails_in_time(ConnectionFailed, "something else listens there. Check the port"),
    ):
        connect(address)


def test_web_server() -> None:
    with (
        web_server() as address,
        fails_in_time(ConnectionFailed, "something else listens there"),
    ):
        connect(f"tcp://{address}")


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"garbage"],
        [b"\x91\x01"],
        [b"\xc1" * 100, b"more"],
        [b"\x92\xcd\xff\xff\x00"],
        [b"\x80" * 70_000] * 3,
    ],
)
def test_zeromq_router_that_answers_garbage(frames: list[bytes]) -> None:
    with (
        router(lambda: frames) as address,
        fails_in_time(ConnectionFailed, "something else listens there"),
    ):
        connect(address)


@pytest.mark.parametrize(
    ("welcome", "reason"),
    [
        (Welcome(PROTOCOL + 1, "9.9", python_version(), ""), rf"{VERSION}.*the cluster runs 9\.9"),
        (Welcome(PROTOCOL, VERSION, "2.7", ""), r"the cluster runs 2\.7.*same minor version"),
    ],
)
def test_cluster_of_another_version(welcome: Welcome, reason: str) -> None:
    with router(lambda: frames_of(welcome)) as address, fails_in_time(Mismatch, reason):
        connect(address)


def test_host_that_does_not_exist() -> None:
    with fails_in_time(ConnectionFailed, "'no-such-host.invalid' cannot be resolved"):
        connect("no-such-host.invalid")


def test_socket_that_does_not_exist(tmp_path: Path) -> None:
    with fails_in_time(ConnectionFailed, "there is no such socket. Is the cluster still running"):
        connect("ipc:///tmp/there-is-no-such-directory/scheduler")


@pytest.mark.parametrize(
    "address",
    ["", "  ", "http://host", "host:port", "host:0", "host:70000", "a b", "tcp://", "udp://h:1"],
)
def test_what_is_no_address(address: str) -> None:
    with fails_in_time(UsageError, "func_addr|is not host|has no port"):
        connect(address)


@pytest.mark.parametrize("pattern", ["{} ", " {}", " {}\n"])
def test_spaces_around_an_address_do_not_count(cluster: LocalCluster, pattern: str) -> None:
    with CloudburstConnection(pattern.format(cluster.address), "127.0.0.1 ") as connection:
        assert connection.address == cluster.address
        assert connection.list() == []


def test_spaces_around_a_host_do_not_count() -> None:
    with (
        listener(accepts=False) as address,
        fails_in_time(ConnectionFailed, f"at tcp://{address} within"),
    ):
        connect(f" {address} ")


def test_cluster_that_has_ended(run_dir: Path) -> None:
    with LocalCluster(1) as cluster:
        connect(cluster.address)

    with fails_in_time(ConnectionFailed, "Is the cluster still running"):
        connect(cluster.address)


def test_cluster_that_ends_under_a_connection(run_dir: Path) -> None:
    with LocalCluster(1) as cluster:
        connection = CloudburstConnection(cluster.address, timeout=TIMEOUT)
        incr = connection.register(lambda _, n: n + 1, "incr")
        assert incr(1).get(10) == 2

    with fails_in_time(Exception, "scheduler has not answered"):
        connection.list()
    with fails_in_time(Exception, "has not ended|not answer|KVS|store"):
        incr(1).get(TIMEOUT)
    with fails_in_time(Exception, "has not ended|not answer|KVS|store"):
        incr.options(direct_response=True, timeout=TIMEOUT)(1)
    with pytest.warns(UserWarning, match="1 calls were not accepted"):
        connection.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" * 100_000,
        struct.pack("<Q", 0),
        struct.pack("<2Q", 1, 1 << 63),
        struct.pack("<2Q", 1, 1 << 39),
        struct.pack("<2Q", 1, 3) + b"abc",
        struct.pack("<3Q", 2, 4, 3) + b"name" + b"\x93\x01\x02",
        struct.pack("<3Q", 2, 4, 1) + b"name\xc1" + struct.pack("<2Q", 1, 100) + b"cut off",
    ],
)
def test_garbage_does_not_disturb_a_cluster(cluster: LocalCluster, garbage: bytes) -> None:
    with cluster.connect() as connection, socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(cluster.address.removeprefix("ipc://"))
        stranger.sendall(garbage)

        assert connection.register(lambda _, n: n, "same")(1).get(10) == 1
        assert connection.delete_function("same")
