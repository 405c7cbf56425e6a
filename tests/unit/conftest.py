"""Unit tests: pure, no processes, and the same every time."""

from __future__ import annotations

import pytest
from hypothesis import settings
from scheduling import Cluster

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


@pytest.fixture
def cluster() -> Cluster:
    """Executors ``a`` and ``b`` of one host, and a function ``f`` that never ran."""
    cluster = Cluster()
    cluster.join("a", "b")
    cluster.register("f")
    return cluster


@pytest.fixture
def fork(cluster: Cluster) -> Cluster:
    """A DAG ``fork`` of two sources and their join: a run of it goes to ``a``, ``b`` and ``a``."""
    cluster.dag("fork", [("x", "f"), ("y", "f"), ("z", "f")], [("x", "z"), ("y", "z")])
    return cluster
