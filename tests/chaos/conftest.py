import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def run_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of this test's run directories, short enough for sockets."""
    directory = Path(tempfile.mkdtemp(prefix="cb-", dir="/tmp"))
    monkeypatch.setenv("CLOUDBURST_RUN_DIR", str(directory))
    yield directory
    shutil.rmtree(directory)
