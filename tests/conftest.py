"""What is the same for all tests."""

import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest

from cloudburst.cache.folder import memory_root


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so does all that it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def caches_of_their_own() -> Iterator[None]:
    """Other clusters on this machine are none of the tests' business."""
    directory = tempfile.mkdtemp(prefix="cb-", dir=memory_root())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLOUDBURST_CACHE_DIR", directory)
        yield
    shutil.rmtree(directory)
