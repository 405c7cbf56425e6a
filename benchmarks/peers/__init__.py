"""Systems that do the same work, each in a module of its own that is imported when asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TypeAlias

from benchmarks.system import System

Peer: TypeAlias = System

PEERS = {
    "ray": "ray:Ray",
    "ray-graph": "ray_graph:RayGraph",
    "ray-graph-2": "ray_graph:RayGraphOfTwo",
    "dask": "dask:Dask",
    "processes": "processes:Processes",
    "loky": "loky:Loky",
    "celery": "celery:Celery",
    "dramatiq": "dramatiq:Dramatiq",
}
"""Where the class of each is."""

ALL = tuple(PEERS)
CALLS = ALL
"""Those that make single calls."""


def load(name: str) -> type[System]:
    """The class of a peer; what it is the peer of need not be installed for that."""
    module, _, found = PEERS[name].partition(":")
    peer: type[System] = getattr(import_module(f"{__name__}.{module}"), found)
    return peer
