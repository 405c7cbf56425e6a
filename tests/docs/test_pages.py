"""What the pages say is so: their Python runs, their links lead somewhere, nothing is left out."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from snippets import PAGES, ROOT, run, snippets

import cloudburst
from cloudburst import (
    CloudburstConnection,
    CloudburstFunction,
    CloudburstFuture,
    LocalCluster,
    UserLibrary,
    errors,
)

_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@pytest.fixture
def shared_cluster(run_dir: Path) -> Iterator[LocalCluster]:
    """The cluster that a page's ``CloudburstConnection(local=True)`` finds."""
    with LocalCluster(2, shared=True) as cluster:
        yield cluster


EXPECTATIONS = {
    "README.md": 4,
    "quickstart.md": 29,
    "user-library.md": 10,
    "errors.md": 9,
    "limits-and-retries.md": 19,
    "serving.md": 14,
}
"""How many expressions at least say what they give."""


@pytest.fixture
def session(shared_cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    """The names of an interactive session, whose connections are closed at its end."""
    names: dict[str, Any] = {"__name__": "__main__"}
    yield names
    for value in names.values():
        if isinstance(value, CloudburstConnection):
            value.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_of_the_page_runs(page: Path, session: dict[str, Any]) -> None:
    assert run(page, session) >= EXPECTATIONS.get(page.name, 0)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.name} links to {link}"
        assert target.is_relative_to(ROOT)
        if anchor:
            assert anchor in _anchors(target), f"{page.name} links to {link}"


def test_index_leads_to_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}

    assert {page for page in PAGES if page.parent == index.parent} - {index} <= linked


def test_reference_names_everything_public() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    named = set(re.findall(r"`([A-Za-z_]+)", text))

    assert set(cloudburst.__all__) - {"__version__"} <= named


@pytest.mark.parametrize(
    ("kind", "page"),
    [
        (CloudburstConnection, "reference.md"),
        (CloudburstFunction, "reference.md"),
        (CloudburstFuture, "reference.md"),
        (LocalCluster, "reference.md"),
        (UserLibrary, "user-library.md"),
    ],
)
def test_every_method_is_described(kind: type, page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    ours = [base for base in kind.__mro__ if base.__module__.startswith("cloudburst.")]
    own = {name for base in ours for name, value in vars(base).items() if inspect.isfunction(value)}
    public = {name for name in own if not name.startswith("_")} - NOT_FOR_USERS

    assert public
    assert {name for name in public if f"{name}(" not in text} == set()


NOT_FOR_USERS = {"call_function", "is_settled", "fileno"}
"""Methods that are for other modules of Cloudburst."""


def test_tree_of_errors_is_that_of_the_code() -> None:
    tree = inspect.cleandoc(errors.__doc__ or "").partition("::\n\n")[2]
    (shown,) = (snippet.code for snippet in snippets(ROOT / "docs" / "errors.md", "text"))

    assert shown.strip() == inspect.cleandoc(tree)


def links(page: Path) -> list[str]:
    return _LINK.findall(page.read_text())


def _anchors(page: Path) -> set[str]:
    titles = [title.lower() for title in _HEADING.findall(page.read_text())]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}
