"""Classes of a program with slots, and exceptions with an ``__init__`` of their own.

Their instances survive the way through two functions, on whatever executors these run.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from cloudburst import CloudburstConnection

DEFINITIONS = """
import dataclasses

class Point:
    __slots__ = ("x", "y")
    def __init__(self, x, y):
        self.x, self.y = x, y

class Weighted(Point):
    __slots__ = ("weight",)
    def __init__(self, x, y, weight):
        super().__init__(x, y)
        self.weight = weight

@dataclasses.dataclass(slots=True)
class Item:
    name: str
    parts: list = dataclasses.field(default_factory=list)

@dataclasses.dataclass(slots=True, frozen=True)
class Coin:
    cents: int

@dataclasses.dataclass(slots=True, frozen=True)
class Rare(Coin):
    year: int = 1900

class TakesTwo(Exception):
    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code

class TakesAName(ValueError):
    def __init__(self, *, code):
        super().__init__(f"code {code}")
        self.code = code

class TellsNobody(Exception):
    def __init__(self, code, text):
        self.code = code

class NewTakesTwo(Exception):
    def __new__(cls, code, text):
        return super().__new__(cls, text)
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code

class OfTheSystem(OSError):
    def __init__(self, code):
        super().__init__(2, "why", "/x")
        self.code = code

@dataclasses.dataclass(frozen=True)
class OfFields(Exception):
    code: int

class Locked(Exception):
    def __init__(self, code):
        super().__init__(f"locked {code}")
        import threading
        self.lock = threading.Lock()

class Broken(Exception):
    def __init__(self, code):
        super().__init__(f"broken {code}")
    def __reduce__(self):
        return Broken._nowhere, (1,)
    @staticmethod
    def _nowhere():
        pass

ODD = [TakesTwo(1, "t"), TakesAName(code=2), TellsNobody(3, "t"), NewTakesTwo(4, "t"),
       OfTheSystem(5), OfFields(6)]
SLOTTED = [Point(1, 2), Weighted(1, 2, 0.5), Item("i", [1]), Coin(5), Rare(5)]
MADE = {Locked: 7, Broken: 8}

def told(value):
    names = ("x", "y", "weight", "name", "parts", "cents", "year", "code", "args", "errno")
    return type(value), [getattr(value, name, None) for name in names], str(value)[:9]

def fail(_, error):
    raise error

def make_and_fail(_, kind, code):
    raise kind(code)
"""

PROGRAM = """
import sys
from cloudburst import CloudburstConnection, CloudburstReference, FunctionError
{definitions}

with CloudburstConnection(sys.argv[1]) as connection:
    same = connection.register(lambda _, value: value, "same")
    pair = connection.register(lambda _, left, right: [left, right], "pair")
    failing = connection.register(fail, "fail")
    making = connection.register(make_and_fail, "make_and_fail")
    steps = [("a", "same"), ("b", "same"), ("c", "same"), "pair"]
    edges = [("a", "b"), ("a", "c"), ("b", "pair"), ("c", "pair")]
    connection.register_dag("diamond", steps, edges)

    for value in [*SLOTTED, *ODD]:
        back = connection.call_dag("diamond", {{"a": [value]}}).get(10)
        connection.put_object("value", value)
        back += [same(CloudburstReference("value")).get(10), connection.get_object("value")]
        back += [same(same(value)).get(10), same.options(direct_response=True)([value])[0]]
        assert all(told(one) == told(value) for one in back), (value, back)

    for error in ODD:
        for attempt in (failing(error).exception(10), failing(same(error)).exception(10)):
            assert told(attempt) == told(error), (attempt, error)
            assert isinstance(attempt.__cause__, FunctionError)
            assert "raise error" in attempt.__cause__.remote_traceback

    for kind, code in MADE.items():
        error = making(kind, code).exception(10)
        report = error if isinstance(error, FunctionError) else error.__cause__
        assert report.error == f"{{kind.__name__}}: {{kind.__name__.lower()}} {{code}}", report
        assert "raise kind(code)" in report.remote_traceback

    print("all are what they were")
"""


@pytest.mark.parametrize("place", ["__main__", "module"])
def test_they_are_what_they_were(
    connection: CloudburstConnection, tmp_path: Path, place: str
) -> None:
    definitions = DEFINITIONS
    if place == "module":
        (tmp_path / "shapes.py").write_text(DEFINITIONS)
        definitions = "from shapes import *"
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.format(definitions=definitions))

    done = subprocess.run(
        [sys.executable, str(script), connection.address],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("all are what they were\n", "")
