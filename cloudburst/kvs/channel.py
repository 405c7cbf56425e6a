"""A connected socket that speaks the Redis protocol: commands out, replies in.

redis-py's own `Connection` costs a third more per round trip, and copies a large value three
times on its way out and twice on its way in; so it only connects (see `connection`).
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NoReturn, cast

import hiredis

from cloudburst.core.messages import Buffer
from cloudburst.kvs.base import Place
from cloudburst.kvs.commands import LARGE, Command, Part

ReplyError = hiredis.ReplyError

_CHUNK: Final = LARGE
_DOLLAR: Final = ord("$")
_LONGEST_HEADER: Final = 24
# Where a large value may begin, or what was received so far ends within its header.
_may_be_large = re.compile(rb"\$(?:\d{5,}\r\n|\d*\r?\Z)").search
_MORE: Final = object()
# The types that hiredis ships know neither tuples of more than one word nor bytearrays.
_pack_words: Callable[[tuple[Part, ...]], bytes] = cast("Any", hiredis.pack_command)
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Unreachable(Exception):
    """No connection; nothing was sent."""


class Lost(Exception):
    """The connection has ended or is stuck. What was sent may have been carried out."""


class Refused(Exception):
    """The server said why it hung up; trying again would not help."""


def pack(commands: Sequence[Command]) -> list[Buffer]:
    """What to send: small parts joined, large ones as they are."""
    pieces: list[Buffer] = []
    small: list[bytes] = []
    for command in commands:
        if not command.large:
            small.append(_pack_small(command.parts))
            continue
        small.append(b"*%d\r\n" % len(command.parts))
        for part in command.parts:
            parts = part if isinstance(part, tuple) else (_plain(part),)
            small.append(b"$%d\r\n" % sum(map(len, parts)))
            for piece in parts:
                if len(piece) >= LARGE:
                    pieces += (b"".join(small), piece)
                    small = []
                else:
                    small.append(bytes(piece))
            small.append(b"\r\n")
    if small:
        pieces.append(small[0] if len(small) == 1 else b"".join(small))
    return pieces


def _pack_small(parts: tuple[Part, ...]) -> bytes:
    try:
        return _pack_words(parts)
    except UnicodeEncodeError:  # a lone surrogate: names of files may hold some
        return _pack_words(tuple(map(_plain, cast("Any", parts))))


def _plain(part: str | int | Buffer) -> Buffer:
    match part:
        case str():
            return part.encode("utf-8", "surrogatepass")
        case int():
            return b"%d" % part
        case _:
            return part


class Channel:
    """Sends commands and waits for their replies.

    Args:
        sock: connected, and past the handshake.
        close: gives the socket back.
        timeout: seconds to wait for any progress, of either side.
    """

    def __init__(self, sock: socket.socket, close: Callable[[], None], timeout: float) -> None:
        self._sock = sock
        self._reader = _reader()
        self._buffer = bytearray(_CHUNK)
        self._start = self._end = 0  # of what was received and not taken from the buffer
        self._poller = select.poll()
        self._poller.register(sock, select.POLLIN)
        self._place: Place | None = None
        self._timeout = -1.0
        self.close = close
        self.set_timeout(timeout)

    def set_timeout(self, timeout: float) -> None:
        """Change how long to wait; costs nothing if it is the same."""
        if timeout == self._timeout:
            return
        self._timeout = timeout
        if isinstance(self._sock, ssl.SSLSocket):
            self._sock.settimeout(timeout)
            return
        # The kernel's own timeout: Python's would poll before each call.
        self._sock.settimeout(None)
        micros = max(1000, int(timeout * 1e6))  # 0 would be for ever
        timeval = struct.pack("ll", *divmod(micros, 1_000_000))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)

    def is_quiet(self) -> bool:
        """Whether nothing has come in: between commands, only the end of the connection can."""
        return not self._poller.poll(0)

    def exchange(self, commands: Sequence[Command], place: Place | None = None) -> list[Any]:
        """Send all commands, then read their replies; errors are returned, not raised.

        Large values come in memory that ``place`` gives, or that is made for each. After any
        exception the channel is out of step and must be closed.

        Raises:
            Lost: the connection ended, or nothing moved for ``timeout`` seconds.
            Refused: the server hung up because of what it was sent.
        """
        self.send(commands)
        return self.receive(commands, place)

    def send(self, commands: Sequence[Command]) -> None:
        """The first half of `exchange`, for who talks to several servers at once.

        Raises:
            Lost: as `exchange`.
            Refused: as `exchange`.
        """
        pieces = pack(commands)
        try:
            self._send(pieces)
        except Lost as lost:
            self._explain(lost, self._last_words())

    def receive(self, commands: Sequence[Command], place: Place | None = None) -> list[Any]:
        """The second half of `exchange`: the replies to what was sent.

        Raises:
            Lost: as `exchange`.
            Refused: as `exchange`.
        """
        replies: list[Any] = []
        self._place = place
        try:
            for command in commands:
                is_value = command.parts[0] == "GET"
                replies.append(self._read(is_value=is_value))
        except Lost as lost:
            words = replies[-1] if replies else self._last_words()
            self._explain(lost, words)
        return replies

    @staticmethod
    def _explain(lost: Lost, words: Any) -> NoReturn:
        if isinstance(words, ReplyError):
            raise Refused(str(words)) from lost
        raise lost

    def _send(self, pieces: Sequence[Buffer]) -> None:
        try:
            for piece in pieces:
                self._sock.sendall(piece)
        except OSError as error:
            raise self._failure(error, "took nothing") from error

    def _read(self, *, is_value: bool = False) -> Any:
        try:
            return self._read_reply(is_value=is_value)
        except hiredis.ProtocolError as error:
            raise Lost(str(error)) from error

    def _read_reply(self, *, is_value: bool) -> Any:
        reader, buffer = self._reader, self._buffer
        while True:
            reply = reader.gets()
            if reply is not _MORE:
                return reply
            if self._start == self._end:
                self._start, self._end = 0, self._receive(buffer)
            stop = self._end
            if is_value:
                if buffer[self._start] == _DOLLAR and not reader.has_data():
                    value = self._read_large()
                    if value is not None:
                        return value
                # What follows small values may be a large one.
                found = _may_be_large(buffer, self._start + 1, self._end)
                stop = self._end if found is None else found.start()
            reader.feed(buffer, self._start, stop - self._start)
            self._start = stop

    def _read_large(self) -> memoryview | None:
        """The value that the buffer begins with, received in place; None if it is not large."""
        length, start = self._read_header()
        if length < LARGE:  # which is more than the buffer holds
            return None
        placed = None if self._place is None else self._place(length)
        block = memoryview(bytearray(length)) if placed is None else placed
        filled = self._end - start
        block[:filled] = memoryview(self._buffer)[start : self._end]
        while filled < length:
            filled += self._receive(block[filled:])
        end_of_line = memoryview(self._buffer)[:2]
        while end_of_line:
            end_of_line = end_of_line[self._receive(end_of_line) :]
        self._start = self._end = 0
        return block

    def _read_header(self) -> tuple[int, int]:
        """The length of the value that the buffer begins with, and where it begins there."""
        buffer = self._buffer
        while True:
            end = buffer.find(
                b"\r\n", self._start + 1, min(self._end, self._start + _LONGEST_HEADER)
            )
            if end > 0:
                return int(buffer[self._start + 1 : end]), end + 2
            size = self._end - self._start
            buffer[:size] = buffer[self._start : self._end]
            self._start = 0
            self._end = size + self._receive(memoryview(buffer)[size:])

    def _receive(self, target: bytearray | memoryview) -> int:
        try:
            size = self._sock.recv_into(target)
        except OSError as error:
            raise self._failure(error, "gave no answer") from error
        if not size:
            raise Lost("it closed the connection")
        return size

    def _failure(self, error: OSError, silence: str) -> Exception:
        secure = isinstance(self._sock, ssl.SSLSocket)
        if isinstance(error, BlockingIOError) or (secure and isinstance(error, TimeoutError)):
            return Lost(f"it {silence} for {self._timeout:.3g} s")
        if error.errno is None:
            return error  # not the socket's: raised by a signal handler while we waited
        return Lost(str(error))

    def _last_words(self) -> Any:
        """Why it hung up while it was sent something, if it said so."""
        if self.is_quiet():
            return None
        try:
            return self._read()
        except Lost:
            return None


class PolledChannel:
    """Sends and receives what it can without waiting.

    Args:
        sock: connected, and past the handshake.
        close: gives the socket back.
    """

    def __init__(self, sock: socket.socket, close: Callable[[], None]) -> None:
        sock.settimeout(0)
        self._sock = sock
        self._reader = _reader()
        self._buffer = bytearray(_CHUNK)
        self._unsent: deque[Buffer] = deque()
        self.close = close

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    @property
    def is_full(self) -> bool:
        """Whether something is left that the socket did not take."""
        return bool(self._unsent)

    def send(self, commands: Sequence[Command]) -> bool:
        """Send commands, after what is left of earlier ones; keep what the socket does not take.

        Returns:
            Whether it took anything.

        Raises:
            Lost: the connection ended.
        """
        unsent = self._unsent
        unsent.extend(pack(commands))
        progress = False
        try:
            while unsent:
                piece = unsent[0]
                sent = self._sock.send(piece)
                progress = True
                if sent == len(piece):
                    unsent.popleft()
                else:
                    unsent[0] = memoryview(piece)[sent:]
        except _WOULD_BLOCK:
            pass
        except OSError as error:
            raise Lost(str(error)) from error
        return progress

    def replies(self) -> Iterator[Any]:
        """All replies that have come in completely; errors are yielded, not raised.

        Raises:
            Lost: the connection ended; replies that came before have been yielded.
        """
        while True:
            try:
                while (reply := self._reader.gets()) is not _MORE:
                    yield reply
                size = self._sock.recv_into(self._buffer)
            except _WOULD_BLOCK:
                return
            except (OSError, hiredis.ProtocolError) as error:
                raise Lost(str(error)) from error
            if not size:
                raise Lost("it closed the connection")
            self._reader.feed(self._buffer, 0, size)


def _reader() -> Any:
    return hiredis.Reader(notEnoughData=_MORE)
