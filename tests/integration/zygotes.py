"""A zygote, driven as its host drives it."""

import socket
from pathlib import Path
from typing import Any

from watching import wait_until

from cloudburst.child import Child, start
from cloudburst.config import ExecutorConfig, HostConfig
from cloudburst.executor.board import Board
from cloudburst.executor.control import Channel

SLOTS = 4

# An executor here does what its "bind" says, and "host" is the file it may write to.
ZYGOTE = """
import argparse, os, select, signal, socket, subprocess, sys, threading, time
from cloudburst.config import HostConfig
from cloudburst.executor import zygote
from cloudburst.executor.board import writer_of
from cloudburst.executor.control import Channel
from cloudburst.life import Life
flags = argparse.ArgumentParser()
flags.add_argument("--life", action="store_true")
flags.add_argument("--ready-fd", type=int)
flags.add_argument("config")
flags.add_argument("control", type=int)
flags.add_argument("board", type=int)
flags = flags.parse_args()

class Trade:
    rehearsed = ""

    def rehearse(self, kvs_url):
        Trade.rehearsed = kvs_url
        if kvs_url == "unix://never":
            sys.exit("this goes wrong")

    def perform(self, config, life_fd):
        def report(text):
            draft = config.host + ".draft"
            open(draft, "w").write(str(text))
            os.rename(draft, config.host)
        names = {"report": report, "life_fd": life_fd, "config": config}
        exec(config.bind, {**globals(), **names})

life = Life(stdin=flags.life, ready_fd=flags.ready_fd)
channel = Channel(socket.socket(fileno=flags.control))
zygote.main(HostConfig.from_json(flags.config), life, channel, flags.board, Trade)
"""


class Host:
    """What a host does with a zygote."""

    def __init__(
        self, folder: Path, executors: int = 1, most: int = 0, store: str = "unix://none"
    ) -> None:
        self.folder = folder
        self.heard: list[list[Any]] = []
        config = HostConfig("ipc://none", store, "", executors, most, start_method="fork")
        self.board = Board.create(SLOTS)
        ours, theirs = socket.socketpair()
        with theirs:
            fds = [theirs.fileno(), self.board.fileno()]
            line = ["-c", ZYGOTE, config.to_json(), *map(str, fds)]
            self.zygote: Child = start("zygote", line, fds=fds)
        self.channel = Channel(ours)
        self.zygote.wait_ready()

    def fork(self, name: str, code: str, slot: int = 0) -> None:
        config = ExecutorConfig(
            name,
            str(self.folder / name),
            "ipc://none",
            "unix://none",
            bind=code,
            board_fd=self.board.fileno(),
            slot=slot,
        )
        self.channel.send("fork", name, config.to_json())

    def hear(self, verb: str, name: str) -> Any:
        """Wait until the zygote says so. Returns the third word."""
        return self.hear_all(verb, name)[2]

    def hear_all(self, *beginning: str) -> list[Any]:
        """Wait until the zygote says something that begins so."""

        def said() -> list[Any] | None:
            self.heard += self.channel.receive()
            length = len(beginning)
            found = (words for words in self.heard if words[:length] == list(beginning))
            return next(found, None)

        return wait_until(said, f"the zygote says {beginning}")

    def report_of(self, name: str) -> str:
        """Wait until an executor reports something."""
        path = self.folder / name
        wait_until(path.exists, f"{name} reports")
        return path.read_text()

    def close(self) -> None:
        self.zygote.stop(2.0)
        self.channel.close()
        self.board.close()
