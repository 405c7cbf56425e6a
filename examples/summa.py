"""Multiplying matrices on a grid of functions that send each other panels.

SUMMA (van de Geijn and Watts 1997). A, B and C = A @ B are cut into 3 x 3 blocks, and function
(i, j) of a grid owns block (i, j) of each. The product is a sum of thin products::

    C = A[:, first columns] @ B[first rows, :] + A[:, next columns] @ B[next rows, :] + ...

In each step the functions that own a piece of A's columns, a panel, send it along their row of the
grid, those that own a piece of B's rows along their column; then all multiply what they got, and
add it to their block of C. No function ever holds more than its blocks and two panels.

The blocks come from the key-value store; panels go straight from function to function.

    python examples/summa.py [--size N] [--panel N]
"""

from __future__ import annotations

import argparse
import itertools
import time
from typing import Any, NamedTuple

import numpy as np

from cloudburst import CloudburstConnection, LocalCluster, UserLibrary

SIDE = 3
PATIENCE = 20.0  # seconds that a function waits for the others before it gives up
NAP = 0.05  # seconds between two looks into the store


class Job(NamedTuple):
    """What all functions of a grid are told."""

    name: str
    size: int
    panel: int

    @property
    def block(self) -> int:
        """Rows and columns of a block."""
        return self.size // SIDE

    @property
    def steps(self) -> int:
        """How many panels A and B are cut into."""
        return self.size // self.panel

    @property
    def messages(self) -> int:
        """How many panels are sent: those of A and B, in each step, from one to two others."""
        return 2 * self.steps * SIDE * (SIDE - 1)

    def key(self, what: str, row: int, column: int) -> str:
        """Of a block of A or B, or of the id under which a function is to be reached."""
        return f"{self.name}/{what}/{row}/{column}"


class Panels:
    """The panels that have come to a function, and are waited for by what they are.

    A row's and a column's owners do not keep step with each other: the panel of A of step 5 may be
    here before that of B of step 4. So each message says what it is, and is kept until its time.
    """

    def __init__(self, library: UserLibrary) -> None:
        self.library = library
        self.here: dict[tuple[str, int], np.ndarray] = {}

    def wait(self, seconds: float) -> bool:
        """Take in what comes, waiting so long for the first. Returns whether anything came."""
        messages = self.library.recv(timeout=seconds)
        for _, (matrix, step, panel) in messages:
            self.here[matrix, step] = panel
        return bool(messages)

    def take(self, matrix: str, step: int) -> np.ndarray:
        """That panel, once it is here."""
        while (matrix, step) not in self.here:
            if not self.wait(PATIENCE):
                raise TimeoutError(f"no panel of {matrix} for step {step}")
        return self.here.pop((matrix, step))

    def share(self, matrix: str, step: int, panel: np.ndarray, peers: list[str]) -> None:
        """Send our own panel to those, and keep it for ourselves."""
        for peer in peers:
            self.library.send(peer, (matrix, step, panel))
        self.here[matrix, step] = panel


def meet(job: Job, row: int, column: int, panels: Panels) -> tuple[list[str], list[str]]:
    """Publish the id of this call. Returns those of its row and of its column, when they are there.

    It waits for no others: these may still be starting.
    """
    library, deadline = panels.library, time.monotonic() + PATIENCE
    library.put(job.key("id", row, column), library.get_id())
    along_row = [job.key("id", row, other) for other in range(SIDE) if other != column]
    along_column = [job.key("id", other, column) for other in range(SIDE) if other != row]
    while None in (ids := library.get(along_row + along_column)).values():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not there: {[key for key, id_ in ids.items() if id_ is None]}")
        panels.wait(NAP)  # those who have met already may be sending
    return [ids[key] for key in along_row], [ids[key] for key in along_column]


def multiply(library: UserLibrary, job: Job, row: int, column: int) -> np.ndarray:
    """One function of the grid. Returns its block of C."""
    panels = Panels(library)
    along_row, along_column = meet(job, row, column, panels)
    a = library.get(job.key("A", row, column))
    b = library.get(job.key("B", row, column))
    c = np.zeros((job.block, job.block))
    for step in range(job.steps):
        owner, begin = divmod(step * job.panel, job.block)
        part = slice(begin, begin + job.panel)
        if column == owner:
            panels.share("A", step, a[:, part], along_row)
        if row == owner:
            panels.share("B", step, b[part, :], along_column)
        c += panels.take("A", step) @ panels.take("B", step)
    return c


def store(cloud: CloudburstConnection, job: Job, matrix: str, values: np.ndarray) -> None:
    """Put a matrix into the store, block by block."""
    for row, blocks in enumerate(np.split(values, SIDE)):
        for column, block in enumerate(np.split(blocks, SIDE, axis=1)):
            cloud.put_object(job.key(matrix, row, column), block)


def product(cloud: CloudburstConnection, job: Job) -> np.ndarray:
    """A @ B, of the blocks that are in the store."""
    # A function that were started again would have an id that nobody knows: better that all fail.
    cell = cloud.register(multiply, "multiply", timeout=6 * PATIENCE, max_retries=0)
    places = [[(row, column) for column in range(SIDE)] for row in range(SIDE)]
    for place in itertools.chain(*places):
        cloud.delete_object(job.key("id", *place))  # of an earlier product of that name
    calls = [[cell(job, *place) for place in line] for line in places]
    return np.block([[call.get() for call in line] for line in calls])


def timed(what: str, function: Any, *arguments: Any) -> Any:
    """Call it, and print how long it took."""
    begin = time.perf_counter()
    value = function(*arguments)
    print(f"{what:<28}{time.perf_counter() - begin:8.3f} s")
    return value


def main(argv: list[str] | None = None) -> None:
    """Multiply two random matrices, on the grid and with NumPy."""
    parser = argparse.ArgumentParser(description="Multiply matrices on a grid of functions.")
    parser.add_argument("--size", type=int, default=1200, help="rows and columns of A and B")
    parser.add_argument("--panel", type=int, default=100, help="width of a panel")
    arguments = parser.parse_args(argv)
    job = Job("product", arguments.size, arguments.panel)
    if job.panel < 1 or job.size < 1 or job.size % SIDE or job.block % job.panel:
        parser.error(f"the size is to be a multiple of {SIDE} times the panel's width")

    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, job.size, job.size))
    with LocalCluster(min=2) as cluster, cluster.connect() as cloud:
        print(f"{job.size} x {job.size}, {SIDE} x {SIDE} functions, {job.steps} steps:")
        timed("blocks of A into the store", store, cloud, job, "A", a)
        timed("blocks of B into the store", store, cloud, job, "B", b)
        timed("SUMMA, executors start", product, cloud, job)
        c = timed("SUMMA again", product, cloud, job)
        expected = timed("NumPy in this process", np.matmul, a, b)

        megabytes = job.messages * job.block * job.panel * a.itemsize / 1e6
        print(f"\n{job.messages} messages, {megabytes:.1f} MB of panels")
    if not np.allclose(c, expected):
        raise SystemExit("SUMMA and NumPy differ")
    print(f"SUMMA's product is NumPy's: they differ by {np.abs(c - expected).max():.1e} at most")
    print("On one machine the grid has no more cores than NumPy, and pays for moving panels.")


if __name__ == "__main__":
    main()
