"""A store in this process: for one process alone, and for tests of everything above a store."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cloudburst.core.messages import Content
from cloudburst.errors import KVSUnavailable
from cloudburst.kvs.base import (
    AddMember,
    AddMembers,
    Append,
    Commit,
    CommitRun,
    CountMembers,
    Delete,
    DropField,
    DropMember,
    DropMembers,
    Exists,
    Get,
    GetFields,
    Hold,
    Increment,
    Look,
    Members,
    Operation,
    Peek,
    Put,
    PutIfAbsent,
    RawMembers,
    RecordRun,
    Scan,
    SetFields,
    TakeAll,
    Time,
    Unfit,
)
from cloudburst.kvs.keys import object_key, run_key

Kind = TypeVar("Kind", list[bytes], dict[str, bytes], set[bytes])

_NUMBER = re.compile(rb"0|-?[1-9][0-9]*")
_ENDED = (b"SUCCEEDED", b"FAILED", b"CANCELLED", b"TIMED_OUT")
_STOPPED = ("CANCELLED", "TIMED_OUT")


@dataclass(slots=True)
class _Entry:
    value: Any
    expires: float = math.inf


class MemoryStore:
    """A `KeyValueStore` in a dict. Threads may share it.

    Args:
        clock: seconds since the epoch; times of records and expiry are read from it.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._verbs: dict[type, Callable[[Any], Any]] = {
            Get: self._get,
            Peek: self._peek,
            Put: self._put,
            PutIfAbsent: self._put_if_absent,
            Exists: lambda operation: self._live(operation.key) is not None,
            Look: self._look,
            Delete: self._delete,
            GetFields: lambda operation: dict(self._read(operation.key, dict)),
            SetFields: self._set_fields,
            DropField: self._drop_field,
            Append: self._append,
            TakeAll: self._take_all,
            AddMember: self._add_member,
            DropMember: self._drop_member,
            Members: lambda operation: sorted(map(_text, self._read(operation.key, set))),
            AddMembers: lambda operation: self._add_members(*operation),
            DropMembers: lambda operation: self._drop_members(*operation),
            RawMembers: lambda operation: frozenset(self._read(operation.key, set)),
            CountMembers: lambda operation: len(self._read(operation.key, set)),
            Increment: self._increment,
            Scan: self._scan,
            Hold: self._hold,
            Time: lambda _: self._clock(),
            RecordRun: self._record,
            CommitRun: self._commit,
        }

    def execute(self, operations: Sequence[Operation]) -> list[Any]:
        """See `KeyValueStore.execute`; here nothing else happens in between."""
        with self._lock:
            return [self._verbs[type(operation)](operation) for operation in operations]

    def close(self) -> None:
        """Nothing to give back; what is stored stays."""

    def _live(self, key: str) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is not None and entry.expires <= self._clock():
            del self._entries[key]
            return None
        return entry

    def _read(self, key: str, kind: type[Kind]) -> Kind:
        """What is stored under the key, or an empty one of that kind."""
        entry = self._live(key)
        if entry is None:
            return kind()
        if not isinstance(entry.value, kind):
            raise Unfit(f"the store refused: WRONGTYPE {key!r} holds another kind")
        return entry.value

    def _change(self, key: str, kind: type[Kind]) -> Kind:
        """What is stored under the key, made empty if there is nothing."""
        value = self._read(key, kind)
        self._entries.setdefault(key, _Entry(value))
        return value

    def _store(self, key: str, value: Content, ttl: float) -> None:
        self._entries[key] = _Entry(b"".join(value) if isinstance(value, tuple) else bytes(value))
        self._expire(key, ttl)

    def _expire(self, key: str, ttl: float) -> None:
        self._entries[key].expires = self._clock() + ttl if ttl else math.inf

    def _peek(self, operation: Peek) -> bytes:
        return (self._get(Get(operation.key)) or b"")[: operation.size]

    def _get(self, operation: Get) -> bytes | None:
        entry = self._live(operation.key)
        if entry is None:
            return None
        if not isinstance(entry.value, bytes):
            raise Unfit(f"the store refused: WRONGTYPE {operation.key!r} is no value")
        return entry.value

    def _look(self, operation: Look) -> bytes | frozenset[bytes] | None:
        entry = self._live(operation.key)
        if entry is not None and isinstance(entry.value, set):
            return frozenset(entry.value)
        return self._get(Get(operation.key))

    def _put(self, operation: Put) -> None:
        self._store(*operation)

    def _put_if_absent(self, operation: PutIfAbsent) -> bool:
        if self._live(operation.key) is not None:
            return False
        self._store(*operation)
        return True

    def _delete(self, operation: Delete) -> bool:
        return self._live(operation.key) is not None and bool(self._entries.pop(operation.key))

    def _set_fields(self, operation: SetFields) -> None:
        if operation.fields:
            fields = {name: bytes(value) for name, value in operation.fields.items()}
            self._change(operation.key, dict).update(fields)

    def _drop_field(self, operation: DropField) -> bool:
        fields = self._read(operation.key, dict)
        dropped = fields.pop(operation.field, None) is not None
        if not fields:
            self._entries.pop(operation.key, None)
        return dropped

    def _increment(self, operation: Increment) -> int:
        text = self._get(Get(operation.key))
        # What Redis takes for a number: no spaces, no leading zeros, 64 bits.
        before = 0 if text is None else int(text) if _NUMBER.fullmatch(text) else 2**63
        number = before + operation.by
        for value, problem in [
            (before, "value is not an integer or out of range"),
            (number, "increment or decrement would overflow"),
        ]:
            if not -(2**63) <= value < 2**63:
                raise Unfit(f"the store refused: ERR {problem}")
        if self._live(operation.key) is None:
            self._store(operation.key, b"", 0.0)
        self._entries[operation.key].value = b"%d" % number
        return number

    def _append(self, operation: Append) -> None:
        self._change(operation.key, list).append(bytes(operation.value))
        self._expire(operation.key, operation.ttl)

    def _take_all(self, operation: TakeAll) -> list[bytes]:
        items = self._read(operation.key, list)
        self._entries.pop(operation.key, None)
        return items

    def _add_member(self, operation: AddMember) -> None:
        self._add_members(operation.key, [_bytes(operation.member)])

    def _drop_member(self, operation: DropMember) -> None:
        self._drop_members(operation.key, [_bytes(operation.member)])

    def _add_members(self, key: str, members: Sequence[bytes]) -> int:
        known = self._change(key, set)
        before = len(known)
        known.update(members)
        return len(known) - before

    def _drop_members(self, key: str, members: Sequence[bytes]) -> int:
        known = self._read(key, set)
        before = len(known)
        known.difference_update(members)
        if not known:
            self._entries.pop(key, None)
        return before - len(known)

    def _scan(self, operation: Scan) -> tuple[int, list[str]]:
        """All at once: there is no going on, and no looking at only some."""
        named = [key for key in self._entries if key.startswith(operation.prefix)]
        return 0, [key for key in named if self._live(key) is not None]

    def _hold(self, operation: Hold) -> bool:
        key, holder, ttl = operation
        if self._get(Get(key)) not in (None, holder):
            return False
        self._store(key, holder, ttl)
        return True

    def _record(self, operation: RecordRun) -> bool:
        run_id, state, epoch, target, executor, reason, call, ttl, parent = operation
        key = run_key(run_id)
        known = self._read(key, dict)
        if known.get("state") in _ENDED:
            return False
        if known:
            recorded = int(known["epoch"])
            back = epoch == recorded and known["state"] == b"RUNNING" and state == "PENDING"
            back = back and not reason
            stopping = known["state"] == b"CANCELLING" and state != "CANCELLING"
            if epoch < recorded or back or stopping:
                return True
        record = self._change(key, dict)
        if parent:
            record["parent"] = _bytes(parent)
        record.setdefault("accepted", self._now())
        if state in ("RUNNING", "CANCELLING"):
            record.setdefault("started", self._now())
        record |= _fields(state=state, epoch=epoch, target=target, executor=executor)
        line = _bytes(f"{epoch} {reason}\n") if reason else b""
        if not record.get("reasons", b"").endswith(line):
            record["reasons"] = record.get("reasons", b"") + line
        if call:
            record.setdefault("call", bytes(call))
        self._expire(key, ttl)
        return True

    def _commit(self, operation: CommitRun) -> Commit:
        run_id, state, epoch, executor, reason, result, output, ttl = operation[:8]
        target, seconds, parent = operation[8:]
        key = run_key(run_id)
        known = self._read(key, dict)
        if known.get("state") in _ENDED:
            return Commit.ENDED
        stopping = known.get("state") == b"CANCELLING" and state not in _STOPPED
        if stopping or epoch < int(known.get("epoch", 0)):
            return Commit.STALE
        self._store(object_key(run_id), result, ttl)
        if output:
            self._store(object_key(output), result, 0)
        record = self._change(key, dict)
        record |= _fields(state=state, epoch=epoch, executor=executor, reason=reason)
        record["finished"] = self._now()
        began = b"%.6f" % (self._clock() - seconds)
        if "accepted" not in record:
            record |= {"target": _bytes(target), "accepted": began}
            record |= {"parent": _bytes(parent)} if parent else {}
        if executor:
            record.setdefault("started", max(began, record["accepted"]))
        record.pop("call", None)
        self._expire(key, ttl)
        return Commit.STORED

    def _now(self) -> bytes:
        return b"%.6f" % self._clock()


