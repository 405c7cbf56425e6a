"""The command line: ``python -m benchmarks run | report | list``."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import page, peers, workloads
from benchmarks.bench import Bench
from benchmarks.record import Chapter, Record, joined, machine, read, write

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
PAGE = ROOT / "docs" / "benchmarks.md"


def run(options: argparse.Namespace) -> None:
    """Run workloads, and write what they find after each."""
    record = Record(machine(), options.quick)
    os.environ.setdefault("CLOUDBURST_LOG", "ERROR")  # a host that is told to end says so
    for name in options.workloads or workloads.names():
        print(f"{name}: {workloads.described(name).splitlines()[0]}", flush=True)
        chapter = Chapter(name)
        record.chapters.append(chapter)
        bench = Bench(chapter, options.peers, quick=options.quick, minutes=options.minutes)
        before, began = os.getloadavg()[0], time.monotonic()
        workloads.load(name)(bench)
        chapter.load = (round(before, 2), round(os.getloadavg()[0], 2))
        chapter.seconds = round(time.monotonic() - began, 1)
        write(record, options.out)
    print(f"written to {options.out}")


def report(options: argparse.Namespace) -> None:
    """Make the page of one or several files."""
    record = joined([read(path) for path in options.records])
    for path in page.write(record, options.page):
        print(f"written: {path}")


def listed(_: argparse.Namespace) -> None:
    """Print workloads and peers."""
    for name in workloads.names():
        print(f"{name:18}{workloads.described(name).splitlines()[0]}")
    print("peers:", ", ".join(peers.ALL))


def parser() -> argparse.ArgumentParser:
    """What can be said on the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = made.add_subparsers(required=True)

    running = commands.add_parser("run", help="measure, and write a JSON file")
    running.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="by default all")
    running.add_argument(
        *("--peers", "-p"),
        nargs="*",
        default=peers.ALL,
        choices=peers.ALL,
        metavar="PEER",
        help="who takes part besides the floors; by default all that are installed",
    )
    running.add_argument("--quick", action="store_true", help="only to see that it works")
    running.add_argument("--minutes", type=float, default=10.0, help="of a soak")
    running.add_argument("--out", type=Path, default=RESULTS, help="default %(default)s")
    running.set_defaults(act=run)

    reporting = commands.add_parser("report", help="make the page of one or several JSON files")
    reporting.add_argument("records", nargs="*", type=Path, default=[RESULTS])
    reporting.add_argument("--page", type=Path, default=PAGE, help="default %(default)s")
    reporting.set_defaults(act=report)

    listing = commands.add_parser("list", help="workloads and peers")
    listing.set_defaults(act=listed)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    if unknown := set(vars(options).get("workloads", ())) - set(workloads.names()):
        parser().error(f"no workload {', '.join(unknown)}; `list` says which there are")
    options.act(options)


if __name__ == "__main__":
    main()
