"""The page of a record: what was measured where, the bars, and a section for each workload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks import svg, tables, workloads
from benchmarks.bars import verdicts
from benchmarks.record import Chapter, Record

PLOTS = "plots"
"""Folder of the pictures, beside the page."""

ACROSS = {
    "chain": "steps",
    "fan": "branches",
    "throughput": "clients",
    "locality": "bytes of all arrays",
    "edge": "bytes",
    "functions": "functions",
    "executors": "executors",
    "soak": "minutes",
}
"""What the cases of a workload differ in."""

INTRODUCTION = """\
# Benchmarks

Every figure on this page is computed from one run, by these commands; repeat them on your machine:

```sh
.venv/bin/pip install '.[bench]'
.venv/bin/python -m benchmarks run
.venv/bin/python -m benchmarks report
```

`python -m benchmarks list` names workloads and peers; `run WORKLOAD... --peers PEER...` measures
some of them, `run --quick` only shows that everything works. Peers that are not installed are left
out, with a note.

## How it is measured

- The same Python, two worker processes and the same bytes for all. The argument differs from call
  to call, and every result is checked: a wrong one stops the run.
- Cloudburst and one other system at a time run side by side, and take turns in blocks (A B A
  B ...). Only figures of such a session are divided by each other. The actors of a compiled graph
  of Ray keep processors busy while they wait, so they are stopped while it is not their turn.
- A block has 1,000 calls, or as many as take a second or two; the tables say how many. Figures are
  the medians of the blocks' medians and 99th percentiles. Ratios are medians of the ratios of
  blocks of one turn, with the interval in which 95 % of 10,000 bootstrap samples of the turns are.
- The processor time and the context switches of a call are those of all processes that work for it;
  commands are those that the store carried out, those of scripts included; messages are counted in
  a cluster of its own, with the reports to the scheduler and without heartbeats.
"""


def write(record: Record, path: Path) -> list[Path]:
    """Write the page and its pictures. Returns the files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = [path]
    for chapter in record.chapters:
        if picture := plot(chapter):
            target = path.parent / PLOTS / f"{chapter.workload}.svg"
            target.parent.mkdir(exist_ok=True)
            target.write_text(picture)
            written.append(target)
    path.write_text("\n".join(lines(record)) + "\n")
    return written


def lines(record: Record) -> Iterator[str]:
    """The page."""
    yield INTRODUCTION
    if record.quick:
        yield "**This page is of a `--quick` run: the figures mean nothing.**\n"
    yield from _machine(record)
    yield "\n## Bars\n"
    yield "What Cloudburst is meant to reach, and what this run saw, with its interval.\n"
    yield from tables.bars(verdicts(record))
    order = workloads.names()
    for chapter in sorted(record.chapters, key=lambda each: order.index(each.workload)):
        yield from _section(chapter)


def plot(chapter: Chapter) -> str:
    """The picture of a workload; empty if it has too few cases for one."""
    found = tables.points(chapter)
    if not found:
        return ""
    across = ACROSS.get(chapter.workload, "")
    return svg.plot(_title(chapter), across, "microseconds", found)


def _machine(record: Record) -> Iterator[str]:
    machine = record.machine
    versions = machine["versions"].items()
    packages = ", ".join(f"{name} {number}" for name, number in versions if number)
    yield "## Where\n"
    yield f"{machine['cores']} cores of {machine['processor']}; {machine['system']};"
    yield f"Python {machine['python']}; {packages}."


def _section(chapter: Chapter) -> Iterator[str]:
    yield f"\n## {_title(chapter)}\n"
    yield "```sh"
    yield f".venv/bin/python -m benchmarks run {chapter.workload}"
    yield "```\n"
    yield workloads.described(chapter.workload)
    yield ""
    if plot(chapter):
        yield f"![Medians]({PLOTS}/{chapter.workload}.svg)\n"
    found = tables.cases(chapter)
    if len(found) > MOST_DETAILS:
        yield from tables.overview(chapter)
        yield ""
    for case in found if len(found) <= MOST_DETAILS else found[-1:]:
        yield f"{case}:\n"
        yield from tables.details(chapter, case)
        yield ""
    for note in chapter.notes:
        yield f"- {note}"
    before, after = chapter.load
    yield f"\nIt took {chapter.seconds:.0f} s; load average {before:g} before, {after:g} after."


MOST_DETAILS = 4
"""Cases of a workload that have a table each; of more, only the last has."""


def _title(chapter: Chapter) -> str:
    return chapter.workload.replace("_", " ").capitalize()
