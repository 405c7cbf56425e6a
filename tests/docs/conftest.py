"""A private world for each test, and a look at what it leaves behind."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from leftovers import alive, wait_until


@pytest.fixture
def run_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of this test's run directories, short enough for sockets; left empty."""
    directory = Path(tempfile.mkdtemp(prefix="cb-", dir="/tmp"))
    monkeypatch.setenv("CLOUDBURST_RUN_DIR", str(directory))
    before = set(psutil.Process().children(recursive=True))
    yield directory

    def left() -> list[object]:
        processes = set(psutil.Process().children(recursive=True)) - before
        return [*filter(alive, processes), *directory.rglob("*")]

    wait_until(lambda: not left(), lambda: f"nothing is left; there is {left()}", 5.0)
    shutil.rmtree(directory)
