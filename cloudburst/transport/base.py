"""What every transport does, and the limits they share."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from cloudburst.core.messages import Buffer, Frames

COPY_BELOW = 64 * 1024
"""Bytes below which copying a frame is cheaper than keeping count of its memory. Larger frames
arrive as writable memoryviews of memory that nobody else has."""

LINGER = 1.0
"""Seconds for which closing waits for what was sent to leave."""


class Memory(enum.Enum):
    """Whose memory the frames to be sent are."""

    OURS = enum.auto()  # nobody changes it: large frames leave without a copy
    BORROWED = enum.auto()  # only bytes objects are safe to leave uncopied


class _Closing(ABC):
    """Sockets as context managers."""

    @abstractmethod
    def close(self) -> None:
        """Close it; what was sent has `LINGER` seconds to leave."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Inbox(_Closing):
    """A bound socket on which any number of peers, each under its identity, reach this process.

    Attributes:
        address: where peers reach it.
    """

    address: str

    @abstractmethod
    def messages(self) -> Iterator[tuple[str, list[Buffer]]]:
        """What has come up to the last `Poller.wait`, as (identity, frames)."""

    @abstractmethod
    def send(self, peer: str, frames: Frames, memory: Memory = Memory.OURS) -> bool:
        """Send to a connected peer. Returns False if it is not connected (any more)."""


class Outlet(_Closing):
    """A connection to one peer, which reconnects by itself."""

    @abstractmethod
    def messages(self) -> Iterator[list[Buffer]]:
        """What the peer has answered up to the last `Poller.wait`."""

    @abstractmethod
    def send(self, frames: Frames, memory: Memory = Memory.BORROWED) -> bool:
        """Send, or queue while disconnected.

        Returns:
            False if the outlet is for connected peers only, and is not connected.
        """

    @abstractmethod
    def wait_connected(self, seconds: float) -> bool:
        """Wait until a message could leave at once."""
