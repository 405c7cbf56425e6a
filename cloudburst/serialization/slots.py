"""Classes with ``__slots__`` that travel by value.

cloudpickle rebuilds them with a ``__dict__`` and without slots. Instances of such a copy are
pickled in a way that the class with slots cannot take back: no value would survive two hops.
"""

from __future__ import annotations

from types import MemberDescriptorType
from typing import Any, TypeAlias

Arguments: TypeAlias = tuple[Any, ...]
ClassContent: TypeAlias = tuple[dict[str, Any], Any]

_NAMESPACE = 3
"""The index of what the class begins with, among the arguments that cloudpickle makes it of."""


def with_slots(
    cls: type, arguments: Arguments, content: ClassContent
) -> tuple[Arguments, ClassContent]:
    """How to make and fill a class so that it has its slots.

    Args:
        cls: the class.
        arguments: what cloudpickle makes it of.
        content: what it fills it with.
    """
    if issubclass(cls, tuple):
        return arguments, content  # can have no slot, and named ones give an empty list themselves
    attributes, rest = content
    slots = vars(cls)["__slots__"]
    members = tuple(name for name, member in vars(cls).items() if _is_slot(cls, name, member))
    begin = {
        **arguments[_NAMESPACE],
        "__slots__": slots if members and _is_kept(slots) else members,
    }
    # Slots make their descriptors themselves.
    filling = {k: v for k, v in attributes.items() if k != "__slots__" and k not in members}
    return (*arguments[:_NAMESPACE], begin, *arguments[_NAMESPACE + 1 :]), (filling, rest)


def _is_slot(cls: type, name: str, member: object) -> bool:
    if isinstance(member, MemberDescriptorType):
        return member.__objclass__ is cls
    return name in ("__dict__", "__weakref__")


def _is_kept(slots: object) -> bool:
    return isinstance(slots, str | tuple | list | dict)  # and not an iterator, used up by now
