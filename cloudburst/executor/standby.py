"""An executor to be: forked ahead, it has done what all executors begin with, and waits for a name.

Most of the time that a new executor takes goes into copying memory that it shares with its zygote,
page by page as it is first used. One that stands by has that behind it.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress


class Standby:
    """A pipe to a process that is to be forked, and then that process as its zygote sees it.

    Attributes:
        pid: the process; 0 before it is there.
        since: when it was wanted (monotonic seconds).
    """

    def __init__(self) -> None:
        self.pid = 0
        self.since = time.monotonic()
        self._reading, self._writing = os.pipe()

    def wait(self) -> str:
        """In the process: wait for its configuration. Empty if it is not needed."""
        os.close(self._writing)
        with os.fdopen(self._reading, encoding="utf-8") as pipe:
            return pipe.read()

    def forked(self, pid: int) -> None:
        """It is there."""
        self.pid = pid
        os.close(self._reading)

    def begin(self, config: str) -> bool:
        """Let it begin. Returns False if it cannot, because it has died."""
        try:
            os.write(self._writing, config.encode())
        except BrokenPipeError:
            return False
        finally:
            self.close()
        return True

    def close(self) -> None:
        """Give up this end of the pipe; the process ends, unless it was told to begin."""
        with suppress(OSError):
            os.close(self._writing)
