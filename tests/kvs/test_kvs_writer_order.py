"""What a writer sends, and in which order, to a server that refuses a part of it for a moment."""

import select
import socket
from contextlib import ExitStack
from pathlib import Path

from stores import collect_all, commit, wait_until

from cloudburst.kvs.base import AddMember, Commit, DropMember
from cloudburst.kvs.commands import LOAD_SCRIPTS
from cloudburst.kvs.keys import OPEN_RUNS
from cloudburst.kvs.redis_writer import RedisWriter


def accepted(listener: socket.socket, writer: RedisWriter) -> socket.socket:
    """The writer's next connection."""
    comes = lambda: (writer.flush(), select.select([listener], [], [], 0)[0])[1]
    wait_until(lambda: writer.collect() or comes(), "it connects")
    server, _ = listener.accept()
    return server


def heard(server: socket.socket, writer: RedisWriter) -> bytes:
    """What the writer says next."""
    says = lambda: (writer.flush(), select.select([server], [], [], 0)[0])[1]
    wait_until(lambda: writer.collect() or says(), "it says something")
    return server.recv(1_000_000)


def test_what_is_refused_for_a_moment_is_not_overtaken(short_dir: Path) -> None:
    """Memory is short for what adds, and never for what removes: the order must be kept."""
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as servers:
        listener.bind(path := str(short_dir / "store"))
        listener.listen()
        writer = RedisWriter(f"unix://{path}")
        writer.submit([AddMember(OPEN_RUNS, "r")], 1)
        writer.submit([DropMember(OPEN_RUNS, "r")], 2)
        loaded, added, both = b"$1\r\nx\r\n" * len(LOAD_SCRIPTS), b":1\r\n", b":1\r\n:1\r\n"
        for reply in (b"-OOM no memory\r\n" + added, both):
            server = servers.enter_context(accepted(listener, writer))
            heard(server, writer)
            server.sendall(loaded)
            said = heard(server, writer)
            assert 0 < said.index(b"SADD") < said.index(b"SREM")
            server.sendall(reply)
        assert collect_all(writer) == [(1, [None]), (2, [None])]
        writer.close()


def test_nothing_overtakes_what_needs_a_script(short_dir: Path) -> None:
    """A server that reads its data refuses scripts, and a moment later takes what needs none."""
    path = str(short_dir / "store")
    scripts = len(LOAD_SCRIPTS)
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as servers:
        listener.bind(path)
        listener.listen()
        writer = RedisWriter(f"unix://{path}")
        writer.submit([commit("r"), DropMember(OPEN_RUNS, "r")], 1)
        for reply in (b"-LOADING the data\r\n", b"$1\r\nx\r\n"):
            server = servers.enter_context(accepted(listener, writer))
            said = heard(server, writer)
            assert (said.count(b"LOAD\r\n"), said.count(b"SREM")) == (scripts, 0)
            server.sendall(reply * scripts)
        said = heard(server, writer)
        assert 0 < said.index(b"EVALSHA") < said.index(b"SREM")
        server.sendall(b":1\r\n:1\r\n")
        assert collect_all(writer) == [(1, [Commit.STORED, None])]
        writer.close()
