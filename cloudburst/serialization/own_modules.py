"""Which imported modules are the user's own.

Executors may be unable to import a script, a notebook or a project that is not installed, or
would import a stale version of it; what is defined there travels by value. Everything installed,
and Cloudburst itself, travels by name.
"""

from __future__ import annotations

import functools
import os.path
import re
import site
import sys
import sysconfig
from collections.abc import Collection
from importlib.machinery import EXTENSION_SUFFIXES
from types import ModuleType
from typing import NamedTuple

import cloudpickle

_INSTALLED = re.compile(r"[/\\](?:site|dist)-packages[/\\]")
_PATHS = ("stdlib", "platstdlib", "purelib", "platlib")
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  strings are compared with __file__


class _Scan(NamedTuple):
    """The outcome of one look at ``sys.modules``, and how many there were."""

    modules: int
    names: frozenset[str]
    pattern: re.Pattern[bytes]


def mentioned_in(pickle: bytes) -> bool:
    """Whether a pickle refers by name to `__main__` or to one of the user's own modules.

    A string that equals such a name may look like a reference: the pickle is then made again
    by value, which costs time and changes nothing.
    """
    return _current().pattern.search(pickle) is not None


def own_modules() -> frozenset[str]:
    """Names of the user's own modules, `__main__` left out."""
    return _current().names


def register() -> None:
    """Have cloudpickle treat the user's own modules as it treats `__main__`."""
    for name in own_modules() - cloudpickle.list_registry_pickle_by_value():
        module = sys.modules.get(name)
        if isinstance(module, ModuleType):
            cloudpickle.register_pickle_by_value(module)


_latest: _Scan | None = None


def _current() -> _Scan:
    # Two threads may both scan: they find the same, and the last one wins.
    global _latest  # noqa: PLW0603  a cache of what is global anyway
    if _latest is None or _latest.modules != len(sys.modules):
        _latest = _scan()
    return _latest


def _scan() -> _Scan:
    modules = list(sys.modules.items())
    files = {name: file for name, module in modules if (file := _file_of(module))}
    compiled = {_top(name) for name, file in files.items() if file.endswith(_EXTENSIONS)}
    names = frozenset(
        name
        for name, file in files.items()
        # What is compiled cannot travel by value, nor can what surrounds it.
        if name != "__main__" and _top(name) not in compiled and _is_own(file)
    )
    return _Scan(len(modules), names, string_in_pickle(names | {"__main__"}))


def string_in_pickle(names: Collection[str]) -> re.Pattern[bytes]:
    """Matches one of these as pickle writes a string: opcode, length, characters, opcode."""
    spelled = [name.encode("utf-8", "surrogatepass") for name in sorted(names)]
    written = [bytes([len(name)]) + name for name in spelled if 0 < len(name) < 256]
    lengths, initials = ({item[place] for item in written} for place in (0, 1))
    # Looking ahead at two bytes spares most strings the comparison with every name.
    ahead = b"(?=[" + re.escape(bytes(lengths)) + b"][" + re.escape(bytes(initials)) + b"])"
    return re.compile(
        b"\x8c" + ahead + b"(?:" + b"|".join(map(re.escape, written)) + b")\x94", re.DOTALL
    )


def _file_of(module: object) -> str | None:
    if not isinstance(module, ModuleType):
        return None
    file = module.__dict__.get("__file__")
    return file if isinstance(file, str) else None


def _top(name: str) -> str:
    return name.partition(".")[0]


@functools.cache
def _is_own(file: str) -> bool:
    if _INSTALLED.search(file):
        return False
    places = {os.path.abspath(file), os.path.realpath(file)}  # noqa: PTH100  pathlib is slow
    return not any(place.startswith(_foreign()) for place in places)


@functools.cache
def _foreign() -> tuple[str, ...]:
    """Directories of the interpreter, of what is installed, and of Cloudburst."""
    paths = [_PACKAGE, site.getusersitepackages(), *map(sysconfig.get_path, _PATHS)]
    both = {*paths, *map(os.path.realpath, paths)}
    return tuple(os.path.join(path, "") for path in sorted(both) if path)  # noqa: PTH118


_EXTENSIONS = tuple(EXTENSION_SUFFIXES)
