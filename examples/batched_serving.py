"""Serving many requests with few calls of a model: a batch is what came while one was computed.

::

    prepare ──▶ model ──▶ label

The model is a small neural network of NumPy arrays, whose `run` takes a list of inputs: one large
matrix product costs far less than many small ones, and so does one call. Two instances of it are
made before the first request. The same requests are served twice, first with one call of the model
for each, then with batching.

    python examples/batched_serving.py [--requests N]
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from cloudburst import CloudburstConnection, LocalCluster, batch

SHAPES = [(256, 2048), (2048, 10)]
REPLICAS = 2
AHEAD = 200  # requests that are under way at a time


class Network:
    """Two layers. An instance is made once, and serves all requests that come to its executor."""

    def __init__(self, cloudburst: Any) -> None:  # the library: it reaches the store
        self.first, self.second = cloudburst.get("weights")

    def run(self, inputs: list[np.ndarray]) -> list[tuple[int, int]]:
        """Called with the inputs of a batch: the label of each, and how many they were."""
        hidden = np.maximum(np.stack(inputs) @ self.first, 0.0)
        labels = (hidden @ self.second).argmax(axis=1)
        return [(int(label), len(inputs)) for label in labels]


class SingleNetwork(Network):
    """The same, called for one request at a time."""

    def run(self, inputs: np.ndarray) -> tuple[int, int]:  # type: ignore[override]
        """Called with one input."""
        return super().run([inputs])[0]


def prepare(_: Any, pixels: np.ndarray) -> np.ndarray:
    """Bytes to numbers around zero."""
    return pixels.astype(np.float32) / 127.5 - 1.0


def label(_: Any, found: tuple[int, int]) -> dict[str, int]:
    """What the client gets."""
    return {"label": found[0], "together": found[1]}


class Outcome(NamedTuple):
    """The labels of all requests, in how many seconds, and how often the model was called."""

    labels: list[int]
    seconds: float
    calls: int


def deploy(cloud: CloudburstConnection) -> None:
    """Put the weights into the store, and register both ways to serve, ready for requests."""
    random = np.random.default_rng(0)
    cloud.put_object("weights", [random.normal(size=s).astype(np.float32) for s in SHAPES])
    cloud.register(prepare, "prepare")
    cloud.register(label, "label")
    cloud.register(SingleNetwork, "single")
    cloud.register(Network, "batched", batching=batch(max_size=64))
    for model in ("single", "batched"):
        edges = [("prepare", model), (model, "label")]
        cloud.register_dag(model, ["prepare", model, "label"], edges, replicas=REPLICAS)
        cloud.prewarm(model, REPLICAS)


def serve(cloud: CloudburstConnection, dag: str, requests: np.ndarray) -> Outcome:
    """Send all requests, not more than `AHEAD` at a time, and wait for their answers."""
    begin = time.perf_counter()
    futures, answers = [], []
    for number, pixels in enumerate(requests):
        futures.append(cloud.call_dag(dag, {"prepare": pixels}))
        if number >= AHEAD:
            answers.append(futures[number - AHEAD].get())
    answers += [future.get() for future in futures[len(answers) :]]
    seconds = time.perf_counter() - begin
    sizes = Counter(answer["together"] for answer in answers)
    calls = sum(count // size for size, count in sizes.items())
    return Outcome([answer["label"] for answer in answers], seconds, calls)


def main(argv: list[str] | None = None) -> None:
    """Serve in both ways, and compare."""
    parser = argparse.ArgumentParser(description="Serve requests with and without batching.")
    parser.add_argument("--requests", type=int, default=2000, help="how many")
    count = parser.parse_args(argv).requests
    if count < 1:
        parser.error("there is nothing to serve")
    requests = np.random.default_rng(1).integers(0, 256, (count, SHAPES[0][0]), dtype=np.uint8)
    with LocalCluster() as cluster, cluster.connect() as cloud:
        deploy(cloud)
        outcomes = {dag: serve(cloud, dag, requests) for dag in ("single", "batched")}
    if outcomes["single"].labels != outcomes["batched"].labels:
        raise SystemExit("batching has changed an answer")
    print(f"{'model':<10}{'requests per second':>20}{'requests per call':>20}")
    for dag, outcome in outcomes.items():
        print(f"{dag:<10}{count / outcome.seconds:20.0f}{count / outcome.calls:20.1f}")
    print("both gave the same labels")


if __name__ == "__main__":
    main()
