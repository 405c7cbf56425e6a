"""A client process: makes calls at its rate, and notes what becomes of each.

``python -m tests.chaos.client CONFIGURATION``; it calls until its stdin ends, waits until all of
its calls have ended, and ends.
"""

from __future__ import annotations

import heapq
import json
import queue
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cloudburst import CloudburstConnection, CloudburstError, CloudburstReference, RunTimeoutError
from cloudburst.calls.future import CloudburstFuture

from .journal import Journal
from .workload import (
    DIRECT_KINDS,
    OBJECT_PREFIX,
    Spec,
    describe_error,
    describe_value,
    generate,
)

MOST_OPEN = 1_000
REMEMBERED = 400
FLUSH_EVERY = 0.3
READY = "ready"


@dataclass(frozen=True)
class ClientConfig:
    """What a client is told.

    Attributes:
        address: the scheduler's.
        ip: the client's own, if the cluster is on TCP.
        seed: of its calls.
        journal: the path of its journal.
        rate: stored calls a second.
        direct_rate: direct calls a second.
        limit: seconds that its calls may take to end once it was told to stop.
    """

    address: str
    ip: str | None
    seed: str
    journal: str
    rate: float
    direct_rate: float
    limit: float

    def to_json(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))


class Client:
    """One connection, and the threads that use it.

    Args:
        config: what to do.
    """

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self.journal = Journal(Path(config.journal))
        self.connection = self._connect()
        self.functions: dict[str, Any] = {}
        self.futures: dict[int, CloudburstFuture] = {}
        self.waiting: queue.SimpleQueue[tuple[int, CloudburstFuture] | None] = queue.SimpleQueue()
        self.cancels: list[tuple[float, int, CloudburstFuture]] = []
        self.called = 0
        self.ended = 0
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.all_ended = threading.Event()
        self.deadline = float("inf")

    def run(self) -> None:
        """Call until told to stop, then wait for the ends."""
        threads = [
            self._thread(task)
            for task in (self._collect, self._collect, self._flush, self._cancel, self._ask)
        ]
        sys.stdout.write(READY + "\n")
        sys.stdout.flush()
        self._call_all()
        self.deadline = time.monotonic() + self.config.limit
        self.stopped.set()
        while time.monotonic() < self.deadline and self.ended < self.called:
            time.sleep(0.02)
        self.all_ended.set()
        for _ in threads:
            self.waiting.put(None)
        for thread in threads:
            thread.join(self.config.limit)
        self.connection.close()
        self.journal.note("finished")

    def _thread(self, task: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                task()
            except BaseException:
                self.journal.note("crash", error=traceback.format_exc())

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _connect(self) -> CloudburstConnection:
        while True:
            try:
                return CloudburstConnection(self.config.address, self.config.ip)
            except CloudburstError as error:
                self._trouble(error)

    def _trouble(self, error: BaseException) -> None:
        self.journal.note("trouble", error=describe_error(error))

    # calls

    def _call_all(self) -> None:
        due = time.monotonic()
        for spec in generate(self.config.seed):
            if select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
                return
            due = max(due + 1 / self.config.rate, time.monotonic() - 1.0)
            while self.called - self.ended > MOST_OPEN:
                time.sleep(0.1)
            since = time.time()
            future = self._call(spec)
            self.journal.note("call", spec.number, run_id=future.obj_id, since=since)
            self.futures[spec.number] = future
            self.futures.pop(spec.number - REMEMBERED, None)
            self.called = spec.number + 1
            if spec.cancel_after is not None:
                due_then = time.monotonic() + spec.cancel_after
                heapq.heappush(self.cancels, (due_then, spec.number, future))
            if spec.callback:
                self._call_back(spec.number, future)
            else:
                self.waiting.put((spec.number, future))

    def _call(self, spec: Spec, **how: Any) -> Any:
        while True:
            try:
                return self._try(spec, how)
            except CloudburstError as error:
                if how:
                    raise
                self._trouble(error)

    def _try(self, spec: Spec, how: dict[str, Any]) -> Any:
        references: list[Any] = [self.futures[back] for back in spec.back]
        references += [CloudburstReference(f"{OBJECT_PREFIX}{index}") for index in spec.objects]
        arguments = {step: [payload] for step, payload in spec.payloads.items()}
        if spec.kind == "function":
            function = self._function(spec.target).options(**how, **spec.options)
            return function(*arguments["a"])
        arguments["a"] = [*arguments["a"], *references]
        return self.connection.call_dag(spec.target, arguments, **how, **spec.options)

    def _function(self, name: str) -> Any:
        if name not in self.functions:
            self.functions[name] = self.connection.get_function(name)
        return self.functions[name]

    def _ask(self) -> None:
        if not self.config.direct_rate:
            return
        due = time.monotonic()
        for spec in generate(f"{self.config.seed}/direct", DIRECT_KINDS):
            if self.stopped.wait(max(0.0, due - time.monotonic())):
                return
            due = max(due + 1 / self.config.direct_rate, time.monotonic() - 1.0)
            self.journal.note("ask directly", spec.number)
            try:
                outcome = describe_value(self._call(spec, direct_response=True))
            except Exception as error:
                outcome = describe_error(error)
            self.journal.note("end directly", spec.number, outcome=outcome)

    # ends

    def _collect(self) -> None:
        while (item := self.waiting.get()) is not None:
            self._wait_for(*item)

    def _wait_for(self, number: int, future: CloudburstFuture) -> None:
        while time.monotonic() < self.deadline:
            try:
                future.get(1.0)
            except RunTimeoutError:
                continue
            except Exception as error:
                if not future.is_settled():
                    self._trouble(error)
                    time.sleep(0.1)
                    continue
            self._ended(number, future)
            return

    def _call_back(self, number: int, future: CloudburstFuture) -> None:
        def done(settled: Future[Any]) -> None:
            error = settled.exception()
            if isinstance(error, CloudburstError) and self._is_of_the_cluster(error):
                # The listener gave up; the run itself goes on.
                self._trouble(error)
                again = self.connection.future(future.obj_id)
                self.waiting.put((number, again))
            else:
                self._ended(number, settled)

        future.add_done_callback(done)

    def _is_of_the_cluster(self, error: CloudburstError) -> bool:
        return type(error).__name__ in {"SchedulerUnavailable", "KVSUnavailable", "ClusterError"}

    def _ended(self, number: int, future: Future[Any]) -> None:
        error = future.exception()
        outcome = describe_value(future.result()) if error is None else describe_error(error)
        self.journal.note("end", number, outcome=outcome)
        with self.lock:
            self.ended += 1

    def _flush(self) -> None:
        while not self.all_ended.wait(FLUSH_EVERY):
            called = self.called
            try:
                self.connection.flush(5.0)
            except CloudburstError as error:
                self._trouble(error)
            else:
                if called:
                    self.journal.note("safe", called - 1)

    def _cancel(self) -> None:
        while not self.all_ended.wait(0.01):
            while self.cancels and self.cancels[0][0] <= time.monotonic():
                _, number, future = heapq.heappop(self.cancels)
                try:
                    said = future.cancel()
                except CloudburstError as error:
                    self._trouble(error)
                else:
                    self.journal.note("cancel", number, said=said)


def main() -> None:
    config = ClientConfig(**json.loads(sys.argv[1]))
    try:
        Client(config).run()
    except BaseException:
        Journal(Path(config.journal)).note("crash", error=traceback.format_exc())
        raise


if __name__ == "__main__":
    main()
