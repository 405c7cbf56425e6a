"""Messages over a connected Unix socket.

A message is its number of frames, their lengths, and the frames themselves, all integers of 64
bits, little-endian.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator

from cloudburst.core.messages import Buffer, Frames
from cloudburst.transport.base import COPY_BELOW, LINGER, Memory

MAX_FRAMES = 100_000
MAX_FRAME = 1 << 40
_PIECES = 512
"""Pieces handed to the kernel at once; it takes at most 1,024."""

_COUNT = struct.Struct("<Q")
_ONE_FRAME = struct.Struct("<QQ")


class Lost(Exception):
    """The connection has ended, or its peer does not speak our language."""


class Stream:
    """One connection: frames out, frames in.

    What the kernel does not take at once is left to the `Overflow` thread, so that a sender never
    waits for a receiver who is busy, and what it does take is there for the receiver even if this
    process is killed.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(0.0)
        self.socket = connection
        self.fd = connection.fileno()
        self._scratch = memoryview(bytearray(COPY_BELOW))
        self._head = b""
        self._large: _LargeMessage | None = None
        self._whole: deque[list[Buffer]] = deque()
        self._lock = threading.Lock()
        self._left: deque[memoryview] = deque()

    def send(self, frames: Frames, memory: Memory) -> None:
        """Send a message; never waits.

        Raises:
            Lost: the peer is gone.
        """
        pieces = _pieces(frames)
        if self._left:
            with self._lock:
                if self._left:
                    self._left.extend(_kept(pieces, 0, memory))
                    return
        try:
            sent = self.socket.send(pieces[0]) if len(pieces) == 1 else self._send_pieces(pieces)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise Lost(str(error)) from error
        if sent < sum(map(len, pieces)):
            with self._lock:
                self._left.extend(_kept(pieces, sent, memory))
            _overflow.add(self)

    def messages(self) -> Iterator[list[Buffer]]:
        """What has come. Who stops half-way, as an interrupt makes one, gets the rest next time.

        Raises:
            Lost: the peer is gone; what it had sent before was given out.
        """
        yield from self._taken_out()
        more = True
        while more:
            try:
                more = self._read()
            except Lost:
                yield from self._taken_out()
                raise
            yield from self._taken_out()

    def _taken_out(self) -> Iterator[list[Buffer]]:
        while self._whole:
            yield self._whole.popleft()

    def _read(self) -> bool:
        """Read once. Returns whether there may be more: to ask in vain costs a system call."""
        large = self._large
        target = self._scratch if large is None else large.target
        try:
            count = self.socket.recv_into(target)
        except BlockingIOError:
            return False
        except OSError as error:
            raise Lost(str(error)) from error
        if not count:
            raise Lost("the peer closed it")
        more = count == len(target)
        if large is None:
            self._cut(self._scratch[:count])
        elif large.advance(count):
            self._large = None
            self._whole.append(large.frames())
        return more

    def _cut(self, data: memoryview) -> None:
        """Take the messages out of what was read; the beginning of another one is kept."""
        if self._head:
            data = memoryview(self._head + data)
            self._head = b""
        while data:
            lengths = _lengths(data)
            start = 8 if lengths is None else 8 + 8 * len(lengths)
            end = start if lengths is None else start + sum(lengths)
            if lengths is not None and len(data) >= end:
                self._whole.append(_frames(data[start:end], lengths))
                data = data[end:]
            elif lengths is None or end < COPY_BELOW:
                self._head = bytes(data)
                return
            else:
                self._large = _large_message(lengths, data[start:])
                return

    def _send_pieces(self, pieces: list[Buffer]) -> int:
        return self.socket.sendmsg(pieces[:_PIECES])

    @property
    def has_left(self) -> bool:
        """Whether something waits for the kernel to take it."""
        return bool(self._left)

    def flush(self) -> bool:
        """Send what was left. Returns whether nothing is left any more."""
        with self._lock:
            while self._left:
                try:
                    sent = self.socket.send(self._left[0])
                except BlockingIOError:
                    return False
                except OSError:
                    self._left.clear()  # whoever reads from the connection sees that it ended
                    return True
                if sent < len(self._left[0]):
                    self._left[0] = self._left[0][sent:]
                else:
                    self._left.popleft()
        return True

    def close(self, linger: float = LINGER) -> None:
        """Close the connection when what was sent has left, at the latest after ``linger``."""
        deadline = time.monotonic() + linger
        while not self.flush() and (left := deadline - time.monotonic()) > 0:
            poll = select.poll()
            poll.register(self.fd, select.POLLOUT)
            poll.poll(left * 1000)
        with self._lock:
            self._left.clear()
            self.socket.close()


