"""Connecting by URL, and what to say when that or a command fails. The one user of redis-py."""

from __future__ import annotations

import functools
import socket
import time
from typing import Any, Final

from redis import connection as redis_connection
from redis import exceptions as redis_errors
from redis.backoff import NoBackoff
from redis.retry import Retry

from cloudburst.errors import KVSUnavailable, UsageError
from cloudburst.kvs.base import Unfit
from cloudburst.kvs.channel import (
    Channel,
    Lost,
    PolledChannel,
    Refused,
    ReplyError,
    Unreachable,
)
from cloudburst.kvs.commands import LOAD_SCRIPTS, Command
from cloudburst.kvs.sentinel import find_primary
from cloudburst.kvs.urls import Kind, read_url, scrubbed

TRANSIENT = frozenset(
    ("LOADING", "BUSY", "TRYAGAIN", "MASTERDOWN", "CLUSTERDOWN", "READONLY", "OOM")
)
"""The first words of replies after which the same command may succeed a little later: the server
has not carried it out; it starts, fails over, or is short of memory."""

FIRST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 0.5
"""Seconds between attempts: the pause doubles from one to the other."""

_ADVICE = {
    "OOM": "Raise the server's maxmemory, or delete objects.",
    "READONLY": "The URL names a replica; give the primary's.",
    "MISCONF": "The server cannot save its data: see its log, and the disk it writes to.",
    "NOREPLICAS": "Too few replicas are connected to the server; see min-replicas-to-write.",
    "NOAUTH": "Put user and password into the URL: redis://user:password@host:6379.",
    "WRONGPASS": "Correct user and password in the URL: redis://user:password@host:6379.",
    "NOPERM": "The server's ACL must let this user run the commands that docs/stores.md lists.",
    "MOVED": "The URL names a node of a cluster; use redis+cluster://.",
    "disabled": "The URL of a server that is no cluster begins with redis:// or rediss://.",
}

_UNFIT = (
    "WRONGTYPE",
    "ERR value is not an integer",
    "ERR increment or decrement would overflow",
)


def parse_url(url: str) -> dict[str, Any]:
    """What redis-py's connection to one server is made of.

    Raises:
        UsageError: it is not a URL of redis://, rediss:// or unix://.
    """
    try:
        options: dict[str, Any] = redis_connection.parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError:
        # The cause may quote a part of the password.
        raise UsageError(
            f"{scrubbed(url)!r} does not name a store; use redis://user:password@host:port/db, "
            "rediss:// for TLS, unix:///path/to/socket?db=0, or for several servers "
            "redis+cluster:// or redis+sentinel://"
        ) from None
    return options


@functools.lru_cache(maxsize=16)
def check_url(url: str) -> None:
    """See that a URL can be used; nothing is connected. The same one is not looked at twice.

    Raises:
        UsageError: it cannot be read, or has an option that there is not.
    """
    for server in read_url(url).seeds:
        _connection(server, 1.0)


def open_channel(url: str, timeout: float) -> Channel:
    """A new connection to wait on.

    Args:
        url: of the server.
        timeout: seconds to wait for the connection, and then for each sign of progress.

    Raises:
        Unreachable: there is no server, or it did not answer.
        Refused: it wants another password, or has no such database.
    """
    connection = _connect(url, timeout)
    return Channel(_socket_of(connection), connection.disconnect, timeout)


def open_scripted_channel(url: str, timeout: float) -> Channel:
    """As `open_channel`, to a server that knows our scripts by then.

    Raises:
        Unreachable: there is no server, or it did not answer.
        Refused: it wants another password, or has no such database.
    """
    channel = open_channel(url, timeout)
    try:
        channel.exchange(LOAD_SCRIPTS)
    except BaseException as error:
        channel.close()
        if isinstance(error, Lost | Refused):  # with too many clients, it lets us in first
            raise Unreachable(str(error)) from error
        raise
    return channel


def open_polled_channel(url: str, timeout: float) -> PolledChannel:
    """A new connection that never waits, once made.

    Raises:
        Unreachable: there is no server, or it did not answer.
        Refused: it wants another password, or has no such database.
    """
    connection = _connect(url, timeout)
    return PolledChannel(_socket_of(connection), connection.disconnect)


def ask(url: str, timeout: float, *words: str) -> Any:
    """What a server answers to one command, over a connection for this question only.

    Raises:
        Unreachable: it did not answer.
        Refused: it answered with an error.
    """
    channel = open_channel(url, timeout)
    try:
        (reply,) = channel.exchange([Command(words, None)])
    except Lost as error:
        raise Unreachable(str(error)) from error
    finally:
        channel.close()
    if isinstance(reply, ReplyError):
        raise Refused(str(reply))
    return reply


