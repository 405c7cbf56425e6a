"""Cloudburst on this machine.

``python local_mode.py`` runs a cluster until Ctrl-C, which every process of yours can join with
``CloudburstConnection(local=True)``; ``python local_mode.py --demo`` shows what it does.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any

from cloudburst.cli import add_cluster_flags, configure_logging, up
from cloudburst.errors import CloudburstError
from cloudburst.local import LocalCluster


class Expensive:
    """A class whose making is worth keeping: a model, in real life."""

    def __init__(self, arg: int) -> None:
        self.model = arg

    def run(self, arg: int) -> int:
        """What a call of the class calls."""
        return self.model + arg


def demo(flags: argparse.Namespace) -> None:
    """Show a function, a DAG and a class on a cluster of the demo's own."""
    with (
        LocalCluster(
            flags.executors,
            min=flags.min,
            max=flags.max,
            idle_timeout=flags.idle_timeout,
            policy=flags.policy,
            kvs=flags.kvs,
            data_dir=flags.data_dir,
            appendfsync=flags.appendfsync,
        ) as cluster,
        cluster.connect() as cloudburst,
    ):
        cloud_incr = cloudburst.register(lambda _, a: a + 1, "incr")
        show("cloud_incr(1).get()", cloud_incr(1).get())

        cloud_square = cloudburst.register(lambda _, a: a * a, "square")
        show("cloud_square(2).get()", cloud_square(2).get())

        registered = cloudburst.register_dag("test_dag", ["incr", "square"], [("incr", "square")])
        show("cloudburst.register_dag('test_dag', ...)", registered)
        show(
            "cloudburst.call_dag('test_dag', {'incr': 1}).get()",
            cloudburst.call_dag("test_dag", {"incr": 1}).get(),
        )

        cloud_model = cloudburst.register((Expensive, 10), "expensive_class")
        show("cloud_model(5).get()", cloud_model(5).get())


def show(expression: str, value: Any) -> None:
    """Print an expression and its value."""
    print(f"{expression:<52} {value!r}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Run Cloudburst on this machine until Ctrl-C.")
    add_cluster_flags(parser)
    parser.add_argument("--demo", action="store_true", help="show what it does, and end")
    flags = parser.parse_args(arguments)
    try:
        configure_logging("local_mode")
        (demo if flags.demo else up)(flags)
    except CloudburstError as error:
        logging.getLogger(__name__).critical("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
