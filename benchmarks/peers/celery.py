"""Celery with two processes, on a Valkey server of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from benchmarks.peers.queues import Queue
from benchmarks.system import PATIENCE, WORKERS


class Celery(Queue):
    """Its pool of forked processes. Chains and chords are Celery's own."""

    name: ClassVar[str] = "celery"
    modules: ClassVar[tuple[str, ...]] = ("celery",)

    def command(self) -> Sequence[str]:
        return (
            *("-m", "celery", "-A", "benchmarks.peers.celery_tasks", "worker"),
            *("--concurrency", str(WORKERS), "--pool", "prefork", "--loglevel", "ERROR"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        )

    def tasks(self, path: str) -> Any:
        from benchmarks.peers.celery_tasks import make

        return make(path).tasks

    def send(self, name: str, *arguments: Any) -> Any:
        return self._tasks[name].delay(*arguments)

    def result(self, sent: Any) -> Any:
        return sent.get(timeout=PATIENCE)

    def two(self, number: int) -> Any:
        first, second = self._tasks["increment"], self._tasks["square"]
        return self.result((first.s(number) | second.s()).delay())

    def chain(self, steps: int, number: int) -> Any:
        from celery import chain

        step = self._tasks["increment"]
        return self.result(chain(step.s(number), *(step.s() for _ in range(steps - 1))).delay())

    def fan(self, branches: int, number: int) -> Any:
        from celery import group

        step, total = self._tasks["increment"], self._tasks["total"]
        return self.result((step.s(number) | group([step.s()] * branches) | total.s()).delay())
