"""The example of batched serving: it runs as a user runs it, and says what was the case."""

import re
from types import ModuleType

import numpy as np
import pytest
from example_scripts import run_example

from cloudburst import CloudburstConnection


def test_runs_as_a_script_and_compares_both_ways() -> None:
    printed = run_example("batched_serving", "--requests", "150")

    rows = dict(re.findall(r"^(single|batched) +\d+ +(\d+\.\d)$", printed, re.MULTILINE))
    assert rows["single"] == "1.0"
    assert float(rows["batched"]) > 1.5
    assert "both gave the same labels" in printed


def test_nothing_to_serve_is_refused(
    example: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        example.main(["--requests", "0"])

    assert "there is nothing to serve" in capsys.readouterr().err


def test_answers_are_the_models_own_in_the_order_of_the_requests(
    example: ModuleType, narrow: CloudburstConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "REPLICAS", 1)
    monkeypatch.setattr(example, "AHEAD", 30)
    requests = np.random.default_rng(5).integers(0, 256, (100, 256), dtype=np.uint8)

    example.deploy(narrow)
    outcome = example.serve(narrow, "batched", requests)

    model = example.Network(type("Store", (), {"get": narrow.get_object}))
    assert outcome.labels == [
        label for label, _ in model.run([example.prepare(None, pixels) for pixels in requests])
    ]
    assert len(set(outcome.labels)) > 1
    assert 100 / 30 <= outcome.calls < 100


def test_answers_that_differ_are_an_error(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch, run_dir: object
) -> None:
    outcomes = iter([example.Outcome([1, 2], 1.0, 2), example.Outcome([1, 3], 1.0, 1)])
    monkeypatch.setattr(example, "serve", lambda *_: next(outcomes))
    monkeypatch.setattr(example, "deploy", lambda *_: None)

    with pytest.raises(SystemExit, match="batching has changed an answer"):
        example.main(["--requests", "2"])
