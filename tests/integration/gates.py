"""Places where a running function waits until the test lets it go on."""

import os
from pathlib import Path

from watching import wait_until


def wait_at(_: object, path: str) -> str:
    """For functions: stand at the gate until it opens. Returns its name."""
    Path(path).read_bytes()
    return Path(path).name


class Gate:
    """A named pipe: the function reads it, and its end is what the function waits for.

    Args:
        path: where to make it.
    """

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._end = -1
        os.mkfifo(path)

    def wait_for_arrival(self) -> None:
        """Return when a function stands at the gate."""
        wait_until(self._somebody_reads, f"a function stands at {self.path}")

    def open(self) -> None:
        """Let the function that stands here, or comes soon, go on."""
        self.wait_for_arrival()
        self.close()

    def close(self) -> None:
        """After a function that stood here has been killed: the next one has to wait, too."""
        os.close(self._end)
        self._end = -1

    def stay_open(self) -> None:
        """Let go who stands here, and who comes later, too."""
        passage = Path(f"{self.path}.open")
        passage.touch()
        end = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        passage.replace(self.path)
        os.close(end)
        if self._end >= 0:
            self.close()

    def remove(self) -> None:
        """Let go who stands here, and let nobody else wait."""
        if self._end < 0:
            self._end = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        Path(self.path).unlink()
        os.close(self._end)

    def _somebody_reads(self) -> bool:
        if self._end < 0:
            try:
                self._end = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # ENXIO: nobody does
                return False
        return True
