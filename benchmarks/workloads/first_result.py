"""From nothing to the first result, and the import alone, each in a fresh interpreter.

The clock starts in it, before the import, and stops when a function has returned 2 out of a new
cluster of two executors with a store of its own. Peers do the same with two workers.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks import peers
from benchmarks.bench import Bench
from benchmarks.counters import this_process
from benchmarks.measure import Clocked, Contender, Effort
from benchmarks.ours.cluster import Cloudburst
from benchmarks.system import PATIENCE, System

IMPORT = """
import time; began = time.perf_counter()
import cloudburst
print(time.perf_counter() - began)
"""

ROOT = Path(__file__).parents[2]
STARTS, QUICK_STARTS = 15, 2


def started(folder: str, program: str) -> float:
    """Run a program in a fresh interpreter.

    Args:
        folder: where it may write, and where its script is.
        program: prints seconds.
    """
    script = Path(folder) / "first.py"
    script.write_text(program)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    environment = os.environ | quiet | {"CLOUDBURST_RUN_DIR": folder, "PYTHONPATH": path}
    output = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=PATIENCE,
    )
    return float(output.stdout.splitlines()[-1])


def contender(folder: str, name: str, program: str) -> Contender:
    """A program whose figure is the seconds that it prints."""
    return Contender(
        name, lambda _: Clocked(None, started(folder, program)), lambda _: None, this_process
    )


def programs(systems: Iterable[System]) -> list[tuple[str, str]]:
    """Name and program of those that have one."""
    return [(each.name, each.first_result) for each in systems if each.first_result]


def run(bench: Bench) -> None:
    count = QUICK_STARTS if bench.quick else STARTS
    effort = Effort(calls=1, blocks=count, warm_up=1, least=1)
    found = [("cloudburst", Cloudburst.first_result), ("import cloudburst", IMPORT)]
    found += programs(bench.wanted(peers.ALL))
    with tempfile.TemporaryDirectory(prefix="cb-", dir="/tmp") as folder:
        contenders = [contender(folder, *each) for each in found]
        bench.turns("first result", None, "all", contenders, effort)
