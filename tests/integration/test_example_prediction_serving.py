"""The prediction example: it runs as a user runs it, and what it prints is true."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from example_scripts import run_example
from sklearn.datasets import load_digits

from cloudburst import CloudburstConnection, LocalCluster

KNOWN = 600
STEPS = ("preprocess", "logistic", "forest", "svm")


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    images, truth = load_digits(return_X_y=True)
    return images, truth


@pytest.fixture(scope="module")
def models(example: ModuleType, digits: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    images, truth = digits
    trained: dict[str, Any] = example.train(images[:KNOWN], truth[:KNOWN])
    return trained


@pytest.fixture
def cloud(run_dir: Path) -> Iterator[CloudburstConnection]:
    with LocalCluster(executors=2) as cluster, cluster.connect() as connection:
        yield connection


def loads(cloud: CloudburstConnection) -> dict[str, int]:
    return {step: cloud.get_object(f"models/{step}/loads", default=0) for step in STEPS}


def test_runs_as_a_script_and_reports_what_a_user_wants_to_know() -> None:
    printed = run_example("prediction_serving", "--requests", "30")

    accuracy = re.search(r"accuracy (\d\.\d+); both pipelines predict the same", printed)
    assert accuracy is not None
    assert float(accuracy[1]) > 0.85
    assert "in 31 requests: preprocess 1, logistic 1, forest 1, svm 1" in printed
    for name in ("Cloudburst DAG", "plain Python"):
        times = re.search(rf"^{name} +(\d+\.\d+) +(\d+\.\d+)$", printed, re.MULTILINE)
        assert times is not None
        assert 0 < float(times[1]) <= float(times[2])


def test_dag_predicts_what_plain_calls_predict_and_loads_each_model_once(
    example: ModuleType,
    models: dict[str, Any],
    digits: tuple[np.ndarray, np.ndarray],
    cloud: CloudburstConnection,
) -> None:
    images, truth = digits
    new = slice(KNOWN, KNOWN + 25)
    predict = example.deploy(cloud, models)
    assert loads(cloud) == dict.fromkeys(STEPS, 0)

    dag, plain = example.compare(images[new], predict, example.plain_pipeline(models))

    assert dag.digits == plain.digits
    assert np.mean(dag.digits == truth[new]) > 0.8
    assert len(dag.seconds) == len(plain.seconds) == 25
    assert loads(cloud) == dict.fromkeys(STEPS, 1)


def test_serving_again_loads_the_newly_trained_models(
    example: ModuleType,
    models: dict[str, Any],
    digits: tuple[np.ndarray, np.ndarray],
    cloud: CloudburstConnection,
) -> None:
    images, _ = digits
    example.deploy(cloud, models)(images[-1])
    nines = example.train(images[:KNOWN], 9 - digits[1][:KNOWN])

    cloud.delete_dag(example.DAG)
    predict = example.deploy(cloud, nines)

    plain = example.plain_pipeline(nines)
    assert [predict(image) for image in images[-5:]] == [plain(image) for image in images[-5:]]
    assert loads(cloud) == dict.fromkeys(STEPS, 2)


def test_vote_takes_the_majority_and_the_first_of_a_tie(example: ModuleType) -> None:
    assert example.vote(None, 3, 8, 8) == 8
    assert example.vote(None, 3, 3, 8) == 3
    assert example.vote(None, 5, 1, 9) == 5


def test_percentiles_are_of_the_request_times(example: ModuleType) -> None:
    outcome = example.Outcome(digits=[], seconds=[0.001 * number for number in range(1, 102)])

    assert outcome.percentile(50) == pytest.approx(0.051)
    assert outcome.percentile(99) == pytest.approx(0.100)


def test_pipelines_that_disagree_are_an_error(example: ModuleType) -> None:
    right = example.Outcome([1, 2, 3], [0.1] * 3)
    wrong = example.Outcome([1, 2, 4], [0.1] * 3)

    with pytest.raises(SystemExit, match="differ on 1 of 3 images"):
        example.report(np.array([1, 2, 3]), right, wrong)
