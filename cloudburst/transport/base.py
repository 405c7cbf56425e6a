"""What every transport does, and the limits they share."""

from __future__ import annotations

import enum
from abc import abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from cloudburst.core.messages import Buffer, Frames
from cloudburst.transport.watch import Source

COPY_BELOW = 64 * 1024
"""Bytes below which copying a frame is cheaper than keeping count of its memory. Larger frames
arrive as writable memoryviews of memory that nobody else has."""

MAX_MESSAGE = 1 << 36
"""Bytes in a message. What announces more is not a message, and its connection is dropped."""

LINGER = 1.0
"""Seconds for which what was sent may go on leaving after its socket was closed."""


class Memory(enum.Enum):
    """Whose memory the frames to be sent are."""

    OURS = enum.auto()  # nobody changes it: large frames leave without a copy
    BORROWED = enum.auto()  # only bytes objects are safe to leave uncopied


class _Socket(Source):
    """A source as a context manager."""

    @abstractmethod
    def close(self) -> None:
        """Close it without waiting; what was sent has `LINGER` seconds to leave.

        `Context.close` waits for that.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Inbox(_Socket):
    """A bound socket on which any number of peers, each under its identity, reach this process.

    Attributes:
        address: where peers reach it.
    """

    address: str

    @abstractmethod
    def messages(self) -> Iterator[tuple[str, list[Buffer]]]:
        """What has come up to the last `Poller.wait`, as (identity, frames).

        What the caller leaves is given out the next time.
        """

    @abstractmethod
    def send(self, peer: str, frames: Frames, memory: Memory = Memory.OURS) -> bool:
        """Send to a connected peer; never waits.

        A peer that connects again under its identity takes the place of what it was before.

        Args:
            peer: its identity.
            frames: at least one.
            memory: whose they are.

        Returns:
            False if it is not connected (any more). True is no promise: what is under way when a
            connection ends is lost.
        """


class Outlet(_Socket):
    """A connection to one peer, which is made again whenever it ends.

    It is tried again whenever something is sent, and while somebody waits in a `Poller` for it.
    """

    @abstractmethod
    def messages(self) -> Iterator[list[Buffer]]:
        """What the peer has answered up to the last `Poller.wait`.

        What the caller leaves is given out the next time.
        """

    @abstractmethod
    def send(self, frames: Frames, memory: Memory = Memory.BORROWED) -> bool:
        """Send, or queue while disconnected; never waits.

        Args:
            frames: at least one.
            memory: whose they are.

        Returns:
            False if the outlet is for connected peers only, and is not connected. True is no
            promise: what is under way when a connection ends is lost.
        """

    @abstractmethod
    def backlog(self) -> int:
        """Bytes of what was sent that wait here for a peer who does not read.

        Over ZeroMQ only frames of `COPY_BELOW` bytes and more are counted.
        """

    @abstractmethod
    def wait_connected(self, seconds: float) -> bool:
        """Wait until a message could leave at once; no longer than there is hope."""
