"""Arguments of a call, packed one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from cloudburst.calls.parking import Parking
from cloudburst.core.ids import check_text
from cloudburst.core.messages import Arguments, Buffer
from cloudburst.core.wire import MAX_FRAMES
from cloudburst.errors import UsageError
from cloudburst.serialization import pack

MOST = MAX_FRAMES - 1
"""Frames of a call beside its header."""

NamedArguments: TypeAlias = list[tuple[str, str, Any]]
"""Of each argument: its step, its keyword ("" if positional), its value."""


class PackedArguments(NamedTuple):
    """What a `Call` says of its arguments."""

    spec: Arguments
    frames: list[Buffer]
    references: tuple[str, ...]
    readers: tuple[str, ...]


def arguments_of(arg_map: Mapping[str, Any]) -> NamedArguments:
    """The arguments in an ``arg_map``: a list is the list of a step's arguments.

    Raises:
        UsageError: it is no mapping.
    """
    return [
        (step, "", value)
        for step, values in check_arg_map(arg_map).items()
        for value in (values if isinstance(values, list) else (values,))
    ]


def check_arg_map(arg_map: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was given as arguments by step name.

    Raises:
        UsageError: it is no mapping.
    """
    if not isinstance(arg_map, Mapping):
        raise UsageError(
            f"arg_map is a dict of step name to arguments, not {type(arg_map).__name__}"
        )
    return arg_map


def arguments_of_call(
    name: str, args: tuple[Any, ...], keywords: Mapping[str, Any]
) -> NamedArguments:
    """The arguments of a call of a lone function.

    Raises:
        UsageError: a keyword is empty.
    """
    if "" in keywords:
        raise UsageError("a keyword argument has a name that is not empty")
    return [
        *((name, "", value) for value in args),
        *((name, keyword, value) for keyword, value in keywords.items()),
    ]


def pack_arguments(arguments: NamedArguments, parking: Parking | None = None) -> PackedArguments:
    """Pack the arguments of a call.

    Args:
        arguments: which.
        parking: where large ones go that have no references in them; None to send all as they are.

    Raises:
        SerializationError: one cannot be pickled; the text says which.
        UsageError: they are too many, or have a name that cannot be sent.
    """
    _check_number(len(arguments), "arguments")
    spec: list[tuple[str, str, int]] = []
    frames: list[Buffer] = []
    references: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    for number, (step, keyword, value) in enumerate(arguments, 1):
        check_text(keyword, f"name of argument {number}")
        packed = pack(value, f"argument {keyword or number} of {step!r}")
        if parking is not None and not packed.references:
            reference = parking.park(number, packed.frames)
            packed = packed if reference is None else pack(reference)
        spec.append((step, keyword, len(packed.frames)))
        # A snapshot: the caller may change its arrays while the call is under way.
        frames += [f if isinstance(f, bytes) else bytes(f) for f in packed.frames]
        if packed.references:
            references += packed.references
            readers += (step,) * len(packed.references)
    _check_number(len(frames), "arguments and large arrays in them")
    return PackedArguments(tuple(spec), frames, references, readers)


def _check_number(number: int, what: str) -> None:
    if number > MOST:
        raise UsageError(f"a call has at most {MOST:,} {what}, not {number:,}; put them in a list")
