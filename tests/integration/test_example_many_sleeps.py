"""The example of an elastic pool: it runs as a user runs it, and draws what happened."""

import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
from example_scripts import run_example

SVG = "{http://www.w3.org/2000/svg}"


def test_runs_as_a_script_and_the_pool_grows_and_shrinks(tmp_path: Path) -> None:
    plot = tmp_path / "pool.svg"
    options = ["--sleeps", "80", "--ms", "40", "--max", "6", "--idle", "0.2", "--plot", str(plot)]
    printed = run_example("many_sleeps", *options)

    rows = re.findall(r"^ +\d+\.\d+ +(\d+) (#+) +(\d+)$", printed, re.MULTILINE)
    executors = [int(row[0]) for row in rows]
    assert len(rows) == 25
    assert executors[-1] == 2
    assert max(executors) > 2
    assert (int(rows[0][2]), int(rows[-1][2])) == (80, 0)
    assert re.search(r"80 sleeps of 40 ms took \d+\.\d+ s, of at least:", printed)
    assert "0.53 s for 6 executors, 1.60 s for 2" in printed
    assert re.search(r"^2 executors \d+\.\d+ s after the last sleep$", printed, re.MULTILINE)
    most = re.search(r"^(\d) executors \d+\.\d+ s after the first call$", printed, re.MULTILINE)
    assert most is not None
    assert f"drawn in {plot}" in printed
    texts = [text.text for text in ElementTree.parse(plot).iter(f"{SVG}text")]
    assert {f"executors, at most {most[1]}", "unfinished calls, at most 80"} <= set(texts)


def test_executors_are_drawn_as_steps_and_calls_as_a_slope(example: ModuleType) -> None:
    samples = [
        example.Sample(0.0, 2, 100),
        example.Sample(1.0, 4, 50),
        example.Sample(2.0, 2, 0),
    ]

    svg = ElementTree.fromstring(example.svg_plot(samples))

    calls, executors = (line.attrib["points"] for line in svg.iter(f"{SVG}polyline"))
    assert calls == "50.0,40.0 370.0,190.0 690.0,340.0"
    assert executors == (
        "50.0,190.0 50.0,190.0 50.0,190.0 "  # half as many as there were at most
        "370.0,190.0 370.0,40.0 "
        "690.0,40.0 690.0,190.0"
    )


def test_bars_are_as_long_as_there_were_executors(example: ModuleType) -> None:
    samples = [example.Sample(0.0, 2, 9), example.Sample(12.0, 8, 3), example.Sample(24.0, 2, 0)]

    _, *rows = example.text_plot(samples).splitlines()

    lengths = [row.count("#") for row in rows]
    assert lengths == [16] * 12 + [64] * 12 + [16]
    assert rows[0].split() == ["0.00", "2", "#" * 16, "9"]


def test_outcome_knows_when_the_pool_was_largest(example: ModuleType) -> None:
    samples = [example.Sample(0.1 * n, executors, 1) for n, executors in enumerate([2, 5, 5, 2])]
    outcome = example.Outcome(samples, finished=0.3)

    assert outcome.most == 5
    assert outcome.first(5) == pytest.approx(0.1)
