"""Exceptions as values, whatever their ``__init__`` takes: two hops change nothing."""

from __future__ import annotations

import configparser
import json
import subprocess
from dataclasses import dataclass
from typing import Any

import own_code
import pytest
from failing import at_the_caller
from fresh_interpreter import in_fresh_interpreter

from cloudburst.errors import DagError, FunctionError
from cloudburst.serialization import join, pack, split, unpack
from cloudburst.serialization.exceptions import needs_help


class TakesTwo(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class TakesAName(ValueError):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class TellsNobody(Exception):
    def __init__(self, one: int, *, two: int) -> None:
        self.one, self.two = one, two


class WithSlots(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__("text")
        self.code = code


class NewTakesTwo(Exception):
    def __new__(cls, *args: object) -> NewTakesTwo:
        if len(args) != 2:
            raise TypeError("needs two")
        return super().__new__(cls, args[0])

    def __init__(self, one: object, two: object) -> None:
        super().__init__(one)
        self.two = two


class OfTheSystem(OSError):
    def __init__(self, path: str, why: str) -> None:
        super().__init__(2, why, path)
        self.why = why


class OfTheCodec(UnicodeDecodeError):
    def __init__(self, reason: str) -> None:
        super().__init__("utf-8", b"a", 0, 1, reason)


class OfAnImport(ImportError):
    def __init__(self, module: str) -> None:
        super().__init__("gone", name=module, path="/p")


class Pairs(KeyError):
    def __init__(self, one: int, two: int) -> None:
        super().__init__((one, two))


@dataclass
class OfFields(Exception):
    code: int
    text: str = "t"


@dataclass(frozen=True)
class OfFrozenFields(Exception):
    code: int
    text: str = "t"


class Counts(Exception):
    """Another call of its ``__init__`` would be seen."""

    def __init__(self, text: str) -> None:
        super().__init__(f"<{text}>")


class KeepsItsState(Exception):
    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code

    def __setstate__(self, state: Any) -> None:
        self.code = state["code"] + 1


ODD = [
    TakesTwo(7, "text"),
    TakesAName(code=3),
    TellsNobody(1, two=2),
    WithSlots(4),
    NewTakesTwo(1, 2),
    OfTheSystem("/x", "why"),
    OfTheCodec("odd"),
    OfAnImport("mod"),
    Pairs(1, 2),
    OfFields(5),
    OfFrozenFields(6),
    Counts("c"),
    own_code.Refusal(404, "gone"),
]

INSTALLED = [
    subprocess.CalledProcessError(1, ["cmd"], b"out", b"err"),
    subprocess.TimeoutExpired("cmd", 1.5),
    configparser.NoSectionError("s"),
    configparser.NoOptionError("o", "s"),
    json.JSONDecodeError("m", "doc", 1),
    DagError(["first.", "second."]),
    FunctionError("s", "r", "e", "ValueError: x", "Traceback"),
]


def told(error: BaseException) -> tuple[Any, ...]:
    """All that can be asked of it."""
    slots = [getattr(error, name) for name in getattr(type(error), "__slots__", ())]
    system = [getattr(error, name, None) for name in ("errno", "filename", "name", "reason")]
    return type(error), error.args, vars(error), slots, system, str(error)


def hop(value: Any) -> Any:
    return unpack(split(bytes(join(pack(value).frames))))


@pytest.mark.parametrize("error", [*ODD, *INSTALLED], ids=lambda error: type(error).__name__)
def test_it_survives_two_hops_as_a_value_alone_and_within_others(error: Exception) -> None:
    assert told(hop(hop(error))) == told(error)
    (within,) = hop(hop([{"at": error}]))[0].values()
    assert told(within) == told(error)


@pytest.mark.parametrize("error", [*ODD, *INSTALLED], ids=lambda error: type(error).__name__)
def test_it_survives_as_what_was_raised(error: Exception) -> None:
    got = at_the_caller(error)

    assert told(got) == told(error)
    assert isinstance(got.__cause__, FunctionError)


def test_it_survives_a_process_that_knows_nothing_of_its_class() -> None:
    script = """
        from cloudburst.serialization import join, pack, split, unpack
        errors = unpack(split(payload))
        reply(join(pack(errors).frames))
    """
    back = unpack(split(in_fresh_interpreter(script, bytes(join(pack(ODD).frames)))))

    assert [told(error) for error in back] == [told(error) for error in ODD]


def test_one_exception_in_two_places_is_still_one() -> None:
    error = TakesTwo(1, "t")
    error.__notes__ = ["noted"]
    one, other = hop([error, error])

    assert one is other
    assert one.__notes__ == ["noted"]


def test_an_exception_that_holds_itself_survives() -> None:
    error = TakesTwo(1, "t")
    error.me = error  # type: ignore[attr-defined]

    back = hop(error)
    assert back.me is back


def test_a_class_that_sets_its_own_state_does_so() -> None:
    assert hop(KeepsItsState(1)).code == 2


def test_help_is_for_those_who_need_it() -> None:
    class Plain(Exception):
        pass

    class KnowsHow(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(one + two)

        def __reduce__(self) -> Any:
            return KnowsHow, (1, 2)

    assert not needs_help(ValueError)
    assert not needs_help(Plain)
    assert not needs_help(KnowsHow)
    assert needs_help(TakesTwo)
    assert needs_help(subprocess.CalledProcessError)
