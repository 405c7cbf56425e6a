"""Memory and processor time of a system at rest: two workers, after a few calls.

Of all its processes but the client, where that has none of its parts in it (the scheduler of Dask
is in the client's). "Resident" adds up the resident memory of each process, so that what several
share is counted several times; "shared once" counts it once. The time is the share of one core
that is used while nobody asks for anything.
"""

import time
from collections.abc import Mapping

from benchmarks.bench import Bench
from benchmarks.counters import CLIENT, Roles, difference, memory, reading
from benchmarks.measure import block_of
from benchmarks.ours.cluster import Cloudburst
from benchmarks.record import Series, Session
from benchmarks.system import System
from benchmarks.work import Noop

PEERS = ("ray", "dask", "processes", "loky", "celery", "dramatiq")
CALLS = 50
LOOKS, QUICK_LOOKS = 10, 2
BETWEEN, QUICK_BETWEEN = 3.0, 0.3

RESIDENT, SHARED_ONCE, BUSY = "resident memory", "resident memory, shared once", "processor"


def without_client(roles: Roles) -> Roles:
    """All processes but this one."""
    return {role: pids for role, pids in roles.items() if role != CLIENT}


def measured(system: System, looks: int, between: float) -> Mapping[str, list[float]]:
    """What a system takes that nobody asks for anything, at so many looks."""
    call = system.contenders(Noop())[0].call
    for number in range(CALLS):
        call(number)
    time.sleep(between)
    found: dict[str, list[float]] = {RESIDENT: [], SHARED_ONCE: [], BUSY: []}
    for _ in range(looks):
        roles = without_client(system.roles())
        before, began = reading(roles), time.monotonic()
        time.sleep(between)
        used = difference(before, reading(roles))
        seconds = time.monotonic() - began
        found[BUSY].append(100 * sum(each.cpu for each in used.values()) / seconds)
        taken = memory(roles)
        found[RESIDENT].append(taken.resident)
        found[SHARED_ONCE].append(taken.proportional)
    return found


def run(bench: Bench) -> None:
    looks, between = (QUICK_LOOKS, QUICK_BETWEEN) if bench.quick else (LOOKS, BETWEEN)
    results: dict[str, Mapping[str, list[float]]] = {}
    for system in [Cloudburst(), *bench.wanted(PEERS)]:
        with system:
            results[system.name] = measured(system, looks, between)
    for what, unit in ((RESIDENT, "MB"), (SHARED_ONCE, "MB"), (BUSY, "% of a core")):
        series = [
            Series(name, unit, 1, [block_of([value]) for value in found[what]])
            for name, found in results.items()
        ]
        bench.add(Session(what, None, "all", series))
