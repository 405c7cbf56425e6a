"""A notebook: an event loop runs in the kernel, and what its cells define is in no file."""

import json
from collections.abc import Iterator
from pathlib import Path

import nbformat
import psutil
import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel
from leftovers import alive, wait_until
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from snippets import ROOT

CONNECT = """\
import asyncio
from cloudburst.client.client import CloudburstConnection
cloudburst = CloudburstConnection(local=True)
"""

pytestmark = [
    # The libraries that run kernels, not Cloudburst.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def outputs(*cells: str) -> list[str]:
    """Run a notebook. Returns what each cell's last expression gave, as text."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(ROOT)}}).execute()
    return ["".join(shown(output) for output in cell.outputs) for cell in notebook.cells]


def shown(output: dict[str, object]) -> str:
    data = output.get("data")
    return str(data["text/plain"]) if isinstance(data, dict) else str(output.get("text", ""))


def test_functions_of_cells_are_called(run_dir: Path) -> None:
    *_, result, later = outputs(
        CONNECT,
        "STEP = 1\ndef helper(x):\n    return x + STEP",
        "def incr(library, x):\n    return helper(x)",
        "cloud_incr = cloudburst.register(incr, 'incr')\ncloud_incr(1).get()",
        # As when a cell is edited and run again.
        "STEP = 10\ncloudburst.register(incr, 'incr')(1).get()",
    )

    assert (result, later) == ("2", "11")


def test_dag_of_functions_of_cells_is_called(run_dir: Path) -> None:
    *_, registered, called, kept = outputs(
        CONNECT,
        "cloudburst.register(lambda _, x: x + 1, 'incr')",
        "def square(library, x):\n    library.put('seen', x)\n    return x * x\n"
        "cloudburst.register(square, 'square')",
        "cloudburst.register_dag('pipe', ['incr', 'square'], [('incr', 'square')])",
        "cloudburst.call_dag('pipe', {'incr': 2}).get()",
        "cloudburst.get_object('seen')",
    )

    assert (registered, called, kept) == ("True", "9", "3")


def test_classes_of_cells_are_called_and_returned(run_dir: Path) -> None:
    *_, model, same, equal = outputs(
        CONNECT,
        "class Model:\n    def __init__(self, bias):\n        self.bias = bias\n"
        "    def run(self, x):\n        return x + self.bias",
        "from dataclasses import dataclass\n@dataclass\nclass Point:\n    x: int\n    y: int",
        "cloudburst.register((Model, 10), 'model')(5).get()",
        "flip = cloudburst.register(lambda _, p: Point(p.y, p.x), 'flip')\n"
        "type(flip(Point(1, 2)).get()) is Point",
        "flip(Point(1, 2)).get() == Point(2, 1)",
    )

    assert (model, same, equal) == ("15", "True", "True")


def test_futures_are_awaited_in_cells(run_dir: Path) -> None:
    *_, loop, one, both = outputs(
        CONNECT,
        "asyncio.get_running_loop().is_running()",
        "incr = cloudburst.register(lambda _, x: x + 1, 'incr')\nawait incr(1)",
        "await asyncio.gather(incr(1), incr(2))",
    )

    assert (loop, one, both) == ("True", "2", "[2, 3]")


def test_error_of_a_function_is_shown_in_the_cell(run_dir: Path) -> None:
    with pytest.raises(CellExecutionError, match="KeyError: 'no such thing'") as caught:
        outputs(
            CONNECT,
            "def find(library):\n    return {}['no such thing']",
            "cloudburst.register(find, 'find')().get()",
        )

    assert "step 'find' of run" in str(caught.value)


@pytest.fixture
def kernel(run_dir: Path) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    """A kernel that a test may treat badly."""
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(ROOT))
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    manager.context.term()


def test_killed_kernel_leaves_nothing(
    kernel: tuple[KernelManager, BlockingKernelClient], run_dir: Path
) -> None:
    manager, client = kernel
    printed: list[str] = []
    client.execute_interactive(
        CONNECT + "import os\nprint(cloudburst.register(lambda _: os.getpid(), 'pid')().get())",
        timeout=60,
        output_hook=lambda message: printed.append(json.dumps(message["content"].get("text", ""))),
    )
    process = psutil.Process(manager.provisioner.pid)
    cluster = process.children(recursive=True)
    executor = int(json.loads(next(text for text in printed if text != '""')))
    assert executor in {child.pid for child in cluster}
    assert list(run_dir.rglob("*")) != []

    process.kill()

    wait_until(lambda: not any(map(alive, cluster)), lambda: f"{cluster} end", 5.0)
    wait_until(lambda: not [*run_dir.rglob("*")], lambda: f"{[*run_dir.rglob('*')]} go", 5.0)


def test_restarted_kernel_gets_a_cluster_of_its_own(
    kernel: tuple[KernelManager, BlockingKernelClient],
) -> None:
    manager, client = kernel
    code = CONNECT + "assert cloudburst.register(lambda _: 1, 'one')().get() == 1"

    first = client.execute_interactive(code, timeout=60)
    manager.restart_kernel(now=True)
    client.wait_for_ready(timeout=60)
    second = client.execute_interactive(code, timeout=60)

    assert first["content"]["status"] == "ok"
    assert second["content"]["status"] == "ok"
