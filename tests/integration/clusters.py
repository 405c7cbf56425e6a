"""Clusters that the tests of one file share, and calls to them.

Clusters are over the store that ``CLOUDBURST_TEST_KVS`` says.

Without it, or if it is empty, clusters have stores of their own, as users' do. With one of
`served.KINDS` those that fixtures start have a new one of that kind each:

    CLOUDBURST_TEST_KVS=cluster python -m pytest tests/integration
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from served import KINDS
from watching import wait_until

from cloudburst import CloudburstConnection, LocalCluster

SOON = 5.0
"""Seconds within which every error has to come."""


@contextmanager
def store_for_cluster() -> Iterator[str | None]:
    """What to pass as ``kvs``."""
    kind = os.environ.get("CLOUDBURST_TEST_KVS")
    if not kind:
        yield None
        return
    with KINDS[kind]() as served:
        for server in served.servers:
            if b"cb" in server("ACL", "USERS"):  # may answer the tests' own questions, too
                server("ACL", "SETUSER", "cb", "+@read", "+@connection")
        yield served.url


@contextmanager
def cluster_of(executors: int) -> Iterator[LocalCluster]:
    """A cluster with so many executors, all ready, in a run directory of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="cb-", dir="/tmp") as directory,
        pytest.MonkeyPatch.context() as patch,
        store_for_cluster() as kvs,
    ):
        patch.setenv("CLOUDBURST_RUN_DIR", directory)
        with LocalCluster(executors, kvs=kvs) as started:
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
