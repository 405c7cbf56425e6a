"""KVS keys in place of values: found for free while pickling, replaced where they arrive."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cloudburst.core.ids import check_key
from cloudburst.errors import SerializationError


class _Collector(threading.local):
    """What `pack` asks its references to record; None outside of it."""

    keys: dict[str, None] | None = None


collector = _Collector()


def collecting() -> bool:
    """Whether this thread is inside `pack`, where a future pickles itself as a reference."""
    return collector.keys is not None


@contextmanager
def collect() -> Iterator[dict[str, None]]:
    """Inside, references record their keys in what is yielded. (`pack` spells this out: speed.)"""
    outer = collector.keys
    keys = collector.keys = dict[str, None]()
    try:
        yield keys
    finally:
        collector.keys = outer


@dataclass(frozen=True, slots=True)
class CloudburstReference:
    """A KVS key passed in place of a value.

    Attributes:
        key: where the value is.
        deserialize: false to receive the stored bytes instead of the value.

    Raises:
        InvalidName: nothing can be stored under the key.
    """

    key: str
    deserialize: bool = True

    def __post_init__(self) -> None:
        check_key(self.key)

    def __reduce__(self) -> tuple[type[CloudburstReference], tuple[str, bool]]:
        if collector.keys is not None:
            collector.keys[self.key] = None
        return CloudburstReference, (self.key, self.deserialize)


def references_in(value: object) -> list[CloudburstReference]:
    """The references that `resolve` would replace in ``value``, in order, without duplicates."""
    found: dict[CloudburstReference, None] = {}
    seen: set[int] = set()
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, CloudburstReference):
            found[item] = None
        elif isinstance(item, list | tuple | dict) and id(item) not in seen:
            seen.add(id(item))
            todo += reversed([child for _, child in _children(item)])
    return list(found)


def resolve(value: Any, lookup: Callable[[CloudburstReference], Any]) -> Any:
    """Replace references by what they stand for.

    References are found at the top level and inside lists, tuples and the values of dicts,
    however these are nested. A container with a reference somewhere inside is copied; anything
    else is returned as it is.

    Args:
        value: an argument as it arrived.
        lookup: called with each reference; returns the value.

    Raises:
        SerializationError: the containers are nested more deeply than Python can follow.
    """
    try:
        return _Resolver(lookup).resolved(value)
    except RecursionError as error:
        raise SerializationError("references are nested too deeply to be resolved") from error


class _Resolver:
    """Resolves each container once, so that shared and cyclic ones are no trouble."""

    def __init__(self, lookup: Callable[[CloudburstReference], Any]) -> None:
        self.lookup = lookup
        self.done: dict[int, Any] = {}

    def resolved(self, value: Any) -> Any:
        if isinstance(value, CloudburstReference):
            return self.lookup(value)
        if not isinstance(value, list | tuple | dict):
            return value
        if id(value) not in self.done:
            self.done[id(value)] = value  # what a cycle back to this container stays
            self.done[id(value)] = self._container(value)
        return self.done[id(value)]

    def _container(self, value: Any) -> Any:
        changed = {}
        for place, child in _children(value):
            replacement = self.resolved(child)
            if replacement is not child:
                changed[place] = replacement
        if not changed:
            return value
        if isinstance(value, tuple):
            return _like(value, [changed.get(place, item) for place, item in enumerate(value)])
        clone = copy.copy(value)
        for place, replacement in changed.items():
            clone[place] = replacement
        return clone


def _children(container: Any) -> Iterator[tuple[Any, Any]]:
    return iter(container.items()) if isinstance(container, dict) else enumerate(container)


def _like(original: tuple[Any, ...], items: list[Any]) -> Any:
    make = getattr(type(original), "_make", tuple)  # namedtuples take their fields one by one
    return make(items)
