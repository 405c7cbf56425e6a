"""What is defined in the user's own code travels by value and comes home as what it was."""

from __future__ import annotations

import fnmatch
import functools
import importlib
import pickle
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import own_code
import pytest
from fresh_interpreter import in_fresh_interpreter

import cloudburst
from cloudburst.serialization import (
    CloudburstReference,
    join,
    pack,
    pack_function,
    split,
    unpack,
    unpack_function,
)
from cloudburst.serialization.own_modules import mentioned_in, own_modules

ECHO = """
    from cloudburst.serialization import join, pack, split, unpack
    value = unpack(split(payload))
    {work}
    reply(join(pack(value).frames))
"""


def echoed(value: object, work: str = "") -> Any:
    """The value after a visit to a process that cannot import the modules beside this test."""
    blob = bytes(join(pack(value).frames))
    return unpack(split(in_fresh_interpreter(ECHO.format(work=work), blob)))


# Which modules are the user's own


def test_the_modules_of_a_test_run_are_the_users_own() -> None:
    assert {"own_code", __name__} <= own_modules()


def test_what_is_installed_is_not() -> None:
    names = own_modules()
    for module in (sys, pickle, np, pytest, cloudburst, join):
        name = module.__name__ if isinstance(module, ModuleType) else module.__module__
        assert name not in names
    assert not [name for name in names if name.partition(".")[0] in sys.stdlib_module_names]
    assert not [name for name in names if name.partition(".")[0] in ("numpy", "cloudburst")]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of modules, on the path for the time of a test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def imported(project: Path, name: str, source: str) -> ModuleType:
    path = project / Path(*name.split("."))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".py").write_text(source)
    importlib.invalidate_caches()
    return importlib.import_module(name)


def test_a_module_counts_from_the_moment_it_is_imported(project: Path) -> None:
    assert "imported_later" not in own_modules()
    imported(project, "imported_later", "x = 1")
    assert "imported_later" in own_modules()


def test_modules_of_packages_count_one_by_one(project: Path) -> None:
    (project / "pack_age").mkdir()
    (project / "pack_age" / "__init__.py").touch()
    imported(project, "pack_age.part", "x = 1")
    assert {"pack_age", "pack_age.part"} <= own_modules()


def test_site_packages_inside_a_project_are_installed(project: Path) -> None:
    nested = project / ".venv" / "lib" / "site-packages"
    sys.path.insert(0, str(nested))
    try:
        imported(nested, "installed_beside", "x = 1")
    finally:
        sys.path.remove(str(nested))
    assert "installed_beside" not in own_modules()


def test_a_package_with_compiled_parts_travels_by_name(project: Path) -> None:
    imported(project, "half_compiled.plain", "x = 1")
    assert "half_compiled.plain" in own_modules()

    part = ModuleType("half_compiled.fast")
    part.__file__ = str(project / "fast") + str(sysconfig.get_config_var("EXT_SUFFIX"))
    sys.modules["half_compiled.fast"] = part

    assert "half_compiled.plain" not in own_modules()


def test_a_pickle_mentions_modules_by_whole_names_only() -> None:
    assert mentioned_in(pickle.dumps(own_code.mean, 5))
    assert mentioned_in(pickle.dumps([1, {"a": own_code.Square(1)}], 5))
    assert not mentioned_in(pickle.dumps(np.arange(3), 5))
    assert not mentioned_in(pickle.dumps(["own_code.py", "an own_code", b"own_code"], 5))


def test_strings_that_are_names_of_modules_stay_strings() -> None:
    value = ["__main__", "own_code", "\x93", CloudburstReference("own_code")]
    assert unpack(pack(value).frames) == value


# There and back


def test_instances_of_own_classes_keep_their_class() -> None:
    back = echoed({"square": own_code.Square(2), "suit": own_code.Suit.SPADES})

    assert type(back["square"]) is own_code.Square
    assert back["square"] == own_code.Square(2)
    assert back["suit"] is own_code.Suit.SPADES


def test_own_classes_work_where_their_module_is_missing() -> None:
    assert echoed(own_code.Square(2), "value = [value.area(), type(value).__name__]") == [
        4,
        "Square",
    ]
    assert echoed(own_code.mean, "value = value([1.0, 2.0])") == 1.5


def test_modules_that_refer_to_themselves_travel() -> None:
    assert echoed(own_code.also_factorial, "value = value(5)") == 120
    assert echoed(own_code, "value = value.own_code.factorial(4)") == 24


def test_an_instance_that_comes_back_leaves_its_class_alone() -> None:
    def patched(self: own_code.Square) -> float:
        return -1.0

    packed = bytes(join(pack(own_code.Square(2)).frames))
    original = own_code.Square.__dict__["area"]
    try:
        own_code.Square.made = 7
        own_code.Square.area = patched  # type: ignore[method-assign]
        back = unpack(split(packed))
        assert (back.made, back.area()) == (7, -1.0)
    finally:
        own_code.Square.area = original  # type: ignore[method-assign]
        del own_code.Square.made