class _LargeMessage:
    """A message on its way in, each frame read straight into memory of its own."""

    def __init__(self, lengths: tuple[int, ...], beginning: memoryview) -> None:
        self._buffers = [bytearray(length) for length in lengths]
        self._missing = deque(memoryview(buffer) for buffer in self._buffers if buffer)
        while beginning:
            count = min(len(beginning), len(self.target))
            self.target[:count] = beginning[:count]
            self.advance(count)
            beginning = beginning[count:]

    @property
    def target(self) -> memoryview:
        """Where the next bytes belong."""
        return self._missing[0]

    def advance(self, count: int) -> bool:
        """So many bytes are in `target`. Returns whether the message is complete."""
        if count == len(self._missing[0]):
            self._missing.popleft()
        else:
            self._missing[0] = self._missing[0][count:]
        return not self._missing

    def frames(self) -> list[Buffer]:
        """The frames of the complete message."""
        return [bytes(b) if len(b) < COPY_BELOW else memoryview(b) for b in self._buffers]


def _large_message(lengths: tuple[int, ...], beginning: memoryview) -> _LargeMessage:
    try:
        return _LargeMessage(lengths, beginning)
    except MemoryError:
        raise Lost(f"a message of {sum(lengths)} bytes") from None


class Overflow:
    """A thread that sends on what the kernel did not take; it exists only while there is some."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: set[Stream] = set()
        self._running = False

    def add(self, stream: Stream) -> None:
        """See to it that the stream is flushed."""
        with self._lock:
            self._streams.add(stream)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="cloudburst-overflow", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                streams = list(self._streams)
                if not streams:
                    self._running = False
                    return
            poll = select.poll()
            for stream in streams:
                with contextlib.suppress(ValueError):  # closed meanwhile
                    poll.register(stream.socket, select.POLLOUT)
            # Bounded, because another stream may have come to need it meanwhile.
            poll.poll(20)
            done = {stream for stream in streams if stream.flush()}
            with self._lock:
                self._streams -= {stream for stream in done if not stream.has_left}


_overflow = Overflow()


def _pieces(frames: Frames) -> list[Buffer]:
    """What to hand to the kernel: one piece if that is cheap, else each large frame by itself."""
    lengths = [len(frame) for frame in frames]
    if len(frames) == 1 and lengths[0] < COPY_BELOW:
        return [_ONE_FRAME.pack(1, lengths[0]) + frames[0]]
    head = struct.pack(f"<{len(lengths) + 1}Q", len(lengths), *lengths)
    if sum(lengths) < COPY_BELOW:
        return [b"".join([head, *frames])]
    pieces: list[Buffer] = []
    small: list[Buffer] = [head]
    for frame in frames:
        if len(frame) < COPY_BELOW:
            small.append(frame)
            continue
        pieces += [b"".join(small), frame] if small else [frame]
        small = []
    return [*pieces, b"".join(small)] if small else pieces


def _kept(pieces: list[Buffer], sent: int, memory: Memory) -> Iterator[memoryview]:
    """The pieces without their first ``sent`` bytes, in memory that nobody changes."""
    for piece in pieces:
        skipped = min(sent, len(piece))
        sent -= skipped
        if skipped < len(piece):
            rest = memoryview(piece)[skipped:]
            copied = memory is Memory.BORROWED and not isinstance(piece, bytes)
            yield memoryview(bytes(rest)) if copied else rest


def _lengths(data: memoryview) -> tuple[int, ...] | None:
    """The lengths of the frames of the message that begins here; None if they are not in yet."""
    if len(data) < 8:
        return None
    (count,) = _COUNT.unpack_from(data)
    if not 0 < count <= MAX_FRAMES:
        raise Lost(f"a message of {count} frames")
    if len(data) < 8 + 8 * count:
        return None
    lengths = struct.unpack_from(f"<{count}Q", data, 8)
    if max(lengths) > MAX_FRAME:
        raise Lost(f"a frame of {max(lengths)} bytes")
    return lengths


def _frames(data: memoryview, lengths: tuple[int, ...]) -> list[Buffer]:
    frames: list[Buffer] = []
    start = 0
    for length in lengths:
        part = data[start : start + length]
        # Copied in any case: the next read overwrites what this is a view of.
        frames.append(bytes(part) if length < COPY_BELOW else memoryview(bytearray(part)))
        start += length
    return frames
