"""The tasks of Celery's workers, which import this module."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from benchmarks import tasks
from benchmarks.peers.queues import SOCKET


def make(path: str) -> Any:
    """The application, of a server with its socket at ``path``."""
    url = f"redis+socket://{path}"
    made: Any = Celery("benchmarks", broker=url, backend=url)
    made.conf.update(
        worker_prefetch_multiplier=4,
        worker_hijack_root_logger=False,
        task_track_started=False,
        result_expires=600,
        broker_connection_retry_on_startup=True,
    )
    for name in ("same", "increment", "square", "total"):
        made.task(getattr(tasks, name), name=name)
    return made


if SOCKET in os.environ:
    app: Any = make(os.environ[SOCKET])
"""For the workers."""
