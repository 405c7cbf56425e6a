"""How long it takes until Cloudburst is there: the import, and the first result of a new cluster.

Each measurement is made in an interpreter of its own, and the clock starts in it, before the
import. ``python -m benchmarks.startup`` prints medians, and the slowest in brackets.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

IMPORT = """
import time; began = time.perf_counter()
import cloudburst
print([time.perf_counter() - began])
"""

CLUSTER = """
import time; began = time.perf_counter()
from cloudburst.client.client import CloudburstConnection
cloudburst = CloudburstConnection(local=True)
connected = time.perf_counter() - began
assert cloudburst.register(lambda _, x: x + 1, "incr")(1).get(timeout=30) == 2
print([connected, time.perf_counter() - began])
cloudburst.close()
"""


def measure(program: str, repeats: int) -> list[list[float]]:
    """Run a program in fresh interpreters. Returns what each printed: seconds."""
    with tempfile.TemporaryDirectory(prefix="cb-") as folder:
        root = str(Path(__file__).parents[1])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"CLOUDBURST_RUN_DIR": folder, "PYTHONPATH": path}

        def once() -> list[float]:
            command = [sys.executable, "-c", program]
            output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
            seconds: list[float] = json.loads(output.stdout)
            return seconds

        once()  # compiles what is not compiled yet
        return [once() for _ in range(repeats)]


def report(what: str, seconds: Sequence[float]) -> str:
    """One line: the median, and the slowest."""
    median, slowest = statistics.median(seconds), max(seconds)
    return f"{what:<28} {median * 1000:7.0f} ms   ({slowest * 1000:.0f} ms)"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="default %(default)s")
    repeats = parser.parse_args(arguments).repeats
    imports = measure(IMPORT, repeats)
    print(report("import cloudburst", [seconds for (seconds,) in imports]))
    clusters = measure(CLUSTER, repeats)
    print(report("new local cluster, connected", [connected for connected, _ in clusters]))
    print(report("... and its first result", [first for _, first in clusters]))


if __name__ == "__main__":
    main()
