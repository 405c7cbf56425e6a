"""Names and ids: what may be called what, and how a run id is minted."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Iterator

from cloudburst.errors import InvalidName, UsageError

VERSION = "0.1.0"
MAX_NAME = 200
MAX_KEY = 1000
_HALF = "half of a surrogate pair, which is no character"
_OF_RUN = re.compile(r"[0-9a-f]{16}-[0-9]+(/[0-9]+)?\Z")
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


def parked_name(run_id: str, number: int) -> str:
    """The object that holds a large argument of a run, as long as the run has not ended."""
    return f"{run_id}/{number}"


def is_parked(name: str, run_id: str) -> bool:
    """Whether an object holds an argument of that run, and is of no use after it."""
    return name.startswith(f"{run_id}/")


def run_of_parked(name: str) -> str:
    """The run whose argument the object holds."""
    return name.rpartition("/")[0]


def is_of_run(name: str) -> bool:
    """Whether an object of that name is the result of a run, or an argument of one."""
    return _OF_RUN.match(name) is not None


def python_version() -> str:
    """The interpreter's minor version, which pickled code depends on."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def check_key(key: object) -> str:
    """Return ``key`` if objects can be stored under it: a string of 1 to 1,000 characters.

    Raises:
        InvalidName: it is something else.
    """
    if not isinstance(key, str):
        raise InvalidName(f"a key is a string, not {type(key).__name__}: {key!r:.80}")
    if not 0 < len(key) <= MAX_KEY:
        raise InvalidName(f"a key has 1 to {MAX_KEY} characters, not {len(key)}: {key[:40]!r}")
    if not _is_unicode(key):
        raise InvalidName(f"the key {key!r:.80} has {_HALF}")
    return key


def check_text(value: object, what: str) -> str:
    """Return ``value`` if it is a string of characters; ``what`` names it in the error.

    Raises:
        UsageError: it is not.
    """
    if not isinstance(value, str):
        raise UsageError(f"the {what} is a string, not {value!r:.80}")
    if not _is_unicode(value):
        raise UsageError(f"the {what} {value!r:.80} has {_HALF}")
    return value


def _is_unicode(text: str) -> bool:
    """Whether it can be sent: strings of Python may have what UTF-8 does not."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
