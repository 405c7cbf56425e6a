"""Several calls of a function as one: a list for each parameter, and a list of values back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence, Set, Sized
from typing import Any, NamedTuple

from cloudburst.core.plan import PlanStep
from cloudburst.executor.events import Work

_NO_LISTS = (str, bytes, bytearray, memoryview, Set)


class Call(NamedTuple):
    """What one call of a batch gives to the function."""

    work: Work
    values: Sequence[Any]
    keywords: dict[str, Any]


def alike(calls: Iterable[Call]) -> list[list[Call]]:
    """The same calls, those together that give values for the same parameters.

    Calls that give none are by themselves: nothing would tell the function how many they are.
    """
    groups: defaultdict[tuple[object, ...], list[Call]] = defaultdict(list)
    for number, call in enumerate(calls):
        shape = (len(call.values), *sorted(call.keywords))
        groups[shape if shape != (0,) else (0, number)].append(call)
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
        if _is_no_list(value):
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


def _is_no_list(value: Any) -> bool:
    """Whether it is not made yet, has no order, or is iterated over by letters or by names."""
    if not isinstance(value, Sized) or isinstance(value, _NO_LISTS):
        return True
    # A pandas Series has keys, too, but is iterated over by values.
    return hasattr(value, "keys") and not hasattr(value, "tolist")
