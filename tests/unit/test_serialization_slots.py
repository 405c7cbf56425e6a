"""Classes with slots, defined in the user's own code: two hops change nothing."""

from __future__ import annotations

import abc
import dataclasses
from collections import namedtuple
from typing import Any, Generic, NamedTuple, TypeVar

import pytest
from fresh_interpreter import in_fresh_interpreter

from cloudburst.serialization import join, pack, pack_function, split, unpack, unpack_function

Held = TypeVar("Held")


class Point:
    __slots__ = ("x", "y")

    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y


class Weighted(Point):
    __slots__ = ("weight",)

    def __init__(self, x: int, y: int, weight: float) -> None:
        super().__init__(x, y)
        self.weight = weight


class Loose(Point):
    """Has a ``__dict__`` beside the slots of its base."""


class One:
    __slots__ = "only"  # noqa: PLC0205  it is allowed

    def __init__(self) -> None:
        self.only = 1


class Documented:
    __slots__ = {"x": "across"}

    def __init__(self) -> None:
        self.x = 1


class FromAnIterator:
    """Python cannot pickle its instances, but use it elsewhere one can."""

    __slots__ = iter(("x", "y"))  # used up when the class is there

    def __init__(self) -> None:
        self.x, self.y = 1, 2


class Private:
    __slots__ = ("__x",)

    def __init__(self) -> None:
        self.__x = 5

    def get(self) -> int:
        return self.__x


class Open:
    __slots__ = ("__dict__", "__weakref__", "x")

    def __init__(self) -> None:
        self.x, self.y = 1, 2


class Bare:
    __slots__ = ()


class Unfilled:
    __slots__ = ("x", "y")

    def __init__(self) -> None:
        self.x = 1


class Box(Generic[Held]):
    __slots__ = ("content",)

    def __init__(self, content: Held) -> None:
        self.content = content


class Shape(abc.ABC):
    __slots__ = ("side",)

    @abc.abstractmethod
    def area(self) -> int: ...


class Square(Shape):
    __slots__ = ()

    def __init__(self) -> None:
        self.side = 3

    def area(self) -> int:
        return self.side**2


class Row(namedtuple("Row", "a b")):
    __slots__ = ()


class Named(NamedTuple):
    a: int
    b: str = "b"


@dataclasses.dataclass(slots=True)
class Item:
    name: str
    parts: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True, frozen=True)
class Coin:
    cents: int


@dataclasses.dataclass(slots=True, frozen=True)
class Rare(Coin):
    year: int = 1900

    def older(self) -> Rare:
        return dataclasses.replace(self, year=self.year - 1)


@dataclasses.dataclass(slots=True, weakref_slot=True)
class Watched:
    x: int = 1


VALUES: list[Any] = [
    Point(1, 2),
    Weighted(1, 2, 0.5),
    Loose(1, 2),
    One(),
    Documented(),
    Private(),
    Open(),
    Bare(),
    Unfilled(),
    Box([1]),
    Square(),
    Row(1, 2),
    Named(1),
    Item("i", [1]),
    Coin(5),
    Rare(5),
    Watched(),
]

ECHO = """
    from cloudburst.serialization import join, pack, split, unpack
    value = unpack(split(payload))
    {work}
    reply(join(pack(value).frames))
"""


def echoed(value: object, work: str = "") -> Any:
    """The value after a visit to a process that does not know its class."""
    return unpack(split(in_fresh_interpreter(ECHO.format(work=work), blob_of(value))))


def blob_of(value: object) -> bytes:
    return bytes(join(pack(value).frames))


def held(value: Any) -> dict[str, Any]:
    """All that an instance holds, in slots and outside."""
    names = {name for kind in type(value).__mro__ for name in _slots(kind)}
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _slots(kind: type) -> list[str]:
    return [name for name, member in vars(kind).items() if type(member).__name__.startswith("mem")]


def test_instances_come_home_from_two_processes_as_what_they_were() -> None:
    through_two = """
        import subprocess, sys
        from cloudburst.serialization import join, pack, split, unpack
        hop = '''if True:
            import sys
            from cloudburst.serialization import join, pack, split, unpack
            blob = sys.stdin.buffer.read()
            sys.stdout.buffer.write(join(pack(unpack(split(blob))).frames))
        '''
        sent = join(pack(unpack(split(payload))).frames)
        done = subprocess.run(
            [sys.executable, "-c", hop], input=sent, capture_output=True, check=True
        )
        reply(done.stdout)
    """
    back = unpack(split(in_fresh_interpreter(through_two, blob_of(VALUES))))

    for before, after in zip(VALUES, back, strict=True):
        assert type(after) is type(before)
        assert held(after) == held(before)
        assert getattr(after, "__dict__", None) == getattr(before, "__dict__", None)
    assert back[-4:] == VALUES[-4:], "dataclasses know when they are equal"


@pytest.mark.parametrize(
    ("value", "work", "result"),
    [
        (Weighted(1, 2, 0.5), "value = [value.x, value.weight]", [1, 0.5]),
        (Private(), "value = value.get()", 5),
        (Square(), "value = [value.area(), isinstance(value, type(value).__mro__[1])]", [9, True]),
        (
            Rare(5),
            "value = [value.older().year, hash(value) == hash(type(value)(5))]",
            [1899, True],
        ),
        (Documented(), "value = type(value).__slots__", {"x": "across"}),
        (FromAnIterator, "value = [value().y, hasattr(value(), '__dict__')]", [2, False]),
    ],
    ids=lambda item: type(item).__name__,
)
def test_they_work_where_they_arrive(value: object, work: str, result: object) -> None:
    assert echoed(value, work) == result


@pytest.mark.parametrize("value", [Point(1, 2), Item("i"), Bare(), Box(1)], ids=repr)
def test_there_too_they_have_no_room_for_anything_else(value: object) -> None:
    assert echoed(value, "value = [hasattr(value, '__dict__'), hasattr(type(value), 'z')]") == [
        False,
        False,
    ]


def test_what_was_made_elsewhere_is_of_the_same_class_here() -> None:
    made = echoed(Rare(5), "value = value.older()")

    assert type(made) is Rare
    assert made == Rare(5, 1899)


def test_registered_classes_keep_their_slots() -> None:
    script = """
        from cloudburst.serialization import unpack_function
        make = unpack_function(payload).callable
        coin = make(7)
        try:
            coin.cents = 8
        except AttributeError as error:
            reply(f"{coin} {type(error).__name__} {hasattr(coin, '__dict__')}".encode())
    """
    blob = pack_function(lambda cents: Coin(cents), "make").blob

    assert in_fresh_interpreter(script, blob) == b"Coin(cents=7) FrozenInstanceError False"
    assert unpack_function(blob).callable(7) == Coin(7)  # type: ignore[union-attr]
