"""Serving predictions: three models look at a handwritten digit, and the majority decides.

::

                  ┌─▶ logistic ─┐
    preprocess ───┼─▶ forest ───┼─▶ vote
                  └─▶ svm ──────┘

The models are trained here and put into the key-value store. Each step is a class that loads its
model from there once, and keeps it for all requests that follow. The same pipeline runs as plain
Python calls beside it, to compare predictions and times.

    python examples/prediction_serving.py [--requests N]

Needs scikit-learn; the data come with it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from cloudburst import CloudburstConnection, LocalCluster

CLASSIFIERS = ("logistic", "forest", "svm")
DAG = "predict_digit"


class Model:
    """A step that needs a trained model.

    The instance lives on its executor from one request to the next: `__init__` runs when the
    first request comes, not with every one. Its first argument is the library, through which
    functions reach the key-value store; `run` does not ask for it, so it is not passed there.
    """

    def __init__(self, cloudburst: Any, key: str) -> None:
        self.model = cloudburst.get(key)
        # Kept in the store, where the client can see it: how often was this model loaded?
        cloudburst.put(f"{key}/loads", cloudburst.get(f"{key}/loads", default=0) + 1)


class Preprocess(Model):
    """64 grey pixels to the 32 features that the classifiers were trained on."""

    def run(self, image: np.ndarray) -> np.ndarray:
        """Called with the request's image."""
        features: np.ndarray = self.model.transform([image])
        return features


class Classify(Model):
    """One classifier's opinion."""

    def run(self, features: np.ndarray) -> int:
        """Called with what `Preprocess.run` returned."""
        return int(self.model.predict(features)[0])


def vote(_: Any, *digits: int) -> int:
    """What most classifiers say; the first of them where all differ."""
    return statistics.mode(digits)


def train(images: np.ndarray, digits: np.ndarray) -> dict[str, Any]:
    """Every model the steps need, by the name of its step."""
    preprocess = make_pipeline(StandardScaler(), PCA(n_components=32, random_state=0)).fit(images)
    features = preprocess.transform(images)
    return {
        "preprocess": preprocess,
        "logistic": LogisticRegression(max_iter=1000).fit(features, digits),
        "forest": RandomForestClassifier(n_estimators=50, random_state=0).fit(features, digits),
        "svm": SVC().fit(features, digits),
    }


def plain_pipeline(models: dict[str, Any]) -> Callable[[np.ndarray], int]:
    """The same pipeline without Cloudburst: one call after another, in this process."""

    def predict(image: np.ndarray) -> int:
        features = models["preprocess"].transform([image])
        return vote(None, *[int(models[name].predict(features)[0]) for name in CLASSIFIERS])

    return predict


def deploy(cloud: CloudburstConnection, models: dict[str, Any]) -> Callable[[np.ndarray], int]:
    """Put the models into the store, register the DAG, and return what calls it."""
    for name, model in models.items():
        cloud.put_object(f"models/{name}", model)

    # One class serves all three classifiers: each step gets its own instance and its own key.
    cloud.register((Preprocess, "models/preprocess"), "preprocess")
    for name in CLASSIFIERS:
        cloud.register((Classify, f"models/{name}"), name)
    cloud.register(vote, "vote")

    # `vote` receives the digits in the order of these connections.
    connections = [("preprocess", name) for name in CLASSIFIERS]
    connections += [(name, "vote") for name in CLASSIFIERS]
    cloud.register_dag(DAG, ["preprocess", *CLASSIFIERS, "vote"], connections)

    def predict(image: np.ndarray) -> int:
        # A direct response comes straight from the last step; nothing of it is stored.
        digit: int = cloud.call_dag(DAG, {"preprocess": image}, direct_response=True, timeout=60)
        return digit

    return predict


class Outcome(NamedTuple):
    """What one pipeline predicted, and the seconds each request took."""

    digits: list[int]
    seconds: list[float]

    def percentile(self, percent: float) -> float:
        """Seconds that so many percent of the requests did not exceed."""
        return float(np.percentile(self.seconds, percent))


def compare(images: np.ndarray, *pipelines: Callable[[np.ndarray], int]) -> list[Outcome]:
    """Give each image to every pipeline in turn, so that all meet the same conditions."""
    outcomes = [Outcome([], []) for _ in pipelines]
    for image in images:
        for predict, outcome in zip(pipelines, outcomes, strict=True):
            begin = time.perf_counter()
            outcome.digits.append(predict(image))
            outcome.seconds.append(time.perf_counter() - begin)
    return outcomes


def report(truth: np.ndarray, dag: Outcome, plain: Outcome) -> None:
    """Print accuracy and times; it is an error if the two pipelines disagree."""
    differing = sum(a != b for a, b in zip(dag.digits, plain.digits, strict=True))
    if differing:
        raise SystemExit(f"DAG and plain Python differ on {differing} of {len(truth)} images")
    print(f"accuracy {np.mean(dag.digits == truth):.3f}; both pipelines predict the same")
    print(f"\n{'ms per request':<16}{'p50':>8}{'p99':>8}")
    for name, outcome in (("Cloudburst DAG", dag), ("plain Python", plain)):
        p50, p99 = outcome.percentile(50) * 1e3, outcome.percentile(99) * 1e3
        print(f"{name:<16}{p50:8.2f}{p99:8.2f}")
    print("\nThe DAG pays for messages between processes, and gains where classifiers run at the")
    print("same time: the slower they are, the more. Other work on this machine slows both.")


def main(argv: list[str] | None = None) -> None:
    """Train, deploy, compare."""
    parser = argparse.ArgumentParser(description="Serve predictions of three models.")
    parser.add_argument("--requests", type=int, default=400, help="images to predict, up to 899")
    requests = parser.parse_args(argv).requests

    images, digits = load_digits(return_X_y=True)
    known_images, new_images, known_digits, new_digits = train_test_split(
        images, digits, test_size=0.5, random_state=0
    )
    new_images, new_digits = new_images[:requests], new_digits[:requests]
    models = train(known_images, known_digits)

    # A cluster of this script's own, with as many executors as there are cores.
    with LocalCluster() as cluster, cluster.connect() as cloud:
        predict, plain = deploy(cloud, models), plain_pipeline(models)
        begin = time.perf_counter()
        predict(new_images[0])
        print(f"first request {time.perf_counter() - begin:.2f} s: executors import scikit-learn")
        print("and load their models; it is not part of the times below.")

        dag_outcome, plain_outcome = compare(new_images, predict, plain)
        loads = {name: cloud.get_object(f"models/{name}/loads") for name in models}
        times = ", ".join(f"{name} {count}" for name, count in loads.items())
        print(f"models loaded in {len(new_images) + 1} requests: {times}\n")
        report(new_digits, dag_outcome, plain_outcome)


if __name__ == "__main__":
    main()
