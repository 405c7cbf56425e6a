"""The matrix example: it runs as a user runs it, and multiplies as NumPy does."""

import re
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from example_scripts import run_example

from cloudburst import CloudburstConnection


class Postman:
    """In place of a library: gives out these messages, and keeps what is sent."""

    def __init__(self, *batches: list[Any]) -> None:
        self.batches = list(batches)
        self.sent: list[tuple[str, Any]] = []

    def recv(self, timeout: float) -> list[tuple[str, Any]]:
        return [("somebody", message) for message in self.batches.pop(0)] if self.batches else []

    def send(self, recipient: str, message: Any) -> None:
        self.sent.append((recipient, message))


def test_runs_as_a_script_and_multiplies_as_numpy_does() -> None:
    printed = run_example("summa", "--size", "36", "--panel", "4")

    assert "36 x 36, 3 x 3 functions, 9 steps:" in printed
    assert "108 messages, 0.0 MB of panels" in printed
    assert "SUMMA's product is NumPy's" in printed
    for what in ("SUMMA, executors start", "SUMMA again", "NumPy in this process"):
        assert re.search(rf"^{what} +\d+\.\d+ s$", printed, re.MULTILINE)


@pytest.mark.parametrize(("size", "panel"), [("10", "1"), ("36", "5"), ("36", "0"), ("0", "1")])
def test_size_that_cannot_be_cut_is_refused(
    example: ModuleType, capsys: pytest.CaptureFixture[str], size: str, panel: str
) -> None:
    with pytest.raises(SystemExit):
        example.main(["--size", size, "--panel", panel])

    assert "the size is to be a multiple of 3 times the panel's width" in capsys.readouterr().err


@pytest.mark.parametrize("panel", [1, 2, 6])
def test_every_block_of_the_product_is_in_its_place(
    example: ModuleType, narrow: CloudburstConnection, panel: int
) -> None:
    a = np.arange(18.0 * 18).reshape(18, 18)
    b = a.T - 7
    job = example.Job("whole numbers", 18, panel)
    example.store(narrow, job, "A", a)
    example.store(narrow, job, "B", b)

    assert (example.product(narrow, job) == a @ b).all()
    assert (example.product(narrow, job) == a @ b).all()  # nothing of the first is in the way


def test_function_without_its_neighbours_gives_up(
    example: ModuleType, narrow: CloudburstConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "PATIENCE", 0.2)
    cell = narrow.register(example.multiply, "multiply")

    error = cell(example.Job("alone", 3, 1), 0, 0).exception(30)

    assert isinstance(error, TimeoutError)
    for neighbour in ("0/1", "0/2", "1/0", "2/0"):
        assert f"alone/id/{neighbour}" in str(error)


def test_panels_are_told_apart_by_matrix_and_step(example: ModuleType) -> None:
    panels = example.Panels(
        Postman([("B", 1, "b1"), ("A", 1, "a1")], [("B", 0, "b0")], [("A", 0, "a0")])
    )

    assert panels.take("A", 0) == "a0"
    assert panels.take("B", 0) == "b0"
    assert panels.take("A", 1) == "a1"
    assert panels.take("B", 1) == "b1"
    with pytest.raises(TimeoutError, match="no panel of A for step 2"):
        panels.take("A", 2)


def test_own_panel_goes_to_the_others_and_is_kept(example: ModuleType) -> None:
    postman = Postman()
    panels = example.Panels(postman)

    panels.share("A", 4, "own", ["left", "right"])

    assert postman.sent == [("left", ("A", 4, "own")), ("right", ("A", 4, "own"))]
    assert panels.take("A", 4) == "own"
