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
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cloudburst.cache.board import make_board

_STOPPED = 0.1
"""Seconds that a process at work takes at most to publish or drop an object."""

_PAUSE = 0.0005

_YOUNG = 10.0
"""Seconds in which a folder is made."""


def memory_root() -> Path:
    """Where files are memory; on systems that have no such place, the temporary directory.

    ``CLOUDBURST_CACHE_DIR`` names another place, for all processes of a machine the same.
    """
    if chosen := os.environ.get("CLOUDBURST_CACHE_DIR"):
        return Path(chosen)
    memory = Path("/dev/shm")  # noqa: S108  its folders are private
    if sys.platform == "linux" and os.access(memory, os.W_OK):
        return memory
    return Path(tempfile.gettempdir())


def room_in(path: Path | int, reserve: float) -> int:
    """Bytes that may still be written there.

    Args:
        path: a folder, or an open file.
        reserve: the part of all there is that is left to others.
    """
    about = os.statvfs(path)
    return int((about.f_bavail - reserve * about.f_blocks) * about.f_frsize)


def file_name(key: str) -> str:
    """The name of the file of an object."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class CacheFolder:
    """The names in a folder that exists.

    Args:
        path: the folder.

    Raises:
        OSError: it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.objects = path / "objects"
        self.new = path / "new"
        self.board = path / "board"
        self.offers = path / "offers"
        self._turn = threading.Lock()
        self._changes = os.open(path / "changes", os.O_RDWR)

    @contextmanager
    def changing(self) -> Iterator[bool]:
        """Meanwhile nobody else publishes or drops an object.

        Yields False if somebody has been at it for so long that it must have been stopped.
        """
        with self._turn:  # the file's lock is the process's, not a thread's
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
        remove_dead(root)
        path = root / f"{_prefix()}{host}"
        # Nobody finds it before it has an owner, or it would count as dead.
        hidden = root / f".{path.name}"
        hidden.mkdir(mode=0o700)
        self._owner = -1
        try:
            self._owner = _lock(hidden / "owner")
            for name in ("objects", "new"):
                (hidden / name).mkdir(mode=0o700)
            (hidden / "changes").touch(mode=0o600)
            make_board(hidden / "board")
            hidden.rename(path)
        except OSError:
            shutil.rmtree(hidden, ignore_errors=True)
            self._give_up()
            raise
        super().__init__(path)

    def remove(self) -> None:
        """Remove it. Readers keep what they have mapped. Removing twice is harmless."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._give_up()
        self.close()

    def _give_up(self) -> None:
        if self._owner >= 0:
            os.close(self._owner)
            self._owner = -1


def folders(root: Path | None = None) -> set[Path]:
    """The folders of this user's hosts, dead ones included."""
    return _folders(root or memory_root(), _prefix())


def dead_folders(root: Path | None = None) -> set[Path]:
    """The folders of this user's hosts that are gone."""
    root = root or memory_root()
    unfinished = _folders(root, f".{_prefix()}")
    return {path for path in folders(root) if _has_no_owner(path)} | {
        path for path in unfinished if _was_never_finished(path)
    }


def remove_dead(root: Path | None = None) -> None:
    """Remove what `dead_folders` finds."""
    for path in dead_folders(root):
        shutil.rmtree(path, ignore_errors=True)  # somebody else may be faster


def _prefix() -> str:
    return f"cloudburst-{os.getuid()}-"


def _folders(root: Path, prefix: str) -> set[Path]:
    with suppress(OSError):
        return {root / name for name in os.listdir(root) if name.startswith(prefix) and
                _is_ours(f"{root}/{name}")}  # fmt: skip
    return set()


def _is_ours(path: str) -> bool:
    """Whether it is a folder of this user: everybody may make something of that name."""
    with suppress(FileNotFoundError):
        about = os.lstat(path)
        return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()
    return False


def _was_never_finished(path: Path) -> bool:
    with suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime > _YOUNG and _has_no_owner(path)
    return False


def _has_no_owner(path: Path) -> bool:
    try:
        owner = os.open(path / "owner", os.O_RDWR)
    except FileNotFoundError:
        return True
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
