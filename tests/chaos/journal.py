"""What a client notes of its calls, in a file that outlives it however it ends."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Journal:
    """Appends lines, each with one system call: a process that is killed has written them all.

    Args:
        path: of the file, which is made.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()

    def note(self, what: str, number: int = -1, **more: Any) -> None:
        """Note what has just happened to a call, or to the client if there is no number."""
        line = json.dumps({"what": what, "number": number, "at": time.time(), **more})
        with self._lock:
            os.write(self._file, line.encode() + b"\n")


@dataclass(slots=True)
class Noted:
    """One call as its client saw it. Times are seconds since the epoch.

    Attributes:
        run_id: under which it went; "" for a direct one.
        at: when the call began.
        ends: what was read of its result; more than once only if it was read again.
        said: what `cancel` returned, if it was asked.
    """

    run_id: str
    at: float
    ends: list[tuple[str, float]] = field(default_factory=list)
    said: bool | None = None


@dataclass(slots=True)
class Account:
    """All that one client noted.

    Attributes:
        seed: of its calls.
        mortal: whether it may be killed.
        owner: what its run ids begin with.
        calls: those that were stored, by number.
        direct: the direct ones, by number.
        safe: how many of its calls it knew to be accepted.
        troubles: errors of the cluster that it met, and went on.
        crashes: errors of its own.
        finished: whether it came to its end.
    """

    seed: str
    mortal: bool
    owner: str = ""
    calls: dict[int, Noted] = field(default_factory=dict)
    direct: dict[int, Noted] = field(default_factory=dict)
    safe: int = 0
    troubles: list[tuple[str, float]] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    finished: bool = False


def read(path: Path, seed: str, *, mortal: bool) -> Account:
    """What is in a journal; its last line may be missing its end."""
    account = Account(seed, mortal)
    for line in path.read_bytes().split(b"\n")[:-1]:
        _take(account, json.loads(line))
    return account


def _take(account: Account, entry: dict[str, Any]) -> None:
    number, at = entry["number"], entry["at"]
    match entry["what"]:
        case "call":
            account.calls[number] = Noted(entry["run_id"], entry["since"])
            account.owner = entry["run_id"].rpartition("-")[0]
        case "end":
            account.calls[number].ends.append((entry["outcome"], at))
        case "safe":
            account.safe = max(account.safe, number + 1)
        case "cancel":
            account.calls[number].said = entry["said"]
        case "ask directly":
            account.direct[number] = Noted("", at)
        case "end directly":
            account.direct[number].ends.append((entry["outcome"], at))
        case "trouble":
            account.troubles.append((entry["error"], at))
        case "crash":
            account.crashes.append(entry["error"])
        case "finished":
            account.finished = True
