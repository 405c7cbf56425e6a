"""The tasks of dramatiq's workers, which import this module."""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks import tasks
from benchmarks.peers.queues import SOCKET


def make(path: str) -> dict[str, Any]:
    """The tasks, of a server with its socket at ``path``."""
    url = f"unix://{path}"
    broker: Any = RedisBroker(url=url)
    broker.add_middleware(Results(backend=RedisBackend(url=url), store_results=True))
    dramatiq.set_broker(broker)
    return {
        name: dramatiq.actor(getattr(tasks, name), broker=broker, actor_name=name)
        for name in ("same", "increment", "square")
    }


if SOCKET in os.environ:
    TASKS = make(os.environ[SOCKET])
"""For the workers."""
