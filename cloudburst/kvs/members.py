"""The members of users' sets as bytes, which are the same for values that are equal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import msgpack

from cloudburst.errors import SerializationError, UsageError

Member: TypeAlias = "str | bytes | float | tuple[Member, ...] | None"
"""What a set may contain; integers and truth values are numbers, too."""

DEEPEST = 32
"""Tuples inside each other."""

_LOWEST, _BOUND = -(2**63), 2**64
_AS_THEY_ARE = frozenset((str, bytes, type(None)))


def pack_member(value: Member) -> bytes:
    """A value as it is stored. Of equal numbers it is the integer, if there is one.

    Raises:
        UsageError: it cannot be in a set.
    """
    packed: bytes = msgpack.packb(_canonical(value), unicode_errors="surrogatepass")
    return packed


def unpack_members(members: Iterable[bytes]) -> set[Any]:
    """The values that are stored.

    Raises:
        SerializationError: this is not what `pack_member` makes.
    """
    try:
        return {
            msgpack.unpackb(member, use_list=False, unicode_errors="surrogatepass")
            for member in members
        }
    except (TypeError, ValueError) as error:
        raise SerializationError(f"this set has members that sadd did not add: {error}") from error


def _canonical(value: Any, depth: int = 0) -> Any:
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is tuple:
        if depth == DEEPEST:
            raise UsageError(f"a member of a set has at most {DEEPEST} tuples inside each other")
        return tuple([_canonical(item, depth + 1) for item in value])
    if kind is int or kind is bool:
        if not _LOWEST <= value < _BOUND:
            raise UsageError(f"an integer in a set has at most 64 bits, unlike {value!r:.80}")
        return int(value)
    if kind is float:
        if value != value:  # noqa: PLR0124  nan, which is not even equal to itself
            raise UsageError("nan cannot be in a set: it is equal to nothing")
        return int(value) if value.is_integer() and _LOWEST <= value < _BOUND else value
    raise UsageError(
        "a member of a set is a str, bytes, int, float, bool, None or a tuple of these, "
        f"not a {kind.__name__}: {value!r:.80}"
    )
