"""What a process has written is told to the caches of its machine, before anybody hears of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from cloudburst.cache.board import CacheBoard
from cloudburst.cache.folder import CacheFolder, file_name, folders, store_mark
from cloudburst.cache.leaving import leave
from cloudburst.core.messages import Buffer


def drop_written(folder: CacheFolder, board: CacheBoard, names: Iterable[str]) -> None:
    """These objects were written or deleted: nobody gets an older one out of that cache.

    To be called when the store has carried it out.
    """
    with folder.changing() as alone:
        for name in names:
            board.wrote(name)
            with suppress(FileNotFoundError):
                os.unlink(f"{folder.objects}/{file_name(name)}")
        board.advance()
        if not alone:
            board.trust(0.0)


class LocalCaches:
    """The caches of all hosts that this user has on this machine. Threads may share it.

    Args:
        root: where they are; by default `memory_root`.
        but: one that is left out.
    """

    def __init__(self, root: Path | None = None, but: Path | None = None) -> None:
        self._root = root
        self._but = but
        self._turn = threading.Lock()
        self._known: dict[Path, tuple[CacheFolder, CacheBoard]] = {}

    def drop_written(self, names: Sequence[str]) -> None:
        """See `drop_written`; of no effect where there is no cache."""
        with self._turn:
            self._look()
            for folder, board in self._known.values():
                drop_written(folder, board, names)

    def leave(self, name: str, pieces: Sequence[Buffer], kvs_url: str) -> None:
        """Leave an argument in the caches of that store; see `leaving.leave`."""
        mark = store_mark(kvs_url)
        with self._turn:
            self._look()
            found = [folder for folder, _ in self._known.values()]
        for folder in found:
            with suppress(FileNotFoundError):  # its host has just ended
                if folder.store.read_bytes() == mark:
                    leave(folder, name, pieces)

    def close(self) -> None:
        """Give back what it has. Closing twice is harmless."""
        with self._turn:
            for path in [*self._known]:
                self._close(path)

    def _look(self) -> None:
        there = folders(self._root) - {self._but}
        for path in self._known.keys() - there:
            self._close(path)
        for path in there - self._known.keys():
            with suppress(FileNotFoundError):  # its host has just ended
                self._open(path)

    def _open(self, path: Path) -> None:
        folder = CacheFolder(path)
        try:
            self._known[path] = folder, CacheBoard(folder.board)
        except BaseException:
            folder.close()
            raise

    def _close(self, path: Path) -> None:
        folder, board = self._known.pop(path)
        folder.close()
        board.close()
