"""URLs of stores: which servers they name, and of what kind.

One server is named as redis-py has it: ``redis://``, ``rediss://`` (TLS), ``unix://``. For several
there are ``redis+cluster://host:port,host:port`` and ``redis+sentinel://host:port,host:port/service``,
with ``rediss`` in place of ``redis`` for TLS. User, password and options are written as for one
server, and hold for all.
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from cloudburst.errors import UsageError

_MANY = re.compile(r"(rediss?)\+(cluster|sentinel)://([^/?#]*)/?([^?#]*)(?:\?([^#]*))?")
_HOST = re.compile(r"(\[[^\]]+\]|[^:\[\]\s]+)(?::([0-9]{1,5}))?")
_PASSWORD = re.compile(r"([?&](?:ssl_|sentinel_)?password=)[^&]*")
_SENTINEL_PORT = 26379
_PORT = 6379


class Kind(enum.Enum):
    """What a URL names."""

    SERVER = "server"
    CLUSTER = "cluster"
    SENTINELS = "sentinel"


class Place(NamedTuple):
    """What a URL says.

    Attributes:
        kind: one server, a cluster, or sentinels that know a server.
        seeds: URL of each server, node or sentinel that it names.
        service: the name under which sentinels know the server.
        scheme: of the URLs of servers that are found by these.
        user: name and password for these, with an ``@``; or empty.
        rest: path and options of these.
    """

    kind: Kind
    seeds: tuple[str, ...]
    service: str = ""
    scheme: str = ""
    user: str = ""
    rest: str = ""

    def server(self, host: str, port: int) -> str:
        """The URL of a server that was found."""
        return f"{self.scheme}://{self.user}{_bracketed(host)}:{port}{self.rest}"


def read_url(url: str) -> Place:
    """What a URL says.

    Raises:
        UsageError: it is of a cluster or of sentinels, and cannot be read. (Those of one server
            are read by redis-py.)
    """
    scheme, plus, _ = url.partition("://")[0].partition("+")
    if not plus:
        return Place(Kind.SERVER, (url,))
    found = _MANY.fullmatch(url)
    if found is None:
        raise _unreadable(url)
    scheme, kind, authority, path, query = found.groups(default="")
    user, at, names = authority.rpartition("@")
    hosts = [_HOST.fullmatch(name) for name in names.split(",")]
    nodes = [(host[1], host[2]) for host in hosts if host is not None]
    if len(nodes) < len(hosts):
        raise _unreadable(url)
    build = _cluster if kind == Kind.CLUSTER.value else _sentinels
    return build(url, Place(Kind(kind), (), path, scheme, user + at), nodes, query)


def _cluster(url: str, place: Place, nodes: list[tuple[str, str]], query: str) -> Place:
    said = dict(parse_qsl(query, keep_blank_values=True))
    if place.service.strip("/0") or said.pop("db", "0").strip("0"):
        raise UsageError(
            f"{scrubbed(url)!r} names a database, and a cluster has one only: leave the number "
            "out, and give each use of the cluster servers of its own"
        )
    rest = _options(said)
    seeds = tuple(
        f"{place.scheme}://{place.user}{host}:{port or _PORT}{rest}" for host, port in nodes
    )
    return place._replace(seeds=seeds, service="", rest=rest)


def _sentinels(url: str, place: Place, nodes: list[tuple[str, str]], query: str) -> Place:
    if not place.service or "/" in place.service:
        raise UsageError(
            f"{scrubbed(url)!r} does not say which service the sentinels are to be asked for: "
            "redis+sentinel://host:port,host:port/service?db=0"
        )
    said = dict(parse_qsl(query, keep_blank_values=True))
    name, secret = said.pop("sentinel_username", ""), said.pop("sentinel_password", "")
    user = f"{quote(name, safe='')}:{quote(secret, safe='')}@" if name or secret else ""
    rest = _options(said)
    said.pop("db", None)
    asked = _options(said)
    seeds = tuple(
        f"{place.scheme}://{user}{host}:{port or _SENTINEL_PORT}{asked}" for host, port in nodes
    )
    return place._replace(seeds=seeds, rest=rest)


def scrubbed(url: str) -> str:
    """The URL without its passwords."""
    url = re.sub(r"^([\w+]+://[^/:@]*:).*@", r"\1***@", url)
    return _PASSWORD.sub(r"\1***", url)


def _options(said: dict[str, str]) -> str:
    return f"?{urlencode(said)}" if said else ""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _unreadable(url: str) -> UsageError:
    return UsageError(
        f"{scrubbed(url)!r} does not name a store; use redis+cluster://user:password@host:port,"
        "host:port, redis+sentinel://host:port,host:port/service, or rediss+... for TLS"
    )
