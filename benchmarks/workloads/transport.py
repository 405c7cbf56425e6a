"""What a hop costs: a message of 150 bytes through three processes, over each transport.

The time is that of three hops, round: of `cloudburst.transport` over Unix sockets and over ZeroMQ,
and of the floors under them: bare pyzmq over Unix sockets, and bare sockets that one `recv` and one
`send` serve.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.ring import rings

SIZE = 150


def run(bench: Bench) -> None:
    with tempfile.TemporaryDirectory(prefix="ring-") as directory, ExitStack() as stack:
        bench.turns("three hops", None, "floors", rings(Path(directory), SIZE, stack))
