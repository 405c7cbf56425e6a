"""Names and ids: what may be called what, and how a run id is minted."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator

from cloudburst.errors import InvalidName

MAX_NAME = 200
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*\Z")


def check_name(name: object, what: str) -> str:
    """Return ``name`` if functions, DAGs and steps may bear it.

    Args:
        name: the name as the caller gave it.
        what: the thing named, for the message: ``"function"``, ``"DAG"``, ``"step"``.

    Raises:
        InvalidName: it is not a string, is empty, is longer than 200 characters, or has other
            characters than letters, digits, ``_``, ``-`` and ``.``.
    """
    if not isinstance(name, str):
        raise InvalidName(f"a {what} name is a string, not {type(name).__name__}: {name!r:.80}")
    if not name or len(name) > MAX_NAME:
        raise InvalidName(
            f"a {what} name has 1 to {MAX_NAME} characters, not {len(name)}: {name[:40]!r}..."
            if name
            else f"a {what} name cannot be empty"
        )
    if not _NAME.match(name):
        raise InvalidName(
            f"{what} name {name!r} has characters other than letters, digits, '_', '-' and '.'"
        )
    return name


def new_id() -> str:
    """A random id of 16 hexadecimal digits, for one process or connection."""
    return os.urandom(8).hex()


def run_ids(owner: str) -> Iterator[str]:
    """Run ids of one connection: unique because ``owner`` is, cheap because the rest counts."""
    return (f"{owner}-{number}" for number in itertools.count(1))
