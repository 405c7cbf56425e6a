"""Several calls of a function as one: a list for each parameter, and a list of values back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from cloudburst.core.plan import PlanStep
from cloudburst.executor.events import Work


class Call(NamedTuple):
    """What one call of a batch gives to the function."""

    work: Work
    values: Sequence[Any]
    keywords: dict[str, Any]


def alike(calls: Iterable[Call]) -> list[list[Call]]:
    """The same calls, those together that give values for the same parameters."""
    groups: defaultdict[tuple[object, ...], list[Call]] = defaultdict(list)
    for call in calls:
        groups[len(call.values), *sorted(call.keywords)].append(call)
    return list(groups.values())


def together(calls: Sequence[Call]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of one call in place of several that are `alike`."""
    positional = [list(column) for column in zip(*(call.values for call in calls), strict=True)]
    keywords = {name: [call.keywords[name] for call in calls] for name in calls[0].keywords}
    return positional, keywords


def apart(value: Any, count: int, step: PlanStep) -> list[Any]:
    """The value of each call, from what the function returned for all of them.

    Raises:
        TypeError, ValueError: it is no list of as many values.
    """
    advice = "a function with batching takes lists, and returns a list with a value for each call"
    try:
        if isinstance(value, str | bytes | dict | set):
            raise TypeError
        values = list(value)
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"step {step.name!r} returned {kind} for {count} calls: {advice}") from None
    if len(values) != count:
        raise ValueError(
            f"step {step.name!r} returned {len(values)} values for {count} calls: {advice}"
        )
    return values
