"""Rules of the house that no linter checks."""

import ast
import importlib.metadata
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

import cloudburst

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("cloudburst", "tests", "benchmarks", "examples")
FILES = [*ROOT.glob("*.py"), *(file for name in FOLDERS for file in (ROOT / name).rglob("*.py"))]

LONGEST_FILE = 400
LONGEST_FUNCTION = 60


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Name and number of lines of every function, those inside others too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def own_modules() -> list[Path]:
    return [file for file in FILES if file.is_relative_to(ROOT / "cloudburst")]


def test_there_is_something_to_check() -> None:
    assert ROOT / "cloudburst" / "errors.py" in FILES
    assert ROOT / "local_mode.py" in FILES
    assert Path(__file__) in FILES


def test_functions_are_measured_with_their_signature() -> None:
    source = "def f(\n    a,\n):\n    def g(): pass\n    return g\n"

    assert list(functions(source)) == [("f", 5), ("g", 1)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_sizes(file: Path) -> None:
    source = file.read_text()

    assert len(source.splitlines()) <= LONGEST_FILE
    assert [item for item in functions(source) if item[1] > LONGEST_FUNCTION] == []


@pytest.mark.parametrize("file", own_modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_module_says_what_it_is_for(file: Path) -> None:
    tree = ast.parse(file.read_text())

    assert not tree.body or ast.get_docstring(tree)


@pytest.mark.parametrize(
    ("library", "home"), [("redis", "kvs"), ("hiredis", "kvs"), ("cloudpickle", "serialization")]
)
def test_library_is_used_in_one_place_only(library: str, home: str) -> None:
    users = {
        file.parent.name
        for file in own_modules()
        for node in ast.walk(ast.parse(file.read_text()))
        if library in [name.partition(".")[0] for name in imported(node)]
    }

    assert users == {home}


def imported(node: ast.AST) -> list[str]:
    """The absolute names that a statement imports."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
    return []


def test_files_of_tests_have_names_of_their_own() -> None:
    """Those that are in no package are imported by their names alone."""
    files = [file for file in (ROOT / "tests").rglob("*.py") if file.name != "conftest.py"]
    names = [file.name for file in files if not (file.parent / "__init__.py").exists()]

    assert sorted(set(names)) == sorted(names)


def test_public_names_exist() -> None:
    assert len(set(cloudburst.__all__)) == len(cloudburst.__all__)
    assert all(hasattr(cloudburst, name) for name in cloudburst.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        cloudburst.nonsense  # type: ignore[attr-defined]


def test_version_is_that_of_the_package() -> None:
    assert importlib.metadata.version("cloudburst") == cloudburst.__version__


def test_continuous_integration_can_be_run() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & stat.S_IXUSR
