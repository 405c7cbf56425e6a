"""The commands that the pages show exist, and print what the pages show."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from snippets import PAGES, ROOT, snippets

DEMO = "local_mode.py --demo"


def commands() -> list[list[str]]:
    """Every command in a shell block of a page, as words."""
    blocks = [snippet.code for page in PAGES for snippet in snippets(page, "sh")]
    lines = [line for block in blocks for line in block.replace("\\\n", "").splitlines()]
    words = [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]
    return [command for command in words if command]


def words_after(program: str) -> list[list[str]]:
    """What follows a program's name wherever a page runs it."""
    return [command[1:] for command in commands() if Path(command[0]).name == program]


def test_readme_installs_the_checkout_and_runs_the_demo() -> None:
    (first, second) = (block.code.strip() for block in snippets(ROOT / "README.md", "sh"))

    assert first.startswith("python3 -m venv .venv && .venv/bin/pip install . &&")
    assert first.endswith(f".venv/bin/python {DEMO}")
    assert second == ".venv/bin/pip install '.[test]' && .venv/bin/python -m pytest"


def test_extras_that_pages_install_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {
        extra for words in commands() for extra in re.findall(r"\.\[(\w+)\]", " ".join(words))
    }

    assert "test" in wanted
    assert wanted <= project["optional-dependencies"].keys()


def test_demo_prints_what_the_page_shows(run_dir: Path) -> None:
    shown = snippets(ROOT / "docs" / "quickstart.md", "text")[0].code

    demo = subprocess.run(
        [sys.executable, *DEMO.split()], cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert (demo.returncode, demo.stderr) == (0, "")
    assert demo.stdout == shown


def test_modules_and_files_that_pages_run_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    for program in ("python", "python3"):
        for words in words_after(program):
            if words[0] == "-m":
                assert importlib.util.find_spec(words[1]), words
            elif not words[0].startswith("-"):
                assert (ROOT / words[0]).is_file(), words


def test_scripts_that_pages_run_can_be_executed() -> None:
    scripts = [words[0] for words in commands() if words[0].startswith((".ci/", "./"))]

    assert ".ci/run" in scripts
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts)


@pytest.mark.parametrize("words", words_after("cloudburst"), ids=" ".join)
def test_flags_that_pages_use_exist(words: list[str]) -> None:
    role = [word for word in words[:1] if not word.startswith("-")]

    text = subprocess.run(
        [sys.executable, "-m", "cloudburst", *role, "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout

    missing = [word for word in words if word.startswith("--") and word not in text]
    assert missing == []
