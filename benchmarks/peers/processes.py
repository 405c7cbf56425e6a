"""`concurrent.futures.ProcessPoolExecutor` of the standard library."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import ClassVar

from benchmarks.peers.pools import Pool
from benchmarks.system import WORKERS


class Processes(Pool):
    """Two processes, spawned: those of threads are not to be forked."""

    name: ClassVar[str] = "processes"
    first_result: ClassVar[str] = """
import time; began = time.perf_counter()
from concurrent.futures import ProcessPoolExecutor
from operator import index
with ProcessPoolExecutor(2) as pool:
    assert pool.submit(index, 2).result() == 2
    print(time.perf_counter() - began)
"""

    def make(self) -> Executor:
        return ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn"))
