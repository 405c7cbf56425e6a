"""dramatiq with two processes, on a Valkey server of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from benchmarks.peers.queues import Queue
from benchmarks.system import PATIENCE, WORKERS


class Dramatiq(Queue):
    """One thread in each process, results in the server, its own pipelines for two steps."""

    name: ClassVar[str] = "dramatiq"
    modules: ClassVar[tuple[str, ...]] = ("dramatiq",)

    def command(self) -> Sequence[str]:
        return (
            *("-m", "dramatiq", "benchmarks.peers.dramatiq_tasks"),
            *("--processes", str(WORKERS), "--threads", "1"),
        )

    def tasks(self, path: str) -> Any:
        from benchmarks.peers.dramatiq_tasks import make

        return make(path)

    def send(self, name: str, *arguments: Any) -> Any:
        return self._tasks[name].send(*arguments)

    def result(self, sent: Any) -> Any:
        return sent.get_result(block=True, timeout=int(PATIENCE * 1000))

    def two(self, number: int) -> Any:
        first, second = self._tasks["increment"], self._tasks["square"]
        return self.result((first.message(number) | second.message()).run())
