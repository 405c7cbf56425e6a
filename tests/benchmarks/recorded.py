"""A record as a run makes it, out of made-up figures."""

from benchmarks.counters import Usage
from benchmarks.measure import Block
from benchmarks.record import Chapter, Record, Series, Session

MACHINE = {
    "cores": 2,
    "usable": 2,
    "processor": "Abacus <II>",
    "system": "Linux",
    "python": "3.11",
    "versions": {"cloudburst": "1", "ray": None},
}


def series(name: str, *medians: float, unit: str = "s", each: int = 1) -> Series:
    used = {"client": Usage(0.004, 30), "executor": Usage(0.002, 10)}
    blocks = [Block(10, median, 2 * median, 3 * median, used, commands=70) for median in medians]
    return Series(name, unit, each, blocks)


def two_functions(direct: float, ray: float) -> Chapter:
    case = "square(increment(x))"
    first = [series("cloudburst, direct", direct), series("pyzmq relay", 1e-4)]
    second = [series("cloudburst, direct", direct), series("ray task", ray)]
    sessions = [Session(case, None, "floors", first), Session(case, None, "ray", second)]
    messages = {case: {"cloudburst, direct": 4.0}}
    return Chapter("two_functions", sessions, messages, ["dask skipped"], (0.1, 0.2), 12.0)


def chain() -> Chapter:
    sessions = [
        Session(
            f"{steps} steps",
            steps,
            "floors",
            [series("cloudburst, direct", 1e-3 / steps, each=steps), series("Python <call>", 1e-7)],
        )
        for steps in (1, 10, 100, 300, 1000)
    ]
    return Chapter("chain", sessions)


def record(*chapters: Chapter, quick: bool = False) -> Record:
    return Record(MACHINE, quick, list(chapters))
