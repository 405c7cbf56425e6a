"""What no system can be faster than: plain Python, bare sockets, the bare store, a memory copy."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import ClassVar

import numpy as np

from benchmarks.counters import Roles, this_process
from benchmarks.measure import Clocked, Contender
from benchmarks.ours.cluster import Cloudburst
from benchmarks.ours.messages import TYPICAL, message_sizes
from benchmarks.relay import Relay
from benchmarks.system import System
from benchmarks.tasks import (
    PAGE,
    composed,
    image,
    increment,
    infer,
    postprocess,
    preprocess,
    same,
    weights,
)
from benchmarks.work import Chain, Edge, Noop, Prediction, TwoFunctions, Work
from cloudburst.serialization import pack

PYTHON, RELAY, SET_AND_GET = "Python call", "pyzmq relay", "redis-py SET + GET"
COPY, FRESH_COPY = "memory copy", "copy into new memory"


class Floors(System):
    """All of them; they cost nothing while they are not called.

    Args:
        ours: the cluster whose messages the relay imitates, and whose store redis-py uses.
            Without it there is neither.
    """

    name: ClassVar[str] = "floors"

    def __init__(self, ours: Cloudburst | None = None) -> None:
        self._ours = ours
        self._stack = ExitStack()
        self._relay: Relay | None = None

    def start(self) -> None:
        """Nothing: the relay is started when it is needed."""

    def stop(self) -> None:
        self._stack.close()

    def roles(self) -> Roles:
        return this_process()

    def contenders(self, work: Work) -> list[Contender]:
        match work:
            case Noop():
                return [_python(PYTHON, same), *self._between_processes()]
            case TwoFunctions():
                return [_python(PYTHON, composed), *self._between_processes()]
            case Chain(steps):
                return [_python(PYTHON, lambda number: _repeated(steps, number), steps)]
            case Edge(size):
                return _copies(size)
            case Prediction():
                model = weights()
                return [_python(PYTHON, lambda n: postprocess(infer(preprocess(image(n)), model)))]
            case _:
                return []

    def _between_processes(self) -> list[Contender]:
        if self._ours is None:
            return []
        if self._relay is None:
            self._relay = self._stack.enter_context(Relay(message_sizes(self._ours.cloud)))
        relay, ours = self._relay, self._ours

        def store_roles() -> Roles:
            roles = ours.roles()
            return {**this_process(), "store": roles["store"]}

        return [
            Contender(RELAY, relay.call, same, lambda: relay.roles),
            Contender(SET_AND_GET, ours.set_and_get(_result_size()), same, store_roles),
        ]


def _python(name: str, call: Callable[[int], object], each: int = 1) -> Contender:
    return Contender(name, call, call, this_process, each=each)


def _result_size() -> int:
    return len(pack(composed(TYPICAL)).frames[0])


def _repeated(steps: int, number: int) -> int:
    for _ in range(steps):
        number = increment(number)
    return number


def _copies(size: int) -> list[Contender]:
    """Of as many bytes as an edge passes on, into memory that was used before and into new one."""
    source, target = np.zeros(max(1, size // 8)), np.zeros(max(1, size // 8))

    def fill(number: int) -> None:
        source.fill(number)

    def copy(_: int) -> Clocked:
        began = time.perf_counter()
        np.copyto(target, source)
        found = float(target[::PAGE].mean())
        return Clocked(found, time.perf_counter() - began)

    def copy_anew(_: int) -> Clocked:
        began = time.perf_counter()
        found = float(source.copy()[::PAGE].mean())
        return Clocked(found, time.perf_counter() - began)

    return [
        Contender(name, call, float, this_process, prepare=fill)
        for name, call in ((COPY, copy), (FRESH_COPY, copy_anew))
    ]
