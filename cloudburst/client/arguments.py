"""Arguments of a call, packed one by one."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from cloudburst.core.messages import Arguments, Buffer
from cloudburst.serialization import pack

NamedArguments: TypeAlias = list[tuple[str, str, Any]]
"""Of each argument: its step, its keyword ("" if positional), its value."""


class PackedArguments(NamedTuple):
    """What a `Call` says of its arguments."""

    spec: Arguments
    frames: list[Buffer]
    references: tuple[str, ...]


def pack_arguments(arguments: NamedArguments) -> PackedArguments:
    """Pack the arguments of a call.

    Raises:
        SerializationError: one cannot be pickled; the text says which.
    """
    spec: list[tuple[str, str, int]] = []
    frames: list[Buffer] = []
    references: tuple[str, ...] = ()
    for number, (step, keyword, value) in enumerate(arguments, 1):
        packed = pack(value, f"argument {keyword or number} of {step!r}")
        spec.append((step, keyword, len(packed.frames)))
        # A snapshot: the caller may change its arrays while the call is under way.
        frames += [f if isinstance(f, bytes) else bytes(f) for f in packed.frames]
        references += packed.references
    return PackedArguments(tuple(spec), frames, references)
