"""Clusters that the tests of one file share."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from watching import wait_until

from cloudburst import LocalCluster


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