def _fields(**values: object) -> dict[str, bytes]:
    return {name: _bytes(str(value)) for name, value in values.items()}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(word: bytes) -> str:
    return word.decode("utf-8", "surrogatepass")


class MemoryWriter:
    """A `Writer` over any store: carries out what is submitted at once.

    Args:
        store: where.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._finished: list[tuple[Any, list[Any] | KVSUnavailable]] = []

    @property
    def pending(self) -> int:
        """See `Writer.pending`."""
        return len(self._finished)

    @property
    def wants_write(self) -> bool:
        """Never."""
        return False

    def fileno(self) -> int:
        """There is nothing to poll."""
        return -1

    def submit(self, operations: Sequence[Operation], token: object) -> None:
        """See `Writer.submit`."""
        try:
            outcome: list[Any] | KVSUnavailable = self._store.execute(operations)
        except KVSUnavailable as error:
            outcome = error
        self._finished.append((token, outcome))

    def flush(self) -> None:
        """Nothing is left to send."""

    def collect(self) -> list[tuple[Any, list[Any] | KVSUnavailable]]:
        """See `Writer.collect`."""
        finished, self._finished = self._finished, []
        return finished

    def next_deadline(self) -> float | None:
        """At once, if there is something to collect."""
        return -math.inf if self._finished else None

    def close(self) -> None:
        """See `Writer.close`."""
        self._finished.clear()
