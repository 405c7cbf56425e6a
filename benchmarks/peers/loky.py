"""loky: a pool of processes that is kept, and survives the death of its workers."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any, ClassVar

from benchmarks.peers.pools import Pool
from benchmarks.system import WORKERS


class Loky(Pool):
    """Two processes, in loky's own way to start them."""

    name: ClassVar[str] = "loky"
    modules: ClassVar[tuple[str, ...]] = ("loky",)
    first_result: ClassVar[str] = """
import time; began = time.perf_counter()
from loky import get_reusable_executor
pool = get_reusable_executor(max_workers=2)
assert pool.submit(lambda x: x + 1, 1).result() == 2
print(time.perf_counter() - began)
pool.shutdown()
"""

    def make(self) -> Executor:
        import loky  # what it is the peer of

        pool: Any = loky.ProcessPoolExecutor(WORKERS)
        executor: Executor = pool
        return executor
