"""What a host and its zygote say to each other: one JSON array a line, over a socket pair.

::

    host   -> zygote   ["fork", name, configuration]
                       ["kill", name, run, reason]    if it runs that run; whatever it runs if ""
                       ["ping"]
    zygote -> host     ["started", name, pid]
                       ["died", name, reason, whether the host had it killed,
                        whether it ran user code]
                       ["pong"]
"""

from __future__ import annotations

import json
import socket
from typing import Any


class Channel:
    """One end of the line.

    Args:
        end: a connected stream socket, which is this object's from now on.

    Attributes:
        ended: whether the other side is gone.
    """

    def __init__(self, end: socket.socket) -> None:
        self.ended = False
        self._socket = end
        self._rest = b""

    def fileno(self) -> int:
        """Readable when there is something to `receive`."""
        return self._socket.fileno()

    def send(self, *words: Any) -> None:
        """Say something; nothing happens if the other side is gone."""
        try:
            self._socket.sendall(json.dumps(words).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            self.ended = True

    def receive(self) -> list[list[Any]]:
        """All that was said and not yet received; does not wait."""
        while not self.ended:
            try:
                came = self._socket.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except ConnectionResetError:
                came = b""
            self._rest += came
            self.ended = not came
        *lines, self._rest = self._rest.split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
