"""Where a cluster is, as users write it."""

from __future__ import annotations

import ipaddress
import re
import socket
from pathlib import Path

from cloudburst.config import DEFAULT_PORT
from cloudburst.core.ids import check_text
from cloudburst.errors import ConnectionFailed, UsageError

_HOST = re.compile(r"\[(?P<ipv6>[^\[\]]+)\]|[^\s\0/\[\]:@]+")


def scheduler_address(text: str) -> str:
    """The scheduler's address of what the user wrote.

    Args:
        text: ``host``, ``host:port``, ``tcp://host:port`` or ``ipc://path``; surrounding spaces
            do not count. An IPv6 address with a port stands in brackets: ``[::1]:7480``.

    Raises:
        UsageError: it is none of these.
    """
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f"func_addr is the scheduler's host name or address, not {text!r}")
    text = check_text(text, "func_addr").strip()
    if text.startswith("ipc://"):
        if text == "ipc://" or "\0" in text:
            raise _no_address(text)
        return text
    host, port = _host_and_port(text.removeprefix("tcp://"))
    host = _bracketed(host)
    found = _HOST.fullmatch(host)
    if found is None or (found["ipv6"] and not _is_ipv6(found["ipv6"])):
        raise _no_address(text)
    return f"tcp://{host}:{port}"


def inbox_address(scheduler: str, ip: str | None, identity: str) -> str:
    """Where a client binds for results; "" if executors cannot reach it.

    Raises:
        ConnectionFailed: that would be beside a scheduler whose directory is gone.
        UsageError: ``ip`` is no text.
    """
    ip = check_text("" if ip is None else ip, "ip").strip()
    if scheduler.startswith("ipc://"):
        folder = scheduler.rpartition("/")[0]
        if not Path(folder.removeprefix("ipc://")).is_dir():
            raise ConnectionFailed(
                f"no Cloudburst scheduler is at {scheduler}: there is no such socket. Is the "
                "cluster still running?"
            )
        return f"{folder}/c-{identity}"
    return f"tcp://{_bracketed(ip)}:*" if ip else ""


def not_reached(address: str, timeout: float) -> ConnectionFailed:
    """The error for an address at which no scheduler answered, saying what is there instead."""
    head = f"no Cloudburst scheduler answered at {address} within {timeout:g} seconds"
    if address.startswith("ipc://"):
        path = Path(address.removeprefix("ipc://"))
        found = "the socket is there" if path.exists() else "there is no such socket"
        return ConnectionFailed(f"{head}: {found}. Is the cluster still running?")
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1.0):
            found = "something else listens there. Check the port"
    except (socket.gaierror, UnicodeError):  # UnicodeError: a part of it is too long
        found = f"the host name {host!r} cannot be resolved"
    except OSError as error:
        found = f"{error}. Start a cluster there, or pass local=True to use one on this machine"
    return ConnectionFailed(f"{head}: {found}.")


def _no_address(text: str) -> UsageError:
    return UsageError(f"{text!r:.200} is not host, host:port, tcp://host:port or ipc://path")


def _host_and_port(text: str) -> tuple[str, int]:
    host, found, port = text.rpartition(":")
    if not found or text.endswith("]") or _is_ipv6(text):
        return text, DEFAULT_PORT
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"{text!r} has no port between 1 and 65535 after the colon")
    return host, int(port)


def _bracketed(host: str) -> str:
    return f"[{host}]" if _is_ipv6(host) else host


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
