"""Run directories: where a local cluster has its sockets, and who clears them away.

``run_root()/<8 hex digits>/`` belongs to one supervisor, which holds a lock on a file in it until
it ends, in whatever way it ends: a directory whose lock is free is nobody's. One cluster of each
user may be shared; ``shared.json`` beside the directories names it. Whoever changes something in
the root holds the root's own lock.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from cloudburst.config import run_root
from cloudburst.errors import ClusterError

MAX_SOCKET_PATH = 100
"""Bytes; the kernels allow 103 (macOS) and 107 (Linux)."""

_LONGEST_SOCKET = "c-0123456789abcdef"  # a client, which has a longer name than executors
_DIRECTORY = re.compile(r"[0-9a-f]{8}\Z")
_log = logging.getLogger(__name__)

Sweep: TypeAlias = Callable[[Path], object]
"""Ends the key-value store that may still run in a directory that is nobody's."""


def prepare_root() -> Path:
    """The folder of this user's run directories, made if there is none.

    Raises:
        ClusterError: it is not a directory, is somebody else's, or others may enter it.
    """
    root = run_root()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ClusterError(f"cannot make the run directory: {error}") from error
    _check_private(root)
    return root


def new_directory() -> Path:
    """The path of a run directory that does not exist yet.

    Raises:
        ClusterError: as `prepare_root`, or the path is too long for the sockets in it.
    """
    directory = prepare_root() / os.urandom(4).hex()
    length = len(os.fsencode(directory / _LONGEST_SOCKET))
    if length > MAX_SOCKET_PATH:
        raise ClusterError(
            f"sockets in {directory} would have paths of {length} bytes, and {MAX_SOCKET_PATH} "
            "are allowed; set CLOUDBURST_RUN_DIR to a shorter path"
        )
    return directory


class RunDir:
    """A run directory that is this process's until `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # A sweeper must not see the directory before it is locked.
        with _root_lock():
            path.mkdir(mode=0o700)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def publish(self, address: str) -> None:
        """Name this directory's cluster, reached at ``address``, as the user's shared one."""
        shared = _shared_file()
        with _root_lock():
            draft = self.path / shared.name
            draft.write_text(json.dumps({"directory": str(self.path), "address": address}))
            draft.replace(shared)

    def withdraw(self) -> None:
        """The inverse of `publish`: nobody new finds the cluster."""
        with _root_lock():
            _unshare(self.path)

    def close(self) -> None:
        """Remove the directory with all that is in it. Closing twice is harmless."""
        if self._lock < 0:
            return
        with _root_lock():
            _unshare(self.path)
            _remove(self.path)
        os.close(self._lock)
        self._lock = -1


def sweep_stale(sweep: Sweep) -> None:
    """Remove all run directories whose supervisor is gone."""
    root = prepare_root()
    with _root_lock():
        for directory in root.iterdir():
            if _DIRECTORY.match(directory.name) and not is_held(directory):
                _log.info("removing %s, whose supervisor is gone", directory)
                _clear(directory, sweep)
        shared = _read_shared()
        if shared is not None and not is_held(shared[0]):
            _unshare(shared[0])


def clear_orphan(directory: Path, sweep: Sweep, patience: float = 0.0) -> None:
    """Remove this run directory if its supervisor is gone.

    Args:
        directory: the run directory, which need not exist any more.
        sweep: as for `sweep_stale`.
        patience: seconds to wait for the lock of a supervisor that is known to have died: the
            kernel closes its pipes a moment before it frees its locks.
    """
    deadline = time.monotonic() + patience
    while is_held(directory):
        if time.monotonic() >= deadline:
            return
        time.sleep(0.005)
    if directory.exists():
        with _root_lock():
            _clear(directory, sweep)


def is_held(directory: Path) -> bool:
    """Whether the run directory's supervisor lives."""
    try:
        lock = os.open(directory / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two who look at the same time do not take each other for the holder.
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def shared_address() -> str | None:
    """Where the user's shared local cluster is reached, or None if there is none.

    Raises:
        ClusterError: the root is not private to this user.
    """
    root = run_root()
    if not root.exists():
        return None
    _check_private(root)
    shared = _read_shared()
    return shared[1] if shared is not None and is_held(shared[0]) else None


@contextmanager
def starting_shared() -> Iterator[None]:
    """Held while a shared cluster is started, so that two who start one get one."""
    with _locked(prepare_root() / "shared.lock"):
        yield


def clear_shared_lock() -> None:
    """Remove what an owner that was killed in `starting_shared` left."""
    path = run_root() / "shared.lock"
    with suppress(FileNotFoundError, BlockingIOError):
        lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), path.stat()):
                path.unlink()
        finally:
            os.close(lock)


def _check_private(root: Path) -> None:
    status = root.lstat()
    problem = ""
    if not stat.S_ISDIR(status.st_mode):
        problem = "is not a directory" + (", but a link" if root.is_symlink() else "")
    elif status.st_uid != os.getuid():
        problem = f"belongs to user {status.st_uid}, not to you"
    elif status.st_mode & 0o077:
        problem = "can be entered by others; chmod 700 it"
    if problem:
        raise ClusterError(
            f"{root} {problem}. It is where local clusters have their sockets, and who reaches "
            "those can run code as you; CLOUDBURST_RUN_DIR names another place"
        )


def _shared_file() -> Path:
    return run_root() / "shared.json"


def _read_shared() -> tuple[Path, str] | None:
    try:
        content = json.loads(_shared_file().read_text())
        return Path(content["directory"]), str(content["address"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("%s cannot be read: %s", _shared_file(), error)
        return None


def _unshare(directory: Path) -> None:
    shared = _read_shared()
    if shared is not None and shared[0] == directory:
        _shared_file().unlink(missing_ok=True)


def _clear(directory: Path, sweep: Sweep) -> None:
    sweep(directory)
    _unshare(directory)
    _remove(directory)


def _remove(directory: Path) -> None:
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        # Somebody still makes files there; the next start sweeps what is left.
        _log.warning("cannot remove %s: %s", directory, error)


@contextmanager
def _root_lock() -> Iterator[None]:
    with _locked(run_root() / "root.lock"):
        yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file that is there only while somebody holds or wants it."""
    lock = _acquire(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def _acquire(path: Path) -> int:
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Whoever held it before us removed the file: then ours is not the one others lock.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        os.close(lock)
