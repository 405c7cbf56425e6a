"""What a process has written is told to the caches of its machine, before anybody hears of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from cloudburst.cache.board import CacheBoard
from cloudburst.cache.folder import CacheFolder, file_name, folders


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
    """The caches of all hosts that this user has on this machine.

    Args:
        root: where they are; by default `memory_root`.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = root
        self._known: dict[Path, tuple[CacheFolder, CacheBoard]] = {}

    def drop_written(self, names: Sequence[str]) -> None:
        """See `drop_written`; of no effect where there is no cache."""
        there = folders(self._root)
        for path in self._known.keys() - there:
            self._close(path)
        for path in there - self._known.keys():
            with suppress(OSError):  # its host has just ended
                folder = CacheFolder(path)
                self._known[path] = folder, CacheBoard(folder.board)
        for folder, board in self._known.values():
            drop_written(folder, board, names)

    def close(self) -> None:
        """Give back what it has. Closing twice is harmless."""
        for path in [*self._known]:
            self._close(path)

    def _close(self, path: Path) -> None:
        folder, board = self._known.pop(path)
        folder.close()
        board.close()
