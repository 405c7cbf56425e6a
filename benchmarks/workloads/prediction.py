"""A prediction: preprocess an image, apply a model with weights of 3.3 MB, choose a class.

Three steps, of which the second is given the weights by reference: they are in the store. Tasks of
Ray and of Dask are given references to weights in their stores. The floor is the same in plain
Python, in the process that measures.
"""

from benchmarks.bench import Bench, Case
from benchmarks.work import Prediction

PREDICTION = Case("prediction", Prediction())


def run(bench: Bench) -> None:
    bench.compare([PREDICTION], ["ray", "dask"])
