"""Operations as commands of the Redis protocol, and replies as answers. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from typing import Any, Final, NamedTuple, TypeAlias

from cloudburst.core.messages import Content
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
)
from cloudburst.kvs.keys import object_key, run_key, staged_key

LARGE: Final = 64 * 1024
"""From this size in bytes on, a value is sent and received without copying it."""

STAGED: Final = 1024 * 1024
"""From this size on, a result does not pass through Lua, which would copy it twice."""

_STAGED_MS: Final = 60_000
_MAX_TTL: Final = 1e10  # in seconds: 300 years, well within what the server can add to its clock
_ALL: Final = 2**31 - 1

MISSING: Final = object()
"""In place of a reply that has not come."""

Part: TypeAlias = str | int | Content


class Command(NamedTuple):
    """One command.

    Attributes:
        parts: its words.
        read: makes the answer of the reply; None where the command has no answer of its own.
        large: some part has `LARGE` bytes or more.
    """

    parts: tuple[Part, ...]
    read: Callable[[Any], Any] | None
    large: bool = False


class Script(NamedTuple):
    """A Lua script, and the hash by which the server knows it."""

    text: bytes
    sha: str


def _script(name: str) -> Script:
    text = files("cloudburst.kvs").joinpath("scripts", name).read_bytes()
    return Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest())


_RECORD = _script("record.lua")
_COMMIT = _script("commit.lua")
_APPEND = _script("append.lua")
_HOLD = _script("hold.lua")
_LOOK = _script("look.lua")

LOAD_SCRIPTS: Final = tuple(
    Command(("SCRIPT", "LOAD", script.text), None)
    for script in (_RECORD, _COMMIT, _APPEND, _HOLD, _LOOK)
)

_REPEATABLE = frozenset(
    (
        *(Get, Peek, Put, Exists, Look, GetFields, SetFields),
        *(AddMember, DropMember, Members, RawMembers, CountMembers, Scan),
        *(Hold, Time, RecordRun),
    )
)
_SPECIAL = re.compile(r"([*?\[\\])")  # in the server's patterns


def is_repeatable(operations: Iterable[Operation]) -> bool:
    """Whether carrying all of them out twice changes neither the store nor an answer."""
    return _REPEATABLE.issuperset(map(type, operations))


def encode(operations: Sequence[Operation]) -> list[Command]:
    """The commands that carry operations out, in order; each operation has one answer."""
    commands: list[Command] = []
    for operation in operations:
        if type(operation) is CommitRun and _size(operation.result) >= STAGED:
            commands += _staged_commit(operation)
        else:
            commands.append(_ENCODERS[type(operation)](operation))
    return commands


def answers(commands: Iterable[Command], replies: Iterable[Any]) -> list[Any]:
    """What each operation returns, of the replies to the commands that `encode` made."""
    return [
        command.read(reply)
        for command, reply in zip(commands, replies, strict=True)
        if command.read is not None
    ]


def _size(value: Content) -> int:
    if isinstance(value, tuple):
        return sum(map(_size, value))
    return value.nbytes if isinstance(value, memoryview) else len(value)


def _flat(value: Content) -> Content:
    """The value as something whose length is its number of bytes; copied only if it has gaps.

    In pieces only if it is `LARGE`.
    """
    if isinstance(value, tuple):
        return value if _size(value) >= LARGE else b"".join(value)
    if not isinstance(value, memoryview):
        return value
    return value.cast("B") if value.c_contiguous and value.nbytes else value.tobytes()


def _milliseconds(ttl: float) -> int:
    return max(1, int(min(ttl, _MAX_TTL) * 1000)) if ttl else 0


def _call(
    script: Script,
    keys: Sequence[str],
    arguments: tuple[Part, ...],
    read: Callable[[Any], Any],
    large: bool,
) -> Command:
    return Command(("EVALSHA", script.sha, len(keys), *keys, *arguments), read, large)


def _put(operation: Put | PutIfAbsent) -> Command:
    parts: tuple[Part, ...] = ("SET", operation.key, _flat(operation.value))
    if operation.ttl:
        parts += ("PX", _milliseconds(operation.ttl))
    large = _size(operation.value) >= LARGE
    if type(operation) is PutIfAbsent:
        return Command((*parts, "NX"), _is_something, large)
    return Command(parts, _nothing, large)


def _set_fields(operation: SetFields) -> Command:
    if not operation.fields:
        return Command(("PING",), _nothing)  # HSET without a field is an error
    parts: list[Part] = ["HSET", operation.key]
    for field, value in operation.fields.items():
        parts += (field, _flat(value))
    large = any(_size(value) >= LARGE for value in operation.fields.values())
    return Command(tuple(parts), _nothing, large)


def _append(operation: Append) -> Command:
    key, value, ttl = operation
    arguments = (_flat(value), _milliseconds(ttl))
    return _call(_APPEND, [key], arguments, _nothing, _size(value) >= LARGE)


def _hold(operation: Hold) -> Command:
    key, holder, ttl = operation
    return _call(_HOLD, [key], (holder, _milliseconds(ttl)), bool, large=False)


def _scan(operation: Scan) -> Command:
    prefix, cursor, page = operation
    pattern = _SPECIAL.sub(r"\\\1", prefix) + "*"
    return Command(("SCAN", str(cursor), "MATCH", pattern, "COUNT", page), _page)


def _record(operation: RecordRun) -> Command:
    run_id, state, epoch, target, executor, reason, call, ttl, parent = operation
    arguments = (state, epoch, target, executor, reason, _flat(call), _milliseconds(ttl), parent)
    return _call(_RECORD, [run_key(run_id)], arguments, bool, _size(call) >= LARGE)


def _commit(operation: CommitRun) -> Command:
    run_id, state, epoch, executor, reason, result, output, ttl, *_ = operation
    keys = [run_key(run_id), object_key(run_id), *([object_key(output)] if output else [])]
    place = 3 if output else 0
    said = (state, epoch, executor, reason, _milliseconds(ttl))
    arguments = (*said, _flat(result), place, 0, *_start(operation))
    return _call(_COMMIT, keys, arguments, Commit, _size(result) >= LARGE)


def _staged_commit(operation: CommitRun) -> tuple[Command, Command]:
    run_id, state, epoch, executor, reason, result, output, ttl, *_ = operation
    staged = staged_key(run_id, epoch, executor)
    stage = Command(("SET", staged, _flat(result), "PX", _STAGED_MS), None, large=True)
    keys = [run_key(run_id), object_key(run_id), staged, *([object_key(output)] if output else [])]
    place = 4 if output else 0
    said = (state, epoch, executor, reason, _milliseconds(ttl))
    arguments = (*said, "", place, 3, *_start(operation))
    return stage, _call(_COMMIT, keys, arguments, Commit, large=False)


def _start(operation: CommitRun) -> tuple[str, str, str]:
    return operation.target, f"{operation.seconds:.6f}", operation.parent


def _nothing(_: object) -> None:
    return None


def _itself(reply: Any) -> Any:
    return reply


def _is_something(reply: object) -> bool:
    return reply is not None


def _items(reply: list[bytes] | None) -> list[bytes]:
    return reply or []


def _text(word: bytes) -> str:
    return word.decode("utf-8", "surrogatepass")


def _fields(reply: list[bytes]) -> dict[str, bytes]:
    return dict(zip(map(_text, reply[::2]), reply[1::2], strict=True))


def _seconds(reply: list[bytes]) -> float:
    return int(reply[0]) + int(reply[1]) / 1e6


def _members(reply: list[bytes]) -> list[str]:
    return sorted(map(_text, reply))


def _seen(reply: bytes | list[bytes] | None) -> bytes | frozenset[bytes] | None:
    return frozenset(reply) if isinstance(reply, list) else reply


def _page(reply: tuple[bytes, list[bytes]]) -> tuple[int, list[str]]:
    cursor, names = reply
    return int(cursor), [*map(_text, names)]


_ENCODERS: dict[type, Callable[[Any], Command]] = {
    Get: lambda operation: Command(("GET", operation.key), _itself),
    Peek: lambda operation: Command(("GETRANGE", operation.key, 0, operation.size - 1), _itself),
    Put: _put,
    PutIfAbsent: _put,
    Exists: lambda operation: Command(("EXISTS", operation.key), bool),
    Look: lambda operation: _call(_LOOK, [operation.key], (), _seen, large=False),
    Delete: lambda operation: Command(("DEL", operation.key), bool),
    GetFields: lambda operation: Command(("HGETALL", operation.key), _fields),
    SetFields: _set_fields,
    DropField: lambda operation: Command(("HDEL", *operation), bool),
    Append: _append,
    TakeAll: lambda operation: Command(("LPOP", operation.key, _ALL), _items),
    AddMember: lambda operation: Command(("SADD", *operation), _nothing),
    DropMember: lambda operation: Command(("SREM", *operation), _nothing),
    Members: lambda operation: Command(("SMEMBERS", operation.key), _members),
    AddMembers: lambda operation: Command(("SADD", operation.key, *operation.members), _itself),
    DropMembers: lambda operation: Command(("SREM", operation.key, *operation.members), _itself),
    RawMembers: lambda operation: Command(("SMEMBERS", operation.key), frozenset),
    CountMembers: lambda operation: Command(("SCARD", operation.key), _itself),
    Increment: lambda operation: Command(("INCRBY", operation.key, operation.by), _itself),
    Scan: _scan,
    Hold: _hold,
    Time: lambda _: Command(("TIME",), _seconds),
    RecordRun: _record,
    CommitRun: _commit,
}
