"""Where a machine's cached objects are: a folder of shared memory, one for each host.

::

    board      see `cloudburst.cache.board`
    objects/   cached objects, each a file named for its key
    new/       objects that executors have read and offer for the cache
    offers     the socket on which they do
    owner      locked as long as the host lives
    changes    locked by who publishes or drops an object

A host that starts removes the folders of hosts that have died.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_STOPPED = 0.1
"""Seconds that a process at work takes at most to publish or drop an object."""

_PAUSE = 0.0005

_YOUNG = 10.0
"""Seconds that a folder may have no locked owner yet."""


def memory_root() -> Path:
    """Where files are memory; on systems that have no such place, the temporary directory."""
    memory = Path("/dev/shm")  # noqa: S108  its folders are private
    if sys.platform == "linux" and os.access(memory, os.W_OK):
        return memory
    return Path(tempfile.gettempdir())


def file_name(key: str) -> str:
    """The name of the file of an object."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class CacheFolder:
    """The names in a folder that exists.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.objects = path / "objects"
        self.new = path / "new"
        self.board = path / "board"
        self.offers = path / "offers"
        self._changes = os.open(path / "changes", os.O_RDWR | os.O_CREAT, 0o600)

    @contextmanager
    def changing(self) -> Iterator[bool]:
        """Meanwhile nobody else publishes or drops an object.

        Yields False if somebody has been at it for so long that it must have been stopped.
        """
        try:
            yield self._lock_changes()
        finally:
            fcntl.flock(self._changes, fcntl.LOCK_UN)

    def _lock_changes(self) -> bool:
        deadline = time.monotonic() + _STOPPED
        while True:
            try:
                fcntl.flock(self._changes, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_PAUSE)
            else:
                return True

    def close(self) -> None:
        """Give back what this process has of it. Closing twice is harmless."""
        if self._changes >= 0:
            os.close(self._changes)
            self._changes = -1


class OwnFolder(CacheFolder):
    """A new folder, which ends with this process.

    Args:
        host: the host's name.
        root: where; by default `memory_root`.

    Raises:
        OSError: there is no place for it.
    """

    def __init__(self, host: str, root: Path | None = None) -> None:
        root = root or memory_root()
        _remove_dead(root)
        path = root / f"{_prefix()}{host}"
        path.mkdir(mode=0o700)
        self._owner = _lock(path / "owner")
        for name in ("objects", "new"):
            (path / name).mkdir(mode=0o700)
        super().__init__(path)

    def remove(self) -> None:
        """Remove it. Readers keep what they have mapped. Removing twice is harmless."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._owner >= 0:
            os.close(self._owner)
            self._owner = -1
        self.close()


def folders(root: Path | None = None) -> set[Path]:
    """The folders of this user's hosts, dead ones included."""
    root = root or memory_root()
    with suppress(OSError):
        return {root / name for name in os.listdir(root) if name.startswith(_prefix())}
    return set()


def remove_dead(root: Path | None = None) -> None:
    """Remove the folders of this user's hosts that are gone."""
    _remove_dead(root or memory_root())


def _prefix() -> str:
    return f"cloudburst-{os.getuid()}-"


def _remove_dead(root: Path) -> None:
    for path in folders(root):
        try:
            if path.stat().st_uid == os.getuid() and _is_dead(path):
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue  # somebody else was faster


def _is_dead(path: Path) -> bool:
    try:
        owner = os.open(path / "owner", os.O_RDWR)
    except FileNotFoundError:
        return time.time() - path.stat().st_mtime > _YOUNG
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(owner)
    return True


def _lock(path: Path) -> int:
    owner = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(owner, fcntl.LOCK_EX)
    return owner