def test_code_that_comes_back_leaves_the_class_it_was_made_from_alone() -> None:
    blob = pack_function(own_code.Square(2).area, "area").blob
    try:
        own_code.Square.made = 7
        own_code.Square.area.__doc__ = "changed since"
        area = unpack_function(blob).callable  # type: ignore[union-attr]
        assert own_code.Square.made == 7
        assert own_code.Square.area.__doc__ == "changed since"
        assert area() == 4
    finally:
        own_code.Square.area.__doc__ = None
        del own_code.Square.made


def test_attributes_set_on_a_class_elsewhere_last_from_value_to_value() -> None:
    two = [bytes(join(pack(own_code.Square(side)).frames)) for side in (1, 2)]
    script = """
        import pickle
        from cloudburst.serialization import split, unpack
        first, second = pickle.loads(payload)
        one = unpack(split(first))
        type(one).made = 5
        two = unpack(split(second))
        assert type(two) is type(one)
        reply(repr((two.made, two.area())).encode())
    """
    assert in_fresh_interpreter(script, pickle.dumps(two)) == b"(5, 4)"


def test_newly_registered_code_replaces_the_methods_of_a_class_elsewhere() -> None:
    script = """
        import subprocess, sys
        from cloudburst.serialization import pack_function, unpack_function

        class Model:
            def run(self):
                return "old"

        first = pack_function(Model, "model").blob
        Model.run = lambda self: "new"
        second = pack_function(Model, "model").blob
        worker = '''if True:
            import sys
            from cloudburst.serialization import unpack_function
            data, size = sys.stdin.buffer.read(), int(sys.argv[1])
            kept = unpack_function(data[:size]).cls()
            before = kept.run()
            again = unpack_function(data[size:]).cls()
            print(before, again.run(), type(kept) is type(again))
        '''
        command = [sys.executable, "-c", worker, str(len(first))]
        done = subprocess.run(command, input=first + second, capture_output=True, check=True)
        assert Model().run() == "new"
        reply(done.stdout)
    """
    assert in_fresh_interpreter(script) == b"old new True\n"


def test_instances_of_classes_in_a_program_keep_their_class() -> None:
    """The program is another process than the tests, and has a worker of its own."""
    script = """
        import dataclasses, enum, subprocess, sys
        from cloudburst.serialization import join, pack, split, unpack

        class Color(enum.Enum):
            RED = 1

        @dataclasses.dataclass
        class Item:
            name: str
            color: Color = Color.RED

        class Broken(Exception):
            pass

        worker = '''if True:
            import sys
            from cloudburst.serialization import join, pack, split, unpack
            items, error = unpack(split(sys.stdin.buffer.read()))
            items.append(type(items[0])("made elsewhere"))
            sys.stdout.buffer.write(join(pack((items, error)).frames))
        '''
        sent = join(pack(([Item("sent")], Broken("b"))).frames)
        done = subprocess.run(
            [sys.executable, "-c", worker], input=sent, capture_output=True, check=True
        )
        (one, two), error = unpack(split(done.stdout))
        assert type(one) is type(two) is Item and one == Item("sent")
        assert two.name == "made elsewhere" and two.color is Color.RED
        assert type(error) is Broken
        reply(b"same classes")
    """
    assert in_fresh_interpreter(script) == b"same classes"


# What functools wraps around functions


@functools.lru_cache(maxsize=3, typed=True)
def fibonacci(n: int) -> int:
    """Calls itself, through its cache."""
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


class Report:
    def __init__(self) -> None:
        self.made = 0

    @functools.cached_property
    def text(self) -> str:
        self.made += 1
        return "text"

    @functools.cache  # noqa: B019  as programs have it
    def line(self, number: int) -> int:
        self.made += 1
        return number


def test_cached_functions_travel_with_what_they_are_and_without_what_they_have() -> None:
    fibonacci(5)
    work = "value = [value(30), value.cache_info().maxsize, value.cache_parameters()['typed']]"

    assert echoed(fibonacci, work) == [832040, 3, True]
    assert echoed(fibonacci, "value = value.cache_info().currsize") == 0
    assert echoed(functools.cache(lambda x: x * 2), "value = value(2)") == 4


def test_registered_functions_may_use_cached_ones() -> None:
    script = """
        from cloudburst.serialization import unpack_function
        use = unpack_function(payload).callable
        reply(repr([use(10), use(10)]).encode())
    """
    blob = pack_function(lambda n: fibonacci(n), "use").blob

    assert in_fresh_interpreter(script, blob) == b"[55, 55]"


def test_cached_functions_of_installed_modules_travel_by_name() -> None:
    assert unpack(pack([fnmatch._compile_pattern, fibonacci]).frames)[0] is fnmatch._compile_pattern  # type: ignore[attr-defined]


def test_cached_properties_and_methods_are_cached_where_they_arrive() -> None:
    twice = "value = [value.text, value.text, value.line(2), value.line(2), value.made]"

    assert echoed(Report(), twice) == ["text", "text", 2, 2, 2]
    assert type(echoed(Report())) is Report
