"""Runs the Python of a page as its reader would: in order, in one session.

An expression may be followed by a comment with what it gives: its repr, or ``raises`` and the
error, which may have the next line to itself. In both ``...`` stands for anything. Comments after
other statements are for the reader.
"""

import ast
import fnmatch
import io
import re
import tokenize
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Snippet(NamedTuple):
    """A fenced block: its page, the number of lines before its code, and the code."""

    page: Path
    above: int
    code: str


class WrongSnippet(AssertionError):
    """A snippet does something else than its page says."""


def snippets(page: Path, language: str) -> list[Snippet]:
    """The page's blocks in that language."""
    text = page.read_text()
    return [
        Snippet(page, text.count("\n", 0, match.start(2)), match[2])
        for match in _BLOCK.finditer(text)
        if match[1] == language
    ]


def run(page: Path, namespace: dict[str, Any]) -> int:
    """Run a page's Python. Returns how many expectations were checked.

    Raises:
        WrongSnippet: an expression gave something else.
    """
    return sum(_run_snippet(snippet, namespace) for snippet in snippets(page, "python"))


def _run_snippet(snippet: Snippet, namespace: dict[str, Any]) -> int:
    # Empty lines above: tracebacks then show the page's own lines.
    source = "\n" * snippet.above + snippet.code
    comments = _comments(source)
    checked = 0
    for node in ast.parse(source, str(snippet.page)).body:
        if not isinstance(node, ast.Expr):
            _evaluate(compile(ast.Module([node], []), str(snippet.page), "exec"), namespace)
            continue
        code = compile(ast.Expression(node.value), str(snippet.page), "eval")
        expected = _expectation(comments, node.end_lineno or 0)
        if expected is None:
            _evaluate(code, namespace)
        else:
            checked += 1
            _check(lambda code=code: _evaluate(code, namespace), expected, snippet, node)
    return checked


def _expectation(comments: dict[int, tuple[str, bool]], line: int) -> str | None:
    if line in comments:
        return comments[line][0]
    text, alone = comments.get(line + 1, ("", False))
    return text if alone and text.startswith("raises ") else None


def _check(action: Callable[[], Any], expected: str, snippet: Snippet, node: ast.Expr) -> None:
    try:
        given = repr(action())
    except Exception as error:
        if not expected.startswith("raises "):
            raise
        given = f"raises {type(error).__name__}: {error}"
        expected = expected if ":" in expected else f"{expected}: ..."
    if not _fits(given, expected):
        place = f"{snippet.page.name}:{node.lineno}"
        raise WrongSnippet(f"{place}: {ast.unparse(node)} gives\n{given}\nand not\n{expected}")


def _fits(given: str, expected: str) -> bool:
    pattern = "*".join(map(_literally, expected.split("...")))
    return fnmatch.fnmatchcase(given, pattern)


def _literally(text: str) -> str:
    return re.sub(r"([\[*?])", r"[\1]", text)


def _evaluate(code: Any, namespace: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        # What a reader sees as a warning is no failure of the page.
        warnings.simplefilter("ignore", UserWarning)
        return eval(code, namespace)


def _comments(source: str) -> dict[int, tuple[str, bool]]:
    """The comment in each line, and whether the line has nothing else."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: (token.string.lstrip("# "), token.line.lstrip().startswith("#"))
        for token in tokens
        if token.type == tokenize.COMMENT
    }
