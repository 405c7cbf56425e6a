"""The files of Unix sockets."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress

UNIX = "ipc://"
LONGEST_PATH = 103
"""Bytes; Linux would allow 107."""

_BACKLOG = 1024


def path_of(address: str) -> str:
    """The path of an ``ipc://`` address.

    Raises:
        OSError: no socket can have that path.
    """
    path = address.removeprefix(UNIX)
    size = len(os.fsencode(path))
    if not path or "\0" in path:
        raise OSError(errno.EINVAL, f"{address!r} has no path of a file")
    if size > LONGEST_PATH:
        raise OSError(
            errno.ENAMETOOLONG,
            f"the path of {address} has {size} bytes, a socket's at most {LONGEST_PATH}",
        )
    return path


def listen(path: str) -> socket.socket:
    """A socket that listens there. One that a killed process left there is replaced.

    Raises:
        OSError: somebody listens there, or there is another file, or no directory.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            listener.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _is_dead(path):
                raise
            os.unlink(path)  # noqa: PTH108  (a plain string)
            listener.bind(path)
        listener.listen(_BACKLOG)
        listener.settimeout(0.0)
    except OSError:
        listener.close()
        raise
    return listener


def _is_dead(path: str) -> bool:
    """Whether this is a socket that its process left when it was killed."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False  # its backlog is full, or it is somebody else's
    return False


def inode(path: str) -> int:
    """Which file is there; 0 if there is none."""
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return 0


def remove(path: str, file: int) -> None:
    """Remove a socket's file, unless another has taken its place."""
    if file and inode(path) == file:
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108  (a plain string)
