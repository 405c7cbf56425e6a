"""What values of messages mean, besides their types: what makes no sense is refused.

A peer of another mind must not be able to upset those that decide: one number that is not a number
among times, and no two of them can be compared any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

from cloudburst.core.options import LONGEST, NOTHING_SAID, Options

Rule: TypeAlias = Callable[[Any], bool]
Arguments: TypeAlias = tuple[tuple[object, str, int], ...]
Times: TypeAlias = tuple[tuple[int, float], ...]

MAX_NUMBER = 2**53
"""Of counts, epochs and indices: up to here the KVS's scripts count exactly."""

_IDS = frozenset(("run_id", "plan", "executor", "host", "recipient", "address"))
"""Fields by which something is found. None of them is empty; what users name may be anything."""

_NAMED_BY_US = frozenset(("ExecutorReady",))
"""Messages whose ``name`` is such a field, too."""


def rules_of(kind: type[Any]) -> tuple[tuple[int, Rule], ...]:
    """The fields of a message, by their index, that must fulfil more than to be of their type."""
    hints = get_type_hints(kind)
    found = ((number, _rule(kind, name, hints[name])) for number, name in enumerate(kind._fields))
    return tuple((number, rule) for number, rule in found if rule is not None)


def _rule(kind: type[Any], name: str, hint: Any) -> Rule | None:
    if name in _IDS or (name == "name" and kind.__name__ in _NAMED_BY_US):
        return bool
    return _RULES.get(name) or _rule_of_type(hint)


def _rule_of_type(hint: Any) -> Rule | None:
    if hint is int:
        return _is_number
    if hint is float:
        return _is_seconds
    if get_origin(hint) is not tuple:
        return None
    first, *others = get_args(hint)
    if others == [Ellipsis]:
        each = _rule_of_type(first)
        return None if each is None else lambda items: all(map(each, items))
    rules = [(n, rule) for n, item in enumerate((first, *others)) if (rule := _rule_of_type(item))]
    return (lambda items: all(rule(items[n]) for n, rule in rules)) if rules else None


def _is_number(value: int) -> bool:
    return 0 <= value <= MAX_NUMBER


def _is_seconds(value: float) -> bool:
    return 0.0 <= value <= LONGEST  # which nan is not


def _are_options(options: Options) -> bool:
    if options == NOTHING_SAID:
        return True
    pairs = zip(options, NOTHING_SAID, strict=True)
    return all(_is_seconds(value) or value == unsaid for value, unsaid in pairs)


# Every call has these two: written out, they take a third of the time.


def _are_arguments(arguments: Arguments) -> bool:
    for _, _, count in arguments:  # noqa: SIM110  (see above)
        if not 0 < count <= MAX_NUMBER:
            return False
    return True


def _are_times(times: Times) -> bool:
    for segment, seconds in times:
        if not (0 <= segment <= MAX_NUMBER and 0.0 <= seconds <= LONGEST):
            return False
    return True


_RULES: dict[str, Rule] = {
    "options": _are_options,
    "arguments": _are_arguments,
    "times": _are_times,
}