def _connect(url: str, timeout: float) -> Any:
    place = read_url(url)
    if place.kind is Kind.SERVER:
        return _connect_to(url, timeout)
    began = time.monotonic()
    primary = find_primary(place, ask, timeout)
    left = max(0.05, began + timeout - time.monotonic())
    try:
        return _connect_to(primary, left, only_primary=True)
    except Unreachable as error:
        raise Unreachable(f"{scrubbed(primary)}, which the sentinels name: {error}") from error


def _connection(url: str, timeout: float) -> Any:
    options = parse_url(url)
    kind = options.pop("connection_class", redis_connection.Connection)
    # By default redis-py tries every command ten times, even one that must not be carried out
    # twice: ours are sent past it, and connecting is repeated by the caller.
    options |= {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,
    }
    try:
        return kind(**options)
    except (TypeError, redis_errors.RedisError) as error:
        raise UsageError(f"{scrubbed(url)!r} has an option that cannot be used: {error}") from None


def _connect_to(url: str, timeout: float, *, only_primary: bool = False) -> Any:
    connection = _connection(url, timeout)
    try:
        connection.connect()
        role = b"master"
        if only_primary:
            connection.send_command("ROLE")
            role = connection.read_response()[0]
    except (redis_errors.AuthenticationError, redis_errors.ResponseError) as error:
        connection.disconnect()
        raise Refused(_words(error)) from error
    except (redis_errors.RedisError, OSError) as error:
        raise Unreachable(_words(error)) from error
    if role != b"master":
        connection.disconnect()
        raise Unreachable(f"it is a {role.decode()} now")
    return connection


def _words(error: Exception) -> str:
    """What the server said, with the first word that redis-py takes off it."""
    code = getattr(error, "status_code", None)
    return f"{code} {error}" if code else str(error)


def _socket_of(connection: Any) -> socket.socket:
    # The handshake is over and all of it was read, so nothing is left in redis-py's own buffer.
    sock: socket.socket = connection._sock
    return sock


def code_of(error: ReplyError) -> str:
    """The first word of an error reply: its kind."""
    return str(error).partition(" ")[0]


def refusal(url: str, words: object) -> KVSUnavailable:
    """The error for a command, or a connection, that the server refused."""
    said = str(words).rstrip(".")
    advice = next((hint for code, hint in _ADVICE.items() if code in said.split()), "")
    kind = Unfit if said.startswith(_UNFIT) else KVSUnavailable
    return kind(f"the store at {scrubbed(url)} refused: {said}. {advice}".rstrip())


def outage(url: str, cause: object, tries: int, seconds: float) -> KVSUnavailable:
    """The error for a store that could not be reached, or would not do it, in time."""
    tried = f"tried {tries} {'time' if tries == 1 else 'times'} in {seconds:.1f} s"
    if isinstance(cause, ReplyError):
        return KVSUnavailable(f"{refusal(url, cause)} ({tried})")
    return KVSUnavailable(
        f"the store at {scrubbed(url)} did not answer: {cause} ({tried}). "
        "Is the server running, and reachable from here?"
    )


def doubt(url: str, cause: object) -> KVSUnavailable:
    """The error for commands that may or may not have been carried out."""
    return KVSUnavailable(
        f"the connection to the store at {scrubbed(url)} was lost: {cause}. "
        "Whether the command was carried out is not known, so it was not sent again."
    )


class Patience:
    """How long one call has tried, and when it gives up.

    Args:
        url: for the error; may be changed to that of the server that is in the way.
        timeout: seconds until then.
        began: when the first attempt was made, in monotonic seconds.
    """

    __slots__ = ("_began", "_pause", "_timeout", "_tries", "url")

    def __init__(self, url: str, timeout: float, began: float) -> None:
        self.url = url
        self._timeout = timeout
        self._began = began
        self._tries = 1
        self._pause = FIRST_PAUSE

    def left(self) -> float:
        """Seconds that the next attempt may take."""
        return max(0.05, self._began + self._timeout - time.monotonic())

    def try_again(self, cause: object) -> float:
        """Count an attempt that failed; returns the seconds that are left.

        Raises:
            KVSUnavailable: there are none left.
        """
        seconds = time.monotonic() - self._began
        if seconds + FIRST_PAUSE >= self._timeout:
            raise outage(self.url, cause, self._tries, seconds)
        self._tries += 1
        return self._timeout - seconds

    def wait(self, cause: object) -> None:
        """Count an attempt that failed, and pause before the next.

        Raises:
            KVSUnavailable: there is no time left.
        """
        time.sleep(min(self._pause, self.try_again(cause)))
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
