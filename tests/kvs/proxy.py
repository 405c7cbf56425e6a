"""A way to a server that a test can make worse."""

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from cloudburst.kvs.embedded import EmbeddedServer


@dataclass
class Proxy:
    """Passes bytes on between clients and a server.

    Attributes:
        lose_replies: so many replies are thrown away, each with its connection.
        deaf: connections that are open now pass nothing on any more, but stay open.
        connections: how many were made so far.
    """

    url: str
    lose_replies: int = 0
    connections: int = 0
    _deaf: set[int] = field(default_factory=set)

    def go_deaf(self) -> None:
        self._deaf.update(range(1, self.connections + 1))

    def pass_on(self, client: socket.socket, server: socket.socket, number: int) -> None:
        with client, server, contextlib.suppress(OSError):
            while True:
                readable, _, _ = select.select([client, server], [], [])
                if client in readable:
                    data = client.recv(65536)
                    if not data:
                        return
                    if number not in self._deaf:
                        server.sendall(data)
                if server in readable:
                    data = server.recv(65536)
                    if not data:
                        return
                    if self.lose_replies:
                        self.lose_replies -= 1
                        return
                    if number not in self._deaf:
                        client.sendall(data)


@contextlib.contextmanager
def proxy_to(server: EmbeddedServer, directory: Path) -> Iterator[Proxy]:
    """A proxy before a server, on a socket in the directory."""
    path = directory / "proxy.sock"
    target = unquote(urlsplit(server.url).path)
    proxy = Proxy(f"unix://{quote(str(path))}")
    threads: list[threading.Thread] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            if not client.recv(1, socket.MSG_PEEK):
                client.close()
                return
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(target)
            proxy.connections += 1
            work = threading.Thread(
                target=proxy.pass_on, args=(client, upstream, proxy.connections)
            )
            threads.append(work)
            work.start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield proxy
    finally:
        # A connection that ends before it says anything asks the proxy to end.
        with socket.socket(socket.AF_UNIX) as end:
            end.connect(str(path))
        accepting.join(5.0)
        for thread in threads:
            thread.join(5.0)
        listener.close()
    assert not any(thread.is_alive() for thread in [accepting, *threads]), "a client stays open"
