"""A cluster whose processes are started one by one, as by hand in terminals."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

Process = subprocess.Popen[bytes]


class ByHand:
    """Processes of a cluster.

    Args:
        directory: where their sockets are.
        store: the URL of the store.
    """

    def __init__(self, directory: Path, store: str) -> None:
        self.directory = directory
        self.store = store
        self.processes: list[Process] = []

    def address(self, name: str) -> str:
        return f"ipc://{self.directory}/{name}"

    def scheduler(self, name: str) -> Process:
        return self.start("scheduler", "--address", self.address(name))

    def host(self, scheduler: str, executors: int = 1, *others: str) -> Process:
        flags = ("--scheduler", self.address(scheduler), "--bind", f"ipc://{self.directory}")
        return self.start("host", *flags, "--executors", str(executors), *others)

    def start(self, role: str, *flags: str) -> Process:
        """Start a process that uses the store."""
        line = [sys.executable, "-m", "cloudburst", role, *flags, "--kvs", self.store]
        process = subprocess.Popen(line)
        self.processes.append(process)
        return process

    def end(self) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes:
            process.wait(10)


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
