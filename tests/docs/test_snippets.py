"""The runner of the pages' snippets finds what is wrong with a page."""

from pathlib import Path
from typing import Any

import pytest
from snippets import WrongSnippet, run, snippets


def page_of(folder: Path, *blocks: str) -> Path:
    page = folder / "page.md"
    page.write_text("# A page\n\n" + "\n\nProse.\n\n".join(f"```python\n{b}\n```" for b in blocks))
    return page


def run_blocks(folder: Path, *blocks: str) -> tuple[int, dict[str, Any]]:
    namespace: dict[str, Any] = {}
    return run(page_of(folder, *blocks), namespace), namespace


def test_blocks_run_in_order_in_one_session(tmp_path: Path) -> None:
    checked, namespace = run_blocks(tmp_path, "x = 1", "def f():\n    return x + 1", "y = f()")

    assert (checked, namespace["y"]) == (0, 2)


def test_comment_after_an_expression_is_what_it_gives(tmp_path: Path) -> None:
    assert run_blocks(tmp_path, "1 + 1  # 2", "[\n    'a',\n]  # ['a']", "None  # None")[0] == 3


@pytest.mark.parametrize(
    "block", ["1 + 1  # 3", "'a'  # a", "[1, 2]  # [1", "3  # raises TypeError"]
)
def test_comment_that_is_not_what_it_gives(tmp_path: Path, block: str) -> None:
    with pytest.raises(WrongSnippet, match=r"page\.md:4: "):
        run_blocks(tmp_path, block)


def test_three_dots_stand_for_anything(tmp_path: Path) -> None:
    assert run_blocks(tmp_path, "object()  # <object object at ...>", "['*?']  # ['*...']")[0] == 2

    with pytest.raises(WrongSnippet):
        run_blocks(tmp_path, "['ab']  # ['*...']")


def test_expected_error(tmp_path: Path) -> None:
    assert run_blocks(tmp_path, "1 / 0  # raises ZeroDivisionError")[0] == 1
    assert run_blocks(tmp_path, "1 / 0  # raises ZeroDivisionError: division ...")[0] == 1

    with pytest.raises(WrongSnippet, match="division by zero"):
        run_blocks(tmp_path, "1 / 0  # raises ZeroDivisionError: something else")
    with pytest.raises(WrongSnippet):
        run_blocks(tmp_path, "1 / 0  # raises Zero")


def test_expected_error_may_stand_below(tmp_path: Path) -> None:
    assert run_blocks(tmp_path, "1 / 0\n# raises ZeroDivisionError: division ...")[0] == 1
    assert run_blocks(tmp_path, "1\n# prose, and the next line\n2  # 2")[0] == 1
    assert run_blocks(tmp_path, "1\n1 / 0  # raises ZeroDivisionError")[0] == 1

    with pytest.raises(WrongSnippet):
        run_blocks(tmp_path, "1\n# raises ZeroDivisionError")


def test_error_that_nobody_expects_shows_the_pages_line(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_blocks(tmp_path, "x = 0", "y = 1\nz = 1 / x")

    last = caught.traceback[-1]
    assert (Path(last.path).name, last.lineno + 1) == ("page.md", 11)


def test_comments_after_other_statements_are_prose(tmp_path: Path) -> None:
    assert run_blocks(tmp_path, "# above\nx = 1  # not 2\nx")[0] == 0


def test_only_blocks_of_the_language_are_taken(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\nls\n```\n\n```text\n1 / 0\n```\n\n```python\n1\n```\n")

    assert [block.code for block in snippets(page, "sh")] == ["ls\n"]
    assert [(block.above, block.code) for block in snippets(page, "python")] == [(9, "1\n")]
