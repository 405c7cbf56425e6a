"""Clusters that the tests of one file share, and calls to them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from watching import wait_until

from cloudburst import CloudburstConnection, LocalCluster

SOON = 5.0
"""Seconds within which every error has to come."""


@contextmanager
def cluster_of(executors: int) -> Iterator[LocalCluster]:
    """A cluster with so many executors, all ready, in a run directory of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="cb-", dir="/tmp") as directory,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("CLOUDBURST_RUN_DIR", directory)
        with LocalCluster(executors) as started:
            # Tests that start clusters of their own have run directories of their own.
            patch.undo()
            with started.connect() as first:
                wait_until(lambda: len(first.status().executors) == executors, "all are ready")
            yield started


def call(connection: CloudburstConnection, name: str, *args: Any, **options: Any) -> Any:
    """Call the function of that name, with these options."""
    function = connection.get_function(name)
    assert function is not None
    return function.options(**options)(*args)
