"""What functions note in the store about their own runs, for tests to read."""

from typing import Any

from cloudburst import CloudburstConnection, CloudburstFuture


def note(library: Any, what: str) -> int:
    """For functions: that something has happened in this run. Returns how often by now."""
    key = f"{library.run_id} {what}"
    times: int = library.get(key, 0) + 1
    library.put(key, times)
    return times


def noted(connection: CloudburstConnection, run: CloudburstFuture, what: str) -> int:
    """How often it has happened."""
    times: int = connection.get_object(f"{run.obj_id} {what}", 0)
    return times
