"""Functions that take several calls at once, for tests."""

from pathlib import Path
from typing import Any

from notes import note

from cloudburst import CloudburstFuture, UserLibrary

SOON = 30.0
"""Seconds within which every end has to come."""

LONG = 60_000.0
"""Milliseconds that a batch may wait: it begins because it is full, or the test fails."""


def sized(_: object, items: list[Any]) -> list[tuple[Any, int]]:
    """Each item, and how many there were."""
    return [(item, len(items)) for item in items]


def at_gate(library: UserLibrary, items: list[Any], paths: list[str]) -> list[tuple[Any, int]]:
    """As `sized`, after the gate was opened."""
    try:
        Path(paths[0]).read_bytes()
    except BaseException as error:
        note(library, type(error).__name__)
        raise
    return sized(library, items)


def results(futures: list[CloudburstFuture]) -> list[Any]:
    return [future.get(SOON) for future in futures]
